package store_test

import (
	"errors"
	"testing"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// A pool that hands each transaction another connection does no harm: nothing is prepared by name,
// no lock and no setting belongs to a session, and LISTEN goes past it.
func TestPgbouncer(t *testing.T) {
	t.Parallel()
	server := storetest.Postgres(t)
	url := storetest.Bouncer(t, server).URL
	t.Run("RULE-28/pgbouncer", func(t *testing.T) {
		s := open(t, store.Options{Database: url, ListenURL: server.URL})
		r := replicaOf(t, s, storetest.Redis(t).URL, keys(t))
		alice := signedIn(t, s, r)
		account, err := s.AddUser(t.Context(), "bob@corp.test", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		bob := storetest.NewSession(account.User)
		if err := r.Create(t.Context(), bob); err != nil {
			t.Fatal(err)
		}
		hangUps(t, s, []auth.Session{alice, bob}, 20)
		waitFor(t, "the session is cached", func() bool { return r.hit(t, alice.Key) })
		if n, err := s.EndSessions(t.Context(), "alice@corp.test"); err != nil || n != 1 {
			t.Fatalf("EndSessions = %d, %v", n, err)
		}
		waitFor(t, "it is heard", func() bool { return r.feed.Revoked(alice.Key) })
		if _, err := r.Find(t.Context(), alice.Key); !errors.Is(err, auth.ErrNoSession) {
			t.Errorf("Find: %v, want ErrNoSession", err)
		}
	})
}

// The pool may come to a standby, by a name that is moved a moment too early, and its clients hear nothing
// of it. What a standby says of a session is out of date in either direction, so it is no answer (RULE-05,
// RULE-06).
func TestPgbouncerMovesToStandby(t *testing.T) {
	t.Parallel()
	pair := storetest.Replicated(t)
	bouncer := storetest.Bouncer(t, pair.Primary)
	s := open(t, store.Options{Database: bouncer.URL, ListenURL: pair.Primary.URL})
	account, err := s.AddUser(t.Context(), "alice@corp.test", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	old, ended, young := storetest.NewSession(account.User), storetest.NewSession(account.User), storetest.NewSession(account.User)
	for _, one := range []auth.Session{old, ended} {
		if err := s.Create(t.Context(), one); err != nil {
			t.Fatal(err)
		}
	}
	pair.Lag()
	if err := s.Create(t.Context(), young); err != nil {
		t.Fatal(err)
	}
	if err := s.End(t.Context(), ended.Key); err != nil {
		t.Fatal(err)
	}
	bouncer.Move(pair.Standby)
	waitFor(t, "a standby answers", func() bool {
		_, err := s.Find(t.Context(), old.Key)
		return err != nil
	})
	for name, k := range map[string]auth.Key{
		"RULE-06/one that has ended since": ended.Key,
		"RULE-05/one that was made since":  young.Key,
		"RULE-05/one that is live":         old.Key,
	} {
		if _, err := s.Find(t.Context(), k); err == nil || errors.Is(err, auth.ErrNoSession) {
			t.Errorf("%s: Find: %v, want neither yes nor no", name, err)
		}
	}
	bouncer.Move(pair.Primary)
	waitFor(t, "the primary answers", func() bool {
		_, err := s.Find(t.Context(), young.Key)
		return err == nil
	})
	if _, err := s.Find(t.Context(), ended.Key); !errors.Is(err, auth.ErrNoSession) {
		t.Errorf("Find: %v, want ErrNoSession", err)
	}
}
