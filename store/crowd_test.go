package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/store"
)

// crowd adds a user and so many sessions of his, in one statement, that expire when said.
func (b bench) crowd(t *testing.T, email string, n int, left time.Duration) store.Account {
	t.Helper()
	account, err := b.AddUser(t.Context(), email, "", nil)
	if errors.Is(err, store.ErrUserExists) {
		users, err := b.Accounts(t.Context())
		i := slices.IndexFunc(users, func(u store.Account) bool { return u.Email == email })
		if err != nil || i < 0 {
			t.Fatalf("Accounts = %+v, %v", users, err)
		}
		account = users[i]
	} else if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	moment := func(d time.Duration) string { return fmt.Sprint(now.Add(d).UnixMicro()) }
	text := `WITH RECURSIVE g (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < %d)
		INSERT INTO sessions (token_hash, user_id, created_at, expires_at, ends_at, last_seen) SELECT randomblob(32), %d, %s, %s, %s, %s FROM g`
	if b.pg {
		moment = func(d time.Duration) string { return "'" + now.Add(d).Format(time.RFC3339Nano) + "'::timestamptz" }
		text = `INSERT INTO sessions (token_hash, user_id, created_at, expires_at, ends_at, last_seen)
			SELECT sha256(convert_to(random()::text || g, 'UTF8')), %[2]d, %[3]s, %[4]s, %[5]s, %[6]s FROM generate_series(1, %[1]d) g`
	}
	b.exec(t, fmt.Sprintf(text, n, account.ID, moment(-3*time.Hour), moment(left), moment(12*time.Hour), moment(-time.Minute)))
	return account
}

// RULE-05: replicas that sweep at once take each row once, wait for nobody, and tell nobody.
func TestSweepCrowd(t *testing.T) {
	t.Parallel()
	benches(t, func(t *testing.T, b bench) {
		b.crowd(t, "alice@corp.test", 1500, time.Hour)
		b.crowd(t, "alice@corp.test", 2500, -time.Hour)
		b.crowd(t, "alice@corp.test", 1, time.Hour)
		t.Run("RULE-05/replicas at once", func(t *testing.T) {
			var all sync.WaitGroup
			removed := make([]int, 3)
			for i := range removed {
				all.Go(func() {
					var err error
					if removed[i], err = b.Sweep(t.Context(), time.Hour); err != nil {
						t.Errorf("Sweep: %v", err)
					}
				})
			}
			all.Wait()
			if sum := removed[0] + removed[1] + removed[2]; sum != 2500 || b.count(t, "sessions") != 1501 {
				t.Errorf("%v removed, %d left, want 2500 in all and 1501", removed, b.count(t, "sessions"))
			}
			if n := b.count(t, "revocations"); n != 0 {
				t.Errorf("the sweep left %d revocations", n)
			}
		})
		if !b.pg {
			return
		}
		t.Run("RULE-05/a locked row is another's", func(t *testing.T) {
			b.crowd(t, "alice@corp.test", 3, -time.Hour)
			other, err := b.hand.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := other.ExecContext(t.Context(), "SELECT id FROM sessions WHERE expires_at < now() ORDER BY id LIMIT 1 FOR UPDATE"); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // it would wait for ever
			defer cancel()
			if n, err := b.Sweep(ctx, time.Hour); err != nil || n != 2 {
				t.Errorf("Sweep = %d, %v, want the two that are not locked", n, err)
			}
			if err := other.Rollback(); err != nil {
				t.Fatal(err)
			}
		})
	})
}

// Sessions end a thousand at a time, and each step holds whatever becomes of the next.
func TestEndingSessions(t *testing.T) {
	t.Parallel()
	benches(t, func(t *testing.T, b bench) {
		b.crowd(t, "alice@corp.test", 1200, time.Hour)
		b.crowd(t, "bob@corp.test", 700, time.Hour)
		b.crowd(t, "alice@corp.test", 1200, time.Hour)
		t.Run("of one user", func(t *testing.T) {
			var steps []int
			for n, err := range b.EndingSessions(t.Context(), "ALICE@corp.test") {
				if err != nil {
					t.Fatal(err)
				}
				steps = append(steps, n)
			}
			if !slices.Equal(steps, []int{1000, 1000, 400}) || b.count(t, "sessions") != 700 || b.count(t, "revocations") != 2400 {
				t.Errorf("steps of %v, %d sessions left, %d revocations", steps, b.count(t, "sessions"), b.count(t, "revocations"))
			}
		})
		t.Run("cut off", func(t *testing.T) {
			b.crowd(t, "bob@corp.test", 1700, time.Hour)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended, failed := 0, error(nil)
			for n, err := range b.EndingSessions(ctx, "") {
				ended, failed = ended+n, err
				cancel()
			}
			if ended != 1000 || !errors.Is(failed, context.Canceled) || b.count(t, "sessions") != 1400 {
				t.Errorf("%d ended, %v, %d left; want 1000 and that it was cut off", ended, failed, b.count(t, "sessions"))
			}
		})
		t.Run("by two at once", func(t *testing.T) {
			var all sync.WaitGroup
			var ended [2]int
			for i, email := range []string{"", "bob@corp.test"} {
				all.Go(func() {
					var err error
					if ended[i], err = b.EndSessions(t.Context(), email); err != nil {
						t.Errorf("EndSessions: %v", err)
					}
				})
			}
			all.Wait()
			if ended[0]+ended[1] != 1400 || b.count(t, "sessions") != 0 {
				t.Errorf("%v ended, %d left, want 1400 in all", ended, b.count(t, "sessions"))
			}
		})
	})
}

// A page begins where the last one ended, though sessions end in between.
func TestListSessionsPages(t *testing.T) {
	t.Parallel()
	benches(t, func(t *testing.T, b bench) {
		b.crowd(t, "alice@corp.test", 50, time.Hour)
		b.crowd(t, "bob@corp.test", 50, time.Hour)
		b.crowd(t, "bob@corp.test", 10, -time.Minute)
		b.crowd(t, "alice@corp.test", 50, time.Hour)
		for email, want := range map[string]int{"": 150, "alice@corp.test": 100, "bob@corp.test": 50, "nobody@corp.test": 0} {
			var seen []int64
			for after := int64(0); ; {
				page, err := b.ListSessions(t.Context(), email, after, 7)
				if err != nil {
					t.Fatal(err)
				}
				if len(page) == 0 {
					break
				}
				for _, one := range page {
					seen = append(seen, one.ID)
					if email != "" && one.User.Email != email {
						t.Errorf("a page of %s has a session of %s", email, one.User.Email)
					}
				}
				after = seen[len(seen)-1]
			}
			if len(seen) != want || !slices.IsSorted(seen) || len(slices.Compact(seen)) != want {
				t.Errorf("%q: %d sessions in pages, want %d in order", email, len(seen), want)
			}
		}
	})
}
