// Package store remembers what outlives a request.
//
// The story. The database is the truth: SQL (sql.go) keeps users and sessions in SQLite or Postgres
// and keeps the contracts auth.Users and auth.Sessions by itself. In front of it stands Cached
// (cached.go), which keeps auth.Sessions too: it asks Redis (redis.go) first and the database when
// Redis has no answer. Triggers in the database write a row for every session that ended or whose
// user changed; the Feed (feed.go) reads those rows as they come, so that a cache answers only while
// it would hear of a revocation.
//
// Files are another matter: S3 (s3.go) and Dir (dir.go) keep upload.Bucket, and the database only knows
// whose they are.
//
// Three rules carry it. Only the database says no: a cache says yes, or nothing. Whoever can write
// to Redis can make us forget, never forge: records are sealed. And "could not find out" is an error
// of its own, never auth.ErrNoSession.
//
// What this package never does: it never sees a token (only its Key), it knows nothing of HTTP, it
// logs nothing, and none of its errors carries the address of a database, which may hold a password.
package store

import (
	"errors"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/upload"
)

var (
	_ auth.Users    = (*SQL)(nil)
	_ auth.Sessions = (*SQL)(nil)
	_ auth.Sessions = (*Cached)(nil)
)

// ErrUserExists says that there is a user with that e-mail, letter case aside.
var ErrUserExists = errors.New("a user with this e-mail exists")

// Observe is told of every call of a tier ("redis" or "database"): which operation, how it went
// ("hit", "miss", "ok", "none", "error", …: a fixed set) and how long it took. It may be nil, and
// must be safe for concurrent use.
type Observe func(tier, op, result string, d time.Duration)

func (o Observe) note(tier, op string, start time.Time, result string) {
	if o != nil {
		o(tier, op, result, time.Since(start))
	}
}

// outcome names how a call of the database went.
func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, auth.ErrNoSession), errors.Is(err, auth.ErrNoUser), errors.Is(err, upload.ErrNoFile):
		return "none"
	case errors.Is(err, upload.ErrQuota):
		return "full"
	}
	return "error"
}

// maxCached is how long a record may stay in Redis, whatever its session's end.
const maxCached = time.Hour

// window is how long a revocation must be remembered: longer than any cached copy of what it
// revokes can live (DESIGN.md section 3).
func window(ttl time.Duration) time.Duration { return max(maxCached, ttl) + time.Minute }
