package store

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// warm is a Cached before SQLite whose feed runs, and n sessions that it keeps.
func warm(tb testing.TB, n int) (*Cached, []auth.Key) {
	tb.Helper()
	s, err := Open(tb.Context(), Options{Dir: tb.TempDir()})
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.Migrate(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	f := NewFeed(FeedConfig{SQL: s, TTL: 3600e9})
	var hits atomic.Uint64
	c := NewCached(nil, s, f, func() { hits.Add(1) })
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	var running sync.WaitGroup
	running.Go(func() { f.Run(ctx) })
	tb.Cleanup(func() { cancel(); running.Wait(); c.Close(); _ = s.Close() })
	for f.lease.term.Load() == nil {
		if tb.Context().Err() != nil {
			tb.Fatal("no lease")
		}
	}
	keys := make([]auth.Key, n)
	for i := range keys {
		keys[i] = keyIn(byte(i), i)
		one := testSession(keys[i])
		f.tier.put(one, f.lease.term.Load().epoch, always)
	}
	return c, keys
}

// A session that this process keeps costs no allocation: that is most requests.
func TestFindDoesNotAllocate(t *testing.T) {
	c, keys := warm(t, 1)
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := c.Find(t.Context(), keys[0]); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("Find allocates %v times", n)
	}
}

// BenchmarkFind is the look-up of a session that this process keeps: one session again and again, and
// many that no cache of the processor holds.
func BenchmarkFind(b *testing.B) {
	for _, n := range []int{1, 50_000} {
		b.Run(fmt.Sprintf("sessions=%d", n), func(b *testing.B) {
			c, keys := warm(b, n)
			ctx := b.Context()
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				if _, err := c.Find(ctx, keys[i%n]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
