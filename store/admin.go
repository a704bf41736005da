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

// Account is a user as the operator sees him.
type Account struct {
	auth.User
	Disabled        bool
	Issuer, Subject string    // the account bound at the first login; empty before
	CreatedAt       time.Time // UTC
	LastLogin       time.Time // UTC; zero: never
}

func (u *user) account() Account {
	return Account{
		User: u.auth(), Disabled: u.Disabled, Issuer: u.Issuer, Subject: u.Subject,
		CreatedAt: time.Time(u.CreatedAt), LastLogin: time.Time(u.LastLogin),
	}
}

// AddUser lets somebody in. ErrUserExists: there is a row with that e-mail, letter case aside.
func (s *SQL) AddUser(ctx context.Context, email, name string, roles []string) (Account, error) {
	if !address(email) {
		return Account{}, fmt.Errorf("add user: %q is not an e-mail address", email)
	}
	if err := checkRoles(roles); err != nil {
		return Account{}, fmt.Errorf("add user: %w", err)
	}
	row := &user{Email: fold(email), Name: clean(name, maxName), Roles: roles, CreatedAt: stamp(time.Now().UTC())}
	_, err := s.db.NewInsert().Model(row).Returning("id").Exec(ctx)
	if unique(err) {
		return Account{}, fmt.Errorf("add user: %w", ErrUserExists)
	}
	if err != nil {
		return Account{}, fmt.Errorf("add user: %w", tidy(err))
	}
	return row.account(), nil
}

// Accounts lists all users by e-mail.
func (s *SQL) Accounts(ctx context.Context) ([]Account, error) {
	var rows []*user
	if err := s.db.NewSelect().Model(&rows).OrderExpr("lower(email), id").Scan(ctx); err != nil {
		return nil, fmt.Errorf("list users: %w", tidy(err))
	}
	accounts := make([]Account, len(rows))
	for i, row := range rows {
		accounts[i] = row.account()
	}
	return accounts, nil
}

// RemoveUser forgets a user and tells how many live sessions ended with it. auth.ErrNoUser: absent.
// ErrHasFiles: he has some, and nothing was done (RULE-08).
func (s *SQL) RemoveUser(ctx context.Context, email string) (ended int, err error) {
	return s.shut(ctx, "remove user", email, removeUser)
}

// DisableUser shuts a user out without forgetting him, and tells how many live sessions ended.
// auth.ErrNoUser: absent.
func (s *SQL) DisableUser(ctx context.Context, email string) (ended int, err error) {
	return s.shut(ctx, "disable user", email, func(ctx context.Context, tx bun.Tx, id int64) error {
		_, err := tx.NewUpdate().Model((*user)(nil)).Set("disabled = ?", true).Where("id = ?", id).Exec(ctx)
		return err
	})
}

// shut ends a user's sessions and then does what else is to be done to the row, which is locked
// first: no login under way can add a session behind us.
func (s *SQL) shut(ctx context.Context, what, email string, act func(context.Context, bun.Tx, int64) error) (ended int, err error) {
	err = s.durably(ctx, func(ctx context.Context, tx bun.Tx) error {
		var id int64
		q := tx.NewSelect().Model((*user)(nil)).Column("id").Where(s.byEmail(), fold(email))
		if err := s.locked(q, "UPDATE").Scan(ctx, &id); errors.Is(err, sql.ErrNoRows) {
			return auth.ErrNoUser
		} else if err != nil {
			return err
		}
		now := stamp(time.Now().UTC())
		live, err := tx.NewSelect().Model((*session)(nil)).Where("user_id = ?", id).
			Where("expires_at > ?", now).Where("ends_at > ?", now).Count(ctx)
		if err != nil {
			return err
		}
		ended = int(live)
		if _, err := tx.NewDelete().Model((*session)(nil)).Where("user_id = ?", id).Exec(ctx); err != nil {
			return err
		}
		return act(ctx, tx, id)
	})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	return ended, nil
}

// EnableUser lets a disabled user in again. auth.ErrNoUser: absent.
func (s *SQL) EnableUser(ctx context.Context, email string) error {
	return s.alter(ctx, "enable user", email, func(q *bun.UpdateQuery) { q.Set("disabled = ?", false) })
}

// SetRoles gives a user other roles; they count at once. auth.ErrNoUser: absent.
func (s *SQL) SetRoles(ctx context.Context, email string, roles []string) error {
	if err := checkRoles(roles); err != nil {
		return fmt.Errorf("set roles: %w", err)
	}
	return s.alter(ctx, "set roles", email, func(q *bun.UpdateQuery) { q.Set("roles = ?", roleList(roles)) })
}

// UnbindUser lets the next login bind another account of the provider: the person's account was
// deleted and made anew. It ends the sessions of the old account, and tells how many were live.
// auth.ErrNoUser: absent.
func (s *SQL) UnbindUser(ctx context.Context, email string) (ended int, err error) {
	return s.shut(ctx, "unbind user", email, func(ctx context.Context, tx bun.Tx, id int64) error {
		_, err := tx.NewUpdate().Model((*user)(nil)).Set("issuer = NULL, subject = NULL").Where("id = ?", id).Exec(ctx)
		return err
	})
}

func (s *SQL) alter(ctx context.Context, what, email string, set func(*bun.UpdateQuery)) error {
	err := s.durably(ctx, func(ctx context.Context, tx bun.Tx) error {
		q := tx.NewUpdate().Model((*user)(nil)).Where(s.byEmail(), fold(email))
		set(q)
		result, err := q.Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, auth.ErrNoUser)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func checkRoles(roles []string) error {
	for _, role := range roles {
		if !auth.ValidRole(role) {
			return fmt.Errorf("role %q: only a-z, 0-9 and . _ : - may stand in a role", role)
		}
	}
	return nil
}
