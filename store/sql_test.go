package store_test

import (
	"testing"

	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

func TestUsers(t *testing.T) {
	t.Parallel()
	dialects(t, func(t *testing.T, fresh func(*testing.T) *store.SQL) {
		storetest.Users(t, func(t *testing.T) storetest.Ground { return ground(fresh(t)) })
	})
}

func TestSessions(t *testing.T) {
	t.Parallel()
	dialects(t, func(t *testing.T, fresh func(*testing.T) *store.SQL) {
		storetest.Sessions(t, func(t *testing.T) storetest.Ground { return ground(fresh(t)) })
	})
}
