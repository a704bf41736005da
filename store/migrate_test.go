package store_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// RULE-28: whoever waits for a lock on sessions makes everybody queue behind him, so a migration that
// cannot have it soon, because a backup is reading the table, gives up and is tried again later.
func TestMigrateBesideBackup(t *testing.T) {
	t.Parallel()
	b := pgBench(t, storetest.Postgres(t).URL)
	b.crowd(t, "alice@corp.test", 10, time.Hour)
	for _, undo := range []string{
		"DELETE FROM migrations WHERE name = '0003_sessions_by_the_million'",
		"DROP INDEX sessions_of_user", "CREATE INDEX sessions_user ON sessions (user_id)", "CREATE INDEX sessions_expiry ON sessions (expires_at)",
	} {
		b.exec(t, undo)
	}
	backup, err := b.hand.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := backup.ExecContext(t.Context(), "LOCK TABLE sessions IN ACCESS SHARE MODE"); err != nil {
		t.Fatal(err)
	}
	t.Run("RULE-28/it gives up", func(t *testing.T) {
		if err := b.Migrate(t.Context()); err == nil || !strings.Contains(err.Error(), "lock timeout") {
			t.Errorf("Migrate: %v, want that the lock could not be had", err)
		}
		if names, err := b.Pending(t.Context()); err != nil || len(names) != 1 {
			t.Errorf("Pending = %v, %v, want the one", names, err)
		}
		if found, err := b.ListSessions(t.Context(), "", 0, 100); err != nil || len(found) != 10 {
			t.Errorf("%d sessions, %v: nobody may wait behind it", len(found), err)
		}
	})
	if err := backup.Rollback(); err != nil {
		t.Fatal(err)
	}
	t.Run("RULE-28/the next start does it", func(t *testing.T) {
		if err := b.Migrate(t.Context()); err != nil {
			t.Errorf("Migrate: %v", err)
		}
	})
}
