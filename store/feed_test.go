package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// bench is a database with a second hand in it: somebody at the SQL prompt.
type bench struct {
	*store.SQL
	hand *sql.DB
	pg   bool
}

// benches runs a test on each database.
func benches(t *testing.T, test func(t *testing.T, b bench)) {
	t.Run("sqlite", func(t *testing.T) { t.Parallel(); test(t, liteBench(t)) })
	t.Run("postgres", func(t *testing.T) { t.Parallel(); test(t, pgBench(t, storetest.Postgres(t).URL)) })
}

func liteBench(t *testing.T) bench {
	t.Helper()
	dir := t.TempDir()
	s := open(t, store.Options{Dir: dir})
	return bench{SQL: s, hand: hand(t, "sqlite", "file:"+dir+"/gatehouse.db?_pragma=busy_timeout(5000)")}
}

func pgBench(t *testing.T, url string) bench {
	t.Helper()
	return bench{SQL: open(t, store.Options{Database: url}), hand: hand(t, "pgx", url), pg: true}
}

func hand(t *testing.T, driver, name string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, name)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxIdleConns(0) // so that a restart of the server leaves it no dead connection
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func (b bench) exec(t *testing.T, statement string) {
	t.Helper()
	if _, err := b.hand.ExecContext(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func (b bench) count(t *testing.T, table string) (n int) {
	t.Helper()
	if err := b.hand.QueryRowContext(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// RULE-02: whatever a cache must forget leaves a revocation, whoever did it; and nothing else does.
func TestTriggers(t *testing.T) {
	t.Parallel()
	benches(t, func(t *testing.T, b bench) {
		user, err := b.AddUser(t.Context(), "alice@corp.test", "Alice", []string{"staff"})
		if err != nil {
			t.Fatal(err)
		}
		signIn := func(t *testing.T, left time.Duration) auth.Session {
			s := storetest.NewSession(user.User)
			s.ExpiresAt = s.CreatedAt.Add(left)
			if err := b.Create(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			return s
		}
		cases := []struct {
			name, statement string
			want            int
		}{
			{"RULE-02/name", "UPDATE users SET name = 'Alicia'", 1},
			{"RULE-02/roles", "UPDATE users SET roles = 'admin,staff'", 1},
			{"RULE-02/e-mail", "UPDATE users SET email = 'alicia@corp.test'", 1},
			{"RULE-02/no change", "UPDATE users SET name = name, roles = roles", 0},
			{"RULE-02/a login", "UPDATE users SET last_login = created_at", 0},
			{"RULE-02/a slide", "UPDATE sessions SET expires_at = ends_at", 0},
			{"RULE-02/cut short", "UPDATE sessions SET expires_at = created_at", 1},
			{"RULE-02/delete", "DELETE FROM sessions", 1},
			{"RULE-02/disable", "UPDATE users SET disabled = (1 = 1)", 1},
			{"RULE-02/remove", "DELETE FROM users", 1},
		}
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				b.exec(t, "DELETE FROM sessions")
				signIn(t, time.Hour)
				before := b.count(t, "revocations")
				b.exec(t, c.statement)
				if n := b.count(t, "revocations") - before; n != c.want {
					t.Errorf("%s: %d revocations, want %d", c.statement, n, c.want)
				}
				if c.name == "RULE-02/disable" {
					if n := b.count(t, "sessions"); n != 0 {
						t.Errorf("%d sessions of a disabled user", n)
					}
					b.exec(t, "UPDATE users SET disabled = (1 = 0)")
				}
			})
		}
	})
}

func TestTruncate(t *testing.T) {
	t.Parallel()
	b := pgBench(t, storetest.Postgres(t).URL)
	t.Run("RULE-03/TRUNCATE", func(t *testing.T) {
		signedIn(t, b.SQL, b.SQL)
		b.exec(t, "TRUNCATE users CASCADE")
		if n := b.count(t, "revocations"); n != 1 {
			t.Errorf("%d revocations, want 1", n)
		}
	})
}

func TestMass(t *testing.T) {
	t.Parallel()
	benches(t, func(t *testing.T, b bench) {
		t.Run("RULE-03/500 at once", func(t *testing.T) {
			account, err := b.AddUser(t.Context(), "alice@corp.test", "", nil)
			if err != nil {
				t.Fatal(err)
			}
			for range 500 {
				if err := b.Create(t.Context(), storetest.NewSession(account.User)); err != nil {
					t.Fatal(err)
				}
			}
			if n, err := b.EndSessions(t.Context(), ""); err != nil || n != 500 {
				t.Errorf("EndSessions = %d, %v, want 500", n, err)
			}
			if n := b.count(t, "revocations"); n != 500 {
				t.Errorf("%d revocations, want 500", n)
			}
		})
	})
}

// Whoever ends a session, every replica hears of it, and a replica that starts late has read of it
// before Redis may say yes.
func TestFeed(t *testing.T) {
	t.Parallel()
	benches(t, func(t *testing.T, b bench) {
		server := storetest.Redis(t)
		ring := keys(t)
		var heard atomic.Int64
		r := idleReplica(t, b.SQL, server.URL, ring, store.FeedConfig{On: func(auth.Key) { heard.Add(1) }})
		stop := r.run(t)
		alice := signedIn(t, b.SQL, r)
		waitFor(t, "the session is cached", func() bool { return r.hit(t, alice.Key) })
		t.Run("RULE-01/by hand", func(t *testing.T) {
			b.exec(t, "DELETE FROM sessions")
			waitFor(t, "it is heard", func() bool { return heard.Load() == 1 && r.feed.Revoked(alice.Key) })
			if _, err := r.Find(t.Context(), alice.Key); !errors.Is(err, auth.ErrNoSession) {
				t.Errorf("Find: %v, want ErrNoSession", err)
			}
			waitFor(t, "Redis has a tombstone", func() bool {
				return rawRedis(t, server).Get(t.Context(), redisKey(alice.Key)).Val() == "x"
			})
		})
		t.Run("RULE-01/before the start", func(t *testing.T) {
			s := storetest.NewSession(alice.User)
			if err := r.Create(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the session is cached", func() bool { return r.hit(t, s.Key) })
			stop() // nobody hears, so Redis keeps its copy
			b.exec(t, "DELETE FROM sessions")
			late := idleReplica(t, b.SQL, server.URL, ring, store.FeedConfig{})
			if late.feed.Vouches() {
				t.Error("a feed that has read nothing vouches")
			}
			if _, err := late.Find(t.Context(), s.Key); !errors.Is(err, auth.ErrNoSession) {
				t.Errorf("before the feed runs: %v, want ErrNoSession", err)
			}
			late = replicaOf(t, b.SQL, server.URL, ring)
			if _, err := late.Find(t.Context(), s.Key); !errors.Is(err, auth.ErrNoSession) {
				t.Errorf("once the feed vouches: %v, want ErrNoSession", err)
			}
		})
		t.Run("RULE-01/each once", func(t *testing.T) {
			if n := heard.Load(); n != 1 {
				t.Errorf("%d revocations heard, want 1", n)
			}
		})
	})
}

func TestFeedPostgres(t *testing.T) {
	t.Parallel()
	server := storetest.Postgres(t)
	b := pgBench(t, server.URL)
	r := replicaOf(t, b.SQL, storetest.Redis(t).URL, keys(t))
	alice := signedIn(t, b.SQL, r)
	bob := storetest.NewSession(alice.User)
	if err := r.Create(t.Context(), bob); err != nil {
		t.Fatal(err)
	}
	t.Run("RULE-03/late commit", func(t *testing.T) {
		waitFor(t, "the session is cached", func() bool { return r.hit(t, alice.Key) })
		late, err := b.hand.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := late.ExecContext(t.Context(), "DELETE FROM sessions WHERE token_hash = $1", alice.Key[:]); err != nil {
			t.Fatal(err)
		}
		if err := b.End(t.Context(), bob.Key); err != nil { // begins later, commits earlier
			t.Fatal(err)
		}
		waitFor(t, "the other end is heard", func() bool { return r.feed.Revoked(bob.Key) })
		time.Sleep(1500 * time.Millisecond) // and another poll has passed
		if r.feed.Revoked(alice.Key) {
			t.Fatal("heard before it was committed")
		}
		if err := late.Commit(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the late commit is heard", func() bool { return r.feed.Revoked(alice.Key) })
	})
	t.Run("RULE-03/a notification that means nothing", func(t *testing.T) {
		b.exec(t, fmt.Sprintf("NOTIFY gatehouse, '%s'", strings.Repeat("x", 7000)))
		b.exec(t, "NOTIFY gatehouse, 'session:00'")
		time.Sleep(100 * time.Millisecond)
		if !r.feed.Vouches() {
			t.Error("a notification has spoilt the feed")
		}
	})
	t.Run("RULE-01/reconnect", func(t *testing.T) {
		carol := storetest.NewSession(alice.User)
		if err := r.Create(t.Context(), carol); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the session is cached", func() bool { return r.hit(t, carol.Key) })
		server.Stop()
		if _, err := r.Find(t.Context(), carol.Key); err != nil {
			t.Errorf("Redis may answer while Postgres is down: %v", err)
		}
		if _, err := r.Find(t.Context(), storetest.NewKey()); err == nil || errors.Is(err, auth.ErrNoSession) {
			t.Errorf("an unknown key while Postgres is down: %v, want could not find out", err)
		}
		server.Start()
		b.exec(t, "DELETE FROM sessions")
		waitFor(t, "it is heard", func() bool { return r.feed.Revoked(carol.Key) })
	})
}

// RULE-05: Redis is not believed for ever while the database cannot be asked.
func TestMaxUnverified(t *testing.T) {
	t.Parallel()
	server := storetest.Postgres(t)
	b := pgBench(t, server.URL)
	r := idleReplica(t, b.SQL, storetest.Redis(t).URL, keys(t), store.FeedConfig{MaxUnverified: 3 * time.Second})
	r.run(t)
	alice := signedIn(t, b.SQL, r)
	waitFor(t, "the session is cached", func() bool { return r.hit(t, alice.Key) })
	server.Freeze()
	t.Run("RULE-05/max_unverified", func(t *testing.T) {
		if _, err := r.Find(t.Context(), alice.Key); err != nil {
			t.Errorf("at first: %v", err)
		}
		waitFor(t, "Redis is no longer believed", func() bool {
			_, err := r.Find(t.Context(), alice.Key)
			if errors.Is(err, auth.ErrNoSession) {
				t.Fatal("could not find out became absence")
			}
			return err != nil
		})
	})
	server.Thaw()
	waitFor(t, "Redis is believed again", func() bool { return r.hit(t, alice.Key) })
}

func TestFeedOnAll(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, store.Options{Dir: dir})
	lite := hand(t, "sqlite", "file:"+dir+"/gatehouse.db")
	var lost atomic.Int64
	r := idleReplica(t, s, "", nil, store.FeedConfig{OnAll: func() { lost.Add(1) }})
	signedIn(t, s, r)
	if _, err := s.EndSessions(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	r.run(t)
	waitFor(t, "the feed vouches", r.feed.Vouches)
	// A restored backup has an earlier state; this is the least that tells.
	if _, err := lite.ExecContext(context.WithoutCancel(t.Context()), "UPDATE sqlite_sequence SET seq = 0 WHERE name = 'revocations'"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "it says that it lost its place", func() bool { return lost.Load() == 1 })
}
