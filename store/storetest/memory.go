package storetest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// Memory keeps users and sessions in memory, for tests. It keeps the contracts auth.Users and
// auth.Sessions, and fails the test that hands it what no store must be given: a key that was used
// before, times that are not UTC, a session that outlives its own end.
type Memory struct {
	t testing.TB

	mu       sync.Mutex
	lastID   int64
	users    map[int64]*account
	sessions map[auth.Key]*auth.Session
	used     map[auth.Key]bool // every key that ever was: a token is minted once
}

type account struct {
	auth.User
	issuer, subject string
	disabled        bool
}

// NewMemory makes an empty store that reports misuse to t.
func NewMemory(t testing.TB) *Memory {
	return &Memory{
		t: t, users: map[int64]*account{}, sessions: map[auth.Key]*auth.Session{}, used: map[auth.Key]bool{},
	}
}

// Live counts the sessions that are neither ended nor over.
func (m *Memory) Live() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for s := range maps.Values(m.sessions) {
		if s.Live(time.Now()) {
			n++
		}
	}
	return n
}

// SignIn keeps the contract of auth.Users.
func (m *Memory) SignIn(ctx context.Context, p auth.Profile) (auth.User, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return auth.User{}, err
	}
	if p.Issuer == "" || p.Subject == "" {
		m.t.Errorf("SignIn: a profile without issuer or subject: %q, %q", p.Issuer, p.Subject)
		return auth.User{}, errors.New("profile without issuer or subject")
	}
	user, bound := m.byEmail(p.Email), m.bySubject(p.Issuer, p.Subject)
	if user == nil && bound == nil && p.Welcome {
		user = m.add(p.Email, p.Name, nil)
	}
	switch {
	case user == nil, user.disabled, bound != nil && bound != user:
		return auth.User{}, auth.ErrNoUser
	case user.subject != "" && (user.issuer != p.Issuer || user.subject != p.Subject):
		return auth.User{}, auth.ErrNoUser
	}
	user.issuer, user.subject, user.Name, user.Picture = p.Issuer, p.Subject, p.Name, p.Picture
	return user.snapshot(), nil
}

// Create keeps the contract of auth.Sessions.
func (m *Memory) Create(ctx context.Context, s auth.Session) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.check(s)
	if err := ctx.Err(); err != nil {
		return err
	}
	user := m.users[s.User.ID]
	if user == nil || user.disabled {
		return auth.ErrNoUser
	}
	if m.used[s.Key] {
		return errors.New("that key was used before")
	}
	m.lastID++
	s.ID = m.lastID
	m.sessions[s.Key], m.used[s.Key] = &s, true
	return nil
}

// Find keeps the contract of auth.Sessions.
func (m *Memory) Find(ctx context.Context, k auth.Key) (auth.Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return auth.Session{}, err
	}
	s := m.sessions[k]
	if s == nil || !s.Live(time.Now()) {
		return auth.Session{}, auth.ErrNoSession
	}
	found := *s
	found.User = m.users[s.User.ID].snapshot()
	return found, nil
}

// Touch keeps the contract of auth.Sessions.
func (m *Memory) Touch(ctx context.Context, k auth.Key, ttl time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	now := time.Now().UTC()
	if s := m.sessions[k]; s != nil && s.Live(now) && s.ExpiresAt.Sub(now) <= ttl-ttl/12 {
		s.ExpiresAt = now.Add(ttl)
		if s.EndsAt.Before(s.ExpiresAt) {
			s.ExpiresAt = s.EndsAt
		}
	}
	return nil
}

// End keeps the contract of auth.Sessions.
func (m *Memory) End(ctx context.Context, k auth.Key) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	delete(m.sessions, k)
	return nil
}

// check fights back.
func (m *Memory) check(s auth.Session) {
	m.t.Helper()
	switch {
	case s.Key == auth.Key{}:
		m.t.Error("Create: a session without a key")
	case m.used[s.Key]:
		m.t.Error("Create: a key that was used before: a token is minted once")
	case s.ID != 0:
		m.t.Errorf("Create: ID is %d; the store chooses it", s.ID)
	case s.User.ID == 0:
		m.t.Error("Create: a session of nobody")
	case s.CreatedAt.Location() != time.UTC || s.ExpiresAt.Location() != time.UTC || s.EndsAt.Location() != time.UTC:
		m.t.Errorf("Create: times are not UTC: %v, %v, %v", s.CreatedAt, s.ExpiresAt, s.EndsAt)
	case s.CreatedAt.After(s.ExpiresAt) || s.ExpiresAt.After(s.EndsAt):
		m.t.Errorf("Create: ends out of order: made %v, idle end %v, absolute end %v", s.CreatedAt, s.ExpiresAt, s.EndsAt)
	}
}

func (m *Memory) add(email, name string, roles []string) *account {
	m.lastID++
	user := &account{User: auth.User{ID: m.lastID, Email: lower(email), Name: name, Roles: slices.Clone(roles)}}
	m.users[user.ID] = user
	return user
}

func (m *Memory) byEmail(email string) *account {
	for user := range maps.Values(m.users) {
		if user.Email == lower(email) {
			return user
		}
	}
	return nil
}

func (m *Memory) bySubject(issuer, subject string) *account {
	for user := range maps.Values(m.users) {
		if user.issuer == issuer && user.subject == subject {
			return user
		}
	}
	return nil
}

// snapshot is the user as it is now, sharing nothing with the store.
func (a *account) snapshot() auth.User {
	u := a.User
	u.Roles = slices.Clone(u.Roles)
	return u
}

// lower folds ASCII letters alone: a Kelvin sign must not become a k.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
