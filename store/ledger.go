package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/uptrace/bun"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// sweepSlack is how much longer than needed the table keeps revocations, for clocks that disagree.
const sweepSlack = 5 * time.Minute

// ledger reads the table of revocations from where it was left, or the whole window when it has no
// place: at first, after an error, and whenever another server answers than before (RULE-01). It has a
// connection of its own, so that no crowd of look-ups makes the feed wait. It belongs to one goroutine.
type ledger struct {
	sql    *SQL
	window time.Duration
	limit  time.Duration // of a reading, while no row comes

	conn    *bun.Conn
	place   place
	placed  bool
	version int64  // SQLite's data_version on that connection
	moving  func() // says that rows are coming
}

// place is where a reading ended: the next one begins there, if the same server answers.
type place struct {
	edge    uint64
	server  string
	install string
}

// tidings is what a reading found.
type tidings struct {
	rows    []revocation
	anew    bool // the whole window was read, not on from the place
	rewound bool // the table is in an earlier state than it was
}

type revocation struct {
	id  int64
	key auth.Key
}

// Each reading is one statement, so that the rows and the place where the next one begins are of one
// snapshot. In Postgres the place is the oldest transaction that was under way: one that commits
// later, however old its rows look, is not below it, so no late commit is missed (RULE-03). In SQLite
// one writer at a time makes ids do.
//
// With the place comes who answered. Between us and Postgres may be an address that moves, or a pool
// that keeps our connection and takes another server behind it: a standby lags, another database knows
// nothing of our sessions, and after a failover the numbers of transactions begin again lower down.
const (
	readPostgres = `WITH here AS (SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS edge,
 extract(epoch FROM pg_postmaster_start_time())::text AS server, (SELECT id FROM install) AS install, pg_is_in_recovery() AS standby)
SELECT here.*, r.id, r.token_hash FROM here LEFT JOIN revocations r ON `
	placePostgres = `r.xact >= ?::xid8`
	readSQLite    = `WITH here AS (SELECT coalesce(max(seq), 0) AS edge FROM sqlite_sequence WHERE name = 'revocations')
SELECT CAST(here.edge AS text), '', (SELECT id FROM install), 0, r.id, r.token_hash FROM here LEFT JOIN revocations r ON `
	placeSQLite = `r.id > CAST(? AS integer)`
	windowPlace = `r.at > ?`
)

var (
	errStandby   = errors.New("the server that answers is a standby, which lags behind")
	errElsewhere = errors.New("the database that answers is of another installation")
)

// read reads once. It has its time limit anew with each thousand rows that come: whoever deletes a million
// sessions in one transaction makes a reading that takes longer, and if it were given up, so would be
// every later one for an hour. A connection that has rested may have died with its server, which is
// found out only by using it: then another is tried at once.
func (l *ledger) read(ctx context.Context) (tidings, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit := time.AfterFunc(l.limit, func() { cancel(context.DeadlineExceeded) })
	defer limit.Stop()
	l.moving = func() { limit.Reset(l.limit) }
	rested := l.conn != nil
	found, err := l.attempt(ctx)
	if err != nil && rested {
		found, err = l.attempt(ctx)
	}
	if err != nil {
		return tidings{}, fmt.Errorf("read revocations: %w", tidy(err))
	}
	return found, nil
}

func (l *ledger) attempt(ctx context.Context) (found tidings, err error) {
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if err := l.connect(ctx); err != nil {
		return tidings{}, err
	}
	if changed, err := l.changed(ctx); err != nil || !changed && l.placed {
		return tidings{}, err
	}
	return l.query(ctx)
}

// query reads on from the place. If the numbers of another server stand behind it, or the table turns
// out to be in an earlier state, restored from a backup, it reads the whole window.
func (l *ledger) query(ctx context.Context) (tidings, error) {
	found, now, err := l.scan(ctx)
	if err != nil {
		return tidings{}, err
	}
	rewound := now.edge < l.place.edge
	if l.placed && (rewound || now.server != l.place.server) {
		l.placed = false
		if found, now, err = l.scan(ctx); err != nil {
			return tidings{}, err
		}
	}
	anew := !l.placed
	l.place, l.placed = now, true
	return tidings{rows: found, anew: anew, rewound: rewound}, nil
}

func (l *ledger) scan(ctx context.Context) (found []revocation, now place, err error) {
	statement, from := l.statement()
	rows, err := l.conn.QueryContext(ctx, statement, from)
	if err != nil {
		return nil, place{}, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var standby bool
	for rows.Next() {
		var id sql.NullInt64
		var hash []byte
		if err := rows.Scan(&now.edge, &now.server, &now.install, &standby, &id, &hash); err != nil {
			return nil, place{}, err
		}
		if id.Valid && len(hash) == len(auth.Key{}) {
			found = append(found, revocation{id: id.Int64, key: auth.Key(hash)})
		}
		if len(found)%1000 == 999 {
			l.moving()
		}
	}
	switch {
	case rows.Err() != nil:
		return nil, place{}, rows.Err()
	case standby:
		return nil, place{}, errStandby
	case l.place.install != "" && now.install != l.place.install:
		return nil, place{}, errElsewhere
	}
	return found, now, nil
}

func (l *ledger) statement() (statement string, from any) {
	read, on := readSQLite, placeSQLite
	if l.sql.postgres() {
		read, on = readPostgres, placePostgres
	}
	if !l.placed {
		return read + windowPlace, stamp(time.Now().Add(-l.window - sweepSlack))
	}
	return read + on, strconv.FormatUint(l.place.edge, 10)
}

func (l *ledger) connect(ctx context.Context) error {
	if l.conn != nil {
		return nil
	}
	conn, err := l.sql.db.Conn(ctx)
	if err != nil {
		return err
	}
	l.conn, l.version = &conn, 0
	return nil
}

// changed asks SQLite whether another connection has written since: a look at shared memory, cheaper
// than any query, which hears the command line too. The number means something on one connection alone.
func (l *ledger) changed(ctx context.Context) (bool, error) {
	if l.sql.postgres() {
		return true, nil
	}
	var version int64
	if err := l.conn.QueryRowContext(ctx, "PRAGMA data_version").Scan(&version); err != nil {
		return false, err
	}
	changed := version != l.version
	l.version = version // before the query: what comes in between is seen twice rather than never
	return changed, nil
}

// close lets go of the connection, and of the place with it.
func (l *ledger) close() {
	l.placed = false
	if l.conn != nil {
		_ = l.conn.Close() // back to its pool, which drops it if it is broken
		l.conn = nil
	}
}
