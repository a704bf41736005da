package store

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// endStep is how many sessions end in one transaction.
const endStep = 1000

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
		q.Where(s.ofUser(), fold(email))
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

// ofUser matches the sessions of one user by his e-mail. It is a comparison with one value, for with
// IN the database cannot know that the index on user and id has them in order.
func (s *SQL) ofUser() string { return "user_id = (SELECT id FROM users WHERE " + s.byEmail() + ")" }

// EndSession ends one session by its id. auth.ErrNoSession: absent.
func (s *SQL) EndSession(ctx context.Context, id int64) error {
	ended, err := s.endWhere(ctx, "id = ?", id)
	if err == nil && len(ended) == 0 {
		err = auth.ErrNoSession
	}
	if err != nil {
		return fmt.Errorf("end session: %w", err)
	}
	return nil
}

// EndSessions ends all sessions of a user, or with an empty e-mail everybody's, and tells how many. An
// error may come after some have ended, which are counted.
func (s *SQL) EndSessions(ctx context.Context, email string) (n int, err error) {
	for ended, err := range s.EndingSessions(ctx, email) {
		if n += ended; err != nil {
			return n, err
		}
	}
	return n, nil
}

// EndingSessions is EndSessions in steps, each of which has ended so many sessions once and for all. A
// million at once would keep every slide and logout waiting, and every replica's feed would have to
// swallow them in one piece. Sessions that are made meanwhile may end or not.
func (s *SQL) EndingSessions(ctx context.Context, email string) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for after := int64(0); ; {
			// In order, so that two who end the same sessions wait for each other one way round.
			some := s.db.NewSelect().Table("sessions").Column("id").Where("id > ?", after).Order("id").Limit(endStep)
			if email != "" {
				some.Where(s.ofUser(), fold(email))
			}
			ended, err := s.endWhere(ctx, "id IN (?)", s.locked(some, "UPDATE"))
			if err != nil {
				yield(0, fmt.Errorf("end sessions: %w", err))
				return
			}
			if len(ended) == 0 || !yield(len(ended), nil) {
				return
			}
			after = slices.Max(ended)
		}
	}
}

// endWhere ends sessions and returns their ids.
func (s *SQL) endWhere(ctx context.Context, where string, args ...any) (ended []int64, err error) {
	err = s.durably(ctx, func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewDelete().Model((*session)(nil)).Where(where, args...).Returning("id").Exec(ctx, &ended)
		return err
	})
	return ended, err
}
