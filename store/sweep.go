package store

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

const (
	sweepEvery = time.Minute
	// sweepAfter is how long a session must have been over before its row goes: longer than the five
	// minutes within which the triggers write a revocation, so that the sweep stays silent.
	sweepAfter = 10 * time.Minute
	sweepBatch = 1000
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
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := s.reach(ctx)
		if err == nil && time.Since(away) >= ttl {
			_, err = s.Sweep(ctx, ttl)
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

// Sweep does it once, and tells how many sessions it removed.
func (s *SQL) Sweep(ctx context.Context, ttl time.Duration) (removed int, err error) {
	defer func(start time.Time) { s.observe.note("database", "sweep", start, outcome(err)) }(time.Now())
	now := time.Now().UTC()
	removed, err = s.sweep(ctx, "sessions", "expires_at", now.Add(-sweepAfter))
	if err != nil {
		return removed, fmt.Errorf("sweep sessions: %w", tidy(err))
	}
	if _, err := s.sweep(ctx, "revocations", "at", now.Add(-window(ttl)-sweepSlack)); err != nil {
		return removed, fmt.Errorf("sweep revocations: %w", tidy(err))
	}
	return removed, nil
}

// sweep deletes in small steps, so that no login waits long for a lock.
func (s *SQL) sweep(ctx context.Context, table, column string, before time.Time) (removed int, err error) {
	for {
		some := s.db.NewSelect().Table(table).Column("id").Where("? < ?", bun.Ident(column), stamp(before)).Limit(sweepBatch)
		if s.postgres() {
			some = some.For("UPDATE SKIP LOCKED") // another replica has them
		}
		result, err := s.db.NewDelete().Table(table).Where("id IN (?)", some).Exec(ctx)
		if err != nil {
			return removed, err
		}
		n, err := result.RowsAffected()
		removed += int(n)
		if err != nil || n < sweepBatch {
			return removed, err
		}
	}
}
