package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// A statement that hangs, because somebody holds a lock, is given up: everybody is told that it could
// not be found out, and no statement of ours is left behind in the server.
func TestPostgresLocked(t *testing.T) {
	t.Parallel()
	b := pgBench(t, storetest.Postgres(t).URL)
	r := replicaOf(t, b.SQL, "", nil)
	alice := signedIn(t, b.SQL, r)
	waitFor(t, "it is kept", func() bool { return r.kept(t, alice.Key) })
	profile := auth.Profile{Issuer: "https://idp.test", Subject: "1", Email: alice.User.Email}
	calls := map[string]func(context.Context) error{
		"look-up":  func(ctx context.Context) error { _, err := r.Find(ctx, storetest.NewKey()); return err },
		"login":    func(ctx context.Context) error { return r.Create(ctx, storetest.NewSession(alice.User)) },
		"sign-in":  func(ctx context.Context) error { _, err := b.SignIn(ctx, profile); return err },
		"sign-out": func(ctx context.Context) error { return r.End(ctx, alice.Key) },
	}
	for table, hung := range map[string][]string{
		"sessions":    {"look-up", "login", "sign-out"},
		"users":       {"look-up", "login", "sign-in"},
		"revocations": {"sign-out"},
	} {
		t.Run("ST-07/"+table+" is locked", func(t *testing.T) {
			waitFor(t, "it is kept", func() bool { return r.kept(t, alice.Key) })
			release := b.lock(t, table)
			defer release()
			if !r.knows(t, alice.Key) {
				t.Error("who is known is not answered from memory")
			}
			for _, call := range hung {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // a hang, not a bound
				err := calls[call](ctx)
				if err == nil || errors.Is(err, auth.ErrNoSession) || errors.Is(err, auth.ErrNoUser) || ctx.Err() != nil {
					t.Errorf("%s: %v (caller's context: %v), want could not find out", call, err, ctx.Err())
				}
				cancel()
			}
			waitFor(t, "nothing of ours waits for the lock", func() bool {
				return b.count(t, "pg_locks WHERE NOT granted AND relation = '"+table+"'::regclass") == 0
			})
		})
	}
	t.Run("ST-07/the locks are gone", func(t *testing.T) {
		waitFor(t, "it is kept again", func() bool { return r.kept(t, alice.Key) })
		for _, call := range []string{"login", "sign-in", "sign-out"} {
			if err := calls[call](t.Context()); err != nil {
				t.Errorf("%s: %v", call, err)
			}
		}
		if _, err := r.Find(t.Context(), alice.Key); !errors.Is(err, auth.ErrNoSession) {
			t.Errorf("Find after the sign-out: %v, want ErrNoSession", err)
		}
	})
}

// knows reports whether this process answers by itself, for a second on end. Where the machine gave it no time
// to read the revocations it may not, which says nothing.
func (r *replica) knows(t *testing.T, k auth.Key) bool {
	t.Helper()
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, err := r.Find(ctx, k)
		cancel()
		if err != nil {
			return r.feed.Lapsed() != nil
		}
	}
	return true
}

// lock keeps everybody from a table until it is released.
func (b bench) lock(t *testing.T, table string) (release func()) {
	t.Helper()
	tx, err := b.hand.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), fmt.Sprintf("LOCK TABLE %s IN ACCESS EXCLUSIVE MODE", table)); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
			t.Error(err)
		}
	}
}

// Somebody ends all of our connections at once, that of LISTEN too: whoever is known notices nothing,
// nobody is told no, and revocations go on being heard.
func TestPostgresTerminates(t *testing.T) {
	t.Parallel()
	b := pgBench(t, storetest.Postgres(t).URL)
	r := replicaOf(t, b.SQL, "", nil)
	alice := signedIn(t, b.SQL, r)
	for round := range 3 {
		gone := storetest.NewSession(alice.User)
		if err := r.Create(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "both are kept", func() bool { return r.kept(t, alice.Key) && r.kept(t, gone.Key) })
		b.exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'gatehouse'")
		busy(t, r, alice, 200*time.Millisecond)
		if _, err := r.Find(t.Context(), storetest.NewKey()); err != nil && !errors.Is(err, auth.ErrNoSession) {
			t.Logf("round %d: an unknown key could not be looked up: %v", round, err) // one connection may fail its first user
		}
		b.exec(t, fmt.Sprintf("DELETE FROM sessions WHERE token_hash = decode('%s', 'hex')", gone.Key))
		waitFor(t, "ST-07/the revocation is heard", func() bool { return r.feed.Revoked(gone.Key) })
		if _, err := r.Find(t.Context(), gone.Key); !errors.Is(err, auth.ErrNoSession) {
			t.Errorf("ST-07: Find of what was ended: %v, want ErrNoSession", err)
		}
	}
}

// No more connections are to be had, because the role may make none or somebody has taken all that the
// server gives: whoever is known goes on, whoever is not gets no answer, and never a no.
func TestPostgresConnectionLimit(t *testing.T) {
	t.Parallel()
	const ours, end = "pg_stat_activity WHERE usename = 'app'", "SELECT pg_terminate_backend(pid) FROM "
	for name, use := range map[string]func(t *testing.T, b bench, url string) (release func()){
		"of the role": func(t *testing.T, b bench, _ string) func() {
			b.exec(t, "ALTER ROLE app CONNECTION LIMIT 0")
			b.exec(t, end+ours)
			return func() { b.exec(t, "ALTER ROLE app CONNECTION LIMIT -1") }
		},
		"of the server": func(t *testing.T, b bench, url string) func() {
			greedy := hand(t, "pgx", url)
			var held []*sql.Conn
			waitFor(t, "all connections are somebody else's", func() bool {
				if conn, err := greedy.Conn(t.Context()); err == nil {
					held = append(held, conn)
					return false
				}
				if b.count(t, ours) == 0 {
					return true
				}
				b.exec(t, end+ours)
				return false
			})
			return func() {
				for _, conn := range held {
					_ = conn.Close()
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			exhaust(t, use)
		})
	}
}

// exhaust runs into a limit of connections and comes back from it.
func exhaust(t *testing.T, use func(t *testing.T, b bench, url string) (release func())) {
	t.Helper()
	server := storetest.Postgres(t, "max_connections=30")
	b := pgBench(t, server.URL)
	for _, statement := range []string{
		"CREATE ROLE greedy LOGIN",
		"CREATE ROLE app LOGIN",
		"GRANT ALL ON ALL TABLES IN SCHEMA public TO app",
		"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app",
	} {
		b.exec(t, statement)
	}
	s, err := store.Open(t.Context(), store.Options{Database: strings.Replace(server.URL, "gate@", "app@", 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	r := replicaOf(t, s, storetest.Redis(t).URL, keys(t))
	alice := signedIn(t, b.SQL, r)
	waitFor(t, "Redis has it", func() bool { return r.hit(t, alice.Key) })
	release := use(t, b, strings.Replace(server.URL, "gate@", "greedy@", 1))
	t.Run("ST-07/nobody is told no", func(t *testing.T) {
		waitFor(t, "the lease lapses", func() bool { return !r.feed.Leased() })
		busy(t, r, alice, time.Second)
		for range 20 {
			if _, err := r.Find(t.Context(), storetest.NewKey()); err == nil || errors.Is(err, auth.ErrNoSession) {
				t.Fatalf("an unknown key: %v, want could not find out", err)
			}
		}
		if err := r.Create(t.Context(), storetest.NewSession(alice.User)); err == nil || errors.Is(err, auth.ErrNoUser) {
			t.Errorf("a login: %v, want could not find out", err)
		}
	})
	release()
	t.Run("ST-07/and it recovers", func(t *testing.T) {
		waitFor(t, "it is kept again", func() bool { return r.kept(t, alice.Key) })
		if err := r.End(t.Context(), alice.Key); err != nil {
			t.Errorf("End: %v", err)
		}
	})
}

// A server that ends connections which nobody uses (idle_session_timeout, and many a firewall): nobody
// notices, for a connection that has rested is tried out before it is used.
func TestPostgresEndsIdleConnections(t *testing.T) {
	t.Parallel()
	b := pgBench(t, storetest.Postgres(t, "idle_session_timeout=150ms").URL)
	r := replicaOf(t, b.SQL, "", nil)
	alice := signedIn(t, b.SQL, r)
	for range 15 {
		time.Sleep(200 * time.Millisecond)
		if _, err := r.Find(t.Context(), storetest.NewKey()); !errors.Is(err, auth.ErrNoSession) {
			t.Errorf("an unknown key: %v, want ErrNoSession", err)
		}
		if _, err := r.Find(t.Context(), alice.Key); err != nil {
			t.Errorf("Find: %v", err)
		}
	}
	if err := r.Create(t.Context(), storetest.NewSession(alice.User)); err != nil {
		t.Errorf("a login: %v", err)
	}
	time.Sleep(200 * time.Millisecond)
	b.exec(t, fmt.Sprintf("DELETE FROM sessions WHERE token_hash = decode('%s', 'hex')", alice.Key))
	waitFor(t, "the revocation is heard", func() bool { return r.feed.Revoked(alice.Key) })
}
