// Package storetest tells whether a store keeps its contract, and lends what such tests need.
//
// The story. Each contract of package auth has one suite here (users.go, sessions.go), and every
// implementation runs it: SQLite, Postgres, Redis in front of each, and Memory (memory.go), the fake
// that tests of other packages use. Memory fights back: it fails the test that hands it what a store
// must never be given. Faulty (faulty.go) wraps any implementation and fails on command, before the
// act or after it. Postgres and Redis (postgres.go, redis.go) start real servers for one test, which
// can be stopped, started again and frozen, Replicated a standby too (standby.go); Sentinel, Cluster and RedisTLS start the other kinds of
// Redis (topology.go, authority.go). S3 and S3TLS (s3server.go) start a real server for S3, FakeS3 an
// old and sloppy one; Front (s3faults.go) stands before any of them and lets requests fail; NullS3
// (s3null.go) keeps nothing and is for measuring. Their suite is Bucket (bucket.go).
//
// What this package never does: it never imports package store, so that no suite can know which
// implementation it runs on; and it never skips: a missing server program fails the test with the
// name of the package to install.
package storetest

import (
	"context"
	"crypto/rand"
	"net/netip"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// Ground is what a suite stands on: an implementation that holds nothing yet.
type Ground struct {
	Users    auth.Users
	Sessions auth.Sessions
	Operator Operator
}

// Operator is the hand that prepares the rows: what the command line does to a store.
type Operator interface {
	AddUser(ctx context.Context, email, name string, roles []string) (auth.User, error)
	SetRoles(ctx context.Context, email string, roles []string) error
	// DisableUser and RemoveUser end the user's sessions and tell how many.
	DisableUser(ctx context.Context, email string) (ended int, err error)
	RemoveUser(ctx context.Context, email string) (ended int, err error)
}

// NewKey returns a key that nobody else has.
func NewKey() (k auth.Key) {
	rand.Read(k[:])
	return k
}

// NewSession returns a session of u that was made now, expires in an hour and ends in twelve. Its
// times are cut to microseconds, which is what the databases keep.
func NewSession(u auth.User) auth.Session {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return auth.Session{
		Key: NewKey(), User: u, CreatedAt: now,
		ExpiresAt: now.Add(time.Hour), EndsAt: now.Add(12 * time.Hour),
		IP: netip.MustParseAddr("192.0.2.7"), UserAgent: "suite/1.0",
	}
}

// addUser prepares a user or ends the test.
func (g Ground) addUser(t *testing.T, email string, roles ...string) auth.User {
	t.Helper()
	u, err := g.Operator.AddUser(t.Context(), email, "Some One", roles)
	if err != nil {
		t.Fatalf("add user %q: %v", email, err)
	}
	return u
}

// create makes a session of u, after edit had its say, or ends the test.
func (g Ground) create(t *testing.T, u auth.User, edit ...func(*auth.Session)) auth.Session {
	t.Helper()
	s := NewSession(u)
	for _, change := range edit {
		change(&s)
	}
	if err := g.Sessions.Create(t.Context(), s); err != nil {
		t.Fatalf("create session: %v", err)
	}
	return s
}
