package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// TestRedisFaults keeps a signed-in user busy while Redis fails in every way, and looks that he never
// notices, that logins and logouts work, and that the cache is used again afterwards.
func TestRedisFaults(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(*testing.T, *storetest.RedisServer, *toxiproxy.Proxy) (heal func()){
		"ST-01/a refuses": func(_ *testing.T, r *storetest.RedisServer, _ *toxiproxy.Proxy) func() {
			r.Stop()
			return r.Start
		},
		"ST-01/b black hole": func(_ *testing.T, r *storetest.RedisServer, _ *toxiproxy.Proxy) func() {
			r.Freeze()
			return r.Thaw
		},
		"ST-01/c 3 s latency": slow,
		"ST-01/d OOM": func(_ *testing.T, r *storetest.RedisServer, _ *toxiproxy.Proxy) func() {
			r.Do("CONFIG SET maxmemory 1")
			return func() { r.Do("CONFIG SET maxmemory 0") }
		},
		"ST-01/e LOADING, a real one": func(_ *testing.T, r *storetest.RedisServer, _ *toxiproxy.Proxy) func() {
			return r.Load()
		},
		"ST-01/f NOAUTH, a real one": func(_ *testing.T, r *storetest.RedisServer, _ *toxiproxy.Proxy) func() {
			r.Lock()
			return r.Unlock
		},
		"ST-01/e LOADING":              says("-LOADING Redis is loading the dataset in memory"),
		"ST-01/f NOAUTH":               says("-NOAUTH Authentication required."),
		"WRONGPASS":                    says("-WRONGPASS invalid username-password pair or user is disabled."),
		"MOVED to a node that is away": says("-MOVED 3999 127.0.0.1:1"),
		"CLUSTERDOWN":                  says("-CLUSTERDOWN Hash slot not served"),
		"MASTERDOWN":                   says("-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := storetest.Redis(t)
			proxy := cuttable(t, server.Addr)
			s := openLite(t)
			r := replicaOf(t, s, "redis://"+proxy.Listen, keys(t))
			alice := signedIn(t, s, r)
			waitFor(t, "the cache is used", func() bool { return r.hit(t, alice.Key) })

			heal := fail(t, server, proxy)
			busy(t, r, alice, 2*time.Second)
			other := storetest.NewSession(alice.User)
			if err := r.Create(t.Context(), other); err != nil {
				t.Errorf("login: %v", err)
			}
			if err := r.End(t.Context(), other.Key); err != nil {
				t.Errorf("logout: %v", err)
			}
			if _, err := r.Find(t.Context(), other.Key); !errors.Is(err, auth.ErrNoSession) {
				t.Errorf("after logout: %v, want ErrNoSession", err)
			}
			heal()
			waitFor(t, "the cache is used again", func() bool { return r.hit(t, alice.Key) })
		})
	}
}

// busy asks a hundred times a second, and tolerates no failure and no hang.
func busy(t *testing.T, r *replica, s auth.Session, d time.Duration) {
	t.Helper()
	var all sync.WaitGroup
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		all.Go(func() {
			began := time.Now()
			if got, err := r.Find(t.Context(), s.Key); err != nil || got.User.ID != s.User.ID {
				t.Errorf("Find: %v", err)
			}
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("Find took %v", took)
			}
		})
	}
	all.Wait()
}

// cuttable puts a proxy with faults in front of a server.
func cuttable(t *testing.T, upstream string) *toxiproxy.Proxy {
	t.Helper()
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	proxy := toxiproxy.NewProxy(api, t.Name(), "127.0.0.1:0", upstream)
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)
	return proxy
}

func slow(t *testing.T, _ *storetest.RedisServer, p *toxiproxy.Proxy) func() {
	t.Helper()
	toxic := `{"name": "slow", "type": "latency", "stream": "downstream", "attributes": {"latency": 3000}}`
	if _, err := p.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := p.Toxics.RemoveToxic(t.Context(), "slow"); err != nil {
			t.Error(err)
		}
	}
}

// says puts a server in Redis's place that has one answer to everything. It leaves when the real one
// is to start again.
func says(reply string) func(*testing.T, *storetest.RedisServer, *toxiproxy.Proxy) func() {
	return func(t *testing.T, r *storetest.RedisServer, _ *toxiproxy.Proxy) func() {
		t.Helper()
		r.Stop()
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", r.Addr)
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		all.Go(func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				context.AfterFunc(ctx, func() { _ = conn.Close() })
				all.Go(func() { answerAll(conn, reply) })
			}
		})
		leave := sync.OnceFunc(func() { cancel(); _ = l.Close(); all.Wait() })
		t.Cleanup(leave)
		return func() { leave(); r.Start() }
	}
}

// answerAll reads commands as clients send them (*n, then n times $len and the word).
func answerAll(conn net.Conn, reply string) {
	in := bufio.NewReader(conn)
	for {
		var words, size int
		if _, err := fmt.Fscanf(in, "*%d\r\n", &words); err != nil {
			return
		}
		for range words {
			if _, err := fmt.Fscanf(in, "$%d\r\n", &size); err != nil {
				return
			}
			if _, err := io.CopyN(io.Discard, in, int64(size)+2); err != nil {
				return
			}
		}
		if _, err := io.WriteString(conn, reply+"\r\n"); err != nil {
			return
		}
	}
}

// Redis became a replica of another: it answers reads and refuses writes.
func TestRedisReadOnly(t *testing.T) {
	t.Parallel()
	server := storetest.Redis(t)
	ring, s := keys(t), openLite(t)
	a, b := replicaOf(t, s, server.URL, ring), replicaOf(t, s, server.URL, ring)
	alice := signedIn(t, s, a)
	waitFor(t, "the session is cached", func() bool { return a.hit(t, alice.Key) && b.hit(t, alice.Key) })
	server.Do("REPLICAOF 127.0.0.1 1")

	other := storetest.NewSession(alice.User)
	t.Run("ST-02/a", func(t *testing.T) {
		if err := a.Create(t.Context(), other); err != nil {
			t.Errorf("login: %v", err)
		}
	})
	t.Run("ST-02/b, c", func(t *testing.T) {
		if err := a.End(t.Context(), alice.Key); err != nil {
			t.Fatalf("logout: %v", err)
		}
		if _, err := a.Find(t.Context(), alice.Key); !errors.Is(err, auth.ErrNoSession) {
			t.Errorf("after logout, here: %v, want ErrNoSession", err)
		}
		waitFor(t, "the other replica has heard", func() bool {
			_, err := b.Find(t.Context(), alice.Key)
			return errors.Is(err, auth.ErrNoSession)
		})
	})
	t.Run("ST-02/d", func(t *testing.T) {
		server.Do("REPLICAOF NO ONE")
		waitFor(t, "writes go through again", func() bool { return a.hit(t, other.Key) })
	})
}

// RULE-29 and "Redis is down at start": NewRedis does not wait, and its errors are blind.
func TestNewRedis(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ url, want string }{
		"plain":             {url: "redis://u:hunter2@127.0.0.1:1/0"},
		"tls":               {url: "rediss://u:hunter2@127.0.0.1:1/0"},
		"unix":              {url: "unix://u:hunter2@/nowhere.sock"},
		"sentinel":          {url: "redis+sentinel://127.0.0.1:1?master_name=m&addr=127.0.0.1:2"},
		"cluster":           {url: "redis+cluster://u:hunter2@127.0.0.1:1?addr=127.0.0.1:2"},
		"RULE-29/scheme":    {url: "http://u:hunter2@h", want: "store.redis: must begin with"},
		"RULE-29/empty":     {url: "", want: "store.redis: must begin with"},
		"RULE-29/control":   {url: "redis://u:hunter2\x7f@h", want: "store.redis: not a valid address"},
		"RULE-29/port":      {url: "redis://u:hunter2@h:hunter2", want: "store.redis: not a valid address"},
		"RULE-29/database":  {url: "redis://u:hunter2@h/hunter2", want: "store.redis: not a valid address"},
		"RULE-29/option":    {url: "redis://u@h?hunter2=1", want: "store.redis: not a valid address"},
		"RULE-29/no master": {url: "redis+sentinel://u:hunter2@h", want: "store.redis: not a valid address"},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			r, err := store.NewRedis(c.url, keys(t), "install", time.Hour, nil)
			if time.Since(began) > 5*time.Second {
				t.Error("NewRedis waited for the server")
			}
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("NewRedis: %v, want %q and no secret", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatalf("NewRedis: %v", err)
			}
			if err := r.Ping(t.Context()); err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("Ping of nothing: %v", err)
			}
			_ = r.Close()
		})
	}
}

// A Redis that is too small for everybody, and throws out what was used least: records and tombstones
// alike go all the time. Nobody is signed out by it, and nobody comes back.
func TestRedisEvicts(t *testing.T) {
	t.Parallel()
	server := storetest.Redis(t, "--maxmemory-policy", "allkeys-lru")
	ring, s := keys(t), openLite(t)
	people := peopleAt(t, s, replicaOf(t, s, server.URL, ring), replicaOf(t, s, server.URL, ring))
	people.cached(t)
	server.Shrink()
	leave := people.come(t)
	people.more(t, 100)
	leave()
	if n := server.Evicted(); n < 20 {
		t.Errorf("%d keys were thrown out, which shows nothing", n)
	}
}
