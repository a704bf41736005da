package store

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/uptrace/bun/dialect"
	"github.com/uptrace/bun/schema"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// user is a row of users.
type user struct {
	ID        int64  `bun:",pk,autoincrement"`
	Email     string // as it was written; compared with ASCII case folded
	Issuer    string `bun:",nullzero"` // with Subject the account bound at the first login
	Subject   string `bun:",nullzero"`
	Name      string
	Picture   string
	Roles     roleList
	Disabled  bool
	CreatedAt stamp
	LastLogin stamp `bun:",nullzero"`
}

// session is a row of sessions.
type session struct {
	ID        int64 `bun:",pk,autoincrement"`
	TokenHash []byte
	UserID    int64
	CreatedAt stamp
	ExpiresAt stamp
	EndsAt    stamp
	LastSeen  stamp
	IP        string
	UserAgent string
	User      *user `bun:"rel:belongs-to,join:user_id=id"`
	Standby   bool  `bun:",scanonly"` // who answers is a standby: see Find
}

func (u *user) auth() auth.User {
	return auth.User{ID: u.ID, Email: fold(u.Email), Name: u.Name, Picture: u.Picture, Roles: u.Roles}
}

func (s *session) auth() auth.Session {
	ip, _ := netip.ParseAddr(s.IP) // empty where the client has no address: a unix socket
	return auth.Session{
		ID: s.ID, Key: auth.Key(s.TokenHash), User: s.User.auth(), CreatedAt: time.Time(s.CreatedAt),
		ExpiresAt: time.Time(s.ExpiresAt), EndsAt: time.Time(s.EndsAt), IP: ip, UserAgent: s.UserAgent,
	}
}

// stamp is a time as the databases keep it: timestamptz in Postgres, microseconds since 1970 in
// SQLite, where bun would write text that compares rightly only by luck. It is UTC on this side
// whatever the time zones of session, server and process.
type stamp time.Time

// AppendQuery writes the time into a statement.
func (s stamp) AppendQuery(gen schema.QueryGen, b []byte) ([]byte, error) {
	if s.IsZero() {
		return append(b, "NULL"...), nil
	}
	if gen.Dialect().Name() == dialect.SQLite {
		return strconv.AppendInt(b, time.Time(s).UnixMicro(), 10), nil
	}
	return gen.Dialect().AppendTime(b, time.Time(s)), nil
}

// Scan reads the time from a row.
func (s *stamp) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*s = stamp{}
	case int64:
		*s = stamp(time.UnixMicro(v).UTC())
	case time.Time:
		*s = stamp(v.UTC())
	default:
		return fmt.Errorf("a time of type %T", src)
	}
	return nil
}

// IsZero tells bun which times are NULL.
func (s stamp) IsZero() bool { return time.Time(s).IsZero() }

// roleList is the roles in one column, joined by commas, which no role contains.
type roleList []string

// AppendQuery writes the roles into a statement.
func (r roleList) AppendQuery(gen schema.QueryGen, b []byte) ([]byte, error) {
	return gen.Dialect().AppendString(b, strings.Join(r, ",")), nil
}

// Scan reads the roles from a row.
func (r *roleList) Scan(src any) error {
	*r = nil
	switch v := src.(type) {
	case string:
		*r = split(v)
	case []byte:
		*r = split(string(v))
	default:
		return fmt.Errorf("roles of type %T", src)
	}
	return nil
}

func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

// fold lower-cases ASCII letters and leaves the rest: a wider folding makes one person of two (a
// Kelvin sign becomes a k).
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + ('a' - 'A')
		}
		return r
	}, s)
}

// clean makes text of strangers fit for a column: Postgres takes neither NUL nor broken UTF-8, and
// nobody is to be kept out by his browser's name. It is cut to at most size bytes, at a rune.
func clean(text string, size int) string {
	text = strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", ""), "\uFFFD")
	if len(text) <= size {
		return text
	}
	for size > 0 && !utf8.RuneStart(text[size]) {
		size--
	}
	return text[:size]
}
