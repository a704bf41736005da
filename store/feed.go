package store

import (
	"context"
	"sync"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
)

const (
	pollEvery = time.Second
	pollLimit = 2 * time.Second
	// pollRest is the least time between two polls: whoever may NOTIFY, or revokes by the thousand,
	// must not make every replica read the table without a pause.
	pollRest = 10 * time.Millisecond
	// pulse is how long ago the last poll may have come back, in whatever way, for this process to
	// count as awake. One that was stopped or suspended has heard nothing meanwhile.
	pulse = pollEvery + pollLimit + time.Second
	// maxUnverified is the default of session.max_unverified.
	maxUnverified = 10 * time.Minute
)

// FeedConfig says what a feed reads and who hears of it.
type FeedConfig struct {
	SQL           *SQL
	Redis         *Redis        // gets a tombstone for each revocation; may be nil
	TTL           time.Duration // session.ttl
	MaxUnverified time.Duration // how long Redis may be believed while the database cannot be asked; zero: ten minutes
	On            func(auth.Key)
	OnAll         func() // the feed lost its place: anything may have been revoked
}

// Feed reads the revocations as they come and remembers the last hour of them. Once a second it
// polls the table; a NOTIFY only makes it poll at once, so that what is forged or lost there can make
// us forget and nothing else. It is safe for concurrent use.
type Feed struct {
	config FeedConfig
	window time.Duration
	ledger *ledger

	mu    sync.RWMutex
	heard map[auth.Key]heard
	rows  map[int64]time.Time // by id, when read: overlapping polls tell of a row once
	count uint64              // of revocations heard
	lost  uint64              // the count at which everything counts as revoked
	read  time.Time           // when the last good poll was sent; zero: none yet
	tried time.Time           // when the last poll came back, good or bad
}

type heard struct {
	count uint64
	at    time.Time
}

// NewFeed makes a feed. Nothing is heard, and Redis is not believed, until Run.
func NewFeed(config FeedConfig) *Feed {
	if config.MaxUnverified == 0 {
		config.MaxUnverified = maxUnverified
	}
	if config.On == nil {
		config.On = func(auth.Key) {}
	}
	if config.OnAll == nil {
		config.OnAll = func() {}
	}
	w := window(config.TTL)
	return &Feed{
		config: config, window: w, ledger: &ledger{sql: config.SQL, window: w},
		heard: map[auth.Key]heard{}, rows: map[int64]time.Time{},
	}
}

// Run reads until the context ends. A database that cannot be asked ends nothing: it is asked again
// a second later.
func (f *Feed) Run(ctx context.Context) {
	bell := make(chan struct{}, 1)
	var listener sync.WaitGroup
	if f.config.SQL.listen != "" {
		listener.Go(func() { listen(ctx, f.config.SQL.listen, bell) })
	}
	defer listener.Wait()
	f.follow(ctx, bell)
}

// follow polls at each tick and at each ring of the bell, which keeps ringing while it rests.
func (f *Feed) follow(ctx context.Context, bell <-chan struct{}) {
	defer f.ledger.close()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		f.poll(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(pollRest):
		}
		select {
		case <-ctx.Done():
		case <-bell:
		case <-tick.C:
		}
	}
}

// Revoked reports whether a revocation of k was heard within the last hour or so. Redis must not be
// believed about it then.
func (f *Feed) Revoked(k auth.Key) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	_, ok := f.heard[k]
	return ok
}

// Vouches reports whether Redis may say yes about a key that is not Revoked: the feed has read all
// the revocations that could matter, it is awake, and the database could be asked not too long ago.
func (f *Feed) Vouches() bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	now := time.Now()
	return !f.read.IsZero() && elapsed(f.tried, now) < pulse && elapsed(f.read, now) < f.config.MaxUnverified
}

// elapsed is the longer of what the monotonic clock and the wall clock say: the former stands still
// while a machine is suspended (RULE-04).
func elapsed(from, to time.Time) time.Duration {
	return max(to.Sub(from), to.Round(0).Sub(from.Round(0)))
}

// since counts the revocations up to the last one of k. An answer about k that was asked for at a
// lower count may be out of date.
func (f *Feed) since(k auth.Key) uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return max(f.heard[k].count, f.lost)
}

// hear notes a revocation that this process made itself, without waiting for the next poll.
func (f *Feed) hear(k auth.Key) {
	f.mu.Lock()
	f.mark(k, time.Now())
	f.mu.Unlock()
	f.config.On(k)
}

func (f *Feed) mark(k auth.Key, now time.Time) {
	f.count++
	f.heard[k] = heard{count: f.count, at: now}
}

func (f *Feed) poll(ctx context.Context) {
	sent := time.Now()
	limited, cancel := context.WithTimeout(ctx, pollLimit)
	defer cancel()
	found, err := f.ledger.read(limited)
	f.config.SQL.observe.note("feed", "poll", sent, outcome(err))
	if err != nil {
		f.mu.Lock()
		f.tried = time.Now()
		f.mu.Unlock()
		return
	}
	keys, lost := f.take(found, sent)
	if lost {
		f.config.OnAll()
	}
	for _, k := range keys {
		f.config.On(k)
	}
	if f.config.Redis != nil && len(keys) > 0 {
		_ = f.config.Redis.Bury(ctx, keys...) // counted; this process asks its own memory first
	}
}

// take notes what a poll found. New keys are returned in order. The place is lost if the table was
// not read for so long that rows may have come and gone, or if it was put back to an earlier state.
func (f *Feed) take(found tidings, sent time.Time) (keys []auth.Key, lost bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	lost = found.rewound || !f.read.IsZero() && elapsed(f.read, sent) > f.window
	if lost {
		f.count++
		f.lost = f.count
	}
	for _, row := range found.rows {
		if _, known := f.rows[row.id]; known {
			continue
		}
		f.rows[row.id] = now
		f.mark(row.key, now)
		keys = append(keys, row.key)
	}
	f.forget(now)
	f.read, f.tried = sent, now
	return keys, lost
}

// forget drops what is older than any cached copy. It walks the memory only when that is due: about
// once a minute.
func (f *Feed) forget(now time.Time) {
	if f.read.Truncate(time.Minute).Equal(now.Truncate(time.Minute)) {
		return
	}
	for k, h := range f.heard {
		if elapsed(h.at, now) > f.window {
			delete(f.heard, k)
		}
	}
	for id, at := range f.rows {
		if elapsed(at, now) > 2*f.window { // as long as the table may still show it
			delete(f.rows, id)
		}
	}
}
