package revocation

import (
	"strings"
	"syscall"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
)

// fault is what goes wrong around a sign-out: before it, or the moment that it was answered. What is
// healed needs not have been broken.
type fault struct {
	name                string
	before, after, heal func()
}

func nothing() {}

// faults lists what is tried. The first gateway is where somebody signs out, so in some only the
// others are cut off: what was never ended need not be heard of.
func (s *stage) faults() []fault {
	others, all := s.gates[1:], s.gates
	sql, redis := func(g *gate) *toxiproxy.Proxy { return g.toSQL }, func(g *gate) *toxiproxy.Proxy { return g.toRedis }
	return []fault{
		{"Postgres frozen", nothing, s.postgres.Freeze, s.postgres.Thaw},
		{"Postgres gone", nothing, s.postgres.Stop, s.postgres.Start},
		{"Postgres restarted", s.restarting(func() { s.postgres.Stop(); s.postgres.Start() }), nothing, nothing},
		{"Postgres silent to the others", s.silence(others, sql), nothing, s.speak(others, sql)},
		{"Postgres refused to the others", s.cut(others, sql), nothing, s.join(others, sql)},
		{"Redis frozen", s.redis.Freeze, nothing, s.redis.Thaw},
		{"Redis gone", s.redis.Stop, nothing, s.redis.Start},
		{"Redis restarted", s.restarting(func() { s.redis.Stop(); s.redis.Start() }), nothing, nothing},
		{"Redis silent", s.silence(all, redis), nothing, s.speak(all, redis)},
		{"Redis refused", s.cut(all, redis), nothing, s.join(all, redis)},
		{"a gateway suspended", func() { s.signal(syscall.SIGSTOP) }, func() { time.Sleep(promised); s.signal(syscall.SIGCONT) }, nothing},
	}
}

// restarting begins something that ends while the round goes on.
func (s *stage) restarting(f func()) func() {
	return func() {
		done := make(chan struct{})
		go func() { defer close(done); f() }()
		s.t.Cleanup(func() { <-done })
	}
}

// silence lets connections stand and nothing come through, as a dropped route does.
func (s *stage) silence(gates []*gate, way func(*gate) *toxiproxy.Proxy) func() {
	return func() {
		for _, g := range gates {
			for _, stream := range []string{"upstream", "downstream"} {
				toxic := `{"name": "` + stream + `", "type": "timeout", "stream": "` + stream + `", "attributes": {"timeout": 0}}`
				if _, err := way(g).Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
					s.t.Error(err)
				}
			}
		}
	}
}

func (s *stage) speak(gates []*gate, way func(*gate) *toxiproxy.Proxy) func() {
	return func() {
		for _, g := range gates {
			for _, stream := range []string{"upstream", "downstream"} {
				if err := way(g).Toxics.RemoveToxic(s.t.Context(), stream); err != nil {
					s.t.Error(err)
				}
			}
		}
	}
}

// cut ends all connections and refuses new ones.
func (s *stage) cut(gates []*gate, way func(*gate) *toxiproxy.Proxy) func() {
	return func() {
		for _, g := range gates {
			way(g).Stop()
		}
	}
}

func (s *stage) join(gates []*gate, way func(*gate) *toxiproxy.Proxy) func() {
	return func() {
		for _, g := range gates {
			if err := way(g).Start(); err != nil {
				s.t.Error(err)
			}
		}
	}
}

// signal is for the last gateway.
func (s *stage) signal(sig syscall.Signal) {
	if err := s.gates[len(s.gates)-1].process.Signal(sig); err != nil {
		s.t.Error(err)
	}
}
