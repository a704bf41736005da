package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/uptrace/bun"
)

// Both dialects have the same migrations by name. Old and new release run side by side, so each
// must work with the release before it: expand now, contract one release later (RULE-28).
//
//go:embed migrations
var migrations embed.FS

// migrateLock is the Postgres advisory lock under which migrations run: "gatehous" in ASCII.
const migrateLock = 0x67617465686f7573

// Migrate brings the tables up to date. Each migration is one transaction under a lock that the
// server itself lets go of when its holder dies, and counts as applied in that same transaction; so
// any number of processes may migrate at once, and a kill leaves it done or not begun. (The lock of
// bun's own migrator is a row, which a kill leaves behind.)
func (s *SQL) Migrate(ctx context.Context) error {
	names, err := s.migrationNames()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := s.migrate(ctx, name); err != nil {
			return fmt.Errorf("migration %s: %w", name, err)
		}
	}
	return nil
}

// Pending names the migrations that are not applied yet, in order.
func (s *SQL) Pending(ctx context.Context) ([]string, error) {
	names, err := s.migrationNames()
	if err != nil {
		return nil, err
	}
	var made int
	exists := "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'migrations'"
	if s.postgres() {
		exists = "SELECT count(to_regclass('migrations'))"
	}
	if err := s.db.NewRaw(exists).Scan(ctx, &made); err != nil {
		return nil, fmt.Errorf("look for migrations: %w", tidy(err))
	}
	if made == 0 {
		return names, nil
	}
	var applied []string
	if err := s.db.NewRaw("SELECT name FROM migrations").Scan(ctx, &applied); err != nil {
		return nil, fmt.Errorf("read migrations: %w", tidy(err))
	}
	return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(applied, name) }), nil
}

func (s *SQL) migrate(ctx context.Context, name string) error {
	statements, err := migrations.ReadFile(path.Join(s.migrationDir(), name+".sql"))
	if err != nil {
		return err
	}
	return s.durably(ctx, func(ctx context.Context, tx bun.Tx) error {
		if s.postgres() {
			if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock(?)", int64(migrateLock)); err != nil {
				return err
			}
		}
		const book = "CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, applied_at text NOT NULL DEFAULT CURRENT_TIMESTAMP)"
		if _, err := tx.ExecContext(ctx, book); err != nil {
			return err
		}
		done, err := tx.NewSelect().Table("migrations").Where("name = ?", name).Count(ctx)
		if err != nil || done > 0 {
			return err
		}
		// The file is passed on without arguments, so that bun leaves each ? in it alone.
		if _, err := tx.Tx.ExecContext(ctx, string(statements)); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO migrations (name) VALUES (?)", name)
		return err
	})
}

func (s *SQL) migrationDir() string {
	if s.postgres() {
		return "migrations/postgres"
	}
	return "migrations/sqlite"
}

// migrationNames lists the files without their ending, in order: they begin with a number.
func (s *SQL) migrationNames() ([]string, error) {
	files, err := fs.Glob(migrations, s.migrationDir()+"/*.sql")
	if err != nil {
		return nil, err
	}
	names := make([]string, len(files))
	for i, file := range files {
		names[i] = strings.TrimSuffix(path.Base(file), ".sql")
	}
	slices.Sort(names)
	return names, nil
}
