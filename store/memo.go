package store

import (
	"sync"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// memo remembers keys for a while, in bounded memory: two generations of at most half the bound, and
// when the young one is full the old one goes. A key that is dropped early costs a question more, and
// nothing else. The zero value is ready.
type memo struct {
	mu         sync.Mutex
	young, old map[auth.Key]time.Time
}

// memoHalf bounds one generation: about 4 MiB.
const memoHalf = 1 << 16

// within reports whether k was noted less than d ago.
func (m *memo) within(k auth.Key, d time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fresh(k, d)
}

// claim notes k unless it was noted less than d ago. Of many callers at once one gets true.
func (m *memo) claim(k auth.Key, d time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fresh(k, d) {
		return false
	}
	m.put(k)
	return true
}

func (m *memo) note(k auth.Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(k)
}

func (m *memo) forget(k auth.Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.young, k)
	delete(m.old, k)
}

func (m *memo) fresh(k auth.Key, d time.Duration) bool {
	at, ok := m.young[k]
	if !ok {
		at, ok = m.old[k]
	}
	return ok && time.Since(at) < d
}

func (m *memo) put(k auth.Key) {
	if len(m.young) >= memoHalf {
		m.old, m.young = m.young, nil
	}
	if m.young == nil {
		m.young = map[auth.Key]time.Time{}
	}
	m.young[k] = time.Now()
}
