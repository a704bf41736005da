package store_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

func TestMigrate(t *testing.T) {
	t.Parallel()
	places := map[string]func(t *testing.T) store.Options{
		"sqlite":   func(t *testing.T) store.Options { return store.Options{Dir: t.TempDir()} },
		"postgres": func(t *testing.T) store.Options { return store.Options{Database: storetest.Postgres(t).URL} },
	}
	for name, place := range places {
		t.Run(name, func(t *testing.T) {
			o := place(t)
			t.Run("RULE-28/many at once", func(t *testing.T) {
				var all sync.WaitGroup
				for range 4 {
					all.Go(func() {
						s, err := store.Open(t.Context(), o)
						if err != nil {
							t.Errorf("Open: %v", err)
							return
						}
						defer func() { _ = s.Close() }()
						if err := s.Migrate(t.Context()); err != nil {
							t.Errorf("Migrate: %v", err)
						}
					})
				}
				all.Wait()
			})
			s := open(t, o) // migrates again, which does nothing
			if names, err := s.Pending(t.Context()); err != nil || len(names) != 0 {
				t.Errorf("Pending = %v, %v, want none", names, err)
			}
			first, err := s.InstallID(t.Context())
			if again, _ := s.InstallID(t.Context()); err != nil || len(first) < 32 || again != first {
				t.Errorf("InstallID = %q, then %q, %v", first, again, err)
			}
		})
	}
}

func TestPendingBefore(t *testing.T) {
	t.Parallel()
	s, err := store.Open(t.Context(), store.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if names, err := s.Pending(t.Context()); err != nil || !slices.Contains(names, "0001_sessions") {
		t.Errorf("Pending = %v, %v", names, err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Migrate(gone); err == nil {
		t.Error("a migration that was cut off reports success")
	}
	if names, err := s.Pending(t.Context()); err != nil || len(names) == 0 {
		t.Errorf("Pending after a migration that was cut off = %v, %v: it counts as applied", names, err)
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		o    store.Options
		want string
	}{
		"RULE-29/scheme":       {store.Options{Database: "mysql://u:hunter2@h/d"}, "store.database: must begin with postgres://"},
		"RULE-29/no scheme":    {store.Options{Database: "hunter2"}, "store.database: must begin with postgres://"},
		"RULE-29/port":         {store.Options{Database: "postgres://u:hunter2@h:hunter2/d"}, "store.database: not a valid address"},
		"RULE-29/escape":       {store.Options{Database: "postgres://u:hunter2%zz@h/d"}, "store.database: not a valid address"},
		"RULE-29/sslmode":      {store.Options{Database: "postgres://u:hunter2@h/d?sslmode=hunter2"}, "store.database: not a valid address"},
		"RULE-29/down":         {store.Options{Database: "postgres://u:hunter2@127.0.0.1:1/d"}, "store.database: cannot connect"},
		"RULE-29/listen":       {store.Options{Database: "postgres://u@127.0.0.1:1/d", ListenURL: "postgres://u:hunter2@h:hunter2/d"}, "store.listen_url: not a valid address"},
		"no directory":         {store.Options{}, "store.dir: must name a directory"},
		"a file, no directory": {store.Options{Dir: file}, "store.dir: "},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := store.Open(t.Context(), c.o)
			if err == nil {
				_ = s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("Open: %v, want %q and no secret", err, c.want)
			}
		})
	}
}

// A server that accepts and never answers must not hang the start.
func TestOpenBlackHole(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	began := time.Now()
	s, err := store.Open(t.Context(), store.Options{Database: "postgres://u:hunter2@" + l.Addr().String() + "/d?sslmode=disable"})
	if err == nil {
		_ = s.Close()
	}
	if err == nil || time.Since(began) > 15*time.Second || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Open: %v after %v", err, time.Since(began))
	}
}

func TestSQLiteFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a b?c%41#d", "data") // names that mean something in a URL
	s := open(t, store.Options{Dir: dir})
	signedIn(t, s, s)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v, want 0600", e.Name(), info.Mode(), err)
		}
	}
	if !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == "gatehouse.db" }) {
		t.Errorf("no gatehouse.db in %v", entries)
	}
	t.Run("one serve a file", func(t *testing.T) {
		release, err := s.LockServe()
		if err != nil {
			t.Fatal(err)
		}
		second := open(t, store.Options{Dir: dir}) // the command line works beside it
		if _, err := second.LockServe(); err == nil || !strings.Contains(err.Error(), "another gatehouse serves") {
			t.Errorf("second LockServe: %v", err)
		}
		if _, err := second.AddUser(t.Context(), "bob@corp.test", "", nil); err != nil {
			t.Errorf("AddUser beside serve: %v", err)
		}
		if err := release(); err != nil {
			t.Fatal(err)
		}
		if release, err = second.LockServe(); err != nil {
			t.Fatalf("LockServe after release: %v", err)
		}
		_ = release()
	})
}

// RULE-06: what was reported done survives, though the server confirms commits early.
func TestDurable(t *testing.T) {
	t.Parallel()
	server := storetest.Postgres(t, "synchronous_commit=off", "wal_writer_delay=10s", "bgwriter_delay=10s")
	s := open(t, store.Options{Database: server.URL})
	alice := signedIn(t, s, s)
	server.Crash()
	server.Start()
	t.Run("RULE-06/create", func(t *testing.T) {
		if _, err := s.Find(t.Context(), alice.Key); err != nil {
			t.Errorf("Find after a crash: %v", err)
		}
	})
	t.Run("RULE-06/end", func(t *testing.T) {
		if err := s.End(t.Context(), alice.Key); err != nil {
			t.Fatal(err)
		}
		server.Crash()
		server.Start()
		if _, err := s.Find(t.Context(), alice.Key); !errors.Is(err, auth.ErrNoSession) {
			t.Errorf("Find after a crash: %v, want ErrNoSession", err)
		}
	})
}

func TestRefusedServers(t *testing.T) {
	t.Parallel()
	server := storetest.Postgres(t)
	for name, c := range map[string]struct{ setting, want string }{
		"RULE-06/replica":         {"default_transaction_read_only = on", "read only"},
		"a backslash that quotes": {"standard_conforming_strings = off", "standard_conforming_strings"},
	} {
		t.Run(name, func(t *testing.T) {
			url := server.Database()
			admin := hand(t, "pgx", url)
			_, err := admin.ExecContext(t.Context(), "DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET "+c.setting+"', current_database()); END$$")
			if err != nil {
				t.Fatal(err)
			}
			_, err = store.Open(t.Context(), store.Options{Database: url})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Open: %v, want a refusal for %q", err, c.want)
			}
		})
	}
}

// ST-07: a restart leaves dead connections behind; nobody's request pays for them.
func TestPostgresRestart(t *testing.T) {
	t.Parallel()
	server := storetest.Postgres(t)
	s := open(t, store.Options{Database: server.URL})
	alice := signedIn(t, s, s)
	find := func(n int) (failed int) {
		var all sync.WaitGroup
		var mu sync.Mutex
		for range n {
			all.Go(func() {
				if _, err := s.Find(t.Context(), alice.Key); err != nil {
					mu.Lock()
					failed++
					mu.Unlock()
				}
			})
		}
		all.Wait()
		return failed
	}
	t.Run("ST-07/a", func(t *testing.T) {
		if n := find(50); n != 0 {
			t.Fatalf("%d failures before", n)
		}
		server.Stop()
		if _, err := s.Find(t.Context(), alice.Key); err == nil || errors.Is(err, auth.ErrNoSession) {
			t.Errorf("Find while it is down: %v, want could not find out", err)
		}
		server.Start()
		if n := find(50); n > 1 {
			t.Errorf("%d of 50 failed after a restart, want at most 1", n)
		}
	})
}

func TestHangUps(t *testing.T) {
	t.Parallel()
	server := storetest.Postgres(t)
	for name, redis := range map[string]bool{"ST-07/b cache off": false, "ST-07/b cache on": true} {
		t.Run(name, func(t *testing.T) {
			s := open(t, store.Options{Database: server.Database()})
			url := ""
			if redis {
				url = storetest.Redis(t).URL
			}
			r := replicaOf(t, s, url, keys(t))
			alice := signedIn(t, s, r)
			account, err := s.AddUser(t.Context(), "bob@corp.test", "", nil)
			if err != nil {
				t.Fatal(err)
			}
			bob := storetest.NewSession(account.User)
			if err := r.Create(t.Context(), bob); err != nil {
				t.Fatal(err)
			}
			hangUps(t, r, []auth.Session{alice, bob}, 250)
		})
	}
}

func hangUps(t *testing.T, r auth.Sessions, sessions []auth.Session, rounds int) {
	t.Helper()
	var all sync.WaitGroup
	for worker := range 20 {
		all.Go(func() {
			for i := range rounds {
				want := sessions[(i+worker)%len(sessions)]
				ctx, cancel := context.WithCancel(t.Context())
				if i%5 == 0 {
					time.AfterFunc(time.Duration(i%7)*200*time.Microsecond, cancel)
				}
				got, err := r.Find(ctx, want.Key)
				if err == nil && (got.Key != want.Key || got.User.ID != want.User.ID) {
					t.Errorf("asked for user %d, got user %d", want.User.ID, got.User.ID)
				}
				if err != nil && ctx.Err() == nil {
					t.Errorf("Find: %v", err)
				}
				cancel()
			}
		})
	}
	all.Wait()
}

// ST-08: the whole package's tests run in New York (TestMain); here the server is in Tokyo.
func TestTimeZones(t *testing.T) {
	t.Parallel()
	b := pgBench(t, storetest.Postgres(t, "timezone=Asia/Tokyo").URL)
	t.Run("ST-08/zones", func(t *testing.T) {
		alice := signedIn(t, b.SQL, b.SQL)
		got, err := b.Find(t.Context(), alice.Key)
		if err != nil || !got.ExpiresAt.Equal(alice.ExpiresAt) || got.ExpiresAt.Location() != time.UTC {
			t.Errorf("Find = idle end %v, %v, want %v", got.ExpiresAt, err, alice.ExpiresAt)
		}
		var seconds float64
		err = b.hand.QueryRowContext(t.Context(), "SELECT extract(epoch FROM expires_at - now()) FROM sessions").Scan(&seconds)
		if err != nil || seconds < 3500 || seconds > 3600 {
			t.Errorf("by the server's clock it lasts %v s, %v, want an hour", seconds, err)
		}
	})
	t.Run("ST-08/past by a second", func(t *testing.T) {
		if _, err := b.EndSessions(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		past := time.Now().UTC().Add(-time.Second)
		users, _ := b.Accounts(t.Context())
		s := storetest.NewSession(users[0].User)
		s.CreatedAt, s.ExpiresAt = past.Add(-time.Hour), past
		if err := b.Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Find(t.Context(), s.Key); !errors.Is(err, auth.ErrNoSession) {
			t.Errorf("Find: %v, want ErrNoSession", err)
		}
	})
}
