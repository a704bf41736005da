package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/proxy"
)

// signOut ends a session as a replica hears of it.
func (w *world) signOut(key auth.Key) {
	w.t.Helper()
	if err := w.store.End(w.t.Context(), key); err != nil {
		w.t.Fatal(err)
	}
	w.streams.Heard(key)
}

// chat is an app that reads a WebSocket and tells how it ended.
func chat(t *testing.T, ended chan<- error) *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		for err == nil {
			_, _, err = c.Read(r.Context())
		}
		ended <- err
	}))
	t.Cleanup(server.Close)
	return server
}

// RULE-16: both ends of a WebSocket are told why it ends, also while the client is talking: bytes that
// nobody reads would make a reset of the end, which overtakes the close frame.
func TestFarewell(t *testing.T) { engines(t, testFarewell) }

func testFarewell(t *testing.T) {
	t.Run("PX-06/talking", func(t *testing.T) {
		ended := make(chan error, 1)
		w := newWorld(t, setup{routes: routes(newUpstream(t, proxy.Target{URL: chat(t, ended).URL}))})
		cookie, key := w.signIn(w.alice)
		ctx, cancel := context.WithTimeout(t.Context(), hang)
		defer cancel()
		//nolint:bodyclose // the library closes it
		c, _, err := websocket.Dial(ctx, "ws://"+w.addr+"/", &websocket.DialOptions{Host: "app.test", HTTPHeader: http.Header{"Cookie": {cookie}}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.CloseNow() }()
		talk := make(chan struct{})
		go func() {
			defer close(talk)
			for c.Write(ctx, websocket.MessageBinary, make([]byte, 16<<10)) == nil {
			}
		}()
		time.Sleep(50 * time.Millisecond) // until bytes are on their way at every place
		w.signOut(key)
		if _, _, err := c.Read(ctx); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
			t.Errorf("the client sees %v, want close 1008", err)
		}
		<-talk
		select {
		case err := <-ended: // 1008 where a frame could begin, and else the end of the connection
			if code := websocket.CloseStatus(err); code != websocket.StatusPolicyViolation && code != -1 {
				t.Errorf("the app sees %v", err)
			}
		case <-ctx.Done():
			t.Error("the app's end stays open")
		}
	})
	t.Run("PX-06/the-app-is-told", func(t *testing.T) {
		ended := make(chan error, 1)
		w := newWorld(t, setup{routes: routes(newUpstream(t, proxy.Target{URL: chat(t, ended).URL}))})
		cookie, key := w.signIn(w.alice)
		ctx, cancel := context.WithTimeout(t.Context(), hang)
		defer cancel()
		//nolint:bodyclose // the library closes it
		c, _, err := websocket.Dial(ctx, "ws://"+w.addr+"/", &websocket.DialOptions{Host: "app.test", HTTPHeader: http.Header{"Cookie": {cookie}}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.CloseNow() }()
		w.signOut(key)
		select {
		case err := <-ended:
			if websocket.CloseStatus(err) != websocket.StatusPolicyViolation || !strings.Contains(err.Error(), "signed out") {
				t.Errorf("the app sees %v, want close 1008", err)
			}
		case <-ctx.Done():
			t.Error("the app's end stays open")
		}
	})
	t.Run("PX-06/nobody-reads", func(t *testing.T) {
		up := newApp(t, func(conn net.Conn, _ string) {
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			for err := error(nil); err == nil; { // frames of 0 bytes, until the buffers are full
				_, err = conn.Write(make([]byte, 64<<10))
			}
		})
		w := newWorld(t, setup{routes: routes(up.upstream(proxy.Target{}))})
		cookie, key := w.signIn(w.alice)
		conn := w.dial()
		_, _ = io.WriteString(conn, "GET /ws HTTP/1.1\r\nHost: app.test\r\nCookie: "+cookie+"\r\n"+handshake+"\r\n\r\n")
		_, _ = io.ReadFull(conn, make([]byte, 64))
		time.Sleep(100 * time.Millisecond) // until they are
		w.signOut(key)
		if rec := w.record(1); rec.Outcome.Status != http.StatusSwitchingProtocols {
			t.Errorf("recorded %+v", rec.Outcome)
		}
		if !up.closed(0) {
			t.Error("the app's end stays open")
		}
	})
}

// PX-08, RULE-16: a call of gRPC is told by a status that it ended with its session; one whose client
// makes no room is reset.
func TestCallsEndWithTheSession(t *testing.T) {
	up := newUpstream(t, proxy.Target{URL: grpcApp(t)})
	w := newWorld(t, setup{routes: routes(up)})
	// begin opens a stream and returns its answer, with one line of it read.
	begin := func(t *testing.T, path string) (*http.Response, *bufio.Reader, auth.Key) {
		out, in := io.Pipe()
		t.Cleanup(func() { _ = in.Close() })
		go func() { _, _ = io.WriteString(in, "one\n") }()
		cookie, key := w.signIn(w.alice)
		res := w.h2stream(t, path, out, "Te: trailers", "Cookie: "+cookie)
		t.Cleanup(func() { _ = res.Body.Close() })
		from := bufio.NewReader(res.Body)
		if line, err := from.ReadString('\n'); line != "one\n" {
			t.Fatalf("got %q, %v", line, err)
		}
		return res, from, key
	}
	t.Run("PX-08/signed-out", func(t *testing.T) {
		res, from, key := begin(t, "/call") //nolint:bodyclose // begin does
		w.signOut(key)
		if rest, err := io.ReadAll(from); err != nil || len(rest) > 0 {
			t.Errorf("read %q, %v", rest, err)
		}
		if res.Trailer.Get("Grpc-Status") != "16" || res.Trailer.Get("Grpc-Message") != "signed out" {
			t.Errorf("trailers %v, want UNAUTHENTICATED", res.Trailer)
		}
		if rec := w.record(1); rec.Outcome.Event != "stream_ended" {
			t.Errorf("recorded %+v", rec.Outcome)
		}
	})
	t.Run("PX-08/no-call", func(t *testing.T) { // where the end of an answer is its end, it is reset
		_, from, key := begin(t, "/echo") //nolint:bodyclose // begin does
		w.signOut(key)
		if _, err := io.ReadAll(from); err == nil {
			t.Error("a stream that was cut looks whole")
		}
	})
	t.Run("PX-08/both-ways-over-HTTP1", func(t *testing.T) {
		// The client's half is open and quiet: an app of HTTP/2 was told of the end only by its next bytes.
		cookie, key := w.signIn(w.alice)
		conn := w.dial()
		_, _ = io.WriteString(conn, "POST /echo HTTP/1.1\r\nHost: app.test\r\nCookie: "+cookie+"\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n")
		from := bufio.NewReader(conn)
		for line := ""; line != "one\n"; {
			var err error
			if line, err = from.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		w.signOut(key)
		rest, err := io.ReadAll(from)
		if took := time.Since(start); took > 3*time.Second || strings.Contains(string(rest), "\r\n0\r\n") {
			t.Errorf("after %v: %q, %v", took, rest, err)
		}
	})
	t.Run("PX-08/untaken", func(t *testing.T) {
		res, _, key := begin(t, "/flood")  //nolint:bodyclose // begin does
		time.Sleep(100 * time.Millisecond) // until there is no room any more
		w.signOut(key)
		w.record(4) // the handler came to its end
		if _, err := io.Copy(io.Discard, res.Body); err == nil && res.Trailer.Get("Grpc-Status") != "16" {
			t.Errorf("it looks whole, trailers %v", res.Trailer)
		}
	})
}

// PX-10, PX-06: to a client of HTTP/1.0 the end of the connection is the end of an answer without a
// length, so an answer that is broken off must end by a reset.
func TestBrokenOffForHTTP10(t *testing.T) { engines(t, testBrokenOffForHTTP10) }

func testBrokenOffForHTTP10(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n"
	up := newApp(t, func(conn net.Conn, text string) {
		_, _ = io.WriteString(conn, head)
		switch {
		case strings.HasPrefix(text, "GET /whole"):
			_, _ = io.WriteString(conn, "0\r\n\r\n")
		case strings.HasPrefix(text, "GET /waits"):
			_, _ = io.Copy(io.Discard, conn)
		}
		_ = conn.Close()
	})
	w := newWorld(t, setup{routes: routes(up.upstream(proxy.Target{}))})
	get := func(path string, begun func(auth.Key)) error {
		cookie, key := w.signIn(w.alice)
		conn := w.dial()
		_, _ = io.WriteString(conn, "GET "+path+" HTTP/1.0\r\nHost: app.test\r\nCookie: "+cookie+"\r\n\r\n")
		from := bufio.NewReader(conn)
		for line := ""; line != "\r\n"; {
			var err error
			if line, err = from.ReadString('\n'); err != nil {
				return err
			}
		}
		begun(key)
		_, err := io.Copy(io.Discard, from)
		return err
	}
	t.Run("PX-10/whole", func(t *testing.T) {
		if err := get("/whole", func(auth.Key) {}); err != nil {
			t.Error(err)
		}
	})
	t.Run("PX-10/b", func(t *testing.T) {
		if err := get("/breaks", func(auth.Key) {}); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("it ended with %v, want a reset", err)
		}
	})
	t.Run("PX-06/a", func(t *testing.T) {
		if err := get("/waits", w.signOut); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("it ended with %v, want a reset", err)
		}
	})
}
