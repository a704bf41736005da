package chaos

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Figures prints what a campaign measured.
func (h *History) Figures(w io.Writer) {
	fmt.Fprintf(w, "%d faults, %d requests, %d sessions\n", len(h.Faults), len(h.Ops), h.sessions)
	h.faultFigures(w)
	h.requestFigures(w)
	total := h.Now()
	fmt.Fprintf(w, "\nthe machine starved a gateway for %s of %s\n", round(h.starved(0, total)), round(total))
	fmt.Fprintf(w, "%-46s %8d\n", "what nothing else excuses", len(Check(h.fed())))
	told, untold := h.staleness()
	fmt.Fprintf(w, "%-46s %8s\n", "an ended session was let in at most", round(worst(told)))
	fmt.Fprintf(w, "%-46s %8s\n", "and where no gateway could be told, at most", round(worst(untold)))
	var tooks []time.Duration
	for _, f := range h.Faults {
		tooks = append(tooks, f.Well-f.Healed)
	}
	fmt.Fprintf(w, "%-46s %8s\n", "after a fault was mended all was well within", round(worst(tooks)))
	for _, l := range h.Lives {
		fmt.Fprintf(w, "gateway %d: goroutines %d to %d, descriptors %d to %d, heap %d to %d MiB, resident %d to %d MiB\n", l.Gate+1,
			l.First.Goroutines, l.Last.Goroutines, l.First.Descriptors, l.Last.Descriptors, l.First.Heap>>20, l.Last.Heap>>20, l.First.Memory>>20, l.Last.Memory>>20)
	}
	fmt.Fprintf(w, "files: %d rows, %d objects\n", len(h.Remains.Rows), len(h.Remains.Objects))
}

// faultFigures tells how often each thing failed, and how long until all was well again.
func (h *History) faultFigures(w io.Writer) {
	times, longest := map[string]int{}, map[string]time.Duration{}
	for _, f := range h.Faults {
		times[f.Name]++
		longest[f.Name] = max(longest[f.Name], f.Well-f.Healed)
	}
	fmt.Fprintf(w, "\n%-66s %6s %12s\n", "fault", "times", "well within")
	for _, name := range slices.Sorted(maps.Keys(times)) {
		fmt.Fprintf(w, "%-66s %6d %12s\n", name, times[name], round(longest[name]))
	}
}

// requestFigures tells what came of requests, and how long they took at most.
func (h *History) requestFigures(w io.Writer) {
	outcomes, longest := map[Kind]map[int]int{}, map[Kind]time.Duration{}
	for _, o := range h.Ops {
		if outcomes[o.Kind] == nil {
			outcomes[o.Kind] = map[int]int{}
		}
		outcomes[o.Kind][o.Status]++
		if !h.hurt(Gateway, o.Gate, o.Begin, o.End) && o.Kind != Hold {
			longest[o.Kind] = max(longest[o.Kind], o.End-o.Begin)
		}
	}
	fmt.Fprintf(w, "\n%-10s %8s  %s\n", "request", "longest", "answers (0: none came)")
	for _, kind := range slices.Sorted(maps.Keys(outcomes)) {
		var counts []string
		for _, status := range slices.Sorted(maps.Keys(outcomes[kind])) {
			counts = append(counts, strconv.Itoa(outcomes[kind][status])+" × "+strconv.Itoa(status))
		}
		fmt.Fprintf(w, "%-10s %8s  %s\n", kind, round(longest[kind]), strings.Join(counts, ", "))
	}
}

// fed is the same history on a machine that let everybody run.
func (h *History) fed() *History {
	return &History{Ops: h.Ops, Faults: h.Faults, Lives: h.Lives, Remains: h.Remains, Shadows: h.Shadows}
}

// staleness is how long after its end each session was let in that was: where its end could be told, and
// where it could not.
func (h *History) staleness() (told, untold []time.Duration) {
	for _, s := range sessionsOf(h) {
		for _, o := range s.ops {
			if s.ended == never || o.Kind == Login || o.Kind == Logout || o.Kind == Delete || !o.yes() || o.Begin <= s.ended {
				continue
			}
			if s.deadline(o) == s.ended+stale {
				told = append(told, o.Begin-s.ended)
			} else {
				untold = append(untold, o.Begin-s.ended)
			}
		}
	}
	return told, untold
}

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
