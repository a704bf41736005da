package proxy

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// leanTo is a carrier with the lean engine to a scripted app.
func leanTo(t *testing.T, target Target, says func(head string) script) (*carrier, *scripted) {
	t.Helper()
	app := newScripted(t, listenLocal(t), says)
	target.URL, target.Engine = "http://"+app.listener.Addr().String(), EngineLean
	return newCarrier(t, target), app
}

// inTurn answers the first request with the first script, and so on; the last one goes on for ever.
func inTurn(scripts ...script) func(string) script {
	n := 0
	return func(string) script {
		n++
		return scripts[min(n, len(scripts))-1]
	}
}

// A connection is used again only after a complete answer, with nothing behind it, and nothing waiting.
func TestLeanReuse(t *testing.T) {
	const short = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
	second := says("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond")
	for name, one := range map[string]struct {
		method string
		first  script
		dials  int
	}{
		"length":        {"GET", says(hello), 1},
		"chunked":       {"GET", says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), 1},
		"trailers":      {"GET", says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"), 1},
		"not-modified":  {"GET", says("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"), 1},
		"chunks-of-304": {"GET", says("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"), 2},
		"chunks-of-204": {"GET", says("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"), 2},
		"length-of-204": {"GET", says("HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\n"), 2},
		"zero-of-204":   {"GET", says("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"), 1},
		"old-kept":      {"GET", says("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello"), 1},
		"old":           {"GET", says("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"), 2},
		"close":         {"GET", says("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"), 2},
		"until-close":   {"GET", script{[]string{"HTTP/1.1 200 OK\r\n\r\nhello"}, true}, 2},
		"behind":        {"GET", says(hello + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"), 2},
		"behind-later":  {"GET", script{[]string{hello, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"}, false}, 2},
		"behind-blank":  {"GET", says(hello + "\n"), 2},
		"end-waiting":   {"GET", script{[]string{hello}, true}, 2},
		"head":          {"HEAD", says(short), 2},
		"head-as-get":   {"HEAD", script{[]string{short, "hello"}, false}, 2},
		"body-of-304":   {"GET", script{[]string{"HTTP/1.1 304 Not Modified\r\n\r\n", "poison"}, false}, 2},
		"hints":         {"GET", says("HTTP/1.1 103 Early Hints\r\n\r\n" + hello), 1},
		"hung-up-short": {"GET", script{[]string{short + "he"}, true}, 2},
	} {
		t.Run("RULE-13/"+name, func(t *testing.T) {
			c, app := leanTo(t, Target{}, inTurn(one.first, second))
			c.put(t, one.method, "/1")
			app.finished(t, 1) // what it sends behind its answer is there
			if got := c.put(t, http.MethodGet, "/2"); got.status != http.StatusOK || got.body != "second" || got.broken {
				t.Errorf("the next client got %+v", got)
			}
			if _, dials := app.said(); dials != one.dials {
				t.Errorf("%d connections, want %d", dials, one.dials)
			}
		})
	}
}

// A request is sent twice only if an idle connection gave no byte at all, and never a third time.
func TestLeanSecondTry(t *testing.T) {
	gone := script{hangUp: true}
	for name, one := range map[string]struct {
		scripts []script
		status  int // of the second request
		sent    int // how often the app got a request, the first one included
	}{
		"hung-up":        {[]script{says(hello), gone, says(hello)}, 200, 3},
		"hung-up-twice":  {[]script{says(hello), gone, gone}, 502, 3},
		"after-a-byte":   {[]script{says(hello), {[]string{"H"}, true}, says(hello)}, 502, 2},
		"after-hints":    {[]script{says(hello), {[]string{"HTTP/1.1 103 Early Hints\r\n\r\n"}, true}, says(hello)}, 502, 2},
		"after-garbage":  {[]script{says(hello), says("garbage\r\n\r\n"), says(hello)}, 502, 2},
		"after-the-time": {[]script{says(hello), {}, says(hello)}, 504, 2},
	} {
		t.Run("RULE-13/"+name, func(t *testing.T) {
			c, app := leanTo(t, Target{Header: 300 * time.Millisecond}, inTurn(one.scripts...))
			if got := c.put(t, http.MethodGet, "/1"); got.status != http.StatusOK {
				t.Fatalf("got %+v", got)
			}
			if got := c.put(t, http.MethodGet, "/2"); got.status != one.status {
				t.Errorf("got %d, want %d", got.status, one.status)
			}
			if sent, _ := app.said(); len(sent) != one.sent {
				t.Errorf("the app got %d requests, want %d", len(sent), one.sent)
			}
		})
	}
	t.Run("RULE-13/fresh", func(t *testing.T) {
		c, app := leanTo(t, Target{}, inTurn(gone, says(hello)))
		if got := c.put(t, http.MethodGet, "/"); got.status != http.StatusBadGateway {
			t.Errorf("got %d", got.status)
		}
		if sent, _ := app.said(); len(sent) != 1 {
			t.Errorf("the app got %d requests", len(sent))
		}
	})
}

// The second try is on a new connection, not on the next idle one: those may all be as dead as the first.
func TestLeanSecondTryIsTheLast(t *testing.T) {
	both := make(chan struct{}, 2)
	release := make(chan struct{})
	again := inTurn(script{hangUp: true}, script{hangUp: true}, says(hello))
	app := newScripted(t, listenLocal(t), func(head string) script {
		if strings.HasPrefix(head, "GET /again") {
			return again(head)
		}
		return says(hello)
	})
	app.gate = func(head string) {
		if strings.HasPrefix(head, "GET /idle") {
			both <- struct{}{}
			<-release
		}
	}
	c := newCarrier(t, Target{URL: "http://" + app.listener.Addr().String(), Engine: EngineLean})
	var clients sync.WaitGroup
	for range 2 {
		clients.Go(func() { c.put(t, http.MethodGet, "/idle") })
	}
	<-both
	<-both
	close(release)
	clients.Wait()
	for c.up.lean.pool.size() < 2 {
		time.Sleep(time.Millisecond)
	}
	if got := c.put(t, http.MethodGet, "/again"); got.status != http.StatusBadGateway {
		t.Errorf("RULE-13: got %d", got.status)
	}
	if sent, _ := app.said(); len(sent) != 4 {
		t.Errorf("RULE-13: the app got %d requests, want 2 and 2", len(sent))
	}
}

// What is not a plain GET or HEAD goes the other way, which keeps connections of its own.
func TestLeanTakes(t *testing.T) {
	for name, one := range map[string]struct {
		method string
		lines  []string
		takes  bool
	}{
		"get": {"GET", nil, true}, "head": {"HEAD", nil, true}, "post": {"POST", nil, false}, "options": {"OPTIONS", nil, false}, "delete": {"DELETE", nil, false},
		"length-zero": {"GET", []string{"Content-Length", "0"}, true}, "upgrade": {"GET", []string{"Upgrade", "websocket"}, false}, "expect": {"GET", []string{"Expect", "100-continue"}, false},
	} {
		t.Run("RULE-13/"+name, func(t *testing.T) {
			up, err := NewUpstream(Target{URL: "http://a.test", Engine: EngineLean})
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest(one.method, "/", nil)
			for i := 0; i < len(one.lines); i += 2 {
				r.Header.Set(one.lines[i], one.lines[i+1])
			}
			if got := up.lean.takes(r); got != one.takes {
				t.Errorf("takes: %v", got)
			}
		})
	}
	t.Run("RULE-13/body", func(t *testing.T) {
		up, _ := NewUpstream(Target{URL: "http://a.test", Engine: EngineLean})
		for _, r := range []*http.Request{
			httptest.NewRequest(http.MethodGet, "/", strings.NewReader("x")),
			httptest.NewRequest(http.MethodGet, "/", struct{ io.Reader }{strings.NewReader("x")}), // of unknown length
		} {
			if up.lean.takes(r) {
				t.Error("a body is none of its business")
			}
		}
	})
	for _, url := range []string{"h2c://a.test", "http://j\u00fcrgen.test", "http://[fe80::1%25eth0]:80"} {
		if up, err := NewUpstream(Target{URL: url, Engine: EngineLean}); err == nil && up.lean != nil {
			t.Errorf("%s is for the other engine", url)
		}
	}
	if _, err := NewUpstream(Target{URL: "http://a.test", Engine: "fast"}); err == nil || !strings.Contains(err.Error(), "fast") {
		t.Errorf("an engine that does not exist: %v", err)
	}
}

func TestLeanPool(t *testing.T) {
	t.Run("idle", func(t *testing.T) {
		c, app := leanTo(t, Target{Idle: 100 * time.Millisecond}, inTurn(says(hello)))
		c.put(t, http.MethodGet, "/")
		if n := c.up.lean.pool.size(); n != 1 {
			t.Fatalf("%d idle connections", n)
		}
		for end := time.Now().Add(patience); c.up.lean.pool.size() > 0; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("an idle connection is kept for ever")
			}
		}
		c.put(t, http.MethodGet, "/")
		if _, dials := app.said(); dials != 2 {
			t.Errorf("%d connections", dials)
		}
	})
	t.Run("close", func(t *testing.T) {
		release := make(chan struct{})
		c, _ := leanTo(t, Target{}, func(head string) script {
			if strings.HasPrefix(head, "GET /slow") {
				<-release
			}
			return says(hello)
		})
		c.put(t, http.MethodGet, "/")
		done := make(chan outcome)
		go func() { done <- c.put(t, http.MethodGet, "/slow") }()
		for c.up.lean.pool.size() > 0 {
			time.Sleep(time.Millisecond) // until it is in use
		}
		c.up.Close()
		close(release)
		if got := <-done; got.body != "hello" {
			t.Errorf("what was in use got %+v", got)
		}
		if n := c.up.lean.pool.size(); n != 0 {
			t.Errorf("%d connections are kept after the end", n)
		}
	})
	t.Run("full", func(t *testing.T) {
		p := &pool{idle: time.Minute}
		defer p.close()
		for range idleConns + 5 {
			a, b := net.Pipe()
			defer b.Close()
			p.put(&line{Conn: a, talk: talks.Get().(*talk)})
		}
		if n := p.size(); n != idleConns {
			t.Errorf("%d connections are kept", n)
		}
	})
}

func (p *pool) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.lines)
}

// Over TLS a connection is looked at below the encryption and behind it.
func TestLeanTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s", r.Proto, r.RemoteAddr)
	}))
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, certificatePEM(server.Certificate().Raw), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newCarrier(t, Target{URL: server.URL, Engine: EngineLean, TLS: ClientTLS{CAFile: ca}})
	first, next := c.put(t, http.MethodGet, "/"), c.put(t, http.MethodGet, "/")
	if first.status != http.StatusOK || !strings.HasPrefix(first.body, "HTTP/1.1 ") || first.body != next.body || c.up.lean.pool.size() != 1 {
		t.Errorf("got %+v and %+v", first, next)
	}

	listener := tls.NewListener(listenLocal(t), server.TLS)
	poisoner := newScripted(t, listener, inTurn(script{[]string{hello, hello}, false}, says("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond")))
	c = newCarrier(t, Target{URL: "https://" + listener.Addr().String(), Engine: EngineLean, TLS: ClientTLS{CAFile: ca}})
	c.put(t, http.MethodGet, "/")
	poisoner.finished(t, 1)
	if got := c.put(t, http.MethodGet, "/"); got.body != "second" {
		t.Errorf("RULE-13: the next client got %+v", got)
	}
	if _, dials := poisoner.said(); dials != 2 {
		t.Errorf("%d connections", dials)
	}
}

// Connections that the app closes when it likes cost no GET (RULE-13 allows a second try).
func TestLeanWhileTheAppRecyclesConnections(t *testing.T) {
	app := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.URL.Path)
	}))
	app.Start()
	defer app.Close()
	before := descriptors(t)
	c := newCarrier(t, Target{URL: app.URL, Engine: EngineLean})
	stop := make(chan struct{})
	var recycling, clients sync.WaitGroup
	recycling.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(3 * time.Millisecond):
				app.Config.SetKeepAlivesEnabled(false) // closes what is idle at once
				app.Config.SetKeepAlivesEnabled(true)
			}
		}
	})
	for i := range 16 {
		clients.Go(func() {
			for j := range 60 {
				path := fmt.Sprintf("/%d/%d", i, j)
				if got := c.put(t, http.MethodGet, path); got.status != http.StatusOK || got.body != path {
					t.Errorf("%s got %+v", path, got)
					return
				}
			}
		})
	}
	clients.Wait()
	close(stop)
	recycling.Wait()
	c.up.Close()
	_ = c.server.Close()
	app.CloseClientConnections()
	for end := time.Now().Add(patience); descriptors(t) > before+2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d descriptors before, %d after", before, descriptors(t))
		}
	}
}

// descriptors counts the open files of this process; where there is no /proc, there are none.
func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(list)
}

// Many at once get each their own.
func TestLeanNeverMixesAnswers(t *testing.T) {
	c, _ := leanTo(t, Target{}, func(head string) script {
		path := strings.Fields(head)[1]
		body := strings.Repeat(path+" ", 1+len(path)*37%900)
		switch len(path) % 3 {
		case 0:
			return script{[]string{fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(body)), body}, false}
		case 1:
			return says(fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body))
		}
		return script{[]string{"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body}, true}
	})
	var clients sync.WaitGroup
	for i := range 16 {
		clients.Go(func() {
			for j := range 60 {
				path := fmt.Sprintf("/%d/%s", i, strings.Repeat("x", j%9))
				if got := c.put(t, http.MethodGet, path); got.broken || strings.Trim(strings.ReplaceAll(got.body, path+" ", ""), " ") != "" || got.body == "" {
					t.Errorf("%s got %.80q", path, got.body)
					return
				}
			}
		})
	}
	clients.Wait()
}
