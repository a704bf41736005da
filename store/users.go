package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/uptrace/bun"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// Bounds of what is kept of a profile, in bytes.
const (
	maxEmail   = 254 // RFC 5321, section 4.5.3.1.3, less the angle brackets
	maxName    = 256
	maxPicture = 2048
)

// byEmail matches as the unique index does, so that the index is used: ASCII case folded. The
// argument is folded here.
const (
	byEmailSQLite   = `lower(email) = ?`
	byEmailPostgres = `lower(email COLLATE "C") = ?`
)

// SignIn keeps the contract of auth.Users.
func (s *SQL) SignIn(ctx context.Context, p auth.Profile) (u auth.User, err error) {
	defer func(start time.Time) { s.observe.note("database", "sign_in", start, outcome(err)) }(time.Now())
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	if p.Issuer == "" || p.Subject == "" {
		return auth.User{}, errors.New("sign in: a profile without issuer or subject")
	}
	if !address(p.Email) {
		return auth.User{}, auth.ErrNoUser
	}
	p.Name, p.Picture = clean(p.Name, maxName), clean(p.Picture, maxPicture)
	// Two first logins at once may both find no row, and the unique index refuses the second, which
	// finds one when it looks again.
	for range 3 {
		if u, err = s.signIn(ctx, p); !unique(err) {
			break
		}
	}
	if err != nil {
		return auth.User{}, fmt.Errorf("sign in: %w", err)
	}
	return u, nil
}

func (s *SQL) signIn(ctx context.Context, p auth.Profile) (auth.User, error) {
	var row *user
	err := s.tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		var rows []*user // at most two: the address may be one user's and the account another's
		q := tx.NewSelect().Model(&rows).Where(s.byEmail(), fold(p.Email)).WhereOr("issuer = ? AND subject = ?", p.Issuer, p.Subject)
		if err := s.locked(q, "UPDATE").Scan(ctx); err != nil {
			return err
		}
		var err error
		if row, err = match(rows, p); err != nil {
			return err
		}
		now := stamp(time.Now().UTC())
		row.Issuer, row.Subject, row.Name, row.Picture, row.LastLogin = p.Issuer, p.Subject, p.Name, p.Picture, now
		if row.ID == 0 {
			row.CreatedAt = now
			_, err = tx.NewInsert().Model(row).Returning("id").Exec(ctx)
		} else {
			_, err = tx.NewUpdate().Model(row).Column("issuer", "subject", "name", "picture", "last_login").WherePK().Exec(ctx)
		}
		return err
	})
	if err != nil {
		return auth.User{}, err
	}
	return row.auth(), nil
}

// match picks the row of a profile from those that have its address or its account. A new row, not
// yet in the table, is for somebody who is welcome without one.
func match(rows []*user, p auth.Profile) (*user, error) {
	switch {
	case len(rows) == 0 && p.Welcome:
		return &user{Email: fold(p.Email)}, nil
	case len(rows) == 0:
		return nil, auth.ErrNoUser
	case len(rows) > 1:
		// The account is bound to one user and the address is another's. Neither is picked: the
		// address may have been handed on to somebody new, or taken.
		return nil, errTwoRows
	}
	row := rows[0]
	switch {
	case fold(row.Email) != fold(p.Email): // and for the new one nobody made a row
		return nil, errMoved
	case row.Disabled:
		return nil, errDisabled
	case row.Subject != "" && (row.Issuer != p.Issuer || row.Subject != p.Subject): // the address may have been handed on
		return nil, errBound
	}
	return row, nil
}

// Why somebody is no user is for the operator alone, who reads it in the log.
var (
	errTwoRows  = fmt.Errorf("%w: the e-mail is one user's, and the account of the provider is bound to another", auth.ErrNoUser)
	errMoved    = fmt.Errorf("%w: the account of the provider is bound to a user with another e-mail", auth.ErrNoUser)
	errDisabled = fmt.Errorf("%w: disabled", auth.ErrNoUser)
	errBound    = fmt.Errorf("%w: the user is bound to another account of the provider (gatehouse user unbind)", auth.ErrNoUser)
)

func (s *SQL) byEmail() string {
	if s.postgres() {
		return byEmailPostgres
	}
	return byEmailSQLite
}

// address reports whether text can stand in the e-mail column: one @ with something on both sides,
// no space, no control character. Whether the provider vouches for it is not asked here.
func address(text string) bool {
	local, domain, found := strings.Cut(text, "@")
	odd := func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }
	return found && local != "" && domain != "" && !strings.Contains(domain, "@") &&
		len(text) <= maxEmail && utf8.ValidString(text) && !strings.ContainsFunc(text, odd)
}
