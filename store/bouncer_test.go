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
	url := storetest.Bouncer(t, server)
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
