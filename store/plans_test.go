package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// calls are what must stay as quick with a million sessions as with a thousand: none may read a whole
// table. (Accounts does, for it lists the table.)
var calls = map[string]func(ctx context.Context, s *SQL) error{
	"find":                   func(ctx context.Context, s *SQL) error { _, err := s.Find(ctx, planKey(20_005)); return err },
	"create":                 func(ctx context.Context, s *SQL) error { return s.Create(ctx, storetest.NewSession(auth.User{ID: 3})) },
	"end":                    func(ctx context.Context, s *SQL) error { return s.End(ctx, planKey(20_006)) },
	"slide one":              func(ctx context.Context, s *SQL) error { return s.Touch(ctx, planKey(20_007), time.Hour) },
	"slide many":             planSlides,
	"sweep":                  func(ctx context.Context, s *SQL) error { _, err := s.Sweep(ctx, time.Hour); return err },
	"list, first page":       planList("", 0),
	"list, later page":       planList("", planSessions/2),
	"list of one user":       planList("user9@corp.test", 0),
	"end by id":              func(ctx context.Context, s *SQL) error { return s.EndSession(ctx, 20_020) },
	"end a user's":           func(ctx context.Context, s *SQL) error { _, err := s.EndSessions(ctx, "user11@corp.test"); return err },
	"end everybody's, begun": planEndSome,
	"disable a user":         func(ctx context.Context, s *SQL) error { _, err := s.DisableUser(ctx, "user12@corp.test"); return err },
	"unbind a user":          func(ctx context.Context, s *SQL) error { _, err := s.UnbindUser(ctx, "user13@corp.test"); return err },
	"other roles":            func(ctx context.Context, s *SQL) error { return s.SetRoles(ctx, "user15@corp.test", []string{"staff"}) },
	"sign in": func(ctx context.Context, s *SQL) error {
		_, err := s.SignIn(ctx, auth.Profile{Issuer: "https://idp.test", Subject: "16", Email: "user16@corp.test", Name: "Some One"})
		return err
	},
}

const (
	planUsers    = 5000
	planSessions = 60_000
)

// planKey is the key of one of the sessions that planFill makes.
func planKey(g int) (k auth.Key) {
	copy(k[:], fmt.Sprintf("%032d", g))
	return k
}

func planSlides(ctx context.Context, s *SQL) error {
	keys := make([]auth.Key, 300)
	for i := range keys {
		keys[i] = planKey(30_000 + 7*i)
	}
	_, err := s.slideAll(ctx, time.Now().UTC(), time.Hour, keys)
	return err
}

func planList(email string, after int64) func(context.Context, *SQL) error {
	return func(ctx context.Context, s *SQL) error {
		found, err := s.ListSessions(ctx, email, after, 101)
		if err == nil && len(found) == 0 {
			return fmt.Errorf("an empty page")
		}
		return err
	}
}

// planEndSome begins to end everybody's sessions and leaves it at one step.
func planEndSome(ctx context.Context, s *SQL) error {
	for _, err := range s.EndingSessions(ctx, "") {
		return err
	}
	return nil
}

// planFill makes users with a dozen sessions each, the last of which are over: more than the sweep
// takes in one step.
func planFill(t *testing.T, s *SQL) {
	t.Helper()
	series, hash := "WITH RECURSIVE g (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < %d) ", "CAST(printf('%032d', n) AS blob)"
	from := "g"
	if s.postgres() {
		series, hash, from = "", "convert_to(lpad(n::text, 32, '0'), 'UTF8')", "generate_series(1, %d) AS n"
	}
	fill := func(into, values string, n int) {
		t.Helper()
		text := strings.ReplaceAll(series+"INSERT INTO "+into+" SELECT "+values+" FROM "+from, "%d", fmt.Sprint(n))
		if _, err := s.db.DB.ExecContext(t.Context(), text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	now := time.Now()
	moment := func(d time.Duration) string {
		text := bun.NewDB(s.db.DB, s.db.Dialect()).QueryGen().FormatQuery("?", stamp(now.Add(d)))
		if s.postgres() {
			text += "::timestamptz"
		}
		return text
	}
	fill("users (email, issuer, subject, created_at)", "'user' || n || '@corp.test', 'https://idp.test', CAST(n AS text), "+moment(0), planUsers)
	fill("sessions (token_hash, user_id, created_at, expires_at, ends_at, last_seen)", hash+fmt.Sprintf(", 1 + n %% %d, ", planUsers)+
		moment(-time.Hour)+", CASE WHEN n > 55000 THEN "+moment(-time.Hour)+" ELSE "+moment(time.Hour/2)+" END, "+moment(9*time.Hour)+", "+moment(0), planSessions)
	if s.postgres() {
		if _, err := s.db.DB.ExecContext(t.Context(), "VACUUM ANALYZE"); err != nil {
			t.Fatal(err)
		}
	}
}

// Postgres counts itself how often it read a whole table, what triggers and foreign keys do included.
func TestPlansPostgres(t *testing.T) {
	t.Parallel()
	url := storetest.Postgres(t, "autovacuum=off").URL
	hand := planOpen(t, url)
	planFill(t, hand)
	read := func() map[string]int {
		t.Helper()
		counts := map[string]int{}
		rows, err := hand.db.DB.QueryContext(t.Context(), "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname IN ('users', 'sessions', 'revocations', 'uploads')")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var name string
			var n int
			if err := rows.Scan(&name, &n); err != nil {
				t.Fatal(err)
			}
			counts[name] = n
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return counts
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			before := read()
			s := planOpen(t, url)
			if err := call(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			planReported(t, hand)
			for table, n := range read() {
				if n != before[table] && table != "revocations" { // which has a page at most here
					t.Errorf("%s was read from end to end, %d times", table, n-before[table])
				}
			}
		})
	}
}

func planOpen(t *testing.T, url string) *SQL {
	t.Helper()
	s, err := Open(t.Context(), Options{Database: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.db.SetMaxIdleConns(1)
	return s
}

// planReported waits until every other process of the server has ended: then they have reported what
// they did.
func planReported(t *testing.T, hand *SQL) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		var others int
		const count = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
		if err := hand.db.DB.QueryRowContext(t.Context(), count).Scan(&others); err != nil {
			t.Fatal(err)
		}
		if others == 0 {
			return
		}
	}
	t.Fatal("connections that were closed have not ended")
}

// statements keeps what was asked of a database.
type statements struct {
	mu   sync.Mutex
	text []string
}

func (s *statements) BeforeQuery(ctx context.Context, _ *bun.QueryEvent) context.Context { return ctx }

func (s *statements) AfterQuery(_ context.Context, e *bun.QueryEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = append(s.text, e.Query)
}

// SQLite tells its plan beforehand. It has no statistics here, as it has none in the field.
func TestPlansSQLite(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	planFill(t, s)
	var asked statements
	s.db = s.db.WithQueryHook(&asked)
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			asked.text = nil
			if err := call(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			explained := 0
			for _, text := range asked.text {
				verb, _, _ := strings.Cut(text, " ")
				if verb != "SELECT" && verb != "UPDATE" && verb != "DELETE" {
					continue
				}
				explained++
				for _, step := range planOf(t, s, text) {
					// A table is read from end to end by SCAN; a subquery or a list has a name of another kind.
					if strings.HasPrefix(step, "SCAN") && !strings.HasPrefix(step, "SCAN part") {
						t.Errorf("%s\nin the plan of %.300s", step, text)
					}
				}
			}
			if explained == 0 && name != "create" {
				t.Errorf("nothing to explain in %q", asked.text)
			}
		})
	}
	// What the triggers and the foreign key ask, which the plan of a statement leaves out.
	for _, text := range []string{"DELETE FROM sessions WHERE user_id = 3", "SELECT token_hash FROM sessions WHERE user_id = 3"} {
		if plan := planOf(t, s, text); !strings.Contains(strings.Join(plan, "\n"), "INDEX sessions_user (user_id=?)") {
			t.Errorf("%s: %q", text, plan)
		}
	}
}

func planOf(t *testing.T, s *SQL, text string) (steps []string) {
	t.Helper()
	rows, err := s.db.DB.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+text)
	if err != nil {
		t.Fatalf("%.300s: %v", text, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id, parent, unused sql.NullInt64
		var step string
		if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, step)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return steps
}
