package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// sweepSlack is how much longer than needed the table keeps revocations, for clocks that disagree.
const sweepSlack = 5 * time.Minute

// ledger reads the table of revocations from where it was left, or the whole window when it has no
// place: at first, and after an error. It belongs to one goroutine.
type ledger struct {
	sql    *SQL
	window time.Duration

	placed  bool
	edge    uint64    // where the next reading begins
	conn    *sql.Conn // SQLite: the one whose data_version is compared
	version int64
}

// tidings is what a reading found.
type tidings struct {
	rows    []revocation
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
const (
	readPostgres = `WITH here AS (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS edge)
SELECT here.edge::text, r.id, r.token_hash FROM here LEFT JOIN revocations r ON `
	placePostgres = `r.xact >= ?::xid8`
	readSQLite    = `WITH here AS (SELECT coalesce(max(seq), 0) AS edge FROM sqlite_sequence WHERE name = 'revocations')
SELECT CAST(here.edge AS text), r.id, r.token_hash FROM here LEFT JOIN revocations r ON `
	placeSQLite = `r.id > CAST(? AS integer)`
	windowPlace = `r.at > ?`
)

func (l *ledger) read(ctx context.Context) (tidings, error) {
	changed, err := l.changed(ctx)
	if err == nil && (changed || !l.placed) {
		var found tidings
		if found, err = l.query(ctx); err == nil {
			return found, nil
		}
	}
	if err != nil {
		l.placed = false
		l.close()
		return tidings{}, fmt.Errorf("read revocations: %w", tidy(err))
	}
	return tidings{}, nil
}

// query reads on from the place, and if the table turns out to be in an earlier state, restored from
// a backup, the whole window.
func (l *ledger) query(ctx context.Context) (tidings, error) {
	found, edge, err := l.scan(ctx)
	if err != nil {
		return tidings{}, err
	}
	rewound := l.placed && edge < l.edge
	if rewound {
		l.placed = false
		if found, edge, err = l.scan(ctx); err != nil {
			return tidings{}, err
		}
	}
	l.edge, l.placed = edge, true
	return tidings{rows: found, rewound: rewound}, nil
}

func (l *ledger) scan(ctx context.Context) (found []revocation, edge uint64, err error) {
	statement, from := l.statement()
	rows, err := l.sql.db.QueryContext(ctx, statement, from)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id sql.NullInt64
		var hash []byte
		if err := rows.Scan(&edge, &id, &hash); err != nil {
			return nil, 0, err
		}
		if id.Valid && len(hash) == len(auth.Key{}) {
			found = append(found, revocation{id: id.Int64, key: auth.Key(hash)})
		}
	}
	return found, edge, rows.Err()
}

func (l *ledger) statement() (statement string, from any) {
	read, place := readSQLite, placeSQLite
	if l.sql.postgres() {
		read, place = readPostgres, placePostgres
	}
	if !l.placed {
		return read + windowPlace, stamp(time.Now().Add(-l.window - sweepSlack))
	}
	return read + place, strconv.FormatUint(l.edge, 10)
}

// changed asks SQLite whether another connection has written since: a look at shared memory, cheaper
// than any query, which hears the command line too. The number means something on one connection
// alone, so one is kept for it.
func (l *ledger) changed(ctx context.Context) (bool, error) {
	if l.sql.postgres() {
		return true, nil
	}
	if l.conn == nil {
		conn, err := l.sql.db.DB.Conn(ctx)
		if err != nil {
			return false, err
		}
		l.conn, l.version, l.placed = conn, 0, false
	}
	var version int64
	if err := l.conn.QueryRowContext(ctx, "PRAGMA data_version").Scan(&version); err != nil {
		return false, err
	}
	changed := version != l.version
	l.version = version // before the query: what comes in between is seen twice rather than never
	return changed, nil
}

func (l *ledger) close() {
	if l.conn != nil {
		_ = l.conn.Close() // back to its pool
		l.conn = nil
	}
}
