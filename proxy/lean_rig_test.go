package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// patience is how long these tests wait for what should happen at once.
const patience = 10 * time.Second

// script is what an app says to one request, byte for byte.
type script struct {
	pieces []string // each in a write of its own
	hangUp bool     // it closes the connection behind them; otherwise it listens for another request
}

// says is a script of one piece.
func says(answer string) script { return script{pieces: []string{answer}} }

// scripted is an app that answers by a script and remembers what it was sent.
type scripted struct {
	listener net.Listener
	gate     func(head string) // called before each answer; nil: not called
	lines    sync.WaitGroup

	mu    sync.Mutex
	says  func(head string) script
	heads []string
	open  []net.Conn
	dials int
	told  int // scripts that were said to their end, or as far as somebody listened
}

func newScripted(tb testing.TB, listener net.Listener, says func(head string) script) *scripted {
	tb.Helper()
	a := &scripted{listener: listener, says: says}
	a.lines.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			a.mu.Lock()
			a.dials++
			a.open = append(a.open, conn)
			a.mu.Unlock()
			a.lines.Go(func() { a.serve(conn) })
		}
	})
	tb.Cleanup(a.stop)
	return a
}

// stop ends the app with all its connections.
func (a *scripted) stop() {
	_ = a.listener.Close()
	a.hangUp()
	a.lines.Wait()
}

func (a *scripted) hangUp() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, conn := range a.open {
		_ = conn.Close()
	}
	a.open = nil
}

func (a *scripted) serve(conn net.Conn) {
	defer conn.Close()
	from := bufio.NewReader(conn)
	for {
		head, end := "", "\r\n\r\n"
		for !strings.HasSuffix(head, end) {
			text, err := from.ReadString('\n')
			if err != nil {
				return
			}
			if text == "Transfer-Encoding: chunked\r\n" {
				end = "\r\n0\r\n\r\n" // the body comes with it, and perhaps in another write
			}
			head += text
		}
		if a.gate != nil {
			a.gate(head)
		}
		a.mu.Lock()
		a.heads = append(a.heads, head)
		s := a.says(head)
		a.mu.Unlock()
		err := s.tell(conn)
		a.mu.Lock()
		a.told++
		a.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// tell says a script to its end, or as far as somebody listens.
func (s script) tell(conn net.Conn) error {
	for i, piece := range s.pieces {
		if i > 0 {
			time.Sleep(time.Millisecond) // so that it is a piece of its own
		}
		if _, err := io.WriteString(conn, piece); err != nil {
			return err
		}
	}
	if s.hangUp {
		return conn.Close()
	}
	return nil
}

// settled waits until the app has nothing more to say to whatever it was asked so far.
func (a *scripted) settled(tb testing.TB) {
	tb.Helper()
	heads, _ := a.said()
	a.finished(tb, len(heads))
}

// finished waits until the app has said so many scripts to their end.
func (a *scripted) finished(tb testing.TB, n int) {
	tb.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		a.mu.Lock()
		told := a.told
		a.mu.Unlock()
		if told >= n {
			return
		}
		if time.Now().After(end) {
			tb.Fatalf("the app said %d scripts, not %d", told, n)
		}
	}
}

// said is what the app was sent, and on how many connections.
func (a *scripted) said() (heads []string, dials int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.heads), a.dials
}

// carrier is a server that lets everybody in as alice, and hands all to one upstream.
type carrier struct {
	up       *Upstream
	identity *Identity
	route    *Route
	server   *http.Server
	addr     string
}

func newCarrier(tb testing.TB, target Target) *carrier {
	tb.Helper()
	up, err := NewUpstream(target)
	if err != nil {
		tb.Fatal(err)
	}
	identity, err := NewIdentity([]IdentityHeader{{"X-Auth-Request-Email", "email"}, {"X-Auth-Request-Groups", "groups"}, {"X-Auth-Request-Name", "name"}})
	if err != nil {
		tb.Fatal(err)
	}
	c := &carrier{up: up, identity: identity, route: &Route{Name: "app", Host: "app.test", Path: "/"}}
	listener := listenLocal(tb)
	c.addr = listener.Addr().String()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	c.server = &http.Server{Handler: c, Protocols: protocols, ReadHeaderTimeout: patience, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() { defer close(done); _ = c.server.Serve(listener) }()
	tb.Cleanup(func() {
		_ = c.server.Close()
		<-done
		up.Close()
	})
	return c
}

func listenLocal(tb testing.TB) net.Listener {
	tb.Helper()
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return listener
}

var aliceSession = auth.Session{ID: 7, User: auth.User{ID: 1, Email: "alice@corp.test", Roles: []string{"ops", "staff"}}}

func (c *carrier) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ask := Ask{Method: r.Method, Scheme: "http", Host: "app.test", Client: netip.MustParseAddr("192.0.2.7"), Socket: socket(r)}
	if err := ask.target(r.RequestURI); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	pass := &passage{ask: ask, decision: Decision{Verdict: Allowed, Route: c.route, Session: aliceSession, Ruled: true}, identity: c.identity}
	c.up.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), passageKey{}, pass)))
}

// outcome is all that a client saw of an answer.
type outcome struct {
	early   []string // informational answers before it
	status  int
	header  http.Header
	framing string // how the end of the body was told
	body    string
	trailer http.Header
	broken  bool   // the body did not come whole
	fault   string // why there was none
}

// put sends a request with exactly these lines and reads the answer.
func (c *carrier) put(tb testing.TB, method, target string, lines ...string) outcome {
	tb.Helper()
	conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", c.addr)
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	request := method + " " + target + " HTTP/1.1\r\nHost: app.test\r\n"
	for _, one := range lines {
		request += one + "\r\n"
	}
	if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
		tb.Fatal(err)
	}
	return readOutcome(bufio.NewReader(conn), method)
}

func readOutcome(from *bufio.Reader, method string) (o outcome) {
	for {
		res, err := http.ReadResponse(from, &http.Request{Method: method})
		if err != nil {
			o.fault = err.Error()
			return o
		}
		if res.StatusCode < 200 && res.StatusCode != http.StatusSwitchingProtocols {
			o.early = append(o.early, fmt.Sprint(res.StatusCode, res.Header))
			continue
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		o.status, o.header, o.body, o.trailer, o.broken = res.StatusCode, res.Header, string(body), res.Trailer, err != nil
		switch {
		case len(res.TransferEncoding) > 0:
			o.framing = "chunked"
		case res.ContentLength >= 0:
			o.framing = "length"
		default:
			o.framing = "close"
		}
		o.header.Del("Date") // where the app names none, net/http does
		if names := o.header.Get("Trailer"); names != "" {
			sorted := strings.Split(names, ", ") // httputil has them in the order of a map
			slices.Sort(sorted)
			o.header.Set("Trailer", strings.Join(sorted, ", "))
		}
		return o
	}
}
