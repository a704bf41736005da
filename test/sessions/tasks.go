package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// tasks are what is measured, in this order: the later ones leave fewer sessions than they found.
var tasks = []struct {
	name string
	run  func(context.Context, *bench) (string, error)
}{
	{"check: look-up in the database", find},
	{"login: create", create},
	{"logout: end", end},
	{"list: first page of 100", func(ctx context.Context, b *bench) (string, error) { return list(ctx, b, "", 0) }},
	{"list: page in the middle", func(ctx context.Context, b *bench) (string, error) { return list(ctx, b, "", int64(b.rows/2)) }},
	{"list: a user with a tenth of them", func(ctx context.Context, b *bench) (string, error) { return list(ctx, b, crowd, int64(b.rows/2)) }},
	{"list: a user with five", func(ctx context.Context, b *bench) (string, error) { return list(ctx, b, "user7@corp.test", 0) }},
	{"slide: one alone (it waits 50 ms for others)", slideOne},
	{"slide: by the thousand", slideMany},
	{"slide: without touching an index (HOT)", hot},
	{"sweep: the whole table once", sweep},
	{"sweep: by its steps of 1000 rows", sweepStep},
	{"user disable: with a tenth of all sessions", disable},
	{"user disable: until a replica heard of all", hear},
	{"session end-all: everybody", endAll},
	{"session end-all: by its steps of 1000", endAllSteps},
	{"session end-all: until a replica heard of all", hear},
}

// timed calls do n times.
func timed(n int, do func() error) (string, error) {
	times := make([]time.Duration, n)
	for i := range times {
		began := time.Now()
		if err := do(); err != nil {
			return "", err
		}
		times[i] = time.Since(began)
	}
	return quantiles(times), nil
}

// find warms the server up first: with a million people at work, its memory holds what they ask for.
func find(ctx context.Context, b *bench) (string, error) {
	for range min(b.live, 30_000) {
		if _, err := b.db.Find(ctx, b.key()); err != nil {
			return "", err
		}
	}
	return timed(5000, func() error { _, err := b.db.Find(ctx, b.key()); return err })
}

func create(ctx context.Context, b *bench) (string, error) {
	id := int64(2)
	return timed(500, func() error {
		now := time.Now().UTC()
		s := auth.Session{
			User: auth.User{ID: id}, CreatedAt: now, ExpiresAt: now.Add(ttl), EndsAt: now.Add(12 * ttl), UserAgent: "bench",
		}
		id = 2 + (id+1)%int64(max(b.live/5, 10)-2)
		rand.Read(s.Key[:])
		return b.db.Create(ctx, s)
	})
}

func end(ctx context.Context, b *bench) (string, error) {
	keys := b.keys(200)
	return timed(len(keys), func() error {
		k := keys[0]
		keys = keys[1:]
		return b.db.End(ctx, k)
	})
}

func list(ctx context.Context, b *bench, email string, after int64) (string, error) {
	return timed(200, func() error {
		found, err := b.db.ListSessions(ctx, email, after, 101)
		if err == nil && len(found) == 0 {
			err = errors.New("an empty page")
		}
		return err
	})
}

func slideOne(ctx context.Context, b *bench) (string, error) {
	return timed(50, func() error { return slideAll(ctx, b, []auth.Key{b.key()}) })
}

// slideMany slides a tenth of all sessions, at least 400 and at most 100,000, in crowds of a thousand.
func slideMany(ctx context.Context, b *bench) (string, error) {
	keys := b.keys(min(max(b.live/10, 400), 100_000))
	var times []time.Duration
	began := time.Now()
	for rest := keys; len(rest) > 0; {
		some := rest[:min(1000, len(rest))]
		rest = rest[len(some):]
		start := time.Now()
		if err := slideAll(ctx, b, some); err != nil {
			return "", err
		}
		times = append(times, time.Since(start))
	}
	return quantiles(times) + "; " + perSecond(len(keys), time.Since(began)), nil
}

// slideAll slides sessions all at once and counts those that moved: some have been ended before.
func slideAll(ctx context.Context, b *bench, keys []auth.Key) error {
	faults := make([]error, len(keys))
	var moved atomic.Int64
	var all sync.WaitGroup
	for i, k := range keys {
		all.Go(func() {
			var end time.Time
			if end, faults[i] = b.db.Slide(ctx, k, ttl); !end.IsZero() {
				moved.Add(1)
			}
		})
	}
	all.Wait()
	b.slid += int(moved.Load())
	return errors.Join(faults...)
}

// hot reads from Postgres's own counters how many updates touched no index. Its processes report what
// they did only now and then.
func hot(ctx context.Context, b *bench) (string, error) {
	var updates, light int
	for range 150 {
		const count = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'sessions'"
		if err := b.hand.QueryRowContext(ctx, count).Scan(&updates, &light); err != nil {
			return "", err
		}
		if updates >= b.slid {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Sprintf("%.1f %% of %d", 100*float64(light)/float64(max(updates, 1)), updates), nil
}
