package store

import (
	"context"
	"fmt"
	"iter"
	"math"
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
	if err == nil && ended == 0 {
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
			last, err := s.stepEnd(ctx, email, after)
			if err == nil && last == 0 {
				return
			}
			ended := 0
			if err == nil {
				where, args := s.between(email, after, last)
				ended, err = s.endWhere(ctx, where, args...)
			}
			if err != nil {
				yield(0, fmt.Errorf("end sessions: %w", tidy(err)))
				return
			}
			if !yield(ended, nil) {
				return
			}
			after = last
		}
	}
}

// stepEnd is the id up to which the next step goes; zero: there is nothing left.
func (s *SQL) stepEnd(ctx context.Context, email string, after int64) (last int64, err error) {
	where, args := s.between(email, after, math.MaxInt64)
	part := s.db.NewSelect().Table("sessions").Column("id").Where(where, args...).Order("id").Limit(endStep)
	err = s.db.NewSelect().TableExpr("(?) AS part", part).ColumnExpr("coalesce(max(id), 0)").Scan(ctx, &last)
	return last, err
}

// between matches the sessions of a user, or with an empty e-mail everybody's, by a range of ids. Told
// so and not by a list of ids, the database reads that part of an index and nothing else, and two who
// end the same sessions lock them in the same order.
func (s *SQL) between(email string, after, last int64) (where string, args []any) {
	if email == "" {
		return "id > ? AND id <= ?", []any{after, last}
	}
	return s.ofUser() + " AND id > ? AND id <= ?", []any{fold(email), after, last}
}

// endWhere ends sessions and tells how many.
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
