package chaos

import (
	"cmp"
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/store/storetest"
	"github.com/gatehouse-auth/gatehouse/test/stage"
)

// nemesis lets one thing after another fail. The same seed lets the same things fail in the same order;
// what the clients are at then is chance.
type nemesis struct {
	t       testing.TB
	stage   *stage.Stage
	history *History
	crowd   *crowd
	rng     *rand.Rand
	deck    []wound
	only    string      // what the name of a fault must hold; empty: any
	first   []Gauge     // of each gateway, when it began
	sick    atomic.Bool // S3 answers 503
	standby *storetest.PostgresServer
	replica *storetest.RedisServer
}

// unleash fails things until the time is over. It returns with everything mended.
func (n *nemesis) unleash(length time.Duration) {
	n.stage.S3Front.On("", 0, -1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if n.sick.Load() {
			storetest.Refuse(http.StatusServiceUnavailable, "SlowDown")(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	})
	for end := time.Now().Add(length); time.Now().Before(end) && !n.t.Failed(); {
		some := []wound{n.draw(func(wound) bool { return true })}
		// Two at once only where the table says what becomes of people then: one of each store.
		if other, ok := opposite[some[0].part()]; ok && n.only == "" && n.rng.IntN(5) == 0 {
			some = append(some, n.draw(func(w wound) bool { return w.part() == other }))
		}
		n.fail(some)
		sleep(n.t.Context(), time.Second+n.span(time.Second))
	}
}

var opposite = map[Part]Part{Postgres: Redis, Redis: Postgres}

// draw takes the next that will do from a deck, which is shuffled anew when it has none. So every fault
// has had its turn before any comes again.
func (n *nemesis) draw(does func(wound) bool) wound {
	for {
		for i, w := range n.deck {
			if does(w) && strings.Contains(w.name, n.only) {
				n.deck = slices.Delete(n.deck, i, i+1)
				return w
			}
		}
		n.deck = append(n.deck, n.shuffled()...)
	}
}

func (n *nemesis) shuffled() []wound {
	all := wounds()
	n.rng.Shuffle(len(all), func(a, b int) { all[a], all[b] = all[b], all[a] })
	return all
}

// fail lets some things fail for longer than a lease runs, mends them, and waits until all is well.
func (n *nemesis) fail(some []wound) {
	f := Fault{}
	at := make([]int, len(some))
	names := make([]string, len(some))
	for i, w := range some {
		at[i], names[i] = n.place(w), w.name
		f.Empty = f.Empty || w.empty
		f.Hurts = append(f.Hurts, w.at(at[i])...)
	}
	for _, w := range some {
		if w.ready != nil {
			w.ready(n)
		}
	}
	f.Name, f.Begin = strings.Join(names, ", "), n.history.Now()
	for i, w := range some {
		w.strike(n, at[i])
	}
	sleep(n.t.Context(), 4*time.Second+n.span(2500*time.Millisecond))
	for i, w := range some {
		w.mend(n, at[i])
	}
	f.Healed = n.history.Now()
	f.Well = n.well()
	n.history.Faults = append(n.history.Faults, f)
	n.t.Logf("%7s  %-60s well %s after %s", f.Begin.Round(100*time.Millisecond), f.Name, (f.Well - f.Healed).Round(10*time.Millisecond), (f.Healed - f.Begin).Round(100*time.Millisecond))
}

// at is whom a wound hurts that is done to a gateway.
func (w wound) at(gate int) (all []Hurt) {
	for _, part := range w.hurts {
		if !w.others {
			all = append(all, Hurt{part, gate})
			continue
		}
		for other := range gates {
			if other != gate {
				all = append(all, Hurt{part, other})
			}
		}
	}
	return all
}

// place says which gateway a fault is done to. The first is never ended, so that there is one that lives
// through everything.
func (n *nemesis) place(w wound) int {
	switch {
	case !w.single:
		return everyGate
	case w.part() == Gateway:
		return 1 + n.rng.IntN(gates-1)
	}
	return n.rng.IntN(gates)
}

func (n *nemesis) span(most time.Duration) time.Duration {
	return time.Duration(n.rng.Int64N(int64(most)))
}

// well waits until every gateway says that all is well, and returns when that was; zero: it never was.
// Of the bucket a gateway knows only what was so ten seconds ago: whether files can be sent again the
// clients tell.
func (n *nemesis) well() time.Duration {
	ctx, cancel := context.WithTimeout(n.t.Context(), 4*stage.Hung)
	defer cancel()
	for ctx.Err() == nil {
		if !slices.ContainsFunc(n.stage.Gates, func(g *stage.Gate) bool { return !recovered(ctx, g) }) {
			return n.history.Now()
		}
		sleep(ctx, 20*time.Millisecond)
	}
	return 0
}

func recovered(ctx context.Context, g *stage.Gate) bool {
	parts, ready := g.Degraded(ctx)
	return ready && !slices.ContainsFunc(parts, func(p string) bool { return p != "bucket" })
}

// gauge reads what a gateway holds.
func (n *nemesis) gauge(gate int) (g Gauge) {
	_, text := stage.Get(n.t.Context(), n.stage.Gates[gate].Client, n.stage.Gates[gate].Admin+"/metrics", "")
	read := func(name string) int64 { n, _ := stage.Metric(text, name); return int64(n) }
	g.Goroutines, g.Descriptors = int(read("go_goroutines")), int(read("process_open_fds"))
	g.Memory, g.Heap = read("process_resident_memory_bytes"), read("go_memstats_heap_inuse_bytes")
	return g
}

// worst is the greatest of some; zero: there is none.
func worst[T cmp.Ordered](all []T) (w T) {
	if len(all) > 0 {
		w = slices.Max(all)
	}
	return w
}
