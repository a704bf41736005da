package main

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// probeLimit bounds one look at a part. Kubernetes gives up a probe after one second: with an answer
// later than that a frozen database would take every replica out of the balancer.
const probeLimit = 700 * time.Millisecond

// phase is where the process is in its life.
type phase int32

const (
	starting phase = iota
	serving
	stopping
)

func (p phase) String() string {
	return [...]string{"starting", "ready", "draining"}[p]
}

// probe looks at one part: the database, Redis, the provider.
type probe struct {
	name    string
	without string // what becomes of people while it cannot be asked, for whoever reads the log at night
	look    func(context.Context) error
}

// health answers the probes of the admin listener. It changes nothing and names no user.
type health struct {
	phase  atomic.Int32
	probes []probe
}

// newHealth looks at the stores and the provider.
func newHealth(s *stores, provider *auth.Provider) *health {
	database := probe{"database", "nobody can sign in or out; who is not in a cache gets 503", s.sql.Ping}
	memory := probe{"memory", "this process answers nothing by itself; each request asks redis or the database", s.hears}
	h := &health{probes: []probe{database, memory}}
	if s.redis != nil {
		h.probes = append(h.probes,
			probe{"redis", "the database answers every look-up", s.redis.Ping},
			probe{"revocations", "redis is not believed; each look-up asks the database", s.vouches})
	}
	h.probes = append(h.probes, probe{"provider", "nobody can sign in; who is in stays so", sparing(provider.Ping)})
	return h
}

func (h *health) enter(p phase) { h.phase.Store(int32(p)) }

// leaving reports whether the process is being drained.
func (h *health) leaving() bool { return phase(h.phase.Load()) == stopping }

// live says that the process runs. It touches nothing: a store that is down is no reason to restart
// the gateway (RULE-27).
func (h *health) live(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n"))
}

// readiness is the answer of /readyz.
type readiness struct {
	Status   string   `json:"status"`   // starting, ready or draining
	Degraded []string `json:"degraded"` // the parts that cannot be asked; their errors are in the log
}

// ready says whether requests may be sent here: not while starting or draining. A part that is down
// is named in a 200, for with a 503 every replica would leave the balancer at the same moment, and
// the pages that explain the outage with them (RULE-27).
func (h *health) ready(w http.ResponseWriter, r *http.Request) {
	now := phase(h.phase.Load())
	answer := readiness{Status: now.String(), Degraded: []string{}}
	status := http.StatusOK
	if now != serving {
		status = http.StatusServiceUnavailable
	} else {
		answer.Degraded = h.degraded(r.Context())
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

// degraded returns the names of the parts that do not answer.
func (h *health) degraded(ctx context.Context) []string {
	names := []string{}
	for i, err := range h.look(ctx) {
		if err != nil {
			names = append(names, h.probes[i].name)
		}
	}
	return names
}

// look looks at every part at once, and returns what is wrong with each, in the order of the probes.
func (h *health) look(ctx context.Context) []error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	faults := make([]error, len(h.probes))
	var all sync.WaitGroup
	for i, p := range h.probes {
		all.Go(func() { faults[i] = p.look(ctx) })
	}
	all.Wait()
	return faults
}
