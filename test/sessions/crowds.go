package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store"
)

// listener is the feed of a replica, which counts what it hears.
type listener struct {
	feed   *store.Feed
	count  atomic.Int64
	lost   atomic.Int64
	due    int64 // how many revocations there have been
	since  time.Time
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// listen starts the feed of a replica and waits until it has read what there is.
func (b *bench) listen(ctx context.Context) *listener {
	l := &listener{}
	l.feed = store.NewFeed(store.FeedConfig{
		SQL: b.db, TTL: ttl, On: func(auth.Key) { l.count.Add(1) }, OnAll: func() { l.lost.Add(1) },
	})
	ctx, l.cancel = context.WithCancel(ctx)
	l.done.Go(func() { l.feed.Run(ctx) })
	for ctx.Err() == nil && !l.feed.Vouches() {
		time.Sleep(time.Millisecond)
	}
	l.due = l.count.Load()
	return l
}

func (l *listener) stop() {
	l.cancel()
	l.done.Wait()
}

// sweep goes through the whole table; what was over is gone.
func sweep(ctx context.Context, b *bench) (string, error) {
	began := time.Now()
	removed, err := b.db.Sweep(ctx, ttl)
	if err == nil && removed != b.rows/overEach {
		err = fmt.Errorf("%d sessions removed, want %d", removed, b.rows/overEach)
	}
	return perSecond(b.rows, time.Since(began)) + fmt.Sprintf(", %d of them removed", removed), err
}

// sweepStep times a sweep that finds nothing, which is what it mostly does, less its pauses: half.
func sweepStep(ctx context.Context, b *bench) (string, error) {
	began := time.Now()
	_, err := b.db.Sweep(ctx, ttl)
	return brief(time.Since(began)/time.Duration(b.live/1000+1)) + " a step, pauses included", err
}

func disable(ctx context.Context, b *bench) (string, error) {
	b.heard = b.listen(ctx)
	began := time.Now()
	ended, err := b.db.DisableUser(ctx, crowd)
	b.heard.due, b.heard.since = b.heard.due+int64(ended), time.Now()
	return perSecond(ended, time.Since(began)), err
}

// endAll ends all sessions, in steps, and keeps how long each took.
func endAll(ctx context.Context, b *bench) (string, error) {
	began, ended := time.Now(), 0
	last := began
	for n, err := range b.db.EndingSessions(ctx, "") {
		if err != nil {
			return "", err
		}
		ended += n
		b.steps = append(b.steps, time.Since(last))
		last = time.Now()
	}
	b.heard.due, b.heard.since = b.heard.due+int64(ended), last
	return perSecond(ended, last.Sub(began)), nil
}

func endAllSteps(_ context.Context, b *bench) (string, error) { return quantiles(b.steps), nil }

// hear waits until the feed has heard of every session that ended, and tells how long after the last of
// them that was. Meanwhile it must not lose its place, nor stop vouching for what Redis says.
func hear(ctx context.Context, b *bench) (string, error) {
	limit, silent := time.Now().Add(2*time.Minute), 0
	for b.heard.count.Load() < b.heard.due {
		if !b.heard.feed.Vouches() {
			silent++
		}
		if time.Now().After(limit) || ctx.Err() != nil {
			return fmt.Sprintf("never: %d of %d heard, did not vouch %d ms", b.heard.count.Load(), b.heard.due, silent), ctx.Err()
		}
		time.Sleep(time.Millisecond)
	}
	text := brief(time.Since(b.heard.since)) + " after"
	if n := b.deaf.Swap(0); n > 0 {
		text += fmt.Sprintf(", %d polls failed", n)
	}
	if silent > 0 || b.heard.lost.Load() > 0 {
		text += fmt.Sprintf(", did not vouch %d ms, lost its place %d times", silent, b.heard.lost.Load())
	}
	return text, nil
}
