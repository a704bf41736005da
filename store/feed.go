package store

import (
	"context"
	"sync"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
)

const (
	pollEvery = time.Second
	// pollLimit is as long as a poll may take for the lease to go on without a gap.
	pollLimit = leaseTime - pollEvery
	// pollRest is the least time after a poll for which the bell rang: whoever may NOTIFY, or revokes by
	// the thousand, must not make every replica read the table without a pause.
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
// us forget and nothing else. Each poll that comes back extends the lease by which the process tier
// may answer. It is safe for concurrent use.
type Feed struct {
	config FeedConfig
	window time.Duration
	ledger *ledger
	lease  lease
	tier   tier // what this process keeps: forgotten before anybody is told

	burying sync.WaitGroup

	mu    sync.RWMutex
	past  past
	read  time.Time // when the last good poll was sent; zero: none yet
	tried time.Time // when the last poll came back, good or bad
}

// past is the revocations of the last hour.
type past struct {
	heard   map[auth.Key]heard
	rows    map[int64]time.Time // by id, when read: overlapping polls tell of a row once
	count   uint64              // of revocations heard
	lost    uint64              // the count at which everything counts as revoked
	rewound time.Time           // when the database was last found in an earlier state; zero: never
}

type heard struct {
	count uint64
	at    time.Time
}

// asked is the moment of a question, by which its answer is judged.
type asked struct {
	since uint64 // revocations of the key, or of everything, counted up to the last
	epoch uint64 // of the lease; zero: it had lapsed
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
		config: config, window: w, ledger: &ledger{sql: config.SQL, window: w, limit: pollLimit},
		past: past{heard: map[auth.Key]heard{}, rows: map[int64]time.Time{}},
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
	defer f.burying.Wait()
	f.follow(ctx, bell)
}

// follow polls at each tick and at each ring of the bell, which keeps ringing while it rests. After a
// tick it does not rest: one revocation in fifty would fall into that and take so much longer.
func (f *Feed) follow(ctx context.Context, bell <-chan struct{}) {
	defer f.ledger.close()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for rung := false; ctx.Err() == nil; {
		f.poll(ctx)
		if rung {
			select {
			case <-ctx.Done():
			case <-time.After(pollRest):
			}
		}
		select {
		case <-ctx.Done():
		case <-bell:
			rung = true
		case <-tick.C:
			rung = false
		}
	}
}

// Revoked reports whether a revocation of k was heard within the last hour or so. Redis must not be
// believed about it then.
func (f *Feed) Revoked(k auth.Key) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	_, ok := f.past.heard[k]
	return ok
}

// Vouches reports whether Redis may say yes about a key that is not Revoked: the feed has read all
// the revocations that could matter, it is awake, and the database could be asked not too long ago. A
// database that was put back to an earlier state may never have had the sessions that Redis has, so
// that no end of them could be told: Redis is not believed until its records have run out.
func (f *Feed) Vouches() bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	now := time.Now()
	return !f.read.IsZero() && elapsed(f.tried, now) < pulse && elapsed(f.read, now) < f.config.MaxUnverified &&
		(f.past.rewound.IsZero() || elapsed(f.past.rewound, now) > maxCached)
}

// Lapsed returns nil while this process may answer by itself, and else why it does not hear of
// revocations in time. It waits for nothing.
func (f *Feed) Lapsed() error { return f.lease.lapsed(time.Now()) }

// elapsed is the longer of what the monotonic clock and the wall clock say: the former stands still
// while a machine is suspended (RULE-04).
func elapsed(from, to time.Time) time.Duration {
	return max(to.Sub(from), to.Round(0).Sub(from.Round(0)))
}

// asking says in which state of things a question about k is put now.
func (f *Feed) asking(k auth.Key) asked {
	return asked{since: f.since(k), epoch: f.lease.epoch(time.Now())}
}

// holds reports whether what was asked about k at a moment may be kept: the lease has run all the time
// since, and no revocation of k was heard. What was not heard by now is forgotten when it is heard.
func (f *Feed) holds(k auth.Key, a asked) bool {
	return a.epoch != 0 && f.asking(k) == a
}

// since counts the revocations up to the last one of k. An answer about k that was asked for at a
// lower count may be out of date.
func (f *Feed) since(k auth.Key) uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return max(f.past.heard[k].count, f.past.lost)
}

// hear notes a revocation that this process made itself, without waiting for the next poll. Once it
// returned, this process says yes to k no more.
func (f *Feed) hear(k auth.Key) {
	f.mu.Lock()
	f.past.mark(k, time.Now())
	f.mu.Unlock()
	f.tier.forget(k)
	f.config.On(k)
}

func (p *past) mark(k auth.Key, now time.Time) {
	p.count++
	p.heard[k] = heard{count: p.count, at: now}
}

func (f *Feed) poll(ctx context.Context) {
	sent := time.Now()
	found, err := f.ledger.read(ctx)
	f.config.SQL.observe.note("feed", "poll", sent, outcome(err))
	if err != nil {
		f.miss(err)
		return
	}
	f.learn(ctx, found, sent)
}

// miss says that a poll came back and brought nothing: there is a gap from here on.
func (f *Feed) miss(cause error) {
	f.lease.sever(cause)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tried = time.Now()
}

// learn makes what a poll found count, in the order that matters: it is noted, so that no answer from
// before is kept; it is forgotten here; only then the lease goes on, and others are told, who may ask
// about the very session.
func (f *Feed) learn(ctx context.Context, found tidings, sent time.Time) {
	keys, lost := f.take(found, sent)
	for _, k := range keys {
		f.tier.forget(k)
	}
	if lost || found.anew {
		f.lease.sever(nil)
	}
	f.lease.extend(sent, time.Now())
	if lost {
		f.config.OnAll()
	}
	for _, k := range keys {
		f.config.On(k)
	}
	if f.config.Redis != nil && len(keys) > 0 {
		f.bury(ctx, keys)
	}
}

// bury puts tombstones into Redis. Whether they arrive is counted, and nothing here depends on it, for
// this process asks its own memory first: so many of them do not hold up the next poll.
func (f *Feed) bury(ctx context.Context, keys []auth.Key) {
	if len(keys) <= buryAtOnce {
		_ = f.config.Redis.Bury(ctx, keys...)
		return
	}
	f.burying.Go(func() { _ = f.config.Redis.Bury(ctx, keys...) })
}

// take notes what a poll found. New keys are returned in order. The place is lost if the table was
// not read for so long that rows may have come and gone, or if it was put back to an earlier state.
func (f *Feed) take(found tidings, sent time.Time) (keys []auth.Key, lost bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, p := time.Now(), &f.past
	if found.rewound {
		p.rewound = now
	}
	lost = found.rewound || !f.read.IsZero() && elapsed(f.read, sent) > f.window
	if lost {
		p.count++
		p.lost = p.count
	}
	for _, row := range found.rows {
		if _, known := p.rows[row.id]; known {
			continue
		}
		p.rows[row.id] = now
		p.mark(row.key, now)
		keys = append(keys, row.key)
	}
	if !f.read.Truncate(time.Minute).Equal(now.Truncate(time.Minute)) {
		p.forget(now, f.window) // about once a minute
	}
	f.read, f.tried = sent, now
	return keys, lost
}

// forget drops what is older than any cached copy.
func (p *past) forget(now time.Time, window time.Duration) {
	for k, h := range p.heard {
		if elapsed(h.at, now) > window {
			delete(p.heard, k)
		}
	}
	for id, at := range p.rows {
		if elapsed(at, now) > 2*window { // as long as the table may still show it
			delete(p.rows, id)
		}
	}
}
