package store_test

import (
	"crypto/rand"
	"errors"
	"sync"
	"testing"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// RULE-30: while the database hangs, keys that nobody knows cannot pile up look-ups without an end, and
// a session that this process knows is answered as ever.
func TestLookupsAreBounded(t *testing.T) {
	t.Parallel()
	s := openLite(t)
	r := replicaOf(t, s, "", keys(t))
	alice := signedIn(t, s, r)
	waitFor(t, "the process knows alice", func() bool {
		before := r.seen.count("process find hit")
		if _, err := r.Find(t.Context(), alice.Key); err != nil {
			t.Fatal(err)
		}
		return r.seen.count("process find hit") > before
	})
	release := r.below.Block(storetest.Find)
	defer release()
	const asking = 3000
	var shed, wrong int
	var mu sync.Mutex
	var all sync.WaitGroup
	for range asking {
		all.Go(func() {
			var k auth.Key
			rand.Read(k[:])
			_, err := r.Find(t.Context(), k)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, auth.ErrTooMany):
				shed++
			case err == nil || errors.Is(err, auth.ErrNoSession):
				wrong++
			}
		})
	}
	known := r.seen.count("process find hit")
	for range 100 {
		if _, err := r.Find(t.Context(), alice.Key); err != nil {
			t.Errorf("who is known: %v", err)
			break
		}
	}
	if hits := r.seen.count("process find hit") - known; hits != 100 {
		t.Errorf("%d of 100 were answered by the process", hits)
	}
	all.Wait()
	if calls := r.below.Calls(storetest.Find); calls > 64 {
		t.Errorf("the database was asked %d times", calls)
	}
	if shed < asking/2 || wrong > 0 {
		t.Errorf("%d of %d were shed, %d answered yes or no without asking", shed, asking, wrong)
	}
}
