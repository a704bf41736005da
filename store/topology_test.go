package store_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// suiteThrough runs the suite of sessions with a Redis in front that is reached by an address, after
// a walk that shows the address to be of use: the suite alone would pass without any Redis.
func suiteThrough(t *testing.T, url string) {
	t.Helper()
	t.Run("fill, get, bury", func(t *testing.T) { fillGetBury(t, url) })
	storetest.Sessions(t, func(t *testing.T) storetest.Ground {
		s := openLite(t)
		return storetest.Ground{Users: s, Sessions: replicaOf(t, s, url, keys(t)), Operator: operator{s}}
	})
}

// fillGetBury handles enough keys at once to meet every node of a cluster.
func fillGetBury(t *testing.T, url string) {
	t.Helper()
	r, err := store.NewRedis(url, keys(t), "install", time.Hour, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	waitFor(t, "Redis answers", func() bool { return r.Ping(t.Context()) == nil })
	made := make([]auth.Session, 30)
	all := make([]auth.Key, len(made))
	for i := range made {
		made[i] = storetest.NewSession(auth.User{ID: int64(i + 1)})
		all[i] = made[i].Key
		waitFor(t, "the record is written", func() bool { return r.Fill(t.Context(), made[i]) == nil })
		waitFor(t, "the record is read", func() bool {
			got, err := r.Get(t.Context(), made[i].Key)
			return err == nil && got.User.ID == made[i].User.ID
		})
	}
	waitFor(t, "all are buried", func() bool { return r.Bury(t.Context(), all...) == nil })
	for _, s := range made {
		if err := r.Fill(t.Context(), s); err != nil {
			t.Errorf("a late Fill: %v", err)
		}
		if _, err := r.Get(t.Context(), s.Key); !errors.Is(err, store.ErrNotCached) {
			t.Errorf("Get after Bury: %v, want ErrNotCached", err)
		}
	}
}

// A user, a password with every letter that a URL escapes, and a database other than the first.
func TestRedisAddress(t *testing.T) {
	t.Parallel()
	server := storetest.Redis(t, "--requirepass", storetest.RedisPassword)
	server.Do("ACL SETUSER gate on >p%ss allkeys +@all")
	for name, who := range map[string]string{
		"password":          ":p%40ss%2Fw%3Ard",
		"user and password": "gate:p%25ss",
	} {
		t.Run(name, func(t *testing.T) {
			fillGetBury(t, strings.Replace(server.URL, "://", "://"+who+"@", 1)+"/3")
		})
	}
	t.Run("database", func(t *testing.T) {
		if n := size(t, server, 3); n == 0 {
			t.Error("nothing in database 3")
		}
		if n := size(t, server, 0); n != 0 {
			t.Errorf("%d keys in database 0", n)
		}
	})
	t.Run("wrong password", func(t *testing.T) {
		r, err := store.NewRedis(strings.Replace(server.URL, "://", "://:hunter2@", 1), keys(t), "install", time.Hour, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Close() }()
		if err := r.Ping(t.Context()); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Ping: %v, want a refusal without the password", err)
		}
	})
}

func size(t *testing.T, r *storetest.RedisServer, database int) int64 {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: r.Addr, Password: storetest.RedisPassword, DB: database})
	defer func() { _ = client.Close() }()
	n, err := client.DBSize(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRedisTLS(t *testing.T) {
	stranger, err := storetest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	server := trusted.RedisTLS(t)
	t.Run("rediss", func(t *testing.T) { suiteThrough(t, server.URL) })
	for name, url := range map[string]string{
		"a certificate of a stranger": stranger.RedisTLS(t).URL,
		"no TLS where TLS is asked":   "rediss://" + server.Addr,
		"TLS where none is asked":     strings.Replace(server.URL, "rediss", "redis", 1),
		"another name":                strings.Replace(server.URL, "127.0.0.1", "localhost", 1),
	} {
		t.Run(name, func(t *testing.T) {
			r, err := store.NewRedis(url, keys(t), "install", time.Hour, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = r.Close() }()
			if err := r.Ping(t.Context()); err == nil {
				t.Error("Ping went through")
			}
		})
	}
}

// A cluster serves all keys, and goes on when the replica of a master that was killed has taken its place.
func TestRedisCluster(t *testing.T) {
	t.Parallel()
	cluster := storetest.Cluster(t)
	suiteThrough(t, cluster.URL)
	for _, node := range cluster.Masters {
		if n := size(t, node, 0); n == 0 {
			t.Error("a node holds nothing")
		}
	}
	replaced(t, cluster.URL, cluster.Masters[0], cluster.Replicas[0], killed)
}

// Sentinels replace a master that has died, or that does not answer any more.
func TestRedisSentinel(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		watchers int
		how      func(*storetest.RedisServer) (heal func())
	}{
		"one sentinel, the master is killed":    {1, killed},
		"three sentinels, the master is killed": {3, killed},
		"three sentinels, the master is frozen": {3, frozen},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			group := storetest.Sentinel(t, c.watchers)
			if c.watchers == 1 {
				suiteThrough(t, group.URL)
			}
			replaced(t, group.URL, group.Master, group.Replica, c.how)
		})
	}
}

func killed(r *storetest.RedisServer) (heal func()) { r.Stop(); return r.Start }
func frozen(r *storetest.RedisServer) (heal func()) { r.Freeze(); return r.Thaw }

// replaced lets a master fail while people come and go. Nobody is kept out meanwhile, nobody who signed out comes back, and the cache is used again with the new master:
// also when the old one is there again, empty or with what it knew before.
func replaced(t *testing.T, url string, master, replica *storetest.RedisServer, fail func(*storetest.RedisServer) func()) {
	t.Helper()
	s, ring := openLite(t), keys(t)
	people := peopleAt(t, s, replicaOf(t, s, url, ring), replicaOf(t, s, url, ring))
	people.cached(t)
	leave := people.come(t)
	people.more(t, 20)
	heal := fail(master)
	busy(t, people.replicas[0], people.first, time.Second)
	people.more(t, 20)
	waitFor(t, "ST-02/the replica is the master", replica.Leads)
	people.cached(t)
	heal()
	people.more(t, 20)
	leave()
	people.cached(t)
}
