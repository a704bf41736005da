package store

import (
	"sync"
	"sync/atomic"
	"time"
)

// leaseTime is how long the process tier may answer after a poll that came back was sent. What was
// committed before the sending, the poll has read: so it is the longest that a revocation can stay
// unheard while this process still says yes, whatever fails. Three seconds are promised; the rest is
// for answers that are on their way.
const leaseTime = 2750 * time.Millisecond

// lease is until when the process tier may answer, and in which epoch: an unbroken run of polls that
// came back, each within the lease of the one before. What was cached in one epoch is never answered
// from in another. So a gap in which revocations may have gone unheard forgets everything at once, by
// a number. The zero value is a lease that has lapsed. It is safe for concurrent use, and reading it
// takes no lock.
type lease struct {
	term atomic.Pointer[term]

	mu      sync.Mutex // of those who change it
	epochs  uint64     // begun so far
	severed bool       // the run is broken: the next poll that comes back begins another epoch
}

// term is one lease: of an epoch, and from when a poll was sent.
type term struct {
	sent  time.Time
	wall  int64 // the same by the wall clock, in nanoseconds since 1970
	epoch uint64
}

// epoch is the one in which the process tier may answer now; zero: it may not.
func (l *lease) epoch(now time.Time) uint64 {
	if t := l.term.Load(); t != nil && t.covers(now) {
		return t.epoch
	}
	return 0
}

// covers reports whether the lease runs still, by both clocks. The monotonic one stands still while a
// machine is suspended, and the other may be set; when they disagree by more than the lease nobody
// knows how long it was (RULE-04).
func (t *term) covers(now time.Time) bool {
	real, wall := now.Sub(t.sent), time.Duration(now.UnixNano()-t.wall)
	return real < leaseTime && wall < leaseTime && real-wall < leaseTime
}

// extend says that a poll came back now, good, and when it was sent.
func (l *lease) extend(sent, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last := l.term.Load(); last == nil || l.severed || !last.covers(now) {
		l.epochs++
	}
	l.severed = false
	l.term.Store(&term{sent: sent, wall: sent.UnixNano(), epoch: l.epochs})
}

// sever breaks the run of polls. The lease is lived out, for what it promised holds, and then lapses
// unless another epoch has begun.
func (l *lease) sever() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.severed = true
}
