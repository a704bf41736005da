package store

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// SessionInfo is a session as the operator sees it.
type SessionInfo struct {
	auth.Session
	LastSeen time.Time // UTC, to about a twelfth of session.ttl
}

// ListSessions lists live sessions in the order of their ids: those of one user, or with an empty
// e-mail everybody's; those after an id (zero: from the first), and at most limit.
func (s *SQL) ListSessions(ctx context.Context, email string, after int64, limit int) ([]SessionInfo, error) {
	var rows []*session
	now := stamp(time.Now().UTC())
	q := s.db.NewSelect().Model(&rows).Relation("User").
		Where("session.id > ?", after).Where("expires_at > ?", now).Where("ends_at > ?", now)
	if email != "" {
		q.Where("user_id IN (SELECT id FROM users WHERE "+s.byEmail()+")", fold(email))
	}
	if err := q.OrderExpr("session.id").Limit(int64(limit)).Scan(ctx); err != nil {
		return nil, fmt.Errorf("list sessions: %w", tidy(err))
	}
	list := make([]SessionInfo, len(rows))
	for i, row := range rows {
		list[i] = SessionInfo{Session: row.auth(), LastSeen: time.Time(row.LastSeen)}
	}
	return list, nil
}

// EndSession ends one session by its id. auth.ErrNoSession: absent.
func (s *SQL) EndSession(ctx context.Context, id int64) error {
	n, err := s.endWhere(ctx, "id = ?", id)
	if err == nil && n == 0 {
		err = auth.ErrNoSession
	}
	if err != nil {
		return fmt.Errorf("end session: %w", err)
	}
	return nil
}

// EndSessions ends all sessions of a user, or with an empty e-mail everybody's, and tells how many.
func (s *SQL) EndSessions(ctx context.Context, email string) (n int, err error) {
	if email == "" {
		n, err = s.endWhere(ctx, "true")
	} else {
		n, err = s.endWhere(ctx, "user_id IN (SELECT id FROM users WHERE "+s.byEmail()+")", fold(email))
	}
	if err != nil {
		return 0, fmt.Errorf("end sessions: %w", err)
	}
	return n, nil
}

func (s *SQL) endWhere(ctx context.Context, where string, args ...any) (ended int, err error) {
	err = s.durably(ctx, func(ctx context.Context, tx bun.Tx) error {
		result, err := tx.NewDelete().Model((*session)(nil)).Where(where, args...).Exec(ctx)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		ended = int(n)
		return err
	})
	return ended, err
}
