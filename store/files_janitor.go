package store

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/gatehouse-auth/gatehouse/upload"
)

// Claim keeps the contract of upload.Remains. It commits durably: if the database forgot it, a Settle
// could still win when the object is gone already.
func (s *SQL) Claim(ctx context.Context, stale time.Duration, limit int) (claimed int, err error) {
	defer func(start time.Time) { s.observe.note("database", "file_claim", start, outcome(err)) }(time.Now())
	err = s.durably(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		some := tx.NewSelect().Model((*file)(nil)).Column("id").Where("state = ?", upload.Pending).
			Where("beat_at <= ?", s.ago(stale)).Limit(int64(limit))
		claimed, err = affected(s.doom(tx).Where("id IN (?)", s.locked(some, "UPDATE SKIP LOCKED")).Exec(ctx))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("claim files: %w", err)
	}
	return claimed, nil
}

// Stale lists the pending files that Claim would take, the oldest first, and takes none.
func (s *SQL) Stale(ctx context.Context, stale time.Duration, limit int) ([]upload.File, error) {
	var rows []*file
	err := s.db.NewSelect().Model(&rows).Where("state = ?", upload.Pending).
		Where("beat_at <= ?", s.ago(stale)).OrderExpr("beat_at").Limit(int64(limit)).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("list stale files: %w", tidy(err))
	}
	return uploads(rows), nil
}

// Doomed keeps the contract of upload.Remains.
func (s *SQL) Doomed(ctx context.Context, stale time.Duration, limit int) (files []upload.File, err error) {
	defer func(start time.Time) { s.observe.note("database", "file_doomed", start, outcome(err)) }(time.Now())
	var rows []*file
	err = s.db.NewSelect().Model(&rows).Where("state = ?", upload.Doomed).
		Where("(cleared_at IS NULL OR cleared_at <= ?)", s.ago(stale)).
		OrderExpr("doomed_at").Limit(int64(limit)).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("list doomed files: %w", tidy(err))
	}
	return uploads(rows), nil
}

// CountDoomed tells how many files are doomed and still have a row.
func (s *SQL) CountDoomed(ctx context.Context) (int, error) {
	n, err := s.db.NewSelect().Model((*file)(nil)).Where("state = ?", upload.Doomed).Count(ctx)
	if err != nil {
		return 0, fmt.Errorf("count doomed files: %w", tidy(err))
	}
	return int(n), nil
}

// Cleared keeps the contract of upload.Remains.
func (s *SQL) Cleared(ctx context.Context, id string, stale time.Duration) (err error) {
	defer func(start time.Time) { s.observe.note("database", "file_cleared", start, outcome(err)) }(time.Now())
	err = s.tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		n, err := affected(tx.NewDelete().Model((*file)(nil)).Where("id = ?", id).Where("state = ?", upload.Doomed).
			Where("cleared_at <= ?", s.ago(stale)).Exec(ctx))
		if err != nil || n > 0 {
			return err
		}
		_, err = tx.NewUpdate().Model((*file)(nil)).Set("cleared_at = ?", s.now()).
			Where("id = ?", id).Where("state = ?", upload.Doomed).Where("cleared_at IS NULL").Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("clear file: %w", err)
	}
	return nil
}

// Known keeps the contract of upload.Remains.
func (s *SQL) Known(ctx context.Context, keys []string) (states map[string]upload.State, err error) {
	defer func(start time.Time) { s.observe.note("database", "file_known", start, outcome(err)) }(time.Now())
	states = map[string]upload.State{}
	if len(keys) == 0 {
		return states, nil
	}
	cleaned := make([]string, len(keys)) // a bucket may hold keys of any bytes, and Postgres takes not all
	for i, key := range keys {
		cleaned[i] = clean(key, len(key))
	}
	var rows []*file
	err = s.db.NewSelect().Model(&rows).Column("key", "state").Where("key IN (?)", bun.List(cleaned)).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("look up keys: %w", tidy(err))
	}
	for _, row := range rows {
		states[row.Key] = row.State
	}
	return states, nil
}
