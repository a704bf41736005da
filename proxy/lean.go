package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

// The engines that carry requests to an app.
const (
	EngineStdlib = "stdlib" // httputil.ReverseProxy over http.Transport, for everything
	EngineLean   = "lean"   // our own round trip for GET and HEAD without a body, the other one for the rest
)

// lean is a round trip over HTTP/1.1 for the requests that are nearly all of them: GET and HEAD without
// a body. http.Transport hands each request to two goroutines of the connection, and ReverseProxy
// copies its headers twice; here one goroutine, the one that serves the client, does everything.
//
// The story. A letter (lean_letter.go) is written from the client's headers, by what is known of their
// names (lean_names.go), and goes to the app in one write on a line (lean_line.go) from the pool
// (lean_pool.go). The head of the answer is parsed strictly (lean_answer.go), its body copied as it comes
// (lean_body.go), and the line goes back to the pool only after a complete answer with nothing behind it.
//
// What it never does (RULE-13): it never copies a header that frames a message or speaks of the
// connection, it never sends a body, it never takes a line that has a byte or an end waiting on it, it
// never tries a second line once a byte came from the first, nor a third one, and it never passes on an
// answer that can be read in two ways.
//
// What it is not made for goes the way of the standard library, which is also the oracle of its tests:
// docs/decisions/0005-lean-engine.md lists where it answers otherwise, and why.
type lean struct {
	host   string // what the app is called where Target.Host is "upstream"
	header time.Duration
	dialer func(context.Context) (net.Conn, error)
	pool   pool

	http2 atomic.Bool // the app chose HTTP/2, which is not for us
}

// errHTTP2 says that the app would rather speak HTTP/2.
var errHTTP2 = errors.New("the app chose HTTP/2")

// newLean makes the engine of an app, or nil where it cannot serve it: over h2c there is no HTTP/1.1, a
// host beyond ASCII needs translation, and without a peek no connection could be used twice.
func newLean(t Target, tr *http.Transport, host string) *lean {
	plain := strings.IndexFunc(host, func(c rune) bool { return c > 0x7e || c == '%' }) < 0
	if !canProbe || !plain || !httpguts.ValidHostHeader(host) || tr.Protocols.UnencryptedHTTP2() {
		return nil
	}
	l := &lean{host: host, header: t.Header, pool: pool{idle: t.Idle}}
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = strings.Trim(host, "[]"), "80"
		if tr.TLSClientConfig != nil {
			port = "443"
		}
	}
	address := net.JoinHostPort(name, port)
	l.dialer = func(ctx context.Context) (net.Conn, error) { return tr.DialContext(ctx, "tcp", address) }
	if tr.TLSClientConfig != nil {
		l.dialer = secure(l.dialer, tr, name)
	}
	return l
}

// secure has TLS spoken on what is dialled. HTTP/2 is offered, as net/http offers it, so that the app
// decides: a GET must not arrive by another protocol than a POST does.
func secure(dial func(context.Context) (net.Conn, error), tr *http.Transport, name string) func(context.Context) (net.Conn, error) {
	config := tr.TLSClientConfig.Clone()
	config.NextProtos = []string{"h2", "http/1.1"}
	if config.ServerName == "" {
		config.ServerName = name
	}
	return func(ctx context.Context) (net.Conn, error) {
		conn, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, tr.TLSHandshakeTimeout)
		defer cancel()
		over := tls.Client(conn, config)
		err = over.HandshakeContext(ctx)
		if err == nil && over.ConnectionState().NegotiatedProtocol == "h2" {
			err = errHTTP2
		}
		if err != nil {
			_ = conn.Close()
			return nil, err
		}
		return over, nil
	}
}

// takes reports whether a request is of the kind that this engine is for. A nil engine takes none.
func (l *lean) takes(r *http.Request) bool {
	return l != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead) &&
		r.ContentLength == 0 && len(r.TransferEncoding) == 0 && len(r.Trailer) == 0 &&
		r.Header["Upgrade"] == nil && r.Header["Expect"] == nil && !l.http2.Load()
}

// ask puts a letter to the app and returns the line on which the head of an answer came. A GET may be
// sent twice where the app hung up on a connection that had lain idle: it had no time to say so. It is
// sent once more at most, and never after a byte of an answer (RULE-13).
func (l *lean) ask(f *flow, m *letter) (*line, error) {
	ctx := f.r.Context()
	for c := l.pool.get(); c != nil; c = l.pool.get() {
		c.due(l.header)
		err := c.exchange(f, m)
		if err == nil {
			return c, nil
		}
		again := !c.heard && !late(err) && ctx.Err() == nil
		c.hangUp()
		if !again {
			return nil, err
		}
		if !errors.Is(err, errNotQuiet) {
			break // it was sent
		}
	}
	conn, err := l.dialer(ctx)
	if errors.Is(err, errHTTP2) {
		l.http2.Store(true)
	}
	if err != nil {
		return nil, err
	}
	c, err := newLine(conn)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	c.due(l.header)
	if err := c.exchange(f, m); err != nil {
		c.hangUp()
		return nil, err
	}
	return c, nil
}

func late(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// carry answers a request with what the app says. It reports false, before anything was sent, where
// the app turned out to be none for this engine.
func (u *Upstream) carry(f *flow) (done bool) {
	m := letters.Get().(*letter)
	defer m.free()
	if err := m.write(u, f); err != nil {
		f.fail(err)
		return true
	}
	c, err := u.lean.ask(f, m)
	if errors.Is(err, errHTTP2) {
		return false
	}
	f.arrived()
	if err != nil {
		f.fail(err)
		return true
	}
	kept := false
	defer func() {
		if !kept {
			c.hangUp()
		}
	}()
	c.deliver(f)
	if err := c.relay(f); err != nil {
		_ = f.FlushError()          // what came before the app broke off is not lost with the connection (PX-10)
		panic(http.ErrAbortHandler) // so that no client takes half an answer for a whole one (golang/go#23643)
	}
	if kept = f.release() && c.clean(f.r.Method); kept {
		u.lean.pool.put(c) // from here on it is somebody else's
	}
	return true
}
