package store

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/uptrace/bun"
)

const (
	sweepEvery = time.Minute
	// sweepAfter is how long a session must have been over before its row goes: longer than the five
	// minutes within which the triggers write a revocation, so that the sweep stays silent.
	sweepAfter = 10 * time.Minute
	// stretch is how many rows are looked at, and at most removed, by one statement: no login waits
	// long for a lock.
	stretch = 1000
	// stretches is how many a minute: a million rows are gone through in five.
	stretches = 200
	// stretchRest is the least pause between two. It is as long as the stretch took, so that a busy
	// database is left alone for half of the time.
	stretchRest = 5 * time.Millisecond
)

// RunSweeper removes sessions that are long over and revocations that no cache needs any more, once a
// minute until the context ends. Any number of replicas may do it at once.
//
// After the database was away it leaves sessions alone for ttl: while it could not be asked their
// idle ends could not move, and the row is what tells an operator who was in (RULE-05).
func (s *SQL) RunSweeper(ctx context.Context, ttl time.Duration) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	var away time.Time
	w := s.sweeper()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := s.reach(ctx)
		if err == nil && time.Since(away) >= ttl {
			_, err = w.sweep(ctx, ttl, stretches)
		}
		if err != nil {
			away = time.Now()
		}
	}
}

// reach is Ping with a limit: without one, a database that hangs and comes back would look as if it
// had never been away.
func (s *SQL) reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	return s.Ping(ctx)
}

// Sweep goes through both tables once, from end to end, and tells how many sessions it removed.
func (s *SQL) Sweep(ctx context.Context, ttl time.Duration) (removed int, err error) {
	return s.sweeper().sweep(ctx, ttl, math.MaxInt)
}

// sweeper remembers where it is in the two tables that are swept.
type sweeper struct{ sessions, revocations walk }

func (s *SQL) sweeper() *sweeper {
	return &sweeper{
		sessions:    walk{sql: s, table: "sessions", column: "expires_at"},
		revocations: walk{sql: s, table: "revocations", column: "at"},
	}
}

// sweep goes on by at most so many stretches of each table, and no further than its end.
func (w *sweeper) sweep(ctx context.Context, ttl time.Duration, most int) (removed int, err error) {
	s, now := w.sessions.sql, time.Now().UTC()
	defer func(start time.Time) { s.observe.note("database", "sweep", start, outcome(err)) }(now)
	if removed, err = w.sessions.on(ctx, now.Add(-sweepAfter), most); err != nil {
		return removed, fmt.Errorf("sweep sessions: %w", tidy(err))
	}
	if _, err = w.revocations.on(ctx, now.Add(-window(ttl)-sweepSlack), most); err != nil {
		return removed, fmt.Errorf("sweep revocations: %w", tidy(err))
	}
	return removed, nil
}

// walk goes round a table by its ids and removes what is old. An index on the time would find that
// without reading the rest, but it would have to be written with every slide (docs/decisions/0006);
// reading a million rows takes a second or two of the server, spread over five minutes.
type walk struct {
	sql           *SQL
	table, column string
	at            int64 // the id behind which it goes on
}

// on goes on by at most so many stretches. At the end of the table it stops, and begins anew next time.
func (w *walk) on(ctx context.Context, before time.Time, most int) (removed int, err error) {
	for range most {
		began := time.Now()
		n, last, err := w.step(ctx, before)
		if removed += n; err != nil || last {
			return removed, err
		}
		select {
		case <-ctx.Done():
			return removed, ctx.Err()
		case <-time.After(max(stretchRest, time.Since(began))):
		}
	}
	return removed, nil
}

// step is one stretch. It looks before it deletes, for mostly there is nothing to delete, and that
// costs no transaction that writes. Last: it was the table's last stretch.
func (w *walk) step(ctx context.Context, before time.Time) (removed int, last bool, err error) {
	column, from, to := bun.Ident(w.column), w.at, int64(0)
	part := w.sql.db.NewSelect().Table(w.table).ColumnExpr("id, ? AS moment", column).Where("id > ?", from).Order("id").Limit(stretch)
	var seen, old int
	err = w.sql.db.NewSelect().TableExpr("(?) AS part", part).
		ColumnExpr("coalesce(max(id), 0), count(*), count(CASE WHEN moment < ? THEN 1 END)", stamp(before)).Scan(ctx, &to, &seen, &old)
	if err != nil {
		return 0, false, err
	}
	if w.at = to; seen < stretch {
		w.at, last = 0, true
	}
	if old == 0 {
		return 0, last, nil
	}
	gone := w.sql.db.NewSelect().Table(w.table).Column("id").Where("id > ?", from).Where("id <= ?", to).Where("? < ?", column, stamp(before))
	// What is locked another replica sweeps right now. The range is told twice, for else the database
	// may think of reading the whole table to find a thousand ids in it.
	result, err := w.sql.db.NewDelete().Table(w.table).Where("id > ?", from).Where("id <= ?", to).
		Where("id IN (?)", w.sql.locked(gone, "UPDATE SKIP LOCKED")).Exec(ctx)
	if err != nil {
		return 0, last, err
	}
	n, err := result.RowsAffected()
	return int(n), last, err
}
