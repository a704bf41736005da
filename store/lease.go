package store

import (
	"errors"
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
	cause   error      // why the last poll brought nothing; nil: it brought something, or none came back yet
}

// errLate says that no poll came back in time for the lease to go on.
var errLate = errors.New("no reading of the revocations came back in time")

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

// lapsed returns nil while the lease runs, and else why it was not extended.
func (l *lease) lapsed(now time.Time) error {
	if l.epoch(now) != 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != nil {
		return l.cause
	}
	return errLate
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
	l.severed, l.cause = false, nil
	l.term.Store(&term{sent: sent, wall: sent.UnixNano(), epoch: l.epochs})
}

// sever breaks the run of polls. The lease is lived out, for what it promised holds, and then lapses
// unless another epoch has begun. The cause is why a poll brought nothing; nil: it did, but from behind a gap.
func (l *lease) sever(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.severed, l.cause = true, cause
}
