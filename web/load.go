package web

import (
	"errors"
	"hash/maphash"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Load bounds the requests that are under way at once. Over the bound a request is answered 503 with
// Retry-After before anything is looked up for it, so that those who are in are served as well as ever.
//
// WebSockets and event streams have a bound of their own: they last for hours, and an app with many of
// them must not keep everybody else out. Which kind a request is it says itself; whoever lies about it
// uses up the other bound.
//
// A request costs four atomic additions, two where its client is not named, and neither a lock nor an allocation.
type Load struct {
	requests, streams budget
	seed              maphash.Seed
}

// LoadLimits is how much may be under way at once. One client may have a quarter of each.
type LoadLimits struct {
	Requests int
	Streams  int
}

// shareOfOne is the part of a bound that one client may use: one in so many.
const shareOfOne = 4

// NewLoad makes a Load.
func NewLoad(limits LoadLimits) *Load {
	return &Load{
		requests: budget{what: "request", max: int64(limits.Requests)},
		streams:  budget{what: "stream", max: int64(limits.Streams)},
		seed:     maphash.MakeSeed(),
	}
}

// Under returns how many requests and streams are under way.
func (l *Load) Under() (requests, streams int64) { return l.requests.n.Load(), l.streams.n.Load() }

// budget is one bound, and what is used of it.
type budget struct {
	what string
	max  int64
	n    atomic.Int64
	of   [1 << 12]atomic.Int64 // by client: those who fall together share, and none may have more
}

// Wrap answers for next where there is too much under way. It belongs right inside the Recorder: it has
// to know the client, and what it refuses is counted and logged.
func (l *Load) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := &l.requests
		if OpensStream(r) {
			b = &l.streams
		}
		if r.ProtoMajor == 2 {
			defer countEnd(r, time.Now())
		}
		if own := l.ownOf(b, PeerOf(r.Context())); own != nil {
			mine := own.Add(1)
			defer own.Add(-1)
			// What one client has over its share counts against nobody else.
			if !b.fits(w, r, mine, max(b.max/shareOfOne, 1), "_client") {
				return
			}
		}
		total := b.n.Add(1)
		defer b.n.Add(-1)
		if b.fits(w, r, total, b.max, "") {
			next.ServeHTTP(w, r)
			untilTaken(w, r)
		}
	})
}

// fits reports whether a request, with which so many are under way, is within a bound, and answers it if not.
// Those who are told are under way as well, and may make no room for the answer: from a quarter above the
// bound they are told nothing.
func (b *budget) fits(w http.ResponseWriter, r *http.Request, n, most int64, whose string) bool {
	event := "shed_" + b.what + whose
	switch {
	case n <= most:
		return true
	case n > most+most/shareOfOne:
		RecordOf(r.Context()).Outcome = Outcome{Status: http.StatusServiceUnavailable, Event: event, Cause: errShed}
		panic(http.ErrAbortHandler)
	}
	Answer(w, r, overloaded(event))
	untilTaken(w, r)
	return false
}

// ownOf is where a client is counted by itself. A proxy that does not say for whom it asks is everybody,
// as is a unix socket: those are counted among all only.
func (l *Load) ownOf(b *budget, peer Peer) *atomic.Int64 {
	if !peer.Client.IsValid() || peer.Trusted && peer.Client == peer.Addr {
		return nil
	}
	return &b.of[l.slot(peer.Client)]
}

func (l *Load) slot(client netip.Addr) uint64 {
	whole := client.As16()
	part := whole[:]
	if !client.Is4() {
		part = whole[:8] // a /64, as Network has it
	}
	return maphash.Bytes(l.seed, part) % (1 << 12)
}

// OpensStream reports whether a request asks for what lasts: a WebSocket, or events.
func OpensStream(r *http.Request) bool {
	if accept := r.Header["Accept"]; len(accept) == 1 && accept[0] == "text/event-stream" {
		return true
	}
	return httpguts.HeaderValuesContainsToken(r.Header["Upgrade"], "websocket")
}

// countEnd tells the connection how a request over HTTP/2 ended that began at a time.
func countEnd(r *http.Request, began time.Time) {
	if s, _ := r.Context().Value(seatKey{}).(*seat); s != nil {
		if r.Context().Err() != nil && time.Since(began) < rapid {
			s.resets.Add(1)
		}
		s.ended()
	}
}

// untilTaken keeps an HTTP/2 request under way until its client has taken the answer. net/http sends what it
// holds back of it only after the handler has returned, and waits there for a client that makes no room:
// two hundred and fifty requests of thirty bytes each, on each of a thousand connections, would hold as
// many goroutines that nobody counts. What the client sent ahead of its body goes first.
func untilTaken(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor != 2 {
		return
	}
	if x := exchangeOf(r.Context()); x != nil && x.writer.bytes.Load() > 0 {
		_ = r.Body.Close()
		_ = http.NewResponseController(w).Flush() // if that fails, there is nobody to tell
	}
}

// errShed is the cause of what was broken off without an answer.
var errShed = errors.New("too much is under way to say so")

// overloaded is the answer while too much is under way.
func overloaded(event string) *Error {
	return &Error{
		Status:     http.StatusServiceUnavailable,
		Title:      "Just a moment",
		Text:       "Gatehouse has too much to do right now. You have not been signed out. Please try again in a few seconds.",
		RetryAfter: 5 * time.Second,
		Event:      event,
	}
}
