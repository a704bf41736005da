package upload

import (
	"context"
	"errors"
	"sync"
	"time"
)

// PageSize is the size of all pages, in bytes.
const PageSize = 1 << 20

// admitLimit is how long an upload waits for room before it is told to come again.
const admitLimit = 5 * time.Second

// Memory is the one pool of pages that all uploads of this process share.
//
// Whoever is admitted has pages reserved for one part and one page more, and all reservations fit
// into the budget: so each can always fill a part and send it, in turn, and none waits for pages that
// another holds while that one waits for his. What nobody has reserved is lent to whoever asks first:
// those are the fast ones.
type Memory struct {
	mu      sync.Mutex
	total   int           // pages
	granted int           // reserved by all leases
	lent    int           // held beyond the holders' reservations
	users   map[int64]int // reserved, by user
	free    []*Page
	change  chan struct{} // closed and renewed when room is made
}

// Page is a piece of memory.
type Page [PageSize]byte

// NewMemory makes a pool of a budget in bytes. Pages are allocated when they are first needed and kept.
func NewMemory(budget int64) *Memory {
	return &Memory{total: int(budget / PageSize), users: map[int64]int{}, change: make(chan struct{})}
}

// Admit reserves room for an upload whose parts have at most part bytes. One user may have at most a
// quarter of the budget reserved, but always one upload (RULE-23). It waits a few seconds; then the
// error is ErrBusy. Close the lease when every page was given back.
func (m *Memory) Admit(ctx context.Context, user, part int64) (*Lease, error) {
	pages := int((part+PageSize-1)/PageSize) + 1
	late := time.NewTimer(admitLimit)
	defer late.Stop()
	for {
		l, wait := m.admit(user, pages)
		if l != nil {
			return l, nil
		}
		select {
		case <-wait:
		case <-late.C:
			return nil, ErrBusy
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (m *Memory) admit(user int64, pages int) (*Lease, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	crowded := m.users[user] > 0 && m.users[user]+pages > m.total/4
	// What is lent out comes back, but not at once: a reservation is of pages that are there.
	if crowded || m.granted+m.lent+pages > m.total {
		return nil, m.change
	}
	m.granted += pages
	m.users[user] += pages
	return &Lease{memory: m, user: user, reserved: pages}, nil
}

// Lease is the room of one upload. It is safe for concurrent use.
type Lease struct {
	memory   *Memory
	user     int64
	reserved int
	held     int // guarded by memory.mu
}

// errNoRoom says that a lease asked for more than the whole pool can give.
var errNoRoom = errors.New("upload: a lease without pages")

// Take returns a page. Within the reservation there is always one; beyond it, Take waits until one is
// given back, here or elsewhere, or until ctx ends.
func (l *Lease) Take(ctx context.Context) (*Page, error) {
	for {
		p, wait := l.take()
		if p != nil {
			return p, nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (l *Lease) take() (*Page, <-chan struct{}) {
	m := l.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.held >= l.reserved {
		if m.granted+m.lent >= m.total {
			return nil, m.change
		}
		m.lent++
	}
	l.held++
	if n := len(m.free); n > 0 {
		p := m.free[n-1]
		m.free = m.free[:n-1]
		return p, nil
	}
	return new(Page), nil
}

// Give returns a page to the pool.
func (l *Lease) Give(p *Page) {
	m := l.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.held > l.reserved {
		m.lent--
	}
	l.held--
	m.free = append(m.free, p)
	m.wake()
}

// Close ends the reservation.
func (l *Lease) Close() error {
	m := l.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.reserved == 0 {
		return errNoRoom
	}
	m.granted -= l.reserved
	if m.users[l.user] -= l.reserved; m.users[l.user] == 0 {
		delete(m.users, l.user)
	}
	l.reserved = 0
	m.wake()
	return nil
}

// wake tells all who wait to look again.
func (m *Memory) wake() {
	close(m.change)
	m.change = make(chan struct{})
}

// InUse returns how many bytes are held in pages, and how many are reserved.
func (m *Memory) InUse() (held, reserved int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int64(m.total-len(m.free)) * PageSize, int64(m.granted) * PageSize
}
