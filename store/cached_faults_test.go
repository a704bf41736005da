package store_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

var errLost = errors.New("the database cannot be asked")

// rawRedis is somebody else's hand in Redis.
func rawRedis(t *testing.T, r *storetest.RedisServer) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: r.Addr})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func redisKey(k auth.Key) string { return "session:" + k.String() }

// Whatever happens to the cache, the database answers, and the record is written again.
func TestRedisLosesThings(t *testing.T) {
	t.Parallel()
	server := storetest.Redis(t)
	hand := rawRedis(t, server)
	s := openLite(t)
	r := replicaOf(t, s, server.URL, keys(t))
	alice := signedIn(t, s, r)
	key := redisKey(alice.Key)
	waitFor(t, "the session is cached", func() bool { return r.hit(t, alice.Key) })
	good, err := hand.Get(t.Context(), key).Result()
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(context.Context) error{
		"ST-03/a flushed":      func(ctx context.Context) error { return hand.FlushAll(ctx).Err() },
		"ST-03/b garbage":      func(ctx context.Context) error { return hand.Set(ctx, key, "garbage", 0).Err() },
		"ST-03/b empty":        func(ctx context.Context) error { return hand.Set(ctx, key, "", 0).Err() },
		"ST-03/b truncated":    func(ctx context.Context) error { return hand.Set(ctx, key, good[:len(good)-1], 0).Err() },
		"ST-03/b version byte": func(ctx context.Context) error { return hand.Set(ctx, key, good[:1], 0).Err() },
		"ST-03/b schema v0":    func(ctx context.Context) error { return hand.Set(ctx, key, "\x00"+good[1:], 0).Err() },
		"ST-03/b a list": func(ctx context.Context) error {
			return errors.Join(hand.Del(ctx, key).Err(), hand.LPush(ctx, key, "x").Err())
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := spoil(t.Context()); err != nil {
				t.Fatal(err)
			}
			if r.hit(t, alice.Key) {
				t.Error("what was spoilt was believed")
			}
			waitFor(t, "the record is written again", func() bool { return r.hit(t, alice.Key) })
		})
	}
	t.Run("RULE-28/a newer release's record", func(t *testing.T) { // a miss, and not ours to remove
		if err := hand.Set(t.Context(), key, "\x02"+good[1:], 0).Err(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if r.hit(t, alice.Key) {
				t.Error("a record of another version was believed")
			}
		}
		if now, _ := hand.Get(t.Context(), key).Result(); !strings.HasPrefix(now, "\x02") {
			t.Error("the newer release's record was overwritten")
		}
	})
}

func TestRedisRecordLife(t *testing.T) {
	t.Parallel()
	server := storetest.Redis(t)
	hand := rawRedis(t, server)
	for name, c := range map[string]struct{ left, absolute, atMost time.Duration }{
		"ST-03/c ten minutes left": {left: 10 * time.Minute, absolute: 12 * time.Hour, atMost: 10 * time.Minute},
		"ST-03/c absolute end":     {left: 9 * time.Minute, absolute: 9 * time.Minute, atMost: 9 * time.Minute},
		"never above an hour":      {left: 8 * time.Hour, absolute: 12 * time.Hour, atMost: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			s := openLite(t)
			r := replicaOf(t, s, server.URL, keys(t))
			alice := signedIn(t, s, r, func(s *auth.Session) {
				s.ExpiresAt, s.EndsAt = s.CreatedAt.Add(c.left), s.CreatedAt.Add(c.absolute)
			})
			waitFor(t, "the session is cached", func() bool { return r.hit(t, alice.Key) })
			life, err := hand.PTTL(t.Context(), redisKey(alice.Key)).Result()
			if err != nil || life <= 0 || life > c.atMost {
				t.Errorf("the record lives %v, %v, want at most %v", life, err, c.atMost)
			}
		})
	}
}

// Who can write to Redis can make us forget, never forge.
func TestRedisForgery(t *testing.T) {
	t.Parallel()
	server := storetest.Redis(t)
	hand := rawRedis(t, server)
	s, ring := openLite(t), keys(t)
	r := replicaOf(t, s, server.URL, ring)
	alice := signedIn(t, s, r)
	waitFor(t, "the session is cached", func() bool { return r.hit(t, alice.Key) })
	good, _ := hand.Get(t.Context(), redisKey(alice.Key)).Result()

	t.Run("a record under another key", func(t *testing.T) {
		mallory := storetest.NewKey()
		if err := hand.Set(t.Context(), redisKey(mallory), good, 0).Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Find(t.Context(), mallory); !errors.Is(err, auth.ErrNoSession) {
			t.Errorf("Find: %v, want ErrNoSession", err)
		}
	})
	t.Run("another installation with the same secret", func(t *testing.T) {
		other := replicaOf(t, openLite(t), server.URL, ring)
		if _, err := other.Find(t.Context(), alice.Key); !errors.Is(err, auth.ErrNoSession) {
			t.Errorf("Find: %v, want ErrNoSession", err)
		}
	})
	t.Run("another secret", func(t *testing.T) {
		before := hand.Get(t.Context(), redisKey(alice.Key)).Val()
		other := replicaOf(t, s, server.URL, keys(t))
		if other.hit(t, alice.Key) && before == good {
			t.Error("a record of another secret was believed")
		}
	})
	t.Run("a tombstone that anybody wrote", func(t *testing.T) { // costs a question, signs nobody out
		if err := hand.Set(t.Context(), redisKey(alice.Key), "x", 0).Err(); err != nil {
			t.Fatal(err)
		}
		if r.hit(t, alice.Key) {
			t.Error("a tombstone was taken for a session")
		}
	})
}

// A reader that loaded the row just before it went must not put it back.
func TestBuryBeatsLateFill(t *testing.T) {
	t.Parallel()
	server := storetest.Redis(t)
	r, err := store.NewRedis(server.URL, keys(t), "install", time.Hour, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	s := storetest.NewSession(auth.User{ID: 1})
	if err := r.Fill(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Get(t.Context(), s.Key); err != nil {
		t.Fatalf("Get after Fill: %v", err)
	}
	if err := r.Bury(t.Context(), s.Key, storetest.NewKey()); err != nil {
		t.Fatal(err)
	}
	if err := r.Fill(t.Context(), s); err != nil {
		t.Errorf("a late Fill: %v", err)
	}
	if _, err := r.Get(t.Context(), s.Key); !errors.Is(err, store.ErrNotCached) {
		t.Errorf("Get after Bury and Fill: %v, want ErrNotCached", err)
	}
	life := rawRedis(t, server).PTTL(t.Context(), redisKey(s.Key)).Val()
	if life < time.Hour || life > time.Hour+time.Minute {
		t.Errorf("the tombstone stands for %v, want an hour and a minute", life)
	}
}

func TestStampede(t *testing.T) {
	t.Parallel()
	server := storetest.Redis(t)
	s := openLite(t)
	r := replicaOf(t, s, server.URL, keys(t))
	alice := signedIn(t, s, r, func(s *auth.Session) { s.ExpiresAt = s.CreatedAt.Add(30 * time.Minute) })
	t.Run("ST-05/one look-up", func(t *testing.T) {
		release := r.below.Block(storetest.Find)
		var all sync.WaitGroup
		for range 300 {
			all.Go(func() {
				if _, err := r.Find(t.Context(), alice.Key); err != nil {
					t.Errorf("Find: %v", err)
				}
			})
		}
		time.Sleep(300 * time.Millisecond) // so that they are under way
		release()
		all.Wait()
		if n := r.below.Calls(storetest.Find); n > 5 {
			t.Errorf("%d look-ups in the database, want at most 5", n)
		}
	})
	t.Run("ST-05/one slide", func(t *testing.T) {
		var all sync.WaitGroup
		for range 300 {
			all.Go(func() {
				if err := r.Touch(t.Context(), alice.Key, time.Hour); err != nil {
					t.Errorf("Touch: %v", err)
				}
			})
		}
		all.Wait()
		if n := r.below.Calls(storetest.Touch); n != 1 {
			t.Errorf("%d slides, want 1", n)
		}
	})
	t.Run("a slide that failed is tried again", func(t *testing.T) {
		k := storetest.NewKey()
		r.below.Fail(storetest.Touch, errLost)
		if err := r.Touch(t.Context(), k, time.Hour); !errors.Is(err, errLost) {
			t.Errorf("Touch: %v, want the fault", err)
		}
		r.below.Heal(storetest.Touch)
		before := r.below.Calls(storetest.Touch)
		if err := r.Touch(t.Context(), k, time.Hour); err != nil || r.below.Calls(storetest.Touch) != before+1 {
			t.Errorf("Touch: %v after %d calls", err, r.below.Calls(storetest.Touch)-before)
		}
	})
}

func TestFlights(t *testing.T) {
	t.Parallel()
	s := openLite(t)
	r := replicaOf(t, s, "", nil)
	alice := signedIn(t, s, r)
	find := func(ctx context.Context) <-chan error {
		found := make(chan error, 1)
		go func() { _, err := r.Find(ctx, alice.Key); found <- err }()
		return found
	}
	// begun waits until one more look-up has begun than before.
	begun := func(t *testing.T, before int) {
		t.Helper()
		waitFor(t, "a look-up began", func() bool { return r.below.Calls(storetest.Find) > before })
	}
	t.Run("who began it may leave", func(t *testing.T) {
		release := r.below.Block(storetest.Find)
		defer release()
		ctx, cancel := context.WithCancel(t.Context())
		before := r.below.Calls(storetest.Find)
		first := find(ctx)
		begun(t, before)
		second := find(t.Context())
		time.Sleep(50 * time.Millisecond) // so that it has joined
		cancel()
		if err := <-first; !errors.Is(err, context.Canceled) || errors.Is(err, auth.ErrNoSession) {
			t.Errorf("who left got %v", err)
		}
		release()
		if err := <-second; err != nil {
			t.Errorf("who stayed got %v", err)
		}
		if n := r.below.Calls(storetest.Find) - before; n != 1 {
			t.Errorf("%d look-ups, want 1", n)
		}
	})
	t.Run("RULE-01/no join after a revocation", func(t *testing.T) {
		r.Forget()
		release := r.below.Block(storetest.Find)
		defer release()
		before := r.below.Calls(storetest.Find)
		early := find(t.Context())
		begun(t, before)
		if err := r.End(t.Context(), alice.Key); err != nil {
			t.Fatal(err)
		}
		late := find(t.Context())
		begun(t, before+1)
		release()
		if err := <-late; !errors.Is(err, auth.ErrNoSession) {
			t.Errorf("after End: %v, want ErrNoSession", err)
		}
		if err := <-early; err != nil && !errors.Is(err, auth.ErrNoSession) {
			t.Errorf("who asked before got %v", err)
		}
	})
	t.Run("RULE-30", func(t *testing.T) {
		before := r.below.Calls(storetest.Find)
		for range 10 {
			if err := <-find(t.Context()); !errors.Is(err, auth.ErrNoSession) {
				t.Errorf("Find: %v, want ErrNoSession", err)
			}
		}
		if n := r.below.Calls(storetest.Find) - before; n > 1 {
			t.Errorf("absence was asked for %d times in a row", n)
		}
	})
}

// While the database hangs, few wait for it, and everybody gets an answer: could not find out.
func TestDatabaseHangs(t *testing.T) {
	t.Parallel()
	s := openLite(t)
	r := replicaOf(t, s, "", nil)
	release := r.below.Block(storetest.Find)
	defer release()
	var all sync.WaitGroup
	began := time.Now()
	for range 100 {
		all.Go(func() {
			if _, err := r.Find(t.Context(), storetest.NewKey()); err == nil || errors.Is(err, auth.ErrNoSession) {
				t.Errorf("Find: %v, want could not find out", err)
			}
		})
	}
	all.Wait()
	if n, took := r.below.Calls(storetest.Find), time.Since(began); n > 20 || took > 10*time.Second {
		t.Errorf("%d look-ups at once, all answered after %v", n, took)
	}
}

func TestDatabaseFails(t *testing.T) {
	t.Parallel()
	server := storetest.Redis(t)
	s := openLite(t)
	r := replicaOf(t, s, server.URL, keys(t))
	alice := signedIn(t, s, r, func(s *auth.Session) { s.ExpiresAt = s.CreatedAt.Add(2 * time.Second) })
	waitFor(t, "the session is cached", func() bool { return r.hit(t, alice.Key) })
	r.below.Fail(storetest.Find, errLost)
	t.Run("RULE-05/Redis may say yes", func(t *testing.T) {
		if _, err := r.Find(t.Context(), alice.Key); err != nil {
			t.Errorf("Find: %v", err)
		}
	})
	t.Run("RULE-05/a cached idle end is not absence", func(t *testing.T) {
		time.Sleep(time.Until(alice.ExpiresAt) + 50*time.Millisecond)
		if _, err := r.Find(t.Context(), alice.Key); !errors.Is(err, errLost) {
			t.Errorf("Find: %v, want could not find out", err)
		}
	})
	t.Run("logout fails and says so", func(t *testing.T) {
		r.below.Fail(storetest.End, errLost)
		if err := r.End(t.Context(), alice.Key); !errors.Is(err, errLost) {
			t.Errorf("End: %v, want the fault", err)
		}
	})
}
