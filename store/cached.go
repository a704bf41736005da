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
	// waiting is how many look-ups may be under way, with Redis or the database, most of them waiting for their turn: as many as a
	// database with answers of fifteen milliseconds serves within queueLimit. Whoever comes then would
	// wait in vain, and hold up those behind him.
	waiting = 1024
	// lookupLimit bounds a look-up as a whole.
	lookupLimit = 3 * time.Second
	// absentFor is how long the database's "there is none" is believed (RULE-30): whoever keeps
	// sending a dead cookie asks it once in that time.
	absentFor = 5 * time.Second
)

// cache is what Redis is to Cached; the tests have one that forgets on command.
type cache interface {
	Get(ctx context.Context, k auth.Key) (auth.Session, error)
	Fill(ctx context.Context, s auth.Session) error
	Bury(ctx context.Context, keys ...auth.Key) error
}

// Cached keeps auth.Sessions with this process's memory and Redis in front of a store that keeps it
// too. It answers in this order: what it keeps itself, while the feed's lease runs; what the database
// lately denied; Redis, if the feed would have heard of a revocation; and else the database. One
// look-up of a key is under way at a time.
type Cached struct {
	redis cache // nil: there is none
	below auth.Sessions
	feed  *Feed
	hit   func()

	turns   chan struct{}
	absent  memo
	touched memo
	pending sync.WaitGroup

	mu      sync.Mutex
	flights map[auth.Key]*flight
}

// flight is a look-up that is under way, and those who wait for it.
type flight struct {
	asked asked
	done  chan struct{}
	s     auth.Session
	err   error
}

// NewCached puts this process's memory and Redis, which may be nil, in front of a store. The feed must
// be running for either to be believed. Hit is called whenever this process answers by itself, which
// may be at each request: it must cost next to nothing. It may be nil.
func NewCached(redis *Redis, below auth.Sessions, feed *Feed, hit func()) *Cached {
	if hit == nil {
		hit = func() {}
	}
	c := &Cached{below: below, feed: feed, hit: hit, turns: make(chan struct{}, lookups), flights: map[auth.Key]*flight{}}
	if redis != nil {
		c.redis = redis
	}
	return c
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

// Find keeps the contract of auth.Sessions. All copies of what this process keeps share one
// auth.Kept. It does not allocate then.
func (c *Cached) Find(ctx context.Context, k auth.Key) (auth.Session, error) {
	now := time.Now()
	if epoch := c.feed.lease.epoch(now); epoch != 0 && ctx.Err() == nil {
		if s := c.feed.tier.get(k, epoch, now); s != nil {
			c.hit()
			return *s, nil
		}
	}
	if c.absent.within(k, absentFor) {
		return auth.Session{}, auth.ErrNoSession
	}
	return c.look(ctx, k)
}

// look asks below. A session whose time ran out while the answer was on its way may have been used since,
// which only the database knows: it is asked once more, and then that is no answer (RULE-05).
func (c *Cached) look(ctx context.Context, k auth.Key) (s auth.Session, err error) {
	for range 2 {
		if s, err = c.join(ctx, k); err != nil || s.Live(time.Now()) {
			return s, err
		}
	}
	return auth.Session{}, errors.New("find session: the answers took longer than it had left")
}

// join asks below, or waits for the answer to the same question. It joins no look-up that began before
// a revocation of the key was heard, or in another epoch, when one may have come unheard: that look-up
// may have read the row before it went. The look-up does not die with the caller that began it, and
// every caller may leave.
func (c *Cached) join(ctx context.Context, k auth.Key) (auth.Session, error) {
	if err := ctx.Err(); err != nil {
		return auth.Session{}, fmt.Errorf("find session: %w", err)
	}
	asked := c.feed.asking(k)
	c.mu.Lock()
	f := c.flights[k]
	if f == nil || f.asked != asked {
		if len(c.flights) >= waiting {
			c.mu.Unlock()
			return auth.Session{}, fmt.Errorf("find session: %w", auth.ErrTooMany)
		}
		f = &flight{asked: asked, done: make(chan struct{})}
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
	s, why := c.cached(ctx, k)
	if why != nil {
		s, f.err = c.ask(ctx, k)
	}
	f.s = c.keep(k, s, f.err, f.asked)
	c.mu.Lock()
	if c.flights[k] == f {
		delete(c.flights, k)
	}
	c.mu.Unlock()
	close(f.done)
	if f.err == nil && errors.Is(why, ErrNotCached) && c.feed.since(k) == f.asked.since {
		_ = c.redis.Fill(ctx, f.s) // counted; the next look-up tries again
	}
}

// keep remembers an answer from below, a no as well as a yes, and forgets what it contradicts. "Could
// not find out" changes nothing.
func (c *Cached) keep(k auth.Key, s auth.Session, err error, asked asked) auth.Session {
	switch {
	case errors.Is(err, auth.ErrNoSession):
		c.feed.tier.forget(k)
		c.absent.note(k)
	case err == nil:
		return c.feed.tier.put(s, asked.epoch, func() bool { return c.feed.holds(k, asked) })
	}
	return s
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

// ask takes its turn with the database.
func (c *Cached) ask(ctx context.Context, k auth.Key) (auth.Session, error) {
	if !c.turn() {
		return auth.Session{}, fmt.Errorf("find session: %w", auth.ErrTooMany)
	}
	defer func() { <-c.turns }()
	return c.below.Find(ctx, k)
}

// turn waits for a turn with the database. One that is free is taken first: where the timer has run out
// as well, because this process got no time to run in, a select would throw dice.
func (c *Cached) turn() bool {
	select {
	case c.turns <- struct{}{}:
		return true
	default:
	}
	queued := time.NewTimer(queueLimit)
	defer queued.Stop()
	select {
	case c.turns <- struct{}{}:
		return true
	case <-queued.C:
		return false
	}
}

// Touch keeps the contract of auth.Sessions. What callers ask for again and again, because they see
// the old end, is done once in ttl/12. Redis is not rewritten: its record runs out at the old end and
// is filled anew.
//
// Where the store below tells the new end, it is noted in what this process keeps, so that nobody asks
// for another slide. If it does not, or moved no row, the database is asked how things are (RULE-05).
func (c *Cached) Touch(ctx context.Context, k auth.Key, ttl time.Duration) error {
	if !c.touched.claim(k, ttl/12) {
		return nil
	}
	asked := c.feed.asking(k)
	end, err := c.slide(ctx, k, ttl)
	if err != nil {
		c.touched.forget(k)
		return err
	}
	if !c.feed.tier.slide(k, asked.epoch, end) {
		c.reload(ctx, k)
	}
	return nil
}

// slide touches a session below; zero and no error: it is not known what its end is now.
func (c *Cached) slide(ctx context.Context, k auth.Key, ttl time.Duration) (end time.Time, err error) {
	if teller, ok := c.below.(interface {
		Slide(context.Context, auth.Key, time.Duration) (time.Time, error)
	}); ok {
		return teller.Slide(ctx, k, ttl)
	}
	return time.Time{}, c.below.Touch(ctx, k, ttl)
}

// reload asks the database for a session that was slid. If it has none, what is kept here goes. If it
// cannot be asked, what is kept here is no worse than before.
func (c *Cached) reload(ctx context.Context, k auth.Key) {
	asked := c.feed.asking(k)
	if asked.epoch == 0 {
		return // nothing can be kept
	}
	s, err := c.ask(ctx, k)
	c.keep(k, s, err, asked)
}

// End keeps the contract of auth.Sessions. The row goes first: from then on the database says no.
// Then this replica forgets the key and stops believing Redis about it, and Redis is told. If that
// fails, the row of the revocation still reaches every replica through its feed, which is asked before
// Redis.
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
