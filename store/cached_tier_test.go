package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// kept looks a live session up and reports whether this process answered by itself.
func (r *replica) kept(t *testing.T, k auth.Key) bool {
	t.Helper()
	before := r.seen.count("process find hit")
	if _, err := r.Find(t.Context(), k); err != nil {
		t.Fatalf("Find: %v", err)
	}
	return r.seen.count("process find hit") > before
}

func TestProcessTier(t *testing.T) {
	t.Parallel()
	benches(t, func(t *testing.T, b bench) {
		r := replicaOf(t, b.SQL, storetest.Redis(t).URL, keys(t))
		alice := signedIn(t, b.SQL, r)
		t.Run("one look-up, and copies share what is built from it", func(t *testing.T) {
			waitFor(t, "it is kept", func() bool { return r.kept(t, alice.Key) })
			below, redis := r.below.Calls(storetest.Find), r.seen.count("redis find hit")+r.seen.count("redis find miss")
			one, err := r.Find(t.Context(), alice.Key)
			two, err2 := r.Find(t.Context(), alice.Key)
			if err != nil || err2 != nil || one.Kept == nil || one.Kept != two.Kept {
				t.Errorf("Find: %v, %v; they share %p and %p", err, err2, one.Kept, two.Kept)
			}
			if n, m := r.below.Calls(storetest.Find), r.seen.count("redis find hit")+r.seen.count("redis find miss"); n != below || m != redis {
				t.Errorf("%d look-ups in the database and %d in Redis for what is kept", n-below, m-redis)
			}
		})
		t.Run("RULE-02/a change of the user is a new snapshot", func(t *testing.T) {
			before, _ := r.Find(t.Context(), alice.Key)
			b.exec(t, "UPDATE users SET roles = 'admin'")
			waitFor(t, "the new role is seen", func() bool {
				s, err := r.Find(t.Context(), alice.Key)
				return err == nil && s.User.Roles[0] == "admin" && s.Kept != before.Kept
			})
		})
		t.Run("RULE-01/End here is at once", func(t *testing.T) {
			one := storetest.NewSession(alice.User)
			if err := r.Create(t.Context(), one); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "it is kept", func() bool { return r.kept(t, one.Key) })
			if err := r.End(t.Context(), one.Key); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Find(t.Context(), one.Key); !errors.Is(err, auth.ErrNoSession) {
				t.Errorf("Find: %v, want ErrNoSession", err)
			}
		})
		t.Run("RULE-01/a DELETE by hand", func(t *testing.T) {
			waitFor(t, "it is kept", func() bool { return r.kept(t, alice.Key) })
			b.exec(t, "DELETE FROM sessions")
			waitFor(t, "it is refused", func() bool {
				_, err := r.Find(t.Context(), alice.Key)
				return errors.Is(err, auth.ErrNoSession)
			})
		})
	})
}

// A slide moves the end that this process sees, and meets the database once.
func TestProcessTierSlides(t *testing.T) {
	t.Parallel()
	b := liteBench(t)
	r := replicaOf(t, b.SQL, storetest.Redis(t).URL, keys(t))
	alice := signedIn(t, b.SQL, r, func(s *auth.Session) { s.ExpiresAt = s.CreatedAt.Add(30 * time.Minute) })
	waitFor(t, "Redis has it", func() bool { return r.hit(t, alice.Key) })
	t.Run("RULE-05/the moved end is seen", func(t *testing.T) {
		if err := r.Touch(t.Context(), alice.Key, time.Hour); err != nil {
			t.Fatal(err)
		}
		slid, err := r.Find(t.Context(), alice.Key)
		if err != nil || slid.ExpiresAt.Sub(alice.CreatedAt) < time.Hour {
			t.Errorf("Find: ends %v after it was made, %v; want an hour", slid.ExpiresAt.Sub(alice.CreatedAt), err)
		}
		if !r.kept(t, alice.Key) {
			t.Error("it is not kept")
		}
	})
	t.Run("RULE-05/a slide that meets no row", func(t *testing.T) {
		gone := storetest.NewSession(alice.User)
		if err := r.Create(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "it is kept", func() bool { return r.kept(t, gone.Key) })
		// It vanishes, and nobody tells: the trigger takes it for one that was over long ago.
		b.exec(t, "DROP TRIGGER gate_sessions_ended")
		b.exec(t, "DELETE FROM sessions")
		if !r.kept(t, gone.Key) {
			t.Fatal("it was heard of")
		}
		if err := r.Touch(t.Context(), gone.Key, time.Hour); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Find(t.Context(), gone.Key); !errors.Is(err, auth.ErrNoSession) {
			t.Errorf("Find: %v, want ErrNoSession", err)
		}
	})
}

// While the database cannot be asked this process answers for whom it knows, for as long as nothing can
// have been ended unheard; then it says that it could not find out.
func TestProcessTierOutage(t *testing.T) {
	t.Parallel()
	server := storetest.Postgres(t)
	b := pgBench(t, server.URL)
	r := replicaOf(t, b.SQL, "", nil)
	alice := signedIn(t, b.SQL, r, func(s *auth.Session) { s.ExpiresAt = s.CreatedAt.Add(time.Hour) })
	short := storetest.NewSession(alice.User)
	short.ExpiresAt = short.CreatedAt.Add(time.Second)
	if err := r.Create(t.Context(), short); err != nil {
		t.Fatal(err)
	}
	for _, one := range []auth.Session{alice, short} {
		waitFor(t, "it is kept", func() bool { return r.kept(t, one.Key) })
	}
	server.Freeze()
	frozen := time.Now()
	t.Run("RULE-05/a kept idle end is not absence", func(t *testing.T) {
		time.Sleep(time.Until(short.ExpiresAt))
		if _, err := r.Find(t.Context(), short.Key); err == nil || errors.Is(err, auth.ErrNoSession) {
			t.Errorf("Find: %v, want could not find out", err)
		}
	})
	t.Run("RULE-04/no answer after three seconds", func(t *testing.T) {
		for {
			asked := time.Now()
			_, err := r.Find(t.Context(), alice.Key)
			if errors.Is(err, auth.ErrNoSession) {
				t.Fatal("could not find out became absence")
			}
			if err != nil {
				break
			}
			if asked.Sub(frozen) > 3*time.Second {
				t.Fatalf("still answered %v after the database froze", asked.Sub(frozen))
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	server.Thaw()
	t.Run("ST-07/the same session is found again", func(t *testing.T) {
		waitFor(t, "it is kept again", func() bool {
			before := r.seen.count("process find hit")
			_, err := r.Find(t.Context(), alice.Key)
			return err == nil && r.seen.count("process find hit") > before
		})
	})
}

// RULE-04: who answers must be the server that takes the sign-outs. What a pool or an address that
// moves may put behind our connection is played by functions of the same names that come first.
func TestFeedElsewhere(t *testing.T) {
	t.Parallel()
	server := storetest.Postgres(t)
	b := pgBench(t, server.URL)
	for _, statement := range []string{
		"CREATE TABLE fake (standby boolean, started timestamptz)",
		"INSERT INTO fake VALUES (false, '2026-01-01')",
		"CREATE FUNCTION public.pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT standby FROM public.fake'",
		"CREATE FUNCTION public.pg_postmaster_start_time() RETURNS timestamptz LANGUAGE sql AS 'SELECT started FROM public.fake'",
		"ALTER DATABASE postgres SET search_path = public, pg_catalog",
	} {
		b.exec(t, statement)
	}
	s := open(t, store.Options{Database: server.URL})
	r := replicaOf(t, s, "", nil)
	alice := signedIn(t, s, r)
	waitFor(t, "it is kept", func() bool { return r.kept(t, alice.Key) })
	lapses := func(t *testing.T, below bool) {
		t.Helper()
		waitFor(t, "the lease lapses", func() bool { return !r.feed.Leased() })
		before := r.seen.count("process find hit")
		for range 2 {
			if _, err := r.Find(t.Context(), alice.Key); (err == nil) != below || errors.Is(err, auth.ErrNoSession) {
				t.Errorf("Find below: %v", err)
			}
		}
		if r.seen.count("process find hit") != before {
			t.Error("the process answers by itself")
		}
	}
	recovers := func(t *testing.T) {
		t.Helper()
		waitFor(t, "it is kept again", func() bool { return r.kept(t, alice.Key) })
	}
	t.Run("RULE-04/a standby does not vouch", func(t *testing.T) {
		b.exec(t, "UPDATE fake SET standby = true")
		lapses(t, false)
		b.exec(t, "UPDATE fake SET standby = false")
		recovers(t)
	})
	t.Run("RULE-04/another database does not vouch", func(t *testing.T) {
		b.exec(t, "UPDATE install SET id = 'x' || id")
		lapses(t, true)
		b.exec(t, "UPDATE install SET id = substr(id, 2)")
		recovers(t)
	})
	t.Run("RULE-01/another server: the whole window is read", func(t *testing.T) {
		// What it has, the first one had not, and the numbers of its transactions are lower.
		b.exec(t, "BEGIN; UPDATE fake SET started = now(); INSERT INTO revocations (token_hash, xact) VALUES (decode('"+alice.Key.String()+"', 'hex'), '3'); COMMIT")
		waitFor(t, "it is heard", func() bool { return r.feed.Revoked(alice.Key) })
	})
}
