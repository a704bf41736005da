package store_test

import (
	"context"
	"crypto/rand"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// replica is one Gatehouse as far as sessions go: its memory and Redis in front of a database, with its feed.
type replica struct {
	*store.Cached
	redis *store.Redis
	feed  *store.Feed
	below *storetest.Faulty // what stands between the cache and the database
	seen  *tally            // what Redis and the process tier did
}

// tally counts what a store was seen to do.
type tally struct {
	mu sync.Mutex
	n  map[string]int // by "tier op result"
}

func (y *tally) observe(tier, op, result string, _ time.Duration) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.n[tier+" "+op+" "+result]++
}

func (y *tally) count(what string) int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.n[what]
}

// hit looks a live session up, which this process has forgotten, and reports whether Redis had it.
func (r *replica) hit(t *testing.T, k auth.Key) bool {
	t.Helper()
	r.Forget()
	before := r.seen.count("redis find hit")
	if _, err := r.Find(t.Context(), k); err != nil {
		t.Fatalf("Find: %v", err)
	}
	return r.seen.count("redis find hit") > before
}

// keys makes a ring that replicas of one test may share.
func keys(t *testing.T) *auth.Keyring {
	t.Helper()
	secret := make([]byte, 32)
	rand.Read(secret)
	ring, err := auth.NewKeyring([][]byte{secret})
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// replicaOf starts a replica that ends with the test. It returns once the feed vouches.
func replicaOf(t *testing.T, s *store.SQL, url string, ring *auth.Keyring) *replica {
	t.Helper()
	r := idleReplica(t, s, url, ring, store.FeedConfig{})
	r.run(t)
	waitFor(t, "the feed vouches", r.feed.Vouches)
	return r
}

// idleReplica makes a replica whose feed does not run yet.
func idleReplica(t *testing.T, s *store.SQL, url string, ring *auth.Keyring, config store.FeedConfig) *replica {
	t.Helper()
	install, err := s.InstallID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{below: &storetest.Faulty{Users: s, Sessions: s}, seen: &tally{n: map[string]int{}}}
	if url != "" {
		if r.redis, err = store.NewRedis(url, ring, install, time.Hour, r.seen.observe); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.redis.Close() })
	}
	config.SQL, config.Redis, config.TTL = s, r.redis, time.Hour
	r.feed = store.NewFeed(config)
	r.Cached = store.NewCached(r.redis, r.below, r.feed, func() { r.seen.observe("process", "find", "hit", 0) })
	t.Cleanup(r.Close)
	return r
}

func (r *replica) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() { r.feed.Run(ctx) })
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(stop)
	return stop
}

// waitFor waits for as long as no machine needs.
func waitFor(t *testing.T, what string, so func() bool) {
	t.Helper()
	waitLong(t, 20*time.Second, what, so)
}

func waitLong(t *testing.T, limit time.Duration, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if so() {
			return
		}
	}
	t.Fatalf("not so after %v: %s", limit, what)
}

// signedIn makes alice and a session of hers, through the replica.
func signedIn(t *testing.T, s *store.SQL, r auth.Sessions, edit ...func(*auth.Session)) auth.Session {
	t.Helper()
	account, err := s.AddUser(t.Context(), "alice@corp.test", "Alice", []string{"staff"})
	if err != nil {
		t.Fatal(err)
	}
	made := storetest.NewSession(account.User)
	for _, change := range edit {
		change(&made)
	}
	if err := r.Create(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	return made
}

func TestCachedSessions(t *testing.T) {
	t.Parallel()
	dialects(t, func(t *testing.T, fresh func(*testing.T) *store.SQL) {
		r := storetest.Redis(t)
		storetest.Sessions(t, func(t *testing.T) storetest.Ground {
			s := fresh(t)
			return storetest.Ground{Users: s, Sessions: replicaOf(t, s, r.URL, keys(t)), Operator: operator{s}}
		})
	})
}

// forgetful asks below every time: what the suite finds then is Redis's, or the database's.
type forgetful struct{ *replica }

func (f forgetful) Find(ctx context.Context, k auth.Key) (auth.Session, error) {
	f.Forget()
	return f.replica.Find(ctx, k)
}

func TestCachedSessionsBelowProcess(t *testing.T) {
	t.Parallel()
	r := storetest.Redis(t)
	storetest.Sessions(t, func(t *testing.T) storetest.Ground {
		s := openLite(t)
		return storetest.Ground{Users: s, Sessions: forgetful{replicaOf(t, s, r.URL, keys(t))}, Operator: operator{s}}
	})
}

func TestCachedSessionsWithoutRedis(t *testing.T) {
	t.Parallel()
	storetest.Sessions(t, func(t *testing.T) storetest.Ground {
		s := openLite(t)
		return storetest.Ground{Users: s, Sessions: replicaOf(t, s, "", nil), Operator: operator{s}}
	})
}
