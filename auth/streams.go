package auth

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// ErrRevoked is the cause of a stream's context once its session is over: signed out, expired,
// its user removed or no longer allowed where the stream goes.
var ErrRevoked = errors.New("the session is over")

const (
	// lookLimit bounds one look-up on behalf of a stream.
	lookLimit = 3 * time.Second
	// lateBy is how long ago a request that attaches now may have been judged: longer than a look-up
	// takes.
	lateBy = lookLimit + 2*time.Second
)

// Streams knows what is running on behalf of a session and may outlive it: WebSockets, event
// streams, long downloads and uploads. Each holds a context that ends, with the cause ErrRevoked,
// once its session is over on any replica. Proxy and upload only obey that context.
//
// It learns of an end in two ways. Heard is called by the revocation feed as a revocation becomes
// known; that may also mean that only the user's row changed, so the session is looked up and judged
// again. And a stream looks by itself: at the known end of its session, for that end may have moved, and now
// and then, for the feed may be cut off.
type Streams struct {
	sessions Sessions
	grace    time.Duration

	mu    sync.Mutex
	all   map[Key]*stream   // the last one of each session
	heard map[Key]time.Time // what was heard within lateBy or so
	every time.Time         // when everything was last heard about
	swept time.Time         // when heard was last cleaned
}

// stream is one piece of work. It costs a timer while nothing happens, and no goroutine.
type stream struct {
	key    Key
	ends   time.Time // the session's absolute end
	still  func(Session) bool
	ctx    context.Context //nolint:containedctx // the stream is a context with a reason to end
	stop   context.CancelCauseFunc
	queued atomic.Bool // a look is about to begin, so that another need not

	older, newer *stream // of the same session; guarded by Streams.mu

	mu    sync.Mutex // one look at a time
	timer *time.Timer
	sure  time.Time // when the session was last known to be alive
}

// NewStreams makes a registry. The grace is how long a stream may go on while the stores cannot be
// asked about its session (session.max_unverified).
func NewStreams(sessions Sessions, grace time.Duration) *Streams {
	return &Streams{sessions: sessions, grace: grace, all: map[Key]*stream{}, heard: map[Key]time.Time{}}
}

// Attach returns a context for work on behalf of s, and a function that must be called when the work
// is over. The judgement still is asked again whenever the session's user may have changed; it must
// be safe to call from another goroutine.
func (st *Streams) Attach(ctx context.Context, s Session, still func(Session) bool) (context.Context, func()) {
	one := &stream{key: s.Key, ends: s.EndsAt, still: still, sure: time.Now()}
	one.ctx, one.stop = context.WithCancelCause(ctx)
	one.mu.Lock() // until the timer is in place, so that an early look waits for it
	one.timer = time.AfterFunc(st.next(s), func() { st.look(one) })
	one.mu.Unlock()
	st.mu.Lock()
	if one.older = st.all[s.Key]; one.older != nil {
		one.older.newer = one
	}
	st.all[s.Key] = one
	// A revocation that was heard after the request was judged found no stream to tell. Whoever holds a
	// stolen token could open streams until one falls into that gap, and keep it for an hour.
	if now := time.Now(); now.Sub(st.heard[s.Key]) < lateBy || now.Sub(st.every) < lateBy {
		st.wake(one)
	}
	st.mu.Unlock()
	return one.ctx, func() { st.detach(one) }
}

func (st *Streams) detach(one *stream) {
	st.mu.Lock()
	if one.older != nil {
		one.older.newer = one.newer
	}
	switch {
	case one.newer != nil:
		one.newer.older = one.older
	case st.all[one.key] != one: // detached before
	case one.older != nil:
		st.all[one.key] = one.older
	default:
		delete(st.all, one.key)
	}
	one.older, one.newer = nil, nil
	st.mu.Unlock()
	one.stop(context.Canceled) // first, so that a look under way ends and does not set the timer again
	one.timer.Stop()
}

// Heard tells the streams of a session that it ended or that its user changed.
func (st *Streams) Heard(k Key) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.note(k, time.Now())
	st.wakeAll(k)
}

// note remembers what was heard for a request that is being judged.
func (st *Streams) note(k Key, now time.Time) {
	if now.Sub(st.swept) >= lateBy {
		maps.DeleteFunc(st.heard, func(_ Key, at time.Time) bool { return now.Sub(at) >= lateBy })
		st.swept = now
	}
	st.heard[k] = now
}

// HeardAll tells every stream: the feed lost its place, or the rules changed.
func (st *Streams) HeardAll() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.every = time.Now()
	for k := range st.all {
		st.wakeAll(k)
	}
}

func (st *Streams) wakeAll(k Key) {
	for one := st.all[k]; one != nil; one = one.older {
		st.wake(one)
	}
}

func (st *Streams) wake(one *stream) {
	if one.queued.CompareAndSwap(false, true) {
		go st.look(one)
	}
}

// look asks about a stream's session, and ends the stream or sets the time of the next look.
func (st *Streams) look(one *stream) {
	one.mu.Lock()
	defer one.mu.Unlock()
	one.queued.Store(false) // before asking: what is heard from here on wants another look
	ctx, cancel := context.WithTimeout(one.ctx, lookLimit)
	defer cancel()
	s, err := st.sessions.Find(ctx, one.key)
	switch {
	case one.ctx.Err() != nil:
	case errors.Is(err, ErrNoSession), err == nil && !one.still(s):
		one.stop(ErrRevoked)
	case err == nil:
		one.sure = time.Now()
		one.timer.Reset(max(st.next(s), time.Second))
	default:
		st.unknown(one)
	}
}

// next is how long a stream waits for its next look, if it hears of nothing: until the known end of its
// session, or a quarter of the grace. A feed that can read nothing tells of nothing, so a stream that
// waited for word would outlast every outage.
func (st *Streams) next(s Session) time.Duration {
	return min(time.Until(earlier(s.ExpiresAt, s.EndsAt)), max(st.grace/4, time.Second))
}

// unknown lets a stream go on while nobody can tell of its session, for the grace since somebody could, but
// never past the session's absolute end.
func (st *Streams) unknown(one *stream) {
	now := time.Now()
	if now.Sub(one.sure) > st.grace || !now.Before(one.ends) {
		one.stop(ErrRevoked)
		return
	}
	one.timer.Reset(time.Second)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
