package store

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// TestStress is TestModel's law where everything runs at once, for the race detector: what was ended,
// and was heard of, is not found by a Find that begins afterwards; what nobody ended is not absent.
func TestStress(t *testing.T) {
	t.Parallel()
	db := &ledgerless{Memory: storetest.NewMemory(t)}
	user, err := db.AddUser(t.Context(), "alice@corp.test", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	f := NewFeed(FeedConfig{TTL: time.Hour})
	var hits atomic.Int64
	c := NewCached(nil, db, f, func() { hits.Add(1) })
	var seats [8]atomic.Pointer[seat]
	sit := func(n int) {
		s := storetest.NewSession(user)
		if err := c.Create(t.Context(), s); err != nil {
			t.Error(err)
		}
		seats[n].Store(&seat{key: s.Key})
	}
	for n := range seats {
		sit(n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				find(t, c, seats[rand.IntN(len(seats))].Load())
			}
		})
	}
	for n := range seats { // each seat has one who ends its session, here or elsewhere
		all.Go(func() {
			for ctx.Err() == nil {
				time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
				one := seats[n].Load()
				one.ending.Store(true)
				if rand.IntN(2) == 0 {
					_ = c.End(t.Context(), one.key)
					one.ended.Store(true)
				} else {
					db.endElsewhere(t.Context(), one)
				}
				sit(n)
			}
		})
	}
	all.Go(func() {
		for place := 0; ctx.Err() == nil; time.Sleep(200 * time.Microsecond) {
			place = db.poll(f, place)
		}
	})
	all.Wait()
	c.Close()
	if hits.Load() == 0 {
		t.Error("the process tier never answered")
	}
}

// seat is where one session sits after another.
type seat struct {
	key           auth.Key
	ending, ended atomic.Bool // its end has begun; has become known to the replica
}

func find(t *testing.T, c *Cached, one *seat) {
	ended := one.ended.Load()
	s, err := c.Find(t.Context(), one.key)
	switch {
	case err == nil && (ended || s.Key != one.key):
		t.Error("a session was found after its end")
	case errors.Is(err, auth.ErrNoSession) && !one.ending.Load():
		t.Error("a live session was reported absent")
	}
}

// ledgerless is a database without a table of revocations: what ended elsewhere is in a list.
type ledgerless struct {
	*storetest.Memory

	mu    sync.Mutex
	ended []*seat
}

// Find takes its time after the reading.
func (l *ledgerless) Find(ctx context.Context, k auth.Key) (auth.Session, error) {
	s, err := l.Memory.Find(ctx, k)
	for range rand.IntN(20) {
		runtime.Gosched()
	}
	return s, err
}

func (l *ledgerless) endElsewhere(ctx context.Context, one *seat) {
	_ = l.End(ctx, one.key)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = append(l.ended, one)
}

// poll reads on from a place, and fails now and then.
func (l *ledgerless) poll(f *Feed, place int) int {
	sent := time.Now()
	if rand.IntN(20) == 0 {
		f.miss(errLate)
		return 0
	}
	l.mu.Lock()
	fresh, upTo := l.ended[place:], len(l.ended)
	l.mu.Unlock()
	found := tidings{anew: place == 0}
	for n, one := range fresh {
		found.rows = append(found.rows, revocation{id: int64(place + n), key: one.key})
	}
	f.learn(context.Background(), found, sent)
	for _, one := range fresh {
		one.ended.Store(true)
	}
	return upTo
}
