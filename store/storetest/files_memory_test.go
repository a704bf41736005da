package storetest_test

import (
	"context"
	"sync"
	"testing"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

func TestMemoryFiles(t *testing.T) {
	storetest.Files(t, func(t *testing.T) storetest.FilesGround {
		var mu sync.Mutex
		var last int64
		m := storetest.NewMemoryFiles(t, func(user int64) bool {
			mu.Lock()
			defer mu.Unlock()
			return user <= last
		})
		return storetest.FilesGround{Files: m, Shelf: m, AddUser: func(_ context.Context, email string) (auth.User, error) {
			mu.Lock()
			defer mu.Unlock()
			last++
			return auth.User{ID: last, Email: email}, nil
		}}
	})
}
