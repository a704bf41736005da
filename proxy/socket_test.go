package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/proxy"
)

const handshake = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: chat"

// echo is an app that accepts a WebSocket handshake and sends back whatever comes.
func echo(conn net.Conn, _ string) {
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\nKeep-Alive: 5\r\nSet-Cookie: gate=evil\r\n\r\n")
	_, _ = io.Copy(conn, conn)
	_ = conn.Close()
}

func TestWebSocketHandshake(t *testing.T) { engines(t, testWebSocketHandshake) }

func testWebSocketHandshake(t *testing.T) {
	up := newApp(t, echo)
	w := newWorld(t, setup{routes: routes(up.upstream(proxy.Target{}))})
	t.Run("PX-04/b", func(t *testing.T) { denied(t, w.ask("GET", "/ws", handshake), up) })
	t.Run("PX-04/c", func(t *testing.T) {
		denied(t, w.ask("GET", "/ws", handshake, w.authed(), "Origin: http://evil.test"), up)
	})
	t.Run("PX-04/a", func(t *testing.T) {
		conn := w.dial()
		early := strings.Repeat("frames in the same segment ", 100)
		_, _ = io.WriteString(conn, "GET /ws HTTP/1.1\r\nHost: app.test\r\nOrigin: http://app.test\r\n"+w.authed()+"\r\n"+handshake+"\r\n\r\n"+early)
		from := bufio.NewReader(conn)
		res, err := http.ReadResponse(from, nil) //nolint:bodyclose // a 101 has none
		if err != nil || res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Sec-WebSocket-Protocol") != "chat" || res.Header.Get("Keep-Alive") != "" || res.Header.Get("Set-Cookie") != "" {
			t.Fatalf("got %v, %v", res, err)
		}
		for _, text := range []string{early, "and later ones"} {
			if text != early {
				_, _ = io.WriteString(conn, text)
			}
			got := make([]byte, len(text))
			if _, err := io.ReadFull(from, got); err != nil || string(got) != text {
				t.Fatalf("echoed %.60q, %v", got, err)
			}
		}
		head := up.last()
		once(t, head, "X-Auth-Email", "alice@corp.test")
		for name, want := range map[string]string{
			"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol": "chat", "Origin": "http://app.test", "Cookie": "app=1; theme=dark",
			"Upgrade": "websocket", "Connection": "Upgrade",
		} {
			once(t, head, name, want)
		}
	})
	t.Run("PX-04/h2c-upgrade", func(t *testing.T) {
		app := newApp(t, nil)
		w := newWorld(t, setup{routes: routes(app.upstream(proxy.Target{}))})
		w.ask("GET", "/x", w.authed(), "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
		once(t, app.last(), "Upgrade", "")
		once(t, app.last(), "Connection", "")
	})
	t.Run("PX-04/unasked", func(t *testing.T) {
		app := newApp(t, func(conn net.Conn, _ string) { _, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n") })
		w := newWorld(t, setup{routes: routes(app.upstream(proxy.Target{}))})
		if res := w.ask("GET", "/x", w.authed()); res.StatusCode != http.StatusBadGateway {
			t.Errorf("got %s", res.Status)
		}
		if !app.closed(1) {
			t.Error("the app's connection stays open")
		}
	})
	t.Run("PX-04/e", func(t *testing.T) {
		app := newApp(t, nil)
		w := newWorld(t, setup{routes: routes(app.upstream(proxy.Target{}))})
		res := w.h2(t, "/", nil)
		if res.StatusCode != http.StatusOK || res.body != "ok" || res.ProtoMajor != 2 {
			t.Errorf("got %s %q over %s", res.Status, res.body, res.Proto)
		}
	})
}

// pulse is an app for long connections: a WebSocket that is quiet, an event stream that ticks, and a
// download without an end.
func pulse(t *testing.T) *httptest.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		_ = c.Write(r.Context(), websocket.MessageText, []byte("hello"))
		_, _, _ = c.Read(r.Context())
	})
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		for r.Context().Err() == nil {
			fmt.Fprint(w, "data: tick\n\n")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(20 * time.Millisecond)
		}
	})
	mux.HandleFunc("/download", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000000000000")
		block := make([]byte, 64<<10)
		for r.Context().Err() == nil {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

// RULE-16 and PX-06 a to c: what runs ends with its session, within the bound of three seconds.
func TestStreamsEndWithTheSession(t *testing.T) { engines(t, testStreamsEndWithTheSession) }

func testStreamsEndWithTheSession(t *testing.T) {
	const bound = 3 * time.Second
	ends := map[string]func(*world, auth.Key){
		"a": func(w *world, k auth.Key) { _ = w.store.End(context.Background(), k); w.streams.Heard(k) },
		"b": func(*world, auth.Key) {}, // it expires by itself
		"c": func(w *world, k auth.Key) {
			_, _ = w.store.RemoveUser(context.Background(), "alice@corp.test")
			w.streams.Heard(k)
		},
		"role": func(w *world, k auth.Key) {
			_ = w.store.SetRoles(context.Background(), "alice@corp.test", nil)
			w.streams.Heard(k)
		},
		"route": func(w *world, _ auth.Key) {
			w.latest.Store(must(proxy.NewTable([]proxy.Route{{Host: "gone.test", Path: "/", Next: http.NotFoundHandler()}})))
			w.streams.HeardAll()
		},
	}
	for name, end := range ends {
		for _, path := range []string{"/ws", "/events", "/download", "/download-unread"} {
			t.Run("PX-06/"+name+path, func(t *testing.T) {
				t.Parallel()
				if name == "b" && path != "/ws" {
					return // bytes that move are use: those live on, see TestMovedBytesAreUse
				}
				ttl := time.Duration(0)
				if name == "b" {
					ttl = time.Second
				}
				next := newUpstream(t, proxy.Target{URL: pulse(t).URL})
				t.Cleanup(next.Close)
				w := newWorld(t, setup{ttl: ttl, routes: []proxy.Route{{Host: "app.test", Path: "/", Allow: proxy.Allow{Roles: []string{"staff"}}, Next: next}}})
				cookie, key := w.signIn(w.alice)
				if path == "/ws" {
					w.endSocket(t, cookie, func() { end(w, key) })
					return
				}
				conn := w.dial()
				_, _ = io.WriteString(conn, "GET "+strings.TrimSuffix(path, "-unread")+" HTTP/1.1\r\nHost: app.test\r\nCookie: "+cookie+"\r\n\r\n")
				_, _ = io.ReadFull(conn, make([]byte, 64))
				time.Sleep(100 * time.Millisecond) // until an unread download fills the buffers
				end(w, key)
				start := time.Now()
				if strings.HasSuffix(path, "-unread") {
					w.record(1) // the handler came to its end although nobody reads
				} else if _, err := io.Copy(io.Discard, conn); err == nil && path == "/download" {
					t.Log("the download ended by FIN, short of its length")
				}
				if took := time.Since(start); took > bound {
					t.Errorf("cut after %v", took)
				}
				if rec := w.record(1); rec.Outcome.Event != "stream_ended" {
					t.Errorf("recorded %+v", rec.Outcome)
				}
			})
		}
	}
}

func (w *world) endSocket(t *testing.T, cookie string, end func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	//nolint:bodyclose // the library closes it
	c, _, err := websocket.Dial(ctx, "ws://"+w.addr+"/ws", &websocket.DialOptions{Host: "app.test", HTTPHeader: http.Header{"Cookie": {cookie}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.CloseNow() }()
	if _, text, err := c.Read(ctx); err != nil || string(text) != "hello" {
		t.Fatalf("read %q, %v", text, err)
	}
	end()
	start := time.Now()
	_, _, err = c.Read(ctx)
	if websocket.CloseStatus(err) != websocket.StatusPolicyViolation || time.Since(start) > 3*time.Second {
		t.Errorf("ended after %v with %v, want close 1008", time.Since(start), err)
	}
}

// Bytes that move on a stream are use, so an event stream keeps its session alive past the idle end.
func TestMovedBytesAreUse(t *testing.T) { engines(t, testMovedBytesAreUse) }

func testMovedBytesAreUse(t *testing.T) {
	t.Run("PX-06/used", func(t *testing.T) {
		next := newUpstream(t, proxy.Target{URL: pulse(t).URL})
		t.Cleanup(next.Close)
		w := newWorld(t, setup{ttl: time.Second, routes: routes(next)})
		cookie, _ := w.signIn(w.alice)
		conn := w.dial()
		_, _ = io.WriteString(conn, "GET /events HTTP/1.1\r\nHost: app.test\r\nCookie: "+cookie+"\r\n\r\n")
		buf := make([]byte, 4096)
		for start := time.Now(); time.Since(start) < 3*time.Second; {
			if _, err := conn.Read(buf); err != nil {
				t.Fatalf("cut after %v: %v", time.Since(start), err)
			}
		}
	})
}

func TestHalfCloseAndDeath(t *testing.T) {
	up := newApp(t, func(conn net.Conn, head string) {
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		if strings.HasPrefix(head, "GET /die") {
			_ = conn.Close()
			return
		}
		_, _ = io.Copy(io.Discard, conn)
		time.Sleep(300 * time.Millisecond)
		_, _ = conn.Write(make([]byte, 1024))
		_ = conn.Close()
	})
	w := newWorld(t, setup{routes: routes(up.upstream(proxy.Target{}))})
	open := func(path string) (net.Conn, *bufio.Reader) {
		conn := w.dial()
		_, _ = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: app.test\r\n"+w.authed()+"\r\n"+handshake+"\r\n\r\n")
		from := bufio.NewReader(conn)
		//nolint:bodyclose // a 101 has none
		if res, err := http.ReadResponse(from, nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("got %v, %v", res, err)
		}
		return conn, from
	}
	t.Run("PX-06/d", func(t *testing.T) {
		conn, from := open("/half")
		_ = conn.(*net.TCPConn).CloseWrite()
		if got, err := io.ReadAll(from); err != nil || len(got) != 1024 {
			t.Errorf("%d bytes arrived, %v", len(got), err)
		}
	})
	t.Run("PX-06/e", func(t *testing.T) {
		_, from := open("/die")
		start := time.Now()
		if _, err := from.ReadByte(); err == nil || time.Since(start) > time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
	t.Run("PX-06/f", func(t *testing.T) {
		for range 500 {
			conn, _ := open("/die")
			_ = conn.Close()
		}
		if !eventually(func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.records) >= 501 }) {
			t.Error("some of 500 tunnels are still open") // goroutines are goleak's to count
		}
	})
}
