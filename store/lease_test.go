package store

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// RULE-04: the lease runs from the sending of a poll, and a gap begins another epoch.
func TestLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l lease
		want := func(when string, epoch uint64) {
			t.Helper()
			if got := l.epoch(time.Now()); got != epoch {
				t.Errorf("%s: epoch %d, want %d", when, got, epoch)
			}
		}
		// poll is one that came back after it took so long.
		poll := func(took time.Duration) {
			sent := time.Now()
			time.Sleep(took)
			l.extend(sent, time.Now())
		}
		want("before the first poll", 0)
		poll(time.Second)
		want("after a poll", 1)
		time.Sleep(leaseTime - time.Second - time.Nanosecond)
		want("the lease after it was sent, all but", 1)
		time.Sleep(time.Nanosecond)
		want("the lease after it was sent", 0)
		poll(0)
		want("after a gap", 2)
		time.Sleep(pollEvery)
		poll(pollLimit - time.Millisecond)
		want("a slow poll within the lease", 2)
		poll(pollEvery + time.Millisecond)
		want("a poll that came back after the lease had lapsed", 3)
		l.sever(nil)
		want("a broken run, lived out", 3)
		poll(0)
		want("the next one", 4)
		poll(0)
		want("and on", 4)
		poll(leaseTime)
		want("a poll older than the lease", 0)
	})
}

// RULE-04: a suspended machine's monotonic clock stands still, and a wall clock may be set.
func TestLeaseClocks(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		monotonic, wall time.Duration // since the poll was sent
		want            bool
	}{
		"RULE-04/awake":                      {time.Second, time.Second, true},
		"RULE-04/suspended for a while":      {time.Second, time.Hour, false},
		"RULE-04/suspended for the lease":    {0, 3 * time.Second, false},
		"RULE-04/clock put back a little":    {time.Second, -time.Second, true},
		"RULE-04/clock put back by an hour":  {time.Second, -time.Hour, false},
		"RULE-04/suspended, and put back":    {time.Second, -2 * time.Second, false},
		"RULE-04/clock put forward by a day": {0, 24 * time.Hour, false},
		"RULE-04/the lease by both clocks":   {leaseTime, leaseTime, false},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			var l lease
			sent := otherWall(t, now.Add(-c.monotonic), c.monotonic-c.wall)
			l.extend(sent, sent)
			if got := l.epoch(now) != 0; got != c.want {
				t.Errorf("may answer: %v, want %v", got, c.want)
			}
			// Whoever wakes up must not go on where the lease was.
			l.extend(now, now)
			if again := l.epoch(now); (again == 1) != c.want {
				t.Errorf("the next poll goes on in epoch %d", again)
			}
		})
	}
}

// A poll extends the lease when it came back; a failed one lets it run out, and what was kept before
// it is not answered from afterwards.
func TestFeedLease(t *testing.T) {
	t.Parallel()
	timeless(t, func(t *testing.T, s *SQL) {
		made := liveSession(t, s)
		f := NewFeed(FeedConfig{SQL: s, TTL: time.Hour})
		defer f.ledger.close()
		c := NewCached(nil, s, f, nil)
		defer c.Close()
		kept := func(when string, want bool) {
			t.Helper()
			now := time.Now()
			if got := f.tier.get(made.Key, f.lease.epoch(now), now) != nil; got != want {
				t.Errorf("%s: kept is %v, want %v", when, got, want)
			}
		}
		find := func() {
			t.Helper()
			if _, err := c.Find(t.Context(), made.Key); err != nil {
				t.Fatalf("Find: %v", err)
			}
		}
		lapsed := func(when string, want error) {
			t.Helper()
			if got := f.Lapsed(); !errors.Is(got, want) {
				t.Errorf("%s: lapsed because of %v, want %v", when, got, want)
			}
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()

		find()
		lapsed("before the first poll", errLate)
		kept("RULE-01/before the first poll", false)
		f.poll(t.Context())
		find()
		kept("RULE-04/within the lease", true)
		f.poll(gone)
		kept("RULE-04/a poll that failed: the lease is lived out", true)
		lapsed("a poll that failed: the lease is lived out", nil)
		f.poll(t.Context())
		kept("RULE-04/after the gap", false)
		find()
		kept("RULE-04/asked again", true)
		time.Sleep(leaseTime)
		kept("RULE-04/lapsed", false)
		lapsed("no poll at all", errLate)
		f.poll(gone)
		lapsed("the last poll failed", context.Canceled)
		find()
		f.poll(t.Context())
		kept("RULE-04/what was asked while it had lapsed", false)
		find()
		kept("RULE-04/and from then on", true)
		if !f.Vouches() {
			t.Error("does not vouch for Redis")
		}
	})
}

// What was loaded before a revocation was heard, or in another epoch, is not kept.
func TestHolds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		meanwhile func(*Feed, auth.Key)
		want      bool
	}{
		"nothing happened":               {func(*Feed, auth.Key) {}, true},
		"another key was revoked":        {func(f *Feed, _ auth.Key) { f.hear(auth.Key{1}) }, true},
		"the lease was extended":         {func(f *Feed, _ auth.Key) { f.lease.extend(time.Now(), time.Now()) }, true},
		"RULE-01/it was revoked":         {func(f *Feed, k auth.Key) { f.hear(k) }, false},
		"RULE-03/everything was revoked": {func(f *Feed, _ auth.Key) { f.take(tidings{rewound: true}, time.Now()) }, false},
		"RULE-04/the run was broken": {func(f *Feed, _ auth.Key) {
			f.lease.sever(nil)
			f.lease.extend(time.Now(), time.Now())
		}, false},
		"RULE-04/it lapsed": {func(*Feed, auth.Key) { time.Sleep(leaseTime) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f, k := NewFeed(FeedConfig{TTL: time.Hour}), auth.Key{2}
				f.lease.extend(time.Now(), time.Now())
				asked := f.asking(k)
				c.meanwhile(f, k)
				s := testSession(k)
				f.tier.put(s, asked.epoch, func() bool { return f.holds(k, asked) })
				now := time.Now()
				if got := f.tier.get(k, f.lease.epoch(now), now) != nil; got != c.want {
					t.Errorf("kept: %v, want %v", got, c.want)
				}
			})
		})
	}
}

// RULE-03: after the database was put back to an earlier state, Redis may have sessions that it never
// had, and whose end nobody could tell.
func TestRewound(t *testing.T) {
	t.Parallel()
	timeless(t, func(t *testing.T, s *SQL) {
		// By hand, for the trigger's clock is SQLite's own.
		if _, err := s.db.ExecContext(t.Context(), "INSERT INTO revocations (token_hash, at) VALUES (x'00', 0)"); err != nil {
			t.Fatal(err)
		}
		f := NewFeed(FeedConfig{SQL: s, TTL: time.Hour})
		defer f.ledger.close()
		f.poll(t.Context())
		if _, err := s.db.ExecContext(t.Context(), "UPDATE sqlite_sequence SET seq = 0 WHERE name = 'revocations'"); err != nil {
			t.Fatal(err)
		}
		// An outage lies between, as it would: the place is forgotten, and still it is noticed.
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		f.poll(gone)
		f.poll(t.Context())
		if f.Vouches() {
			t.Error("RULE-03: vouches for Redis at once")
		}
		time.Sleep(maxCached + time.Second)
		f.poll(t.Context())
		if !f.Vouches() {
			t.Error("RULE-03: does not vouch when Redis has nothing left from before")
		}
	})
}

// RULE-03: whoever deletes a great many sessions in one transaction makes a reading that takes longer
// than any poll may. It is read to its end as long as rows are coming, or nothing would be heard for an
// hour.
func TestGreatMany(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	const many = 200_000
	if _, err := s.db.ExecContext(t.Context(), `INSERT INTO revocations (token_hash, at)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
SELECT CAST(printf('%032d', i) AS blob), CAST(strftime('%s', 'now') AS integer) * 1000000 FROM n`, many); err != nil {
		t.Fatal(err)
	}
	read := func(limit time.Duration) time.Duration {
		l := &ledger{sql: s, window: time.Hour, limit: limit}
		defer l.close()
		begun := time.Now()
		found, err := l.read(t.Context())
		if err != nil || len(found.rows) != many {
			t.Fatalf("RULE-03: %d rows, %v, with a limit of %v", len(found.rows), err, limit)
		}
		return time.Since(begun)
	}
	read(read(time.Minute) / 2)
}

// liveSession makes a user and a session of his.
func liveSession(t *testing.T, s *SQL) auth.Session {
	t.Helper()
	account, err := s.AddUser(t.Context(), "alice@corp.test", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	made := testSession(auth.Key{7})
	made.User = account.User
	if err := s.Create(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	return made
}

func testSession(k auth.Key) auth.Session {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return auth.Session{Key: k, User: auth.User{ID: 1, Email: "alice@corp.test"}, CreatedAt: now, ExpiresAt: now.Add(time.Hour), EndsAt: now.Add(12 * time.Hour)}
}
