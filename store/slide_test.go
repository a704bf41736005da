package store_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// counted opens a database that counts its statements of a kind.
func counted(t *testing.T, o store.Options, op string) (s *store.SQL, statements *atomic.Int64) {
	t.Helper()
	statements = new(atomic.Int64)
	o.Observe = func(_, what, _ string, _ time.Duration) {
		if what == op {
			statements.Add(1)
		}
	}
	return open(t, o), statements
}

func TestSlide(t *testing.T) {
	t.Parallel()
	for name, place := range map[string]func(t *testing.T) store.Options{
		"sqlite":   func(t *testing.T) store.Options { return store.Options{Dir: t.TempDir()} },
		"postgres": func(t *testing.T) store.Options { return store.Options{Database: storetest.Postgres(t).URL} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, statements := counted(t, place(t), "touch")
			account, err := s.AddUser(t.Context(), "alice@corp.test", "", nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Run("RULE-05/it tells whether the row moved", func(t *testing.T) { slideTells(t, s, account.User) })
			t.Run("many in few statements", func(t *testing.T) { slideMany(t, s, account.User, statements) })
		})
	}
}

// slideTells: whoever keeps copies must learn that his is wrong, and what would be right.
func slideTells(t *testing.T, s *store.SQL, u auth.User) {
	for name, c := range map[string]struct {
		left, absolute time.Duration // until the ends
		moves          bool
	}{
		"absent":            {},
		"over":              {left: -time.Second, absolute: time.Hour},
		"over for good":     {left: -time.Minute, absolute: -time.Second},
		"moved just now":    {left: time.Hour, absolute: 12 * time.Hour},
		"due":               {left: time.Hour / 2, absolute: 12 * time.Hour, moves: true},
		"to its end":        {left: time.Hour / 4, absolute: time.Hour / 2, moves: true},
		"at its end by now": {left: time.Hour / 4, absolute: time.Hour / 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one := storetest.NewSession(u)
			one.ExpiresAt, one.EndsAt = one.CreatedAt.Add(c.left), one.CreatedAt.Add(c.absolute)
			if c.absolute != 0 {
				if err := s.Create(t.Context(), one); err != nil {
					t.Fatal(err)
				}
			}
			end, err := s.Slide(t.Context(), one.Key, time.Hour)
			if err != nil || end.IsZero() == c.moves {
				t.Fatalf("Slide = %v, %v, want it to move: %v", end, err, c.moves)
			}
			if found, err := s.Find(t.Context(), one.Key); c.moves && (err != nil || !found.ExpiresAt.Equal(end) || end.Location() != time.UTC) {
				t.Errorf("it tells %v, the row says %v, %v", end, found.ExpiresAt, err)
			}
		})
	}
}

func slideMany(t *testing.T, s *store.SQL, u auth.User, statements *atomic.Int64) {
	keys := make([]auth.Key, 300)
	for i := range keys {
		one := storetest.NewSession(u)
		one.ExpiresAt = one.CreatedAt.Add(time.Hour / 2)
		if err := s.Create(t.Context(), one); err != nil {
			t.Fatal(err)
		}
		keys[i] = one.Key
	}
	before := statements.Load()
	var all sync.WaitGroup
	for _, k := range keys {
		all.Go(func() {
			if end, err := s.Slide(t.Context(), k, time.Hour); err != nil || time.Until(end) < 59*time.Minute {
				t.Errorf("Slide = %v, %v", end, err)
			}
		})
	}
	all.Wait()
	if n := statements.Load() - before; n > 10 {
		t.Errorf("%d statements for %d slides", n, len(keys))
	}
}

// A row that somebody else has locked is his to move or to end: a slide waits for nobody, so that no
// two replicas, and no command that ends many sessions, can block each other through it.
func TestSlideLocked(t *testing.T) {
	t.Parallel()
	b := pgBench(t, storetest.Postgres(t).URL)
	account, err := b.AddUser(t.Context(), "alice@corp.test", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	one := storetest.NewSession(account.User)
	one.ExpiresAt = one.CreatedAt.Add(time.Hour / 2)
	if err := b.Create(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	other, err := b.hand.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.ExecContext(t.Context(), "SELECT id FROM sessions FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	if end, err := b.Slide(t.Context(), one.Key, time.Hour); err != nil || !end.IsZero() {
		t.Errorf("Slide of a locked row = %v, %v, want that it did not move", end, err)
	}
	if err := other.Rollback(); err != nil {
		t.Fatal(err)
	}
	if end, err := b.Slide(t.Context(), one.Key, time.Hour); err != nil || end.IsZero() {
		t.Errorf("Slide afterwards = %v, %v", end, err)
	}
}
