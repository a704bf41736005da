package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// maxAgent is how much of a User-Agent is kept, in bytes.
const maxAgent = 256

// Create keeps the contract of auth.Sessions.
func (s *SQL) Create(ctx context.Context, made auth.Session) (err error) {
	defer func(start time.Time) { s.observe.note("database", "create", start, outcome(err)) }(time.Now())
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	row := &session{
		TokenHash: made.Key[:], UserID: made.User.ID, CreatedAt: stamp(made.CreatedAt),
		ExpiresAt: stamp(made.ExpiresAt), EndsAt: stamp(made.EndsAt), LastSeen: stamp(made.CreatedAt),
		UserAgent: clean(made.UserAgent, maxAgent),
	}
	if made.IP.IsValid() {
		row.IP = made.IP.String()
	}
	err = s.durably(ctx, func(ctx context.Context, tx bun.Tx) error {
		// The lock makes whoever disables the user wait for this session, and then end it.
		q := tx.NewSelect().Model((*user)(nil)).Column("id").Where("id = ?", row.UserID).Where("NOT disabled")
		var id int64
		if err := s.locked(q, "SHARE").Scan(ctx, &id); errors.Is(err, sql.ErrNoRows) {
			return auth.ErrNoUser
		} else if err != nil {
			return err
		}
		_, err := tx.NewInsert().Model(row).Returning("NULL").Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("create session: %w", err)
	}
	return nil
}

// Find keeps the contract of auth.Sessions.
func (s *SQL) Find(ctx context.Context, k auth.Key) (found auth.Session, err error) {
	defer func(start time.Time) { s.observe.note("database", "find", start, outcome(err)) }(time.Now())
	var row session
	switch err = s.finding(&row, k).Scan(ctx); {
	case errors.Is(err, sql.ErrNoRows):
		return auth.Session{}, auth.ErrNoSession
	case err != nil:
		return auth.Session{}, fmt.Errorf("find session: %w", tidy(err))
	case row.Standby:
		return auth.Session{}, fmt.Errorf("find session: %w", errStandby)
	case row.ID == 0:
		return auth.Session{}, auth.ErrNoSession
	}
	if found = row.auth(); !found.Live(time.Now()) {
		return auth.Session{}, auth.ErrNoSession
	}
	return found, nil
}

// finding is the query of Find. With the session, or in its place, Postgres tells whether a standby
// answers. A connection is asked that when it is made (writable), but a pool in between may move it to
// another server later, and a standby knows neither the last sign-ins nor the last sign-outs (RULE-05,
// RULE-06).
func (s *SQL) finding(row *session, k auth.Key) *bun.SelectQuery {
	q := s.db.NewSelect().Model(row).Relation("User")
	if !s.postgres() {
		return q.Where("token_hash = ?", k[:]).Where(`NOT "user".disabled`)
	}
	return q.ColumnExpr("session.*").ColumnExpr("here.standby").
		Join("RIGHT JOIN (SELECT pg_is_in_recovery() AS standby) AS here").
		JoinOn("token_hash = ?", k[:]).JoinOn(`NOT "user".disabled`)
}

// End keeps the contract of auth.Sessions.
func (s *SQL) End(ctx context.Context, k auth.Key) (err error) {
	defer func(start time.Time) { s.observe.note("database", "end", start, outcome(err)) }(time.Now())
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	err = s.durably(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewDelete().Model((*session)(nil)).Where("token_hash = ?", k[:]).Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("end session: %w", err)
	}
	return nil
}
