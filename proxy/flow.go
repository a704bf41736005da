package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/web"
)

// flow is one exchange with an app as its bytes move. It is the http.ResponseWriter that ReverseProxy
// writes to.
//
// It keeps a rolling deadline on what the client owes: the body that it is sending, and the taking of
// output. Never on a quiet stream and never on an app that thinks (RULE-15). When the session ends, a
// client that does not read cannot hold up the cut.
type flow struct {
	http.ResponseWriter
	ctl   *http.ResponseController
	r     *http.Request
	pass  *passage
	rec   *web.Record
	stall time.Duration
	start time.Time
	in    inflow
	err   error // of the first write that failed

	reins
}

// reins are what others than the goroutine that serves may pull.
type reins struct {
	mu     sync.Mutex
	done   bool      // the deadlines of the connection are no longer ours
	until  time.Time // what the client has to take the next bytes; zero: nothing is due
	tunnel *tunnel   // what became of the connection after a handshake
	line   *line     // to the app, where the lean engine carries; nil: none, or it was cut
	rpc    bool      // a call of gRPC over HTTP/2, whose end is told in trailers
}

type flowKey struct{}

func flowOf(ctx context.Context) *flow { return ctx.Value(flowKey{}).(*flow) }

func newFlow(w http.ResponseWriter, r *http.Request, pass *passage, stall time.Duration) *flow {
	f := &flow{ResponseWriter: w, ctl: http.NewResponseController(w), r: r, pass: pass, rec: web.RecordOf(r.Context()), stall: stall, start: time.Now()}
	if r.ProtoMajor == 1 && r.ContentLength != 0 {
		// Otherwise net/http reads up to 256 KiB of the body by itself once an answer begins, and an
		// app that answers while it still reads would miss them.
		_ = f.ctl.EnableFullDuplex()
	}
	return f
}

// arrived notes how long the app took to answer.
func (f *flow) arrived() {
	f.rec.Whereto.Latency = time.Since(f.start)
}

// used notes that bytes moved: for a session that is use.
func (f *flow) used() {
	if f.pass.used != nil {
		f.pass.used()
	}
}

// WriteHeader passes an answer's head on. An informational one may come before it, past the checks on
// the answer proper, so its cookies are looked at here.
func (f *flow) WriteHeader(status int) {
	if status < 200 {
		f.inform(status)
		return
	}
	f.ResponseWriter.WriteHeader(status)
}

// inform sends an informational answer, which net/http does at once. A client of HTTP/1.0, as nginx is to
// its upstreams unless it is told otherwise, would take it for the answer (RFC 9110, section 15.2). "100
// Continue" is said by net/http once the body is read; together with the app's own, a client now and then
// got two (PX-09).
func (f *flow) inform(status int) {
	if status == http.StatusContinue || !f.r.ProtoAtLeast(1, 1) || f.begin() != nil {
		return
	}
	own(f.Header())
	f.ResponseWriter.WriteHeader(status)
	_ = f.end(nil)
}

// Write sends bytes to the client, which has the stall time to make room for them.
func (f *flow) Write(p []byte) (int, error) {
	if err := f.begin(); err != nil {
		return 0, err
	}
	n, err := f.ResponseWriter.Write(p) //nolint:gosec // bytes of the app, which are passed on as they are
	return n, f.end(err)
}

// FlushError sends what is buffered.
func (f *flow) FlushError() error {
	if err := f.begin(); err != nil {
		return err
	}
	return f.end(f.ctl.Flush())
}

// Unwrap lets a http.ResponseController find the rest.
func (f *flow) Unwrap() http.ResponseWriter { return f.ResponseWriter }

func (f *flow) begin() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.r.Context().Err(); err != nil {
		return err
	}
	f.due()
	return nil
}

// due gives the client the stall time for what comes next, or up to an eighth more: the deadline of a
// connection is worth a timer, so it is not moved for every write.
func (f *flow) due() {
	if now := time.Now(); f.until.Before(now.Add(f.stall)) {
		f.until = now.Add(f.stall + f.stall/8)
		_ = f.ctl.SetWriteDeadline(f.until) // not supported by test recorders only
	}
}

func (f *flow) end(err error) error {
	if f.r.ProtoMajor == 2 {
		// Over HTTP/2 a write deadline that passes resets even a stream that is only quiet.
		f.quieten()
	}
	if err != nil && f.err == nil {
		f.err = err
	}
	f.used()
	return err
}

func (f *flow) quieten() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.r.Context().Err() == nil {
		f.until = time.Time{}
		_ = f.ctl.SetWriteDeadline(f.until)
	}
}

// cut makes whatever waits for the client fail once the session is over.
func (f *flow) cut() {
	f.in.interrupt()
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.tunnel != nil:
		f.tunnel.cut()
	case f.rpc:
		// A deadline that has passed would reset the stream at once, and with it what broken has to tell.
		_ = f.ctl.SetWriteDeadline(time.Now().Add(lastWord))
	case !f.done:
		_ = f.ctl.SetWriteDeadline(time.Unix(1, 0))
	}
	if f.line != nil {
		_ = f.line.SetDeadline(time.Unix(1, 0))
		f.line = nil
	}
}

// engage lets the end of the session, or of the client, cut a line to the app as well.
func (f *flow) engage(c *line) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.line = c
	return f.r.Context().Err()
}

// patient takes the deadline off the line: an app may take as long as it likes between two bytes.
func (f *flow) patient(c *line) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.r.Context().Err(); err != nil || c.until.IsZero() {
		return err
	}
	c.until = time.Time{}
	return c.SetDeadline(c.until)
}

// release gives the line up. It reports false if the line was cut.
func (f *flow) release() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	whole := f.line != nil
	f.line = nil
	return whole
}

// finish ends an exchange: what net/http still has to flush, and what is left of a request's body,
// has a last deadline. net/http sets its own before the next request. Over HTTP/2 a client that makes
// no room for its answers would otherwise hold a goroutine for each, as long as it stays connected.
func (f *flow) finish() {
	f.in.close()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done = true
	if f.tunnel == nil && f.r.Context().Err() == nil {
		f.due()
	}
}

// broken notes why an exchange ended in the middle of an answer. ReverseProxy then panics, so that
// net/http breaks the connection and no client takes half an answer for a whole one (golang/go#23643).
func (f *flow) broken() {
	rec, v := f.rec, recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler { //nolint:errorlint // a panic value, compared as net/http does
		if f.toldCall() {
			return
		}
		f.reset()
		cause := ours(f.r.Context())
		switch {
		case errors.Is(cause, auth.ErrRevoked):
			rec.Outcome.Event, rec.Outcome.Cause = "stream_ended", auth.ErrRevoked
		case cause != nil:
			rec.Outcome.Cause = cause
		case rec.Outcome.Cause != nil: // an answer of ours, to a client that had gone
		case f.err != nil || f.r.Context().Err() != nil:
			rec.Outcome.Cause = errors.New("the client went away or stopped reading")
		default:
			rec.Outcome.Cause = errors.New("the app broke its answer off")
		}
	}
	panic(v)
}

// call notes that the answer is one of gRPC.
func (f *flow) call(h http.Header) {
	rest, ok := strings.CutPrefix(strings.ToLower(h.Get("Content-Type")), "application/grpc")
	if !ok || f.r.ProtoMajor != 2 || rest != "" && rest[0] != '+' && rest[0] != ';' { // not grpc-web, whose trailers are in the body
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rpc = true
}

// toldCall ends a call of gRPC that we cut with a status, if it is one: clients would take a reset for a
// fault of ours (INTERNAL), and this one tells them to sign in (UNAUTHENTICATED) or to come again
// (UNAVAILABLE). Messages carry their length, so that nobody takes half a one for a whole one.
func (f *flow) toldCall() bool {
	status, text := "14", "going away"
	cause := ours(f.r.Context())
	switch {
	case !f.rpc, cause == nil:
		return false
	case errors.Is(cause, auth.ErrRevoked):
		status, text = "16", "signed out"
		f.rec.Outcome.Event = "stream_ended"
	}
	f.rec.Outcome.Cause = cause
	h := f.Header()
	h.Set(http.TrailerPrefix+"Grpc-Status", status)
	h.Set(http.TrailerPrefix+"Grpc-Message", text)
	return true
}

// ours is why we end a request: its session is over (auth.ErrRevoked), or the process stops. It is nil while
// we do not, and where the client has gone.
func ours(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// reset breaks the connection to a client of HTTP/1.0 that was told no length: there the end of the
// connection is the end of the answer (RFC 9112, section 6.3), and an orderly one would make half an
// answer a whole one. nginx speaks HTTP/1.0 to its upstreams unless it is told otherwise.
func (f *flow) reset() {
	if f.r.ProtoAtLeast(1, 1) || f.Header().Get("Content-Length") != "" {
		return
	}
	conn, _, err := f.ctl.Hijack()
	if err != nil {
		return
	}
	abrupt, ok := conn.(interface{ Reset() error })
	if !ok || abrupt.Reset() != nil {
		_ = conn.Close()
	}
}

// Hijack takes over the client's connection for a WebSocket.
func (f *flow) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := f.ctl.Hijack()
	if err != nil {
		return nil, nil, err
	}
	// ReverseProxy reads from the connection itself and so loses what net/http had already read of
	// it: frames that came right behind the handshake (golang/go#80875, open as of Go 1.26.8).
	early, _ := rw.Reader.Peek(rw.Reader.Buffered())
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done, f.tunnel = true, &tunnel{Conn: conn, flow: f, early: early}
	return f.tunnel, rw, nil
}

// switching checks a 101. ReverseProxy would tunnel whatever both sides agree on, even silence.
func (f *flow) switching(res *http.Response) error {
	if !f.pass.ask.Socket {
		return errors.New("the app switched protocols although no WebSocket was asked for")
	}
	if to, ok := res.Body.(io.ReadWriteCloser); ok {
		res.Body = &appEnd{ReadWriteCloser: to, ctx: f.r.Context()}
	}
	h := res.Header
	own(h)
	for _, name := range []string{"Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Te", "Trailer", "Transfer-Encoding", "Content-Length"} {
		h.Del(name)
	}
	return nil
}

// usedNowAndThen limits how often the use of a session is noted: a write on a stream costs a look at
// the clock, and every twelfth of the idle span, or every minute, costs more.
func usedNowAndThen(note func(), s auth.Session) func() {
	every := max(min(time.Until(s.ExpiresAt)/12, time.Minute), 100*time.Millisecond)
	var last atomic.Int64
	last.Store(time.Now().UnixNano())
	return func() {
		now, was := time.Now().UnixNano(), last.Load()
		if now-was > int64(every) && last.CompareAndSwap(was, now) {
			note()
		}
	}
}
