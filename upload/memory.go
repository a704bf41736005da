package upload

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// PageSize is the size of all pages, in bytes.
const PageSize = 1 << 20

// admitLimit is how long an upload waits for room before it is told to come again.
const admitLimit = 5 * time.Second

// Memory is the one pool of pages that all uploads of this process share.
//
// Whoever is admitted has pages reserved for one part and one page more. Every lease counts with what
// it has reserved or what it holds, whichever is more, and all of them together fit into the budget:
// so each can always fill a part and send it, in turn, and none waits for pages that another holds
// while that one waits for his. What nobody has reserved is lent to whoever asks first: those are the
// fast ones.
//
// Who waits is served in the order of coming. An upload that waits to be admitted holds up all loans
// behind it, or the fast ones would borrow for ever what it waits for; nobody holds up a lease that
// takes its own.
type Memory struct {
	mu      sync.Mutex
	total   int           // pages
	counted int           // over all leases, the greater of reserved and held
	granted int           // reserved by all leases
	held    int           // by all leases
	users   map[int64]int // reserved, by user
	free    []*Page
	queue   []*waiter
}

// Page is a piece of memory.
type Page [PageSize]byte

var (
	errBudget = errors.New("the part of an upload is larger than the memory budget")
	errClosed = errors.New("take a page of a closed lease")
)

// NewMemory makes a pool of a budget in bytes, of which whole pages count. Pages are made when they
// are first needed, and kept.
func NewMemory(budget int64) *Memory {
	return &Memory{total: int(budget / PageSize), users: map[int64]int{}}
}

// largest is the largest part, in bytes, of which the share of one user has room for one.
func (m *Memory) largest() int64 { return int64(m.total/4-1) * PageSize }

// Admit reserves room for an upload whose parts have at most part bytes. One user may have at most a
// quarter of the budget reserved, but always one upload (RULE-23). It waits a few seconds; then the
// error is ErrBusy. Close the lease when every page was given back.
func (m *Memory) Admit(ctx context.Context, user, part int64) (*Lease, error) {
	pages := pagesFor(part)
	if pages > m.total {
		return nil, fmt.Errorf("%w: %d of %d pages", errBudget, pages, m.total)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, admitLimit, ErrBusy)
	defer cancel()
	w := &waiter{lease: &Lease{memory: m, user: user, reserved: pages}, admit: true}
	if err := m.wait(ctx, w); err != nil {
		return nil, err
	}
	return w.lease, nil
}

// pagesFor is how many pages an upload has reserved: a part of it, and one more.
func pagesFor(part int64) int { return int((part+PageSize-1)/PageSize) + 1 }

// Lease is the room of one upload. It is safe for concurrent use.
type Lease struct {
	memory *Memory
	user   int64

	// Guarded by memory.mu.
	reserved int
	held     int
	closed   bool
}

// Take returns a page. Within the reservation there is always one; beyond it, Take waits until one is
// given back, here or elsewhere, or until ctx ends.
func (l *Lease) Take(ctx context.Context) (*Page, error) {
	w := &waiter{lease: l}
	if err := l.memory.wait(ctx, w); err != nil {
		return nil, err
	}
	return w.page, nil
}

// Give returns a page to the pool.
func (l *Lease) Give(p *Page) {
	m := l.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free = append(m.free, p)
	m.count(l, l.reserved, l.held-1)
	m.serve()
}

// Close ends the reservation. An error says that pages are still held: they count until they are given
// back, which must still be done.
func (l *Lease) Close() error {
	m := l.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	if m.users[l.user] -= l.reserved; m.users[l.user] == 0 {
		delete(m.users, l.user)
	}
	m.count(l, 0, l.held)
	m.serve()
	if l.held > 0 {
		return fmt.Errorf("close a lease: %d pages are still held", l.held)
	}
	return nil
}

// count notes what a lease now has.
func (m *Memory) count(l *Lease, reserved, held int) {
	m.counted += max(reserved, held) - max(l.reserved, l.held)
	m.granted += reserved - l.reserved
	m.held += held - l.held
	l.reserved, l.held = reserved, held
}

// page is a free page, or a new one. There are never more than the budget has: all that were made are
// either free or held.
func (m *Memory) page() *Page {
	n := len(m.free)
	if n == 0 {
		return newPage()
	}
	p := m.free[n-1]
	m.free = m.free[:n-1]
	return p
}

// InUse returns how many bytes are held in pages, and how many are reserved.
func (m *Memory) InUse() (held, reserved int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int64(m.held) * PageSize, int64(m.granted) * PageSize
}
