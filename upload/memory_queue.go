package upload

import (
	"context"
	"slices"
)

// waiter is whoever waits for room: an upload to be admitted, or a lease for a page more.
type waiter struct {
	lease *Lease
	admit bool
	ready chan struct{} // closed once it is served
	page  *Page         // what a lease was given
}

// wait queues up and returns once w is served, or why it will not be.
func (m *Memory) wait(ctx context.Context, w *waiter) error {
	if !m.join(w) {
		return errClosed
	}
	select {
	case <-w.ready:
		return nil
	default:
	}
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}
	if m.leave(w) {
		return context.Cause(ctx)
	}
	return nil // it was served in the same moment
}

// join puts w at the end of the queue and serves whom it can.
func (m *Memory) join(w *waiter) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w.lease.closed {
		return false
	}
	w.ready = make(chan struct{})
	m.queue = append(m.queue, w)
	m.serve()
	return true
}

// leave takes w out of the queue, and reports whether it was still there.
func (m *Memory) leave(w *waiter) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := slices.Index(m.queue, w)
	if at < 0 {
		return false
	}
	m.queue = slices.Delete(m.queue, at, at+1)
	m.serve() // whoever stood behind it
	return true
}

// serve gives to all in the queue whose turn it is.
func (m *Memory) serve() {
	full := false // somebody waits for room, so nothing is lent to those behind
	m.queue = slices.DeleteFunc(m.queue, func(w *waiter) bool {
		switch {
		case !w.admit && w.lease.held < w.lease.reserved:
		case full || w.admit && m.crowded(w.lease):
			return false // a user above his share holds up nobody else
		case m.counted+w.needs() > m.total:
			full = true
			return false
		}
		m.hand(w)
		return true
	})
}

// crowded reports whether a user has as much as one may have.
func (m *Memory) crowded(l *Lease) bool {
	has := m.users[l.user]
	return has > 0 && has+l.reserved > m.total/4
}

// crowds reports whether it is for his own share that a user would have to wait.
func (m *Memory) crowds(user, part int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.crowded(&Lease{user: user, reserved: pagesFor(part)})
}

// needs is how many pages more would be counted once w is served.
func (w *waiter) needs() int {
	if w.admit {
		return w.lease.reserved
	}
	return 1
}

// hand serves w.
func (m *Memory) hand(w *waiter) {
	l := w.lease
	if w.admit {
		m.users[l.user] += l.reserved
		m.counted += l.reserved
		m.granted += l.reserved
	} else {
		w.page = m.page()
		m.count(l, l.reserved, l.held+1)
	}
	close(w.ready)
}
