package web

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// Record is what we note of a request: the source of its log line and its metrics. One goroutine at
// a time writes it, the one that serves the request; Recorder reads it once the answer is done.
// Nothing secret may enter it: paths stand without their query.
type Record struct {
	ID      string // made here, or given by a trusted peer; quoted on error pages
	Start   time.Time
	Took    time.Duration // from Start to the end of the answer; zero until then
	Request Request
	Who     Who
	Whereto Whereto
	Outcome Outcome
}

// Request is what was asked.
type Request struct {
	Client netip.Addr
	Method string
	Host   string
	Path   string // as sent, without the query
	Proto  string
}

// Who is who asked, as far as it is known.
type Who struct {
	User    string // canonical e-mail
	Session int64
}

// Whereto is where the request went.
type Whereto struct {
	Route    string        // the route's name from the config
	Upstream string        // scheme and host of the upstream
	Latency  time.Duration // until the upstream's response headers
	Check    string        // the kind of front proxy that asked about the request; empty: it came here itself
}

// Outcome is how it ended.
type Outcome struct {
	Status  int // what the client got; 499 when it had gone
	Bytes   int64
	Verdict string // "allow", "sign_in", "forbidden", "unknown"; empty where nothing was decided
	Event   string // a security event: "login", "logout", "user_unknown", "forged_cookie", …
	Cause   error  // the private cause of an error answer
}

// exchange is all that one request carries with it, in one allocation. It is the request's context, so
// that there is no second one to look through, and it is never used again for another request: whoever
// keeps a context, a response writer or a record for too long has a dead one in his hands, not that of a
// stranger.
type exchange struct {
	context.Context //nolint:containedctx // it is one
	record          Record
	peer            Peer
	writer          writer
}

type exchangeKey struct{}

// Value keeps the contract of context.Context.
func (x *exchange) Value(key any) any {
	if _, mine := key.(exchangeKey); mine {
		return x
	}
	return x.Context.Value(key)
}

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// RecordOf returns the record of the request whose context this is. Outside a Recorder it returns a
// record that nobody reads, never nil.
func RecordOf(ctx context.Context) *Record {
	if x := exchangeOf(ctx); x != nil {
		return &x.record
	}
	return new(Record)
}

// PeerOf returns the peer of the request whose context this is: who is at the other end of the
// connection, and what it was believed about. Outside a Recorder it returns the zero Peer, which may
// claim nothing.
func PeerOf(ctx context.Context) Peer {
	if x := exchangeOf(ctx); x != nil {
		return x.peer
	}
	return Peer{}
}

// Recorder stands around everything. It opens the record of each request, catches panics, and at the
// end writes one log line and tells the metrics.
type Recorder struct {
	Log     *Log          // nil: no log
	Peers   *Peers        // nil: nobody may claim anything
	Observe func(*Record) // called once a request, when it is over; nil: not called
	Leaving func() bool   // whether clients are to send their next request on another connection; nil: never
}

// Wrap puts the recorder around next. It belongs outermost: what it does not see is in no log.
func (rec Recorder) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { rec.serve(w, r, next) })
}

func (rec Recorder) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	peer, err := rec.Peers.Of(r)
	x := open(w, r, peer)
	x.writer.leaving, x.writer.last = rec.Leaving, doubtful(r)
	r = r.WithContext(x)
	defer func() {
		broken := settle(x, r, recover())
		rec.close(x, r)
		if broken {
			// net/http breaks the connection off: the client sees that the answer is incomplete,
			// and never the 200 that would be made up for a silent handler.
			panic(http.ErrAbortHandler)
		}
	}()
	if err != nil {
		Answer(&x.writer, r, err)
		return
	}
	next.ServeHTTP(&x.writer, r)
}

// doubtful reports whether another server in the row may see the end of a request elsewhere. With chunks
// there may have been a Content-Length, and HTTP/1.0 knows no chunks: net/http drops the one that does
// not count and tells nobody. What follows on such a connection is not to be read as a request (RFC 9112,
// section 6.1), and since the attack cannot be told from its harmless kin, both end here.
func doubtful(r *http.Request) bool {
	return r.ProtoMajor == 1 && (r.ProtoMinor == 0 || len(r.TransferEncoding) > 0)
}

// open begins the record of a request.
func open(w http.ResponseWriter, r *http.Request, peer Peer) *exchange {
	x := &exchange{Context: r.Context(), peer: peer}
	x.writer.ResponseWriter = w
	x.record.Start = time.Now()
	x.record.ID = peer.RequestID
	if x.record.ID == "" {
		x.record.ID = newID(x.record.Start)
	}
	x.record.Request = Request{Client: peer.Client, Method: r.Method, Host: peer.Host, Path: path(r), Proto: r.Proto}
	return x
}

// path is the path of a request as it was sent. The query never enters a record: it may hold codes
// and tokens.
func path(r *http.Request) string {
	sent := r.RequestURI
	if at := strings.IndexAny(sent, "?#"); at >= 0 { // a raw # is refused, and what follows it may be a secret
		sent = sent[:at]
	}
	if !strings.HasPrefix(sent, "/") && sent != "*" {
		return r.URL.EscapedPath() // absolute form or CONNECT: the rest of it is the host's
	}
	return sent
}

// settle answers a panic and completes the outcome. It reports whether the connection must be broken
// off, because nothing or only a part of the answer can be sent.
func settle(x *exchange, r *http.Request, panicked any) (broken bool) {
	if err, ok := panicked.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		broken = true
	} else if panicked != nil {
		broken = answerPanic(x, r, panicked)
	}
	out := &x.record.Outcome
	x.record.Took = time.Since(x.record.Start)
	out.Bytes = x.writer.bytes.Load()
	if x.writer.status != 0 {
		out.Status = x.writer.status
	}
	gone := errors.Is(context.Cause(r.Context()), context.Canceled)
	switch {
	case x.writer.status == 0 && gone: // also where the handler did not notice
		out.Status, broken = StatusClientClosedRequest, true
	case broken && gone, x.writer.failed && gone:
		out.Status = StatusClientClosedRequest
	case out.Status == 0 && broken:
		out.Status = http.StatusInternalServerError // nothing was sent, and it was not the client's doing
	case out.Status == 0:
		out.Status = http.StatusOK // what net/http sends for a handler that wrote nothing
	}
	return broken
}

// answerPanic sends the 500 page, unless an answer has begun.
func answerPanic(x *exchange, r *http.Request, panicked any) (broken bool) {
	defer func() { broken = recover() != nil }() // Answer aborts where nothing can be sent any more
	Answer(&x.writer, r, newPanicError(panicked))
	return false
}

// close writes the log line and tells the metrics.
func (rec Recorder) close(x *exchange, r *http.Request) {
	if rec.Log != nil {
		rec.Log.request(r.Context(), &x.record)
	}
	if rec.Observe != nil {
		rec.Observe(&x.record)
	}
}
