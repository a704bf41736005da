package store_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
	_ "time/tzdata" // the zone may not be installed

	"go.uber.org/goleak"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// trusted signs the certificates that the whole process trusts.
var trusted *storetest.Authority

// TestMain runs the whole package in New York (ST-08): whoever takes local time for UTC is hours off. A
// process reads whom it trusts only once, whichever test comes first, so that is settled here.
func TestMain(m *testing.M) {
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		panic(err)
	}
	time.Local = zone
	dir, err := os.MkdirTemp("", "gate-trust-")
	if err != nil {
		panic(err)
	}
	if trusted, err = trust(filepath.Join(dir, "ca.pem")); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

func trust(path string) (*storetest.Authority, error) {
	a, err := storetest.NewAuthority()
	if err != nil {
		return nil, err
	}
	return a, errors.Join(os.WriteFile(path, a.PEM(), 0o600), os.Setenv("SSL_CERT_FILE", path))
}

// operator is the command line's side of SQL in the shape that the suites ask for.
type operator struct{ *store.SQL }

func (o operator) AddUser(ctx context.Context, email, name string, roles []string) (auth.User, error) {
	account, err := o.SQL.AddUser(ctx, email, name, roles)
	return account.User, err
}

func ground(s *store.SQL) storetest.Ground {
	return storetest.Ground{Users: s, Sessions: s, Operator: operator{s}}
}

// open opens and migrates a database, and closes it with the test.
func open(t *testing.T, o store.Options) *store.SQL {
	t.Helper()
	s, err := store.Open(t.Context(), o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatalf("Migrate: %v", err)
	}
	return s
}

func openLite(t *testing.T) *store.SQL {
	t.Helper()
	return open(t, store.Options{Dir: t.TempDir()})
}

// dialects runs a test on each database: a fresh SQLite file, and a schema of its own in one
// Postgres server that all of the test share.
func dialects(t *testing.T, test func(t *testing.T, fresh func(*testing.T) *store.SQL)) {
	t.Run("sqlite", func(t *testing.T) { test(t, openLite) })
	t.Run("postgres", func(t *testing.T) {
		p := storetest.Postgres(t)
		test(t, func(t *testing.T) *store.SQL { return open(t, store.Options{Database: p.Database()}) })
	})
}
