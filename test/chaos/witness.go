package chaos

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-auth/gatehouse/test/stage"
)

// Gateways give Redis 150 ms and the database three seconds, and a machine with more to do than it can
// takes longer than that to let them run at all. What they answer then, 503, is true, and says nothing of
// what failed. So the machine is watched: Linux counts for each thread how long it was ready to run and
// had to wait for a processor.
const (
	watchEvery = 500 * time.Millisecond
	// starving is how long a gateway's threads waited for a processor within that, together, for its
	// time limits to mean nothing.
	starving = 150 * time.Millisecond
)

// Span is a piece of time.
type Span struct{ From, To time.Duration }

// starved is for how much of a span the machine did not let the gateways run.
func (h *History) starved(from, to time.Duration) (sum time.Duration) {
	for _, s := range h.Starved {
		sum += max(0, min(s.To, to)-max(s.From, from))
	}
	return sum
}

// watch notes when the machine does not let the gateways run, until the context ends.
func (h *History) watch(ctx context.Context, s *stage.Stage) {
	before := make([]time.Duration, gates)
	for last := h.Now(); ctx.Err() == nil; {
		sleep(ctx, watchEvery)
		now := h.Now()
		hungry := now-last > watchEvery+starving // this very process was kept waiting
		for i, g := range s.Gates {
			waited := queued(g.Pid())
			hungry = hungry || before[i] > 0 && waited-before[i] > starving
			before[i] = waited
		}
		if hungry {
			h.Starved = append(h.Starved, Span{last, now})
		}
		last = now
	}
}

// queued is for how long the threads of a process have waited for a processor so far. Of one that has
// ended it is nothing.
func queued(pid int) (sum time.Duration) {
	files, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/schedstat")
	if err != nil {
		return 0
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a thread that has just ended
		}
		if fields := strings.Fields(string(text)); len(fields) == 3 {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			sum += time.Duration(n)
		}
	}
	return sum
}
