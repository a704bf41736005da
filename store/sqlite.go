package store

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"syscall"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	sqliteFile = "gatehouse.db"
	// Each connection waits for the others, syncs the log at every commit (FULL: a session that
	// Create reported survives a power cut), and begins each transaction as a writer: one that
	// begins as a reader and then writes fails at once when another wrote in between.
	sqliteParams = "?_txlock=immediate&_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(ON)"
)

// openSQLite opens gatehouse.db in dir. Directory and file are for their owner alone: the file names
// everybody who may come in.
func openSQLite(dir string) (*SQL, error) {
	if dir == "" {
		return nil, errors.New("store.dir: must name a directory when store.database is empty")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("store.dir: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("store.dir: %w", err)
	}
	path := filepath.Join(dir, sqliteFile)
	if err := private(path); err != nil {
		return nil, fmt.Errorf("store.dir: %w", err)
	}
	name := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}
	pool, err := sql.Open("sqlite", name.String()+sqliteParams)
	if err != nil {
		return nil, fmt.Errorf("store.dir: %w", err)
	}
	pool.SetMaxOpenConns(8)
	pool.SetMaxIdleConns(8)
	return &SQL{db: bun.NewDB(pool, sqlitedialect.New()), dir: dir}, nil
}

// private makes the file if it is absent, readable by its owner alone. SQLite gives the files that it
// puts beside it the same mode.
func private(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(file.Chmod(0o600), file.Close())
}

// LockServe makes sure that one process at a time serves from a SQLite file: caches of two would not
// hear of each other fast enough, and the second is nearly always a mistake. The command line works
// beside it. The lock ends with release, or with the process however it dies. With Postgres, which
// serves any number of replicas, it does nothing.
func (s *SQL) LockServe() (release func() error, err error) {
	if s.dir == "" {
		return func() error { return nil }, nil
	}
	file, err := os.OpenFile(filepath.Join(s.dir, "serve.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store.dir: %w", err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errors.New("another gatehouse serves from this directory; for several replicas set store.database to a Postgres server")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("store.dir: %w", err), file.Close())
	}
	return file.Close, nil
}

func sqliteUnique(err error) bool {
	var lite *sqlite.Error
	return errors.As(err, &lite) && (lite.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || lite.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
}
