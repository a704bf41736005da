package store

import "time"

// Forget drops what the process tier holds, as a lapsed lease does, so that the next look-up goes below.
func (c *Cached) Forget() {
	l := &c.feed.lease
	l.mu.Lock()
	defer l.mu.Unlock()
	if last := l.term.Load(); last != nil {
		l.epochs++
		l.term.Store(&term{sent: last.sent, wall: last.wall, epoch: l.epochs})
	}
}

// Leased reports whether the process tier may answer now.
func (f *Feed) Leased() bool { return f.lease.epoch(time.Now()) != 0 }
