package chaos

import (
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/gatehouse-auth/gatehouse/test/stage"
)

// wound is something that can be made to fail. Strike does it to one gateway or to all, and mend undoes
// it, and returns when everything is done that an operator would do.
type wound struct {
	name         string
	hurts        []Part           // none: nobody may notice
	empty        bool             // see Fault
	single       bool             // it is done to one gateway
	others       bool             // it is done to all but that one
	ready        func(n *nemesis) // what must be so before, and hurts nobody; nil: nothing
	strike, mend func(n *nemesis, gate int)
}

// part is what a wound is about, by the first word of its name.
func (w wound) part() Part {
	first, _, _ := strings.Cut(w.name, " ")
	return Part(first)
}

// wounds lists all that is tried.
func wounds() []wound {
	all := []wound{
		{name: "Postgres frozen", hurts: []Part{Postgres}, strike: func(n *nemesis, _ int) { n.stage.Postgres.Freeze() }, mend: func(n *nemesis, _ int) { n.stage.Postgres.Thaw() }},
		{name: "Postgres killed", hurts: []Part{Postgres}, strike: func(n *nemesis, _ int) { n.stage.Postgres.Crash() }, mend: func(n *nemesis, _ int) { n.stage.Postgres.Start() }},
		{name: "Postgres restarted", hurts: []Part{Postgres}, strike: func(n *nemesis, _ int) { n.stage.Postgres.Stop(); n.stage.Postgres.Start() }, mend: nothing},
		{name: "Postgres disk full", hurts: []Part{Postgres}, strike: (*nemesis).fillPostgres, mend: func(n *nemesis, _ int) { n.stage.Postgres.Stop(); n.stage.Postgres.Start() }},
		{name: "Redis frozen", hurts: []Part{Redis}, empty: true, strike: func(n *nemesis, _ int) { n.stage.Redis.Freeze() }, mend: func(n *nemesis, _ int) { n.stage.Redis.Thaw() }},
		{name: "Redis killed", hurts: []Part{Redis}, empty: true, strike: func(n *nemesis, _ int) { n.stage.Redis.Stop() }, mend: func(n *nemesis, _ int) { n.stage.Redis.Start() }},
		{name: "Redis restarted", hurts: []Part{Redis}, empty: true, strike: func(n *nemesis, _ int) { n.stage.Redis.Stop(); n.stage.Redis.Start() }, mend: nothing},
		{name: "Redis flushed", empty: true, strike: func(n *nemesis, _ int) { n.stage.Redis.Do("FLUSHALL") }, mend: nothing},
		{name: "Redis out of memory", hurts: []Part{Redis}, empty: true, strike: func(n *nemesis, _ int) { n.stage.Redis.Do("CONFIG SET maxmemory 1") }, mend: func(n *nemesis, _ int) { n.stage.Redis.Do("CONFIG SET maxmemory 0") }},
		{name: "Redis disk full", hurts: []Part{Redis}, empty: true, strike: (*nemesis).fillRedis, mend: (*nemesis).emptyRedis},
		{name: "S3 killed", hurts: []Part{S3}, strike: func(n *nemesis, _ int) { n.stage.S3.Stop() }, mend: func(n *nemesis, _ int) { n.stage.S3.Start() }},
		{name: "S3 answers 503", hurts: []Part{S3}, strike: func(n *nemesis, _ int) { n.sick.Store(true) }, mend: func(n *nemesis, _ int) { n.sick.Store(false) }},
		{name: "gateway frozen", hurts: []Part{Gateway}, single: true, strike: func(n *nemesis, g int) { n.stage.Gates[g].Signal(syscall.SIGSTOP) }, mend: func(n *nemesis, g int) { n.stage.Gates[g].Signal(syscall.SIGCONT) }},
		{name: "gateway killed", hurts: []Part{Gateway}, single: true, strike: func(n *nemesis, g int) { n.stage.Gates[g].Kill() }, mend: (*nemesis).restart},
		{name: "gateway stopped", hurts: []Part{Gateway}, single: true, strike: func(n *nemesis, g int) { n.stage.Gates[g].Stop() }, mend: (*nemesis).restart},
		lateReader(),
		{name: "Postgres failed over", hurts: []Part{Postgres}, ready: (*nemesis).followPostgres, strike: func(n *nemesis, _ int) { n.stage.Postgres.Crash() }, mend: func(n *nemesis, _ int) { n.stage.Postgres.TakeOver(n.standby) }},
		{name: "Redis failed over", hurts: []Part{Redis}, empty: true, ready: (*nemesis).followRedis, strike: func(n *nemesis, _ int) { n.stage.Redis.Stop() }, mend: (*nemesis).failOverRedis},
		{name: "Redis read-only", hurts: []Part{Redis}, empty: true, strike: func(n *nemesis, _ int) { n.stage.Redis.Do("REPLICAOF 127.0.0.1 1") }, mend: func(n *nemesis, _ int) { n.stage.Redis.Do("REPLICAOF NO ONE") }},
	}
	for _, w := range []struct {
		part Part
		of   func(*stage.Gate) *stage.Way
	}{
		{Postgres, func(g *stage.Gate) *stage.Way { return g.ToSQL }},
		{Redis, func(g *stage.Gate) *stage.Way { return g.ToRedis }},
		{S3, func(g *stage.Gate) *stage.Way { return g.ToS3 }},
	} {
		all = append(all, waysOf(w.part, w.of)...)
	}
	return all
}

// waysOf lists what can become of the ways to one store, of one gateway and of all.
func waysOf(part Part, of func(*stage.Gate) *stage.Way) (all []wound) {
	hows := []struct {
		name  string
		do    func(*stage.Way)
		hurts []Part
	}{
		{"cut off", (*stage.Way).Cut, []Part{part}},
		{"silent", (*stage.Way).Silence, []Part{part}},
		{"half open", (*stage.Way).Deafen, []Part{part}},
		{"very slow", func(w *stage.Way) { w.Slow(2 * time.Second) }, []Part{part}},
		{"narrow", func(w *stage.Way) { w.Narrow(8) }, []Part{part}},
		{"slow", func(w *stage.Way) { w.Slow(50 * time.Millisecond) }, nil}, // which nobody may notice
	}
	for _, how := range hows {
		for _, where := range []string{"one", "all"} {
			if part == S3 && where == "all" {
				continue // files have no replica that could help out
			}
			all = append(all, wound{
				name: fmt.Sprintf("%s %s to %s", part, how.name, where), hurts: how.hurts, single: where == "one",
				empty:  part == Redis,
				strike: func(n *nemesis, gate int) { n.each(gate, func(g *stage.Gate) { how.do(of(g)) }) },
				mend:   func(n *nemesis, gate int) { n.each(gate, func(g *stage.Gate) { of(g).Mend() }) },
			})
		}
	}
	return all
}

func nothing(*nemesis, int) {}

// followPostgres sees to a standby that has all that was confirmed.
func (n *nemesis) followPostgres() { n.standby = n.stage.Postgres.Follow() }

// followRedis sees to a replica, which may lack the last of what was written.
func (n *nemesis) followRedis() { n.replica = n.stage.Redis.Follow() }

// failOverRedis makes the replica the master, to which all ways lead from then on.
func (n *nemesis) failOverRedis(int) {
	n.replica.Do("REPLICAOF NO ONE")
	n.stage.Redis = n.replica
	for _, g := range n.stage.Gates {
		g.ToRedis.Lead(n.replica.Addr)
	}
}

// restart starts a gateway again; it is mended when it serves.
func (n *nemesis) restart(gate int) {
	g := n.stage.Gates[gate]
	g.Start()
	stage.Wait(n.t, "a gateway serves again", func() bool { _, ready := g.Degraded(n.t.Context()); return ready })
	n.first[gate] = n.gauge(gate)
}

// each does something to one gateway, or to all.
func (n *nemesis) each(gate int, do func(*stage.Gate)) {
	for i, g := range n.stage.Gates {
		if gate == everyGate || gate == i {
			do(g)
		}
	}
}
