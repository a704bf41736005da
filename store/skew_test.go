package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// ST-08: replicas whose clocks differ share a database. What the other one writes is what we would,
// but for the times, so it is written here with times that are off, in both directions.
func TestSkew(t *testing.T) {
	t.Parallel()
	dialects(t, func(t *testing.T, fresh func(*testing.T) *store.SQL) {
		server := storetest.Redis(t)
		for name, skew := range map[string]time.Duration{
			"ST-08/made by a fast clock": 90 * time.Second,
			"ST-08/made by a slow clock": -90 * time.Second,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := fresh(t)
				r := replicaOf(t, s, server.URL, keys(t))
				alice := signedIn(t, s, r, shifted(skew))
				t.Run("usable at once, and again", func(t *testing.T) {
					for range 3 {
						length(t, r, alice.Key, time.Hour, skew)
					}
					waitFor(t, "the session is cached", func() bool { return r.hit(t, alice.Key) })
				})
				t.Run("a slide", func(t *testing.T) { skewedSlide(t, s, r, alice, skew) })
				t.Run("a logout is heard", func(t *testing.T) { skewedEnd(t, s, r, server.URL, alice, skew) })
			})
		}
	})
}

// shifted makes a session as a replica would whose clock is off.
func shifted(skew time.Duration) func(*auth.Session) {
	return func(s *auth.Session) {
		s.CreatedAt, s.ExpiresAt, s.EndsAt = s.CreatedAt.Add(skew), s.ExpiresAt.Add(skew), s.EndsAt.Add(skew)
	}
}

// length looks that a session has left what is due, wrong by no more than the skew and what a busy
// machine takes.
func length(t *testing.T, r auth.Sessions, k auth.Key, due, skew time.Duration) {
	t.Helper()
	s, err := r.Find(t.Context(), k)
	if err != nil {
		t.Fatalf("Find: %v", err)
	}
	if off := time.Until(s.ExpiresAt) - due; off.Abs() > skew.Abs()+time.Minute {
		t.Errorf("the idle end is wrong by %v, want no more than %v", off, skew.Abs())
	}
	if off := time.Until(s.EndsAt) - 12*time.Hour; off.Abs() > skew.Abs()+time.Minute {
		t.Errorf("the absolute end is wrong by %v, want no more than %v", off, skew.Abs())
	}
}

// skewedSlide moves the end of a session that the other replica made half an hour ago: once, and to
// our hour, and never earlier than the other one's.
func skewedSlide(t *testing.T, s *store.SQL, r *replica, alice auth.Session, skew time.Duration) {
	t.Helper()
	old := storetest.NewSession(alice.User)
	shifted(skew)(&old)
	old.CreatedAt, old.ExpiresAt = old.CreatedAt.Add(-time.Hour/2), old.ExpiresAt.Add(-time.Hour/2)
	if err := r.Create(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	for _, k := range []auth.Key{old.Key, alice.Key} {
		if err := s.Touch(t.Context(), k, time.Hour); err != nil {
			t.Fatal(err)
		}
		length(t, s, k, time.Hour, skew)
		before, _ := s.Find(t.Context(), k)
		if err := s.Touch(t.Context(), k, time.Hour); err != nil {
			t.Fatal(err)
		}
		if after, err := s.Find(t.Context(), k); err != nil || !after.ExpiresAt.Equal(before.ExpiresAt) {
			t.Errorf("a second slide moved the end by %v, %v", after.ExpiresAt.Sub(before.ExpiresAt), err)
		}
	}
}

// skewedEnd ends the session while by one clock it is over and by another it is not; every replica
// that may have a copy must hear of it, one that starts afterwards too.
func skewedEnd(t *testing.T, s *store.SQL, r *replica, url string, alice auth.Session, skew time.Duration) {
	t.Helper()
	edge := storetest.NewSession(alice.User)
	edge.CreatedAt = edge.CreatedAt.Add(-time.Hour)
	edge.ExpiresAt = edge.CreatedAt.Add(time.Hour - skew.Abs())
	if err := s.Create(t.Context(), edge); err != nil {
		t.Fatal(err)
	}
	for _, one := range []auth.Session{alice, edge} {
		if err := s.End(t.Context(), one.Key); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "it is heard", func() bool { return r.feed.Revoked(one.Key) })
		if _, err := r.Find(t.Context(), one.Key); !errors.Is(err, auth.ErrNoSession) {
			t.Errorf("Find: %v, want ErrNoSession", err)
		}
		if late := replicaOf(t, s, url, keys(t)); !late.feed.Revoked(one.Key) {
			t.Error("a replica that starts late has not heard of it")
		}
	}
}
