package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
)

const (
	// connections is how many a process has at once, and keeps.
	connections = 20
	dialLimit   = 3 * time.Second
	// hostLimit is dialLimit where an address names several hosts, each of which is tried in turn: if the
	// first does not answer, there must be time for the second within a poll of the feed.
	hostLimit = time.Second
	// doubtAfter is how long a connection may rest before it is tried out. A server that restarts
	// leaves dead connections behind, and each would fail somebody's request.
	doubtAfter = 100 * time.Millisecond
	// doubtLimit is how long a connection that is tried out may take to answer. A server that froze, or
	// went without a word, must not cost a request all the time that it has.
	doubtLimit = 500 * time.Millisecond
)

func openPostgres(o Options) (*SQL, error) {
	config, err := postgresConfig(o.Database, "store.database")
	if err != nil {
		return nil, err
	}
	listen := o.Database
	if o.ListenURL != "" {
		if _, err := postgresConfig(o.ListenURL, "store.listen_url"); err != nil {
			return nil, err
		}
		listen = o.ListenURL
	}
	var pool *sql.DB
	pool = stdlib.OpenDB(*config, stdlib.OptionShouldPing(func(ctx context.Context, p stdlib.ShouldPingParams) bool {
		if p.IdleDuration <= doubtAfter || answers(ctx, p.Conn) {
			return false
		}
		if ctx.Err() == nil { // it is seldom the only one
			pool.SetMaxIdleConns(0)
			pool.SetMaxIdleConns(connections)
		}
		return true // it is closed, and this second ping says so at once
	}))
	pool.SetMaxOpenConns(connections)
	pool.SetMaxIdleConns(connections)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	pool.SetConnMaxLifetime(30 * time.Minute) // so that load comes back to a server that was away
	return &SQL{db: bun.NewDB(pool, pgdialect.New()), listen: listen}, nil
}

// answers tries a connection out, and closes it if it does not answer in time.
func answers(ctx context.Context, conn *pgx.Conn) bool {
	ctx, cancel := context.WithTimeout(ctx, doubtLimit)
	defer cancel()
	if conn.Ping(ctx) == nil {
		return true
	}
	_ = conn.Close(ctx)
	return false
}

// postgresConfig reads an address. Errors name the setting, never the address, which may hold a
// password that no redaction would find (RULE-29).
func postgresConfig(address, setting string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, errors.New(setting + ": not a valid address, or it names a file that cannot be read; it looks like postgres://user:password@host:5432/name?sslmode=verify-full")
	}
	// No statement is prepared by name and no session is set up, so that a pool which hands each
	// transaction another connection (pgbouncer) does no harm (RULE-28).
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = dialLimit
		if several(config) {
			config.ConnectTimeout = hostLimit
		}
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "gatehouse"
	}
	config.ValidateConnect = writable
	return config, nil
}

// several reports whether an address names more than one server. One server may be tried in several ways,
// with TLS and without.
func several(config *pgx.ConnConfig) bool {
	return slices.ContainsFunc(config.Fallbacks, func(next *pgconn.FallbackConfig) bool {
		return next.Host != config.Host || next.Port != config.Port
	})
}

// writable refuses servers on which an answer could be stale or a statement could mean something
// else. A replica lags behind, so it might let in who has signed out (RULE-06). And with
// standard_conforming_strings off a backslash in a name would end the quoted text it stands in.
func writable(ctx context.Context, conn *pgconn.PgConn) error {
	if conn.ParameterStatus("standard_conforming_strings") != "on" {
		return errors.New("the server has standard_conforming_strings off, which is not safe")
	}
	return pgconn.ValidateConnectTargetSessionAttrsReadWrite(ctx, conn)
}

// tidy takes the address out of a driver's error: pgx names user and database in front of the cause.
func tidy(err error) error {
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) {
		return connect.Unwrap()
	}
	return err
}

// unique reports whether a row was refused because another has the same value.
func unique(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "23505" || sqliteUnique(err)
}
