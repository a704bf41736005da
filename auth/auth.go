// Package auth answers one question: who is asking?
//
// The story. A browser without a session is sent to the provider (login.go): the attempt it
// started is sealed into a short cookie, the provider sends it back with a code (provider.go),
// the code becomes a verified profile, and Users.SignIn says whether that person may come in.
// If so, the browser's old session ends, a new random Token is minted, and Sessions.Create
// remembers it. From then on the Gate (gate.go) reads the cookie of every request, refuses forged
// tokens without asking anyone, and asks Sessions.Find about the others. Logout (logout.go) ends
// the session and then clears the cookies.
//
// What this package never does: it never sees where sessions are kept, it never proxies, it never
// hands a token to a store (a store sees only its Key), and it never takes "could not find out"
// for a yes or for a no.
package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

var (
	// ErrNoUser says that nobody with this profile may come in: no such row, a disabled one, or
	// one that is bound to another account of the provider. The cause is never shown to the client,
	// who must not learn which of the three it was.
	ErrNoUser = errors.New("no such user")

	// ErrNoSession says that there is certainly no live session: the database said so, the request
	// carries no token, or the token is forged.
	ErrNoSession = errors.New("no session")

	// ErrDeadCookie is an ErrNoSession whose cookie will never open anything again, so that an
	// answer may clear it. A token under a key that this process does not know is never dead:
	// another replica may have a newer key file.
	ErrDeadCookie = fmt.Errorf("dead cookie: %w", ErrNoSession)

	// ErrTwoUsers says that the request carries live sessions of two different users (RULE-07).
	// Neither is picked: somebody may have planted one of them.
	ErrTwoUsers = errors.New("two live sessions of different users")
)

// User is who may come in.
type User struct {
	ID      int64
	Email   string // canonical: ASCII letters lower-cased
	Name    string // as the provider gave it; anybody's choice, so never an identifier
	Picture string
	Roles   []string // each a ValidRole
}

// ValidRole reports whether a role may have a name: one or more of a-z, 0-9 and . _ : - alone. Roles
// stand in a header, joined by commas.
func ValidRole(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789._:-") == ""
}

// Session is who is in: one browser, signed in once.
type Session struct {
	ID        int64 // names the session in logs, pages and the CLI; never a credential
	Key       Key
	User      User      // as the row was when the session was looked up
	CreatedAt time.Time // UTC
	ExpiresAt time.Time // the idle end; moves when the session is used
	EndsAt    time.Time // the absolute end; never moves
	IP        netip.Addr
	UserAgent string // at most 256 bytes
	Kept      *Kept  // what was built from this snapshot, shared by its copies; nil: nothing is kept
}

// Live reports whether neither end has come by now.
func (s Session) Live(now time.Time) bool {
	return now.Before(s.ExpiresAt) && now.Before(s.EndsAt)
}

// Lifetime says how long a session lasts.
type Lifetime struct {
	TTL time.Duration // after the last use; one hour by default
	Max time.Duration // in all; twelve hours by default. Equal to TTL it makes a fixed span.
}

// Profile is what the provider vouches for, after every check on it that the provider's answer
// itself allows (signature, issuer, audience, nonce, subject, verified e-mail, hosted domain).
type Profile struct {
	Issuer  string
	Subject string // the provider's stable name of the account
	Email   string // as userinfo gave it
	Name    string
	Picture string
	Welcome bool // login.auto_create_domains lets this person in without a row
}

// Users knows who may come in.
type Users interface {
	// SignIn finds the user of a profile, in one transaction: it matches the e-mail with ASCII case
	// folded, binds (issuer, subject) to the row at the first login, refuses an account other than
	// the bound one, and refreshes name and picture. A profile that is Welcome and has no row gets
	// one. ErrNoUser: nobody with that profile may come in. Any other error: could not find out,
	// so nobody gets in.
	SignIn(ctx context.Context, p Profile) (User, error)
}

// Sessions remembers who is in. Implementations are safe for concurrent use. Times are compared
// with the clock of the gateway, in UTC.
type Sessions interface {
	// Create remembers s; s.ID is chosen by the store and s.User is named by its ID alone. It
	// returns nil only once the session will survive a restart. It re-reads the user in the same
	// transaction and returns ErrNoUser if that user is gone or disabled meanwhile (RULE-08). It
	// never fills a cache.
	Create(ctx context.Context, s Session) error

	// Find returns the live session of a key with a snapshot of its user. ErrNoSession: the
	// database said that there is none, or that it is over. Any other error: could not find out.
	Find(ctx context.Context, k Key) (Session, error)

	// Touch notes that the session was used now: its idle end becomes now + ttl, but never later
	// than EndsAt. It writes only when at least ttl/12 of the span has passed since the last time,
	// and of many callers at once one writes. A session that is absent or over is left so, and is
	// not an error: the next Find tells.
	Touch(ctx context.Context, k Key, ttl time.Duration) error

	// End forgets a session. Once it returns nil, no replica lets k in again (at once in normal
	// running, within seconds under a fault: docs/operations.md). An absent session is not an error.
	End(ctx context.Context, k Key) error
}
