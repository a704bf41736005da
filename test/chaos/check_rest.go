package chaos

import (
	"fmt"
	"time"
)

// files holds what was answered with 201 against what is there, and what is there against the rows.
func files(h *History) (found []Violation) {
	lost := func(format string, args ...any) {
		found = append(found, Violation{RuleFile, fmt.Sprintf(format, args...)})
	}
	byID := map[string]File{}
	for key, row := range h.Remains.Rows {
		byID[row.ID] = row
		if object, ok := h.Remains.Objects[key]; !ok || object.Size != row.Size || object.SHA256 != row.SHA256 {
			lost("the row of %s says %d bytes, %.8s; the bucket has %d, %.8s", key, row.Size, row.SHA256, object.Size, object.SHA256)
		}
	}
	for key := range h.Remains.Objects {
		if _, ok := h.Remains.Rows[key]; !ok {
			lost("%s has no row", key)
		}
	}
	for _, key := range h.Remains.Unfinished {
		lost("an upload to %s was begun and is left over", key)
	}
	for _, id := range h.Remains.Unsettled {
		lost("the row of %s is left over", id)
	}
	for _, o := range h.Ops {
		if o.Kind == Upload && o.Status == 201 && byID[o.File.ID] != o.File {
			lost("answered with 201 as %+v, and kept as %+v", o.File, byID[o.File.ID])
		}
	}
	return found
}

// recoveries: after a fault is mended all is well soon, and nobody restarts anything for it. Time in which
// the machine did not let the gateways run does not count.
func recoveries(h *History) (found []Violation) {
	for _, f := range h.Faults {
		switch took := f.Well - f.Healed - h.starved(f.Healed, f.Well); {
		case f.Well == 0:
			found = append(found, Violation{RuleRecovery, f.Name + ": not well again"})
		case took > recovery:
			found = append(found, Violation{RuleRecovery, fmt.Sprintf("%s: well again after %s", f.Name, took.Round(time.Millisecond))})
		}
	}
	return found
}

// lives: what a gateway holds does not grow with what it lived through.
func lives(h *History) (found []Violation) {
	for _, l := range h.Lives {
		grown := func(what string, first, last, most int64) {
			if last-first > most {
				found = append(found, Violation{RuleGrowth, fmt.Sprintf("gateway %d: %s from %d to %d", l.Gate+1, what, first, last)})
			}
		}
		grown("goroutines", int64(l.First.Goroutines), int64(l.Last.Goroutines), growth)
		grown("descriptors", int64(l.First.Descriptors), int64(l.Last.Descriptors), growth)
		grown("bytes of heap", l.First.Heap, l.Last.Heap, grownMemory)
		if !h.Shadows {
			grown("bytes of memory", l.First.Memory, l.Last.Memory, grownMemory)
		}
	}
	return found
}
