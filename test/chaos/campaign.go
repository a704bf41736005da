package chaos

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/test/stage"
)

// Campaign says how one is to be.
type Campaign struct {
	Length time.Duration // of the faults
	Seed   uint64        // of everything that is drawn
	Only   string        // what the name of a fault must hold; empty: any
	Tree   string        // whose gateways are tried; empty: those of this repository
	Build  []string      // arguments for go build
}

// warmUp is for how long everybody works before anything fails: pools fill, and what a gateway holds
// then is what it is measured by.
const warmUp = 2 * time.Second

// Run plays a campaign, and returns all that happened.
func (c Campaign) Run(t testing.TB) *History {
	t.Helper()
	s := stage.New(t, stage.Plan{
		Root: "../..", Tree: c.Tree, Build: c.Build, Users: emails(), App: http.HandlerFunc(app), Files: true,
	})
	h := NewHistory()
	h.Shadows = slices.Contains(c.Build, "-race")
	people := &crowd{stage: s, history: h}
	n := &nemesis{
		t: t, stage: s, history: h, crowd: people, only: c.Only, first: make([]Gauge, gates),
		rng: rand.New(rand.NewPCG(c.Seed, 0)), //nolint:gosec // to be had again
	}
	ctx, over := context.WithCancel(t.Context())
	defer over()
	people.all.Go(func() { h.watch(ctx, s) })
	people.work(ctx, c.Seed)
	sleep(ctx, warmUp)
	for gate := range gates {
		n.first[gate] = n.gauge(gate)
	}
	n.unleash(c.Length)
	sleep(ctx, recovery)
	over()
	people.all.Wait()
	s.Well(t)
	people.ask(t.Context())
	if err := n.audit(); err != nil {
		t.Fatal(err)
	}
	return h
}
