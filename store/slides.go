package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/uptrace/bun"

	"github.com/gatehouse-auth/gatehouse/auth"
)

const (
	// slideWait is how long a slide waits for others, so that they cost one statement and one commit
	// together. Nobody's request waits for it (auth.Gate does not).
	slideWait = 50 * time.Millisecond
	// slideMost is how many keys go into one statement: what is locked is locked for a few milliseconds.
	slideMost = 1000
	// slideLimit bounds a statement.
	slideLimit = 3 * time.Second
)

// errClosed says that the store was closed: what was to be written is not.
var errClosed = errors.New("the store is closed")

// slides gathers the slides of a moment and writes them together: a million live sessions slide
// thousands of times a second. One statement is under way at a time; while it is, more gather, so a
// slow database gets fewer and larger ones. Everybody waits for the commit of his own slide, and that
// bounds the memory: it holds no key whose caller has not been told.
type slides struct {
	write func(ctx context.Context, at time.Time, ttl time.Duration, keys []auth.Key) (map[auth.Key]time.Time, error)

	turn    chan struct{} // held by whoever writes
	closing chan struct{} // closed: nobody gathers any longer
	running sync.WaitGroup

	mu     sync.Mutex
	open   *batch // that still gathers; may be nil
	closed bool
}

// batch is slides that become one statement.
type batch struct {
	opened time.Time // when all its sessions were used, or a moment before
	ttl    time.Duration
	keys   map[auth.Key]struct{}
	full   chan struct{} // closed: no more will come
	done   chan struct{} // closed: ends and err are there
	ends   map[auth.Key]time.Time
	err    error
}

func newSlides(write func(context.Context, time.Time, time.Duration, []auth.Key) (map[auth.Key]time.Time, error)) *slides {
	return &slides{write: write, turn: make(chan struct{}, 1), closing: make(chan struct{})}
}

// slide returns the idle end that k has now, or zero if no row was moved. A caller that leaves is told
// his context's error, and his slide may be written all the same.
func (s *slides) slide(ctx context.Context, k auth.Key, ttl time.Duration) (time.Time, error) {
	if err := ctx.Err(); err != nil {
		return time.Time{}, err
	}
	b := s.join(ctx, k, ttl)
	if b == nil {
		return time.Time{}, errClosed
	}
	select {
	case <-b.done:
		return b.ends[k], b.err
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	}
}

// join adds a key to the batch that gathers, or begins one. Nil: the store is closed.
func (s *slides) join(ctx context.Context, k auth.Key, ttl time.Duration) *batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	if s.open != nil && s.open.ttl != ttl {
		s.seal(s.open)
	}
	if s.open == nil {
		b := &batch{
			opened: time.Now().UTC(), ttl: ttl, keys: map[auth.Key]struct{}{},
			full: make(chan struct{}), done: make(chan struct{}),
		}
		s.open = b
		s.running.Go(func() { s.carry(context.WithoutCancel(ctx), b) })
	}
	b := s.open
	if b.keys[k] = struct{}{}; len(b.keys) >= slideMost {
		s.seal(b)
	}
	return b
}

// seal lets nobody join b any more. The caller holds the lock.
func (s *slides) seal(b *batch) {
	if s.open == b {
		s.open = nil
		close(b.full)
	}
}

// carry waits until a batch is due, and for its turn, and writes it.
func (s *slides) carry(ctx context.Context, b *batch) {
	due := time.NewTimer(slideWait)
	defer due.Stop()
	select {
	case <-due.C:
	case <-b.full:
	case <-s.closing:
	}
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	s.mu.Lock()
	s.seal(b)
	s.mu.Unlock()
	keys := make([]auth.Key, 0, len(b.keys))
	for k := range b.keys {
		keys = append(keys, k)
	}
	ctx, cancel := context.WithTimeout(ctx, slideLimit)
	defer cancel()
	b.ends, b.err = s.write(ctx, b.opened, b.ttl, keys)
	close(b.done)
}

// close writes what has gathered, without waiting for more, and returns when that is done.
func (s *slides) close() {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	s.mu.Unlock()
	s.running.Wait()
}

// Touch keeps the contract of auth.Sessions.
func (s *SQL) Touch(ctx context.Context, k auth.Key, ttl time.Duration) error {
	_, err := s.Slide(ctx, k, ttl)
	return err
}

// Slide is Touch for whoever keeps copies of sessions: it tells the idle end that the row has now. Zero
// and no error: no row was moved, for the session is absent, or over, or was moved a moment ago by
// somebody else, and a copy that said otherwise is to be forgotten (RULE-05).
//
// It waits for up to 50 ms until others join, and then for the commit.
func (s *SQL) Slide(ctx context.Context, k auth.Key, ttl time.Duration) (end time.Time, err error) {
	if end, err = s.slides.slide(ctx, k, ttl); err != nil {
		return time.Time{}, fmt.Errorf("touch session: %w", err)
	}
	return end, nil
}

// slideAll moves the idle ends of sessions that were used at a moment, where that is due, and tells
// which moved and to when. Of replicas that ask for the same row at once one moves it: the others no
// longer find it due, or find it locked and pass it over. So this waits for no lock, and nobody can be
// caught in a ring of waiting with it.
func (s *SQL) slideAll(ctx context.Context, at time.Time, ttl time.Duration, keys []auth.Key) (ends map[auth.Key]time.Time, err error) {
	defer func(start time.Time) { s.observe.note("database", "touch", start, outcome(err)) }(time.Now())
	hashes := make([][]byte, len(keys))
	for i := range keys {
		hashes[i] = keys[i][:]
	}
	due := s.db.NewSelect().Table("sessions").Column("id").Where("token_hash IN (?)", bun.List(hashes)).
		Where("expires_at > ?", stamp(at)).Where("ends_at > ?", stamp(at)).
		Where("expires_at <= ?", stamp(at.Add(ttl-ttl/12))).Where("expires_at < ends_at")
	var moved []*session
	_, err = s.db.NewUpdate().Model(&moved).ModelTableExpr("sessions").
		Set("expires_at = CASE WHEN ends_at < ? THEN ends_at ELSE ? END", stamp(at.Add(ttl)), stamp(at.Add(ttl))).
		Set("last_seen = ?", stamp(at)).
		Where("id IN (?)", s.locked(due, "NO KEY UPDATE SKIP LOCKED")).
		Returning("token_hash, expires_at").Exec(ctx)
	if err != nil {
		return nil, tidy(err)
	}
	ends = make(map[auth.Key]time.Time, len(moved))
	for _, row := range moved {
		ends[auth.Key(row.TokenHash)] = time.Time(row.ExpiresAt)
	}
	return ends, nil
}
