package proxy_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/proxy"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
	"github.com/gatehouse-auth/gatehouse/web"
)

func TestStreaming(t *testing.T) { engines(t, testStreaming) }

func testStreaming(t *testing.T) {
	for name, head := range map[string]string{
		"PX-07/events": "Content-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked", "PX-07/json": "Content-Type: application/json\r\nTransfer-Encoding: chunked",
		"PX-07/until-close": "Content-Type: application/json",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			next := make(chan string)
			up := newApp(t, func(conn net.Conn, _ string) {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+head+"\r\n\r\n")
				for event := range next {
					if strings.Contains(head, "chunked") {
						event = fmt.Sprintf("%x\r\n%s\r\n", len(event), event)
					}
					_, _ = io.WriteString(conn, event)
				}
				_ = conn.Close()
			})
			// The stall time is shorter than the quiet of the stream: it must not end it.
			w := newWorld(t, setup{routes: routes(up.upstream(proxy.Target{Stall: 200 * time.Millisecond}))})
			conn := w.dial()
			_, _ = io.WriteString(conn, "GET /events HTTP/1.1\r\nHost: app.test\r\nAccept-Encoding: gzip\r\n"+w.authed()+"\r\n\r\n")
			res, err := http.ReadResponse(bufio.NewReader(conn), nil) // comes before any event
			if err != nil || res.Header.Get("Content-Encoding") != "" {
				t.Fatalf("got %v, %v", res, err)
			}
			defer res.Body.Close()
			for i := range 3 {
				time.Sleep(500 * time.Millisecond)
				event := fmt.Sprintf("data: %d\n\n", i)
				next <- event
				got := make([]byte, len(event))
				if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != event {
					t.Fatalf("event %d: %q, %v", i, got, err)
				}
			}
			close(next)
			if once(t, up.last(), "Accept-Encoding", "gzip"); t.Failed() {
				t.Log("the client's own Accept-Encoding must pass")
			}
		})
	}
}

func TestExpectAndEarlyAnswers(t *testing.T) {
	const expect = "Content-Length: 10000000\r\nExpect: 100-continue"
	up := newApp(t, func(conn net.Conn, head string) {
		switch {
		case strings.HasPrefix(head, "POST /refuse"):
			_, _ = io.WriteString(conn, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
			_ = conn.Close()
			return
		case strings.HasPrefix(head, "POST /accept"):
			_, _ = io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
		}
		_, _ = io.CopyN(io.Discard, conn, 10_000_000)
		_, _ = io.WriteString(conn, ok)
	})
	w := newWorld(t, setup{routes: routes(up.upstream(proxy.Target{}))})
	post := func(path string, lines ...string) (net.Conn, *bufio.Reader) {
		conn := w.dial()
		_, _ = io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: app.test\r\n"+strings.Join(lines, "\r\n")+"\r\n\r\n")
		return conn, bufio.NewReader(conn)
	}
	t.Run("PX-09/a", func(t *testing.T) {
		_, from := post("/x", expect)
		res := w.read("POST", from)
		if _, err := from.ReadByte(); res.StatusCode != http.StatusUnauthorized || !res.Close || !errors.Is(err, io.EOF) {
			t.Errorf("got %s, close %v, then %v", res.Status, res.Close, err)
		}
	})
	t.Run("PX-09/b", func(t *testing.T) {
		_, from := post("/refuse", expect, w.authed())
		if res := w.read("POST", from); res.StatusCode != http.StatusRequestEntityTooLarge || res.body != "big" {
			t.Errorf("got %s %q", res.Status, res.body)
		}
	})
	for name, path := range map[string]string{"PX-09/c": "/accept", "PX-09/d": "/silent"} {
		t.Run(name, func(t *testing.T) {
			conn, from := post(path, expect, w.authed())
			if name == "PX-09/c" {
				if res := w.read("POST", from); res.StatusCode != http.StatusContinue {
					t.Fatalf("got %s", res.Status)
				}
			}
			_, _ = io.CopyN(conn, zeros{}, 10_000_000)
			res := w.read("POST", from)
			if name == "PX-09/d" && res.StatusCode == http.StatusContinue {
				res = w.read("POST", from) // our own, once the client's body is wanted
			}
			if res.StatusCode != http.StatusOK {
				t.Errorf("got %s", res.Status)
			}
		})
	}
	t.Run("PX-09/e", func(t *testing.T) {
		conn, from := post("/x", "Content-Length: 100000")
		_, _ = conn.Write([]byte("a"))
		start := time.Now()
		if res := w.read("POST", from); res.StatusCode != http.StatusUnauthorized || time.Since(start) > time.Second {
			t.Errorf("got %s after %v", res.Status, time.Since(start))
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestUpstreamBreaks(t *testing.T) { engines(t, testUpstreamBreaks) }

func testUpstreamBreaks(t *testing.T) {
	const filler = "0123456789"
	up := newApp(t, func(conn net.Conn, head string) {
		path := strings.Fields(head)[1]
		answers := map[string]string{
			"/a": "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + strings.Repeat(filler, 30),
			"/b": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n" + filler + "\r\n",
			"/c": "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n" + strings.Repeat(filler, 50),
			"/f": "garbage\r\n\r\n",
			"/g": "HTTP/1.1 500 Oops\r\nX-App: 1\r\nContent-Length: 5\r\n\r\nstack",
			"/h": "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"app\"\r\nContent-Length: 0\r\n\r\n",
		}
		if path == "/e" {
			_, _ = io.Copy(io.Discard, conn)
			return
		}
		_, _ = io.WriteString(conn, answers[path])
		_ = conn.Close()
	})
	w := newWorld(t, setup{routes: append(routes(up.upstream(proxy.Target{Header: 300 * time.Millisecond})),
		proxy.Route{Host: "app.test", Path: "/d", Next: newUpstream(t, proxy.Target{URL: "http://127.0.0.1:1"})})})
	for name, one := range map[string]struct {
		status int
		body   string
		broken bool
	}{
		"a": {200, strings.Repeat(filler, 30), true}, "b": {200, filler, true}, "c": {200, filler, false}, "f": {502, "", false}, "d": {502, "", false}, "e": {504, "", false},
		"g": {500, "stack", false}, "h": {401, "", false},
	} {
		t.Run("PX-10/"+name, func(t *testing.T) {
			res := w.ask("GET", "/"+name, w.authed(), xhr)
			if res.StatusCode != one.status || (res.err != nil) != one.broken {
				t.Fatalf("got %s, %v", res.Status, res.err)
			}
			if one.status < 502 && res.body != one.body {
				t.Errorf("the body is %q, want %q", res.body, one.body)
			}
			if name == "g" && res.Header.Get("X-App") != "1" || name == "h" && res.Header.Get("Www-Authenticate") == "" {
				t.Errorf("the app's headers are gone: %v", res.Header)
			}
			if strings.Contains(res.body, "127.0.0.1") {
				t.Errorf("the private cause is public: %s", res.body)
			}
		})
	}
	t.Run("PX-10/c-next", func(t *testing.T) {
		conn := w.dial()
		from := bufio.NewReader(conn)
		for range 2 {
			_, _ = io.WriteString(conn, "GET /c HTTP/1.1\r\nHost: app.test\r\n"+w.authed()+"\r\n\r\n")
			if res := w.read("GET", from); res.StatusCode != http.StatusOK || res.body != filler {
				t.Errorf("got %s %q", res.Status, res.body)
			}
		}
	})
}

func TestClientGoesAway(t *testing.T) { engines(t, testClientGoesAway) }

func testClientGoesAway(t *testing.T) {
	up := newApp(t, func(conn net.Conn, head string) {
		if strings.HasPrefix(head, "GET /stream") {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			for {
				if _, err := io.WriteString(conn, "1\r\nx\r\n"); err != nil {
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
		}
		_, _ = io.Copy(io.Discard, conn)
	})
	w := newWorld(t, setup{routes: routes(up.upstream(proxy.Target{}))})
	reset := func(conn net.Conn) {
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
	for i, one := range []struct{ name, path string }{{"PX-12/a", "/think"}, {"PX-12/b", "/stream"}} {
		t.Run(one.name, func(t *testing.T) {
			conn := w.dial()
			_, _ = io.WriteString(conn, "GET "+one.path+" HTTP/1.1\r\nHost: app.test\r\n"+w.authed()+"\r\n\r\n")
			if !eventually(func() bool { return len(up.heard()) == i+1 }) {
				t.Fatal("the app was not asked")
			}
			if one.path == "/stream" {
				_, _ = conn.Read(make([]byte, 100))
			}
			reset(conn)
			if rec := w.record(i + 1); rec.Outcome.Status != web.StatusClientClosedRequest {
				t.Errorf("recorded %+v", rec.Outcome)
			}
			if one.path == "/think" && !up.closed(0) {
				t.Error("the app was not told")
			}
		})
	}
	t.Run("PX-12/c", func(t *testing.T) {
		release := w.faulty.Block(storetest.Find)
		conn := w.dial()
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: app.test\r\n"+w.authed()+"\r\n\r\n")
		time.Sleep(50 * time.Millisecond)
		reset(conn)
		if rec := w.record(3); rec.Outcome.Status != web.StatusClientClosedRequest {
			t.Errorf("recorded %+v", rec.Outcome)
		}
		release()
		if res := w.ask("GET", "/public/../x"); res.StatusCode >= http.StatusInternalServerError {
			t.Errorf("the next request got %s", res.Status)
		}
	})
}

func TestHeaderLimits(t *testing.T) { engines(t, testHeaderLimits) }

func testHeaderLimits(t *testing.T) {
	w, up := plainWorld(t)
	line := w.authed()
	many := strings.Repeat("X-Many: 1\r\n", 1000)
	cookies := ""
	for i := range 200 {
		cookies += fmt.Sprintf("; c%d=%d", i, i)
	}
	for name, one := range map[string]struct{ lines, part string }{
		"PX-13/cookie": {line + "; big=" + strings.Repeat("x", 15<<10), strings.Repeat("x", 15<<10)}, "PX-13/200-cookies": {line + cookies, "; c199=199"},
		"PX-13/many": {line + "\r\n" + strings.TrimSuffix(many, "\r\n"), many},
	} {
		t.Run(name, func(t *testing.T) {
			if res := w.ask("GET", "/", one.lines); res.StatusCode != http.StatusOK || !strings.Contains(up.last(), one.part) {
				t.Errorf("got %s", res.Status)
			}
		})
	}
	before, lookups := len(up.heard()), w.faulty.Calls(storetest.Find)
	for name, one := range map[string]struct {
		target, lines string
		status        int
	}{
		"PX-13/60k": {"/", "X-Big: " + strings.Repeat("x", 60<<10), 431}, "PX-13/2000": {"/", strings.TrimSuffix(strings.Repeat("X-Many-More: 0123456789\r\n", 2000), "\r\n"), 431},
		"PX-13/url": {"/" + strings.Repeat("x", 16<<10), "X-A: 1", 414},
	} {
		t.Run(name, func(t *testing.T) {
			if res := w.ask("GET", one.target, line, one.lines); res.StatusCode != one.status || res.body == "" {
				t.Errorf("got %s %q", res.Status, res.body)
			}
		})
	}
	if len(up.heard()) != before || w.faulty.Calls(storetest.Find) != lookups {
		t.Error("a refused request was looked up or forwarded")
	}
}

func TestFraming(t *testing.T) {
	const second = "GET /second HTTP/1.1\r\nHost: app.test\r\n\r\n"
	for name, one := range map[string]struct {
		lines, body string
		status      []int // any of these; nothing may be sent to the app unless 200 is among them
	}{
		"PX-14/cl-te":       {"Content-Length: 5\r\nTransfer-Encoding: chunked", "2\r\nhi\r\n0\r\n\r\n", []int{200, 400}},
		"PX-14/two-cl":      {"Content-Length: 2\r\nContent-Length: 3", "hi", []int{400}},
		"PX-14/te-list":     {"Transfer-Encoding: chunked, identity", "0\r\n\r\n", []int{400, 501}},
		"PX-14/te-space":    {"Transfer-Encoding : chunked", "0\r\n\r\n", []int{400}},
		"PX-14/te-x":        {"Transfer-Encoding: xchunked", "0\r\n\r\n", []int{400, 501}},
		"PX-14/chunk-0x":    {"Transfer-Encoding: chunked", "0x2\r\nhi\r\n0\r\n\r\n", []int{400}},
		"PX-14/chunk-17":    {"Transfer-Encoding: chunked", "00000000000000002\r\nhi\r\n0\r\n\r\n", []int{400}},
		"PX-14/chunk-ext":   {"Transfer-Encoding: chunked", "2;ext=1\r\nhi\r\n0\r\n\r\n", []int{200}},
		"PX-14/obs-fold":    {"X-A: 1\r\n folded: 2\r\nContent-Length: 0", "", []int{200, 400}},
		"PX-14/bare-lf":     {"X-A: 1\nX-B: 2\r\nContent-Length: 0", "", []int{http.StatusOK, http.StatusBadRequest}},
		"PX-14/nul":         {"X-A: a\x00b\r\nContent-Length: 0", "", []int{400}},
		"PX-14/bare-cr":     {"X-A: a\rb\r\nContent-Length: 0", "", []int{400}},
		"PX-14/valid-chunk": {"Transfer-Encoding: chunked", "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", []int{200}},
		"PX-14/cl-plus":     {"Content-Length: +2", "hi", []int{400}},
	} {
		t.Run(name, func(t *testing.T) {
			w, up := plainWorld(t)
			res := w.raw("POST", "POST /first HTTP/1.1\r\nHost: app.test\r\n"+w.authed()+"\r\n"+one.lines+"\r\n\r\n"+one.body+second)
			fits := false
			for _, status := range one.status {
				fits = fits || res.StatusCode == status
			}
			if !fits {
				t.Errorf("got %s, want %v", res.Status, one.status)
			}
			time.Sleep(20 * time.Millisecond)
			got := up.bytes()
			if strings.Contains(got, "/second") {
				t.Errorf("an unauthorised second request reached the app: %q", got)
			}
			for _, head := range up.heard() {
				if len(values(head, "Content-Length"))+len(values(head, "Transfer-Encoding")) != 1 {
					t.Errorf("ambiguous framing at the app: %q", head)
				}
			}
			if name == "PX-14/valid-chunk" && !strings.Contains(got, "hello") {
				t.Errorf("the app got %q", got)
			}
		})
	}
	t.Run("PX-14/short", func(t *testing.T) {
		done := make(chan error, 1)
		up := newApp(t, func(conn net.Conn, _ string) {
			_, err := io.CopyN(io.Discard, conn, 100)
			done <- err
			_ = conn.Close()
		})
		w := newWorld(t, setup{routes: routes(up.upstream(proxy.Target{}))})
		conn := w.dial()
		_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: app.test\r\n"+w.authed()+"\r\nContent-Length: 100\r\n\r\n"+strings.Repeat("x", 40))
		_ = conn.Close()
		select {
		case err := <-done:
			if err == nil {
				t.Error("the app took a short body for a whole one")
			}
		case <-time.After(hang):
			t.Error("the app still waits for the rest")
		}
	})
}

func TestRollingDeadline(t *testing.T) { engines(t, testRollingDeadline) }

func testRollingDeadline(t *testing.T) {
	release := make(chan struct{})
	up := newApp(t, func(conn net.Conn, head string) {
		switch {
		case strings.HasPrefix(head, "GET /endless"):
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
			_, _ = io.Copy(conn, zeros{})
			return
		case strings.HasPrefix(head, "POST /think"):
			_, _ = io.CopyN(io.Discard, conn, 4)
			<-release
		default:
			if _, err := io.CopyN(io.Discard, conn, 40); err != nil {
				return
			}
		}
		_, _ = io.WriteString(conn, ok)
	})
	w := newWorld(t, setup{routes: routes(up.upstream(proxy.Target{Stall: 300 * time.Millisecond}))})
	post := func(path string, length int) (net.Conn, *bufio.Reader) {
		conn := w.dial()
		_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: app.test\r\n%s\r\nContent-Length: %d\r\n\r\n", path, w.authed(), length)
		return conn, bufio.NewReader(conn)
	}
	t.Run("RULE-15/slow-but-moving", func(t *testing.T) {
		conn, from := post("/slow", 40)
		for range 10 {
			_, _ = io.WriteString(conn, "1234")
			time.Sleep(60 * time.Millisecond)
		}
		if res := w.read("POST", from); res.StatusCode != http.StatusOK {
			t.Errorf("got %s", res.Status)
		}
	})
	t.Run("RULE-15/stalled-body", func(t *testing.T) {
		conn, from := post("/stalled", 40)
		_, _ = io.WriteString(conn, "1234")
		if res := w.read("POST", from); res.StatusCode != http.StatusRequestTimeout {
			t.Errorf("got %s", res.Status)
		}
	})
	t.Run("RULE-15/thinking", func(t *testing.T) {
		conn, from := post("/think", 4)
		_, _ = io.WriteString(conn, "1234")
		time.Sleep(time.Second) // several times the stall time, which the end of the body must have cleared
		close(release)
		if res := w.read("POST", from); res.StatusCode != http.StatusOK {
			t.Errorf("got %s", res.Status)
		}
		_, _ = io.WriteString(conn, "GET /public/none HTTP/1.1\r\nHost: app.test\r\n\r\n")
	})
	t.Run("RULE-15/refuses-output", func(t *testing.T) {
		n := len(w.records)
		conn := w.dial()
		_, _ = io.WriteString(conn, "GET /endless HTTP/1.1\r\nHost: app.test\r\n"+w.authed()+"\r\n\r\n")
		if !eventually(func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.records) > n }) {
			t.Error("a client that reads nothing holds its request for ever")
		}
	})
}
