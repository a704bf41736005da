package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"
)

const (
	// openLimit bounds how long Open waits for a database that does not answer.
	openLimit = 5 * time.Second
	// writeLimit bounds a sign-in, the making of a session and its end, each as a whole. A row that
	// somebody has locked, or a standby that must confirm and is away, holds them up without an end, and
	// each of them holds one of the connections that look-ups need.
	writeLimit = 3 * time.Second
)

// Options says where the database is.
type Options struct {
	Database  string // postgres://user:password@host:port/name; empty: SQLite in Dir
	Dir       string // for SQLite: the directory of gatehouse.db, made if absent
	ListenURL string // for Postgres: where LISTEN reaches the server; empty: Database
	Observe   Observe
}

// SQL keeps users and sessions in SQLite or Postgres. It is safe for concurrent use.
type SQL struct {
	db      *bun.DB
	dir     string // of the SQLite file; empty with Postgres
	listen  string // address for LISTEN; empty with SQLite
	observe Observe
	slides  *slides
}

// Open connects to the database and waits at most five seconds for it. It does not migrate.
func Open(ctx context.Context, o Options) (*SQL, error) {
	ctx, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	s, err := open(o)
	if err != nil {
		return nil, err
	}
	s.observe, s.slides = o.Observe, newSlides(s.slideAll)
	if err := s.Ping(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: cannot connect: %w", s.setting(), err), s.Close())
	}
	return s, nil
}

func open(o Options) (*SQL, error) {
	if o.Database == "" {
		return openSQLite(o.Dir)
	}
	scheme, _, _ := strings.Cut(o.Database, "://")
	if scheme != "postgres" && scheme != "postgresql" {
		return nil, errors.New("store.database: must begin with postgres:// (or be empty: SQLite in store.dir)")
	}
	return openPostgres(o)
}

// Ping tells whether the database answers.
func (s *SQL) Ping(ctx context.Context) error { return tidy(s.db.PingContext(ctx)) }

// Close writes the slides that have gathered and closes all connections. What else is under way fails.
func (s *SQL) Close() error {
	s.slides.close()
	return s.db.Close()
}

// InstallID names this installation; the first migration made it.
func (s *SQL) InstallID(ctx context.Context) (id string, err error) {
	if err := s.db.NewRaw("SELECT id FROM install").Scan(ctx, &id); err != nil {
		return "", fmt.Errorf("read install id: %w", tidy(err))
	}
	return id, nil
}

func (s *SQL) postgres() bool { return s.db.Dialect().Name() == dialect.PG }

// setting is the config key that says where the database is, for messages.
func (s *SQL) setting() string {
	if s.postgres() {
		return "store.database"
	}
	return "store.dir"
}

// tx runs f in one transaction: read committed in Postgres, BEGIN IMMEDIATE in SQLite (openSQLite).
func (s *SQL) tx(ctx context.Context, f func(context.Context, bun.Tx) error) error {
	return tidy(s.db.RunInTx(ctx, &sql.TxOptions{Isolation: s.isolation()}, f))
}

// durably is tx for what must survive a crash of the server once it is reported done (RULE-06). A
// server may be set to confirm commits before they are on disk; a setting that is stronger than
// "on" (remote_apply) is left alone.
func (s *SQL) durably(ctx context.Context, f func(context.Context, bun.Tx) error) error {
	return s.tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		if s.postgres() {
			const raise = `SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')`
			if _, err := tx.ExecContext(ctx, raise); err != nil {
				return err
			}
		}
		return f(ctx, tx)
	})
}

// isolation is said each time in Postgres, for a server's default may be a stricter one, under which
// the triggers would not see a session that was made while they waited.
func (s *SQL) isolation() sql.IsolationLevel {
	if s.postgres() {
		return sql.LevelReadCommitted
	}
	return sql.LevelDefault
}

// locked lets a query lock the rows it reads. SQLite has locked the whole file already.
func (s *SQL) locked(q *bun.SelectQuery, mode string) *bun.SelectQuery {
	if s.postgres() {
		return q.For(mode)
	}
	return q
}
