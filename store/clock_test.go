package store

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// timeless runs a test on SQLite with a clock that goes only while everybody waits.
func timeless(t *testing.T, test func(t *testing.T, s *SQL)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(t.Context(), Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		test(t, s)
	})
}

// aside runs f beside the test, and waits for its end.
func aside(t *testing.T, f func(context.Context)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { f(ctx) })
	return sync.OnceFunc(func() { cancel(); running.Wait() })
}

// RULE-05: an outage leaves the rows in peace for a session's length, a hang no less than a refusal.
func TestSweeperAfterOutage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		away time.Duration
		left int64 // half an hour after the session was over
	}{
		"RULE-05/no outage": {away: 0, left: 0},
		"RULE-05/outage":    {away: 3 * time.Minute, left: 1},
	} {
		t.Run(name, func(t *testing.T) {
			timeless(t, func(t *testing.T, s *SQL) {
				account, err := s.AddUser(t.Context(), "alice@corp.test", "", nil)
				if err != nil {
					t.Fatal(err)
				}
				made := storetest.NewSession(account.User)
				made.ExpiresAt = made.CreatedAt.Add(time.Minute)
				if err := s.Create(t.Context(), made); err != nil {
					t.Fatal(err)
				}
				defer aside(t, func(ctx context.Context) { s.RunSweeper(ctx, time.Hour) })()
				hang(t, s, c.away)
				time.Sleep(31*time.Minute - c.away)
				if n := sessionRows(t, s); n != c.left {
					t.Errorf("%d rows after half an hour, want %d", n, c.left)
				}
				time.Sleep(time.Hour)
				if n := sessionRows(t, s); n != 0 {
					t.Errorf("%d rows in the end, want none", n)
				}
			})
		})
	}
}

// hang takes the one connection there is, so that the database seems to hang for d.
func hang(t *testing.T, s *SQL, d time.Duration) {
	t.Helper()
	s.db.SetMaxOpenConns(1)
	if d == 0 {
		return
	}
	conn, err := s.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(d)
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
}

func sessionRows(t *testing.T, s *SQL) int64 {
	t.Helper()
	n, err := s.db.NewSelect().Table("sessions").Count(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// RULE-04: who was stopped has heard nothing, and must read before it vouches again.
func TestPulse(t *testing.T) {
	t.Parallel()
	timeless(t, func(t *testing.T, s *SQL) {
		f := NewFeed(FeedConfig{SQL: s, TTL: time.Hour})
		defer f.ledger.close()
		vouches := func(when string, want bool) {
			t.Helper()
			if got := f.Vouches(); got != want {
				t.Errorf("%s: vouches = %v, want %v", when, got, want)
			}
		}
		vouches("RULE-04/before the first poll", false)
		f.poll(t.Context())
		vouches("RULE-04/after a poll", true)
		time.Sleep(pulse - time.Millisecond)
		vouches("RULE-04/a slow poll", true)
		time.Sleep(time.Millisecond)
		vouches("RULE-04/stopped", false)
		f.poll(t.Context())
		vouches("RULE-04/awake again", true)

		gone, cancel := context.WithCancel(t.Context())
		cancel()
		time.Sleep(pulse)
		f.poll(gone) // fails: the process is awake, and what was read is not too old yet
		vouches("RULE-05/the database is away", true)
		time.Sleep(maxUnverified - pulse)
		f.poll(gone)
		vouches("RULE-05/for too long", false)
	})
}

// RULE-04: a suspended machine's monotonic clock stands still, and a wall clock may be set.
func TestElapsed(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, c := range map[string]struct{ monotonic, wall, want time.Duration }{
		"RULE-04/both alike":          {time.Second, time.Second, time.Second},
		"RULE-04/suspended":           {time.Second, time.Hour, time.Hour},
		"RULE-04/wall clock put back": {time.Second, -time.Hour, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			from := now.Add(-c.monotonic)
			from = otherWall(t, from, c.monotonic-c.wall)
			if got := elapsed(from, now); got != c.want {
				t.Errorf("elapsed = %v, want %v", got, c.want)
			}
		})
	}
	t.Run("RULE-04/does not vouch", func(t *testing.T) {
		f := NewFeed(FeedConfig{TTL: time.Hour})
		f.read, f.tried = time.Now(), time.Now()
		if !f.Vouches() {
			t.Fatal("does not vouch at once")
		}
		f.tried = otherWall(t, f.tried, -time.Minute)
		if f.Vouches() {
			t.Error("vouches though the machine was suspended for a minute")
		}
	})
}

// otherWall moves the wall clock's part of a time by whole seconds, which package time offers no way
// to do: it is in the bits of the first word that lie above the 30 of the nanoseconds.
func otherWall(t *testing.T, at time.Time, d time.Duration) time.Time {
	t.Helper()
	moved := at
	*(*uint64)(unsafe.Pointer(&moved)) += uint64(d/time.Second) << 30
	if moved.Round(0).Sub(at.Round(0)) != d || moved.Sub(at) != 0 {
		t.Fatalf("package time keeps a time in another way: moved by %v and %v", moved.Round(0).Sub(at.Round(0)), moved.Sub(at))
	}
	return moved
}

// following starts a feed that follows a bell, and counts its polls.
func following(t *testing.T, s *SQL) (polls *int, bell chan struct{}, stop func()) {
	t.Helper()
	polls, bell = new(int), make(chan struct{}, 1)
	s.observe = func(tier, _, _ string, _ time.Duration) {
		if tier == "feed" {
			*polls++
		}
	}
	f := NewFeed(FeedConfig{SQL: s, TTL: time.Hour})
	return polls, bell, aside(t, func(ctx context.Context) { f.follow(ctx, bell) })
}

// RULE-03: who may NOTIFY cannot make a replica read the table without a pause.
func TestNotifyStorm(t *testing.T) {
	t.Parallel()
	timeless(t, func(t *testing.T, s *SQL) {
		polls, bell, stop := following(t, s)
		for range 2000 {
			ring(bell)
			time.Sleep(500 * time.Microsecond)
		}
		stop()
		if *polls < 50 || *polls > 110 {
			t.Errorf("%d polls in a second, want about a hundred", *polls)
		}
	})
}

// RULE-01: a revocation that comes right behind a tick is heard at once.
func TestBellBehindTick(t *testing.T) {
	t.Parallel()
	timeless(t, func(t *testing.T, s *SQL) {
		polls, bell, stop := following(t, s)
		time.Sleep(pollEvery + time.Microsecond)
		synctest.Wait()
		before := *polls
		ring(bell)
		synctest.Wait()
		if *polls != before+1 {
			t.Errorf("%d polls after the tick, %d after the bell, want one more", before, *polls)
		}
		stop()
	})
}
