package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
)

const (
	dialLimit = 3 * time.Second
	// doubtAfter is how long a connection may rest before it is tried out. A server that restarts
	// leaves dead connections behind, and each would fail somebody's request.
	doubtAfter = 100 * time.Millisecond
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
	pool := stdlib.OpenDB(*config, stdlib.OptionShouldPing(func(_ context.Context, p stdlib.ShouldPingParams) bool {
		return p.IdleDuration > doubtAfter
	}))
	pool.SetMaxOpenConns(20)
	pool.SetMaxIdleConns(20)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	pool.SetConnMaxLifetime(30 * time.Minute) // so that load comes back to a server that was away
	return &SQL{db: bun.NewDB(pool, pgdialect.New()), listen: listen}, nil
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
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "gatehouse"
	}
	config.ValidateConnect = writable
	return config, nil
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
