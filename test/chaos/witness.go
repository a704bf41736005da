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
// had to wait for a processor. This very process is watched as well, through which all ways lead.
const (
	watchEvery = 500 * time.Millisecond
	// starving is how long one thread waited for a processor within that, for time limits to mean nothing: a
	// question to Redis wakes half a dozen threads one after the other.
	starving = 75 * time.Millisecond
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
	before := map[string]time.Duration{}
	for last := h.Now(); ctx.Err() == nil; {
		sleep(ctx, watchEvery)
		now, waited := h.Now(), map[string]time.Duration{}
		queued(waited, os.Getpid())
		for _, g := range s.Gates {
			queued(waited, g.Pid())
		}
		hungry := now-last > watchEvery+starving
		for thread, sum := range waited {
			was, known := before[thread]
			hungry = hungry || known && sum-was > starving
		}
		before = waited
		if hungry {
			h.Starved = append(h.Starved, Span{last, now})
		}
		last = now
	}
}

// queued notes for how long each thread of a process has waited for a processor so far. Of one that has ended
// there is none.
func queued(waited map[string]time.Duration, pid int) {
	files, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/schedstat")
	if err != nil {
		return
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a thread that has just ended
		}
		if fields := strings.Fields(string(text)); len(fields) == 3 {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			waited[file] = time.Duration(n)
		}
	}
}
