package store

import (
	"sync"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
)

const (
	// tierShards is how many parts the tier has, each with its own lock: one for each value of a key's
	// first byte. Keys are hashes, so they spread evenly.
	tierShards = 256
	// tierHalf bounds one generation of one shard. Two generations of all shards are 131,072 sessions;
	// docs/operations.md has what they weigh.
	tierHalf = 256
)

// tier is the sessions that this process keeps in its own memory, within a bound: two generations in
// each shard, as in memo, but what is used moves on to the young one and so stays. It knows nothing of
// revocations: whoever fills it says whether the answer still holds, and the feed forgets from it what
// it hears. The zero value is ready.
type tier struct{ shards [tierShards]shard }

type shard struct {
	mu         sync.RWMutex
	young, old map[auth.Key]*kept
	_          [64]byte // so that two locks never share a line of the processor's cache
}

// kept is a session as it was loaded, and the epoch in which that was. It never changes.
type kept struct {
	session auth.Session
	epoch   uint64
}

// get returns the session of a key if it was kept in this epoch and is not over. One that is over may
// have been used since elsewhere, which only the database knows: that is no answer (RULE-05).
func (t *tier) get(k auth.Key, epoch uint64, now time.Time) *auth.Session {
	s := &t.shards[k[0]]
	s.mu.RLock()
	one, aged := s.young[k], false
	if one == nil {
		one, aged = s.old[k], true
	}
	s.mu.RUnlock()
	if one == nil || one.epoch != epoch || !one.session.Live(now) {
		return nil
	}
	if aged {
		s.renew(k, one)
	}
	return &one.session
}

// put keeps a session that was loaded in an epoch, if that still holds, and returns what is kept. The
// question is asked under the lock under which forget waits, so that nothing is put back that was
// forgotten since. Of two snapshots that both hold, the one with the later idle end is the newer: it
// has seen a slide.
func (t *tier) put(loaded auth.Session, epoch uint64, holds func() bool) auth.Session {
	s := &t.shards[loaded.Key[0]]
	s.mu.Lock()
	defer s.mu.Unlock()
	if !holds() {
		return loaded
	}
	if have := s.have(loaded.Key); have != nil && have.epoch == epoch && !have.session.ExpiresAt.Before(loaded.ExpiresAt) {
		return have.session
	}
	loaded.Kept = new(auth.Kept)
	s.add(loaded.Key, &kept{session: loaded, epoch: epoch})
	return loaded
}

// slide notes the idle end that the database says a session has now. It reports whether that is what
// is kept then: not if the end is unknown, or nothing is kept in this epoch.
func (t *tier) slide(k auth.Key, epoch uint64, end time.Time) bool {
	s := &t.shards[k[0]]
	s.mu.Lock()
	defer s.mu.Unlock()
	have := s.have(k)
	if have == nil || have.epoch != epoch || end.IsZero() {
		return false
	}
	if slid := have.session; slid.ExpiresAt.Before(end) {
		slid.ExpiresAt, slid.Kept = end, new(auth.Kept)
		s.add(k, &kept{session: slid, epoch: epoch})
	}
	return true
}

// forget drops a key. Once it returned, no get finds what was put before.
func (t *tier) forget(k auth.Key) {
	s := &t.shards[k[0]]
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.young, k)
	delete(s.old, k)
}

// renew moves a session on to the young generation, unless it was forgotten or replaced meanwhile.
func (s *shard) renew(k auth.Key, one *kept) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.old[k] == one {
		s.add(k, one)
	}
}

// have finds what is kept under a key. The caller holds the lock.
func (s *shard) have(k auth.Key) *kept {
	if one := s.young[k]; one != nil {
		return one
	}
	return s.old[k]
}

func (s *shard) add(k auth.Key, one *kept) {
	if len(s.young) >= tierHalf {
		s.old, s.young = s.young, nil
	}
	if s.young == nil {
		s.young = map[auth.Key]*kept{}
	}
	delete(s.old, k)
	s.young[k] = one
}
