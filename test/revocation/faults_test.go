package revocation

import (
	"syscall"
	"time"

	"github.com/gatehouse-auth/gatehouse/test/stage"
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
func (s *play) faults() []fault {
	others, all := s.Gates[1:], s.Gates
	sql, redis := func(g *stage.Gate) *stage.Way { return g.ToSQL }, func(g *stage.Gate) *stage.Way { return g.ToRedis }
	return []fault{
		{"Postgres frozen", nothing, s.Postgres.Freeze, s.Postgres.Thaw},
		{"Postgres gone", nothing, s.Postgres.Stop, s.Postgres.Start},
		{"Postgres restarted", s.restarting(func() { s.Postgres.Stop(); s.Postgres.Start() }), nothing, nothing},
		{"Postgres silent to the others", ways(others, sql, (*stage.Way).Silence), nothing, ways(others, sql, (*stage.Way).Mend)},
		{"Postgres refused to the others", ways(others, sql, (*stage.Way).Cut), nothing, ways(others, sql, (*stage.Way).Mend)},
		{"Redis frozen", s.Redis.Freeze, nothing, s.Redis.Thaw},
		{"Redis gone", s.Redis.Stop, nothing, s.Redis.Start},
		{"Redis restarted", s.restarting(func() { s.Redis.Stop(); s.Redis.Start() }), nothing, nothing},
		{"Redis silent", ways(all, redis, (*stage.Way).Silence), nothing, ways(all, redis, (*stage.Way).Mend)},
		{"Redis refused", ways(all, redis, (*stage.Way).Cut), nothing, ways(all, redis, (*stage.Way).Mend)},
		{"a gateway suspended", func() { s.signal(syscall.SIGSTOP) }, func() { time.Sleep(promised); s.signal(syscall.SIGCONT) }, nothing},
	}
}

// restarting begins something that ends while the round goes on.
func (s *play) restarting(f func()) func() {
	return func() {
		done := make(chan struct{})
		go func() { defer close(done); f() }()
		s.t.Cleanup(func() { <-done })
	}
}

// ways does something to the way of each of these gateways to one store.
func ways(gates []*stage.Gate, way func(*stage.Gate) *stage.Way, do func(*stage.Way)) func() {
	return func() {
		for _, g := range gates {
			do(way(g))
		}
	}
}

// signal is for the last gateway.
func (s *play) signal(sig syscall.Signal) { s.Gates[len(s.Gates)-1].Signal(sig) }
