package storetest

import (
	"context"
	"errors"
	"slices"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// AddUser lets somebody in.
func (m *Memory) AddUser(_ context.Context, email, name string, roles []string) (auth.User, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byEmail(email) != nil {
		return auth.User{}, errors.New("user exists")
	}
	return m.add(email, name, roles).snapshot(), nil
}

// SetRoles gives a user other roles.
func (m *Memory) SetRoles(_ context.Context, email string, roles []string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	user := m.byEmail(email)
	if user == nil {
		return auth.ErrNoUser
	}
	user.Roles = slices.Clone(roles)
	return nil
}

// DisableUser shuts a user out and ends his sessions.
func (m *Memory) DisableUser(_ context.Context, email string) (ended int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	user := m.byEmail(email)
	if user == nil {
		return 0, auth.ErrNoUser
	}
	user.disabled = true
	return m.endAll(user.ID), nil
}

// RemoveUser forgets a user and ends his sessions.
func (m *Memory) RemoveUser(_ context.Context, email string) (ended int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	user := m.byEmail(email)
	if user == nil {
		return 0, auth.ErrNoUser
	}
	delete(m.users, user.ID)
	return m.endAll(user.ID), nil
}

func (m *Memory) endAll(user int64) (ended int) {
	for k, s := range m.sessions {
		if s.User.ID == user {
			delete(m.sessions, k)
			ended++
		}
	}
	return ended
}
