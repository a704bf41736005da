package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
)

const (
	// lookups is how many questions may be with the database at once: fewer than it has connections,
	// so that logins and logouts get through while a cold or dead Redis sends everybody there.
	lookups = 16
	// queueLimit is how long a look-up waits for its turn.
	queueLimit = time.Second
	// lookupLimit bounds a look-up as a whole.
	lookupLimit = 3 * time.Second
	// absentFor is how long the database's "there is none" is believed (RULE-30): whoever keeps
	// sending a dead cookie asks it once in that time.
	absentFor = 5 * time.Second
)

// Cached keeps auth.Sessions with Redis in front of a store that keeps it too. It answers in this
// order: what the database lately denied, Redis if the feed would have heard of a revocation, and
// else the database, with one look-up of a key under way at a time.
type Cached struct {
	redis *Redis // nil: there is none
	below auth.Sessions
	feed  *Feed

	turns   chan struct{}
	absent  memo
	touched memo
	pending sync.WaitGroup

	mu      sync.Mutex
	flights map[auth.Key]*flight
}

// flight is a look-up that is under way, and those who wait for it.
type flight struct {
	why   error  // what Redis said
	since uint64 // the feed's count when it began
	done  chan struct{}
	s     auth.Session
	err   error
}

// NewCached puts Redis, which may be nil, in front of a store. The feed must be running for Redis to
// be believed.
func NewCached(redis *Redis, below auth.Sessions, feed *Feed) *Cached {
	return &Cached{
		redis: redis, below: below, feed: feed,
		turns: make(chan struct{}, lookups), flights: map[auth.Key]*flight{},
	}
}

// Close waits for the look-ups under way, a few seconds at most.
func (c *Cached) Close() { c.pending.Wait() }

// Create keeps the contract of auth.Sessions.
func (c *Cached) Create(ctx context.Context, s auth.Session) error {
	if err := c.below.Create(ctx, s); err != nil {
		return err
	}
	c.absent.forget(s.Key)
	return nil
}

// Find keeps the contract of auth.Sessions.
func (c *Cached) Find(ctx context.Context, k auth.Key) (auth.Session, error) {
	if c.absent.within(k, absentFor) {
		return auth.Session{}, auth.ErrNoSession
	}
	s, err := c.cached(ctx, k)
	if err == nil {
		return s, nil
	}
	return c.look(ctx, k, err)
}

// cached asks Redis. A session that is over by its record may have been used since, which only the
// database knows: that is no answer (RULE-05).
func (c *Cached) cached(ctx context.Context, k auth.Key) (auth.Session, error) {
	if c.redis == nil || c.feed.Revoked(k) || !c.feed.Vouches() {
		return auth.Session{}, errNotAsked
	}
	s, err := c.redis.Get(ctx, k)
	if err == nil && !s.Live(time.Now()) {
		return auth.Session{}, ErrNotCached
	}
	return s, err
}

// errNotAsked says that Redis must not be believed about this key, or that there is none.
var errNotAsked = errors.New("redis: not to be asked")

// look asks the database, or waits for the answer to the same question. It joins no look-up that
// began before a revocation of the key was heard: that one may have read the row before it went. The
// look-up does not die with the caller that began it, and every caller may leave. Why is what Redis said.
func (c *Cached) look(ctx context.Context, k auth.Key, why error) (auth.Session, error) {
	if err := ctx.Err(); err != nil {
		return auth.Session{}, fmt.Errorf("find session: %w", err)
	}
	since := c.feed.since(k)
	c.mu.Lock()
	f := c.flights[k]
	if f == nil || f.since < since {
		f = &flight{why: why, since: since, done: make(chan struct{})}
		c.flights[k] = f
		c.pending.Go(func() { c.fly(context.WithoutCancel(ctx), k, f) })
	}
	c.mu.Unlock()
	select {
	case <-f.done:
		return f.s, f.err
	case <-ctx.Done():
		return auth.Session{}, fmt.Errorf("find session: %w", ctx.Err())
	}
}

// fly is one look-up. Redis is filled after the answer was given, for nobody is to wait for that, and
// only if it answered the first time and no revocation came since.
func (c *Cached) fly(ctx context.Context, k auth.Key, f *flight) {
	ctx, cancel := context.WithTimeout(ctx, lookupLimit)
	defer cancel()
	f.s, f.err = c.ask(ctx, k)
	if errors.Is(f.err, auth.ErrNoSession) {
		c.absent.note(k)
	}
	c.mu.Lock()
	if c.flights[k] == f {
		delete(c.flights, k)
	}
	c.mu.Unlock()
	close(f.done)
	if f.err == nil && errors.Is(f.why, ErrNotCached) && c.feed.since(k) == f.since {
		_ = c.redis.Fill(ctx, f.s) // counted; the next look-up tries again
	}
}

// ask takes its turn with the database.
func (c *Cached) ask(ctx context.Context, k auth.Key) (auth.Session, error) {
	queued := time.NewTimer(queueLimit)
	defer queued.Stop()
	select {
	case c.turns <- struct{}{}:
		defer func() { <-c.turns }()
		return c.below.Find(ctx, k)
	case <-queued.C:
		return auth.Session{}, errors.New("find session: too many look-ups at once")
	}
}

// Touch keeps the contract of auth.Sessions. Redis is not rewritten: its record runs out at the old
// end and is filled anew. So callers see the old end until then, and what they ask for again and
// again is done once in ttl/12.
func (c *Cached) Touch(ctx context.Context, k auth.Key, ttl time.Duration) error {
	if !c.touched.claim(k, ttl/12) {
		return nil
	}
	if err := c.below.Touch(ctx, k, ttl); err != nil {
		c.touched.forget(k)
		return err
	}
	return nil
}

// End keeps the contract of auth.Sessions. The row goes first: from then on the database says no.
// Then this replica stops believing Redis about the key, and Redis is told. If that fails, the row of
// the revocation still reaches every replica through its feed, which is asked before Redis.
func (c *Cached) End(ctx context.Context, k auth.Key) error {
	if err := c.below.End(ctx, k); err != nil {
		return err
	}
	c.feed.hear(k)
	if c.redis != nil {
		_ = c.redis.Bury(context.WithoutCancel(ctx), k) // counted; the feed covers for it
	}
	return nil
}
