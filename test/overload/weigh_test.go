package overload

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/test/stage"
)

// load is what the gateway says that it holds, and what the kernel says.
type load struct {
	connections, goroutines, heap, rss int64
	cpu                                float64 // seconds since it started
}

// weigh asks the gateway and the kernel.
func (s *scene) weigh(t *testing.T) load {
	t.Helper()
	_, text := stage.Get(t.Context(), s.gate.Client, s.gate.Admin+"/metrics", "")
	return load{
		connections: int64(metric(t, text, "gatehouse_connections")),
		goroutines:  int64(metric(t, text, "go_goroutines")),
		heap:        int64(metric(t, text, "go_memstats_heap_inuse_bytes")),
		cpu:         metric(t, text, "process_cpu_seconds_total"),
		rss:         s.rss(t),
	}
}

// metric is one number of a page of them, which must have it.
func metric(t *testing.T, text, name string) float64 {
	t.Helper()
	n, ok := stage.Metric(text, name)
	if !ok {
		t.Fatalf("no metric %s", name)
	}
	return n
}

// shed is how much of a kind was refused.
func (s *scene) shed(t *testing.T, what string) float64 {
	t.Helper()
	_, text := stage.Get(t.Context(), s.gate.Client, s.gate.Admin+"/metrics", "")
	return metric(t, text, fmt.Sprintf("gatehouse_shed_total{what=%q}", what))
}

// rss is the memory of the process that is in the machine's, in bytes.
func (s *scene) rss(t *testing.T) int64 {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", s.gate.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("the kernel does not say")
	return 0
}

// peak looks at the memory until it is told to stop, and returns the most that it saw.
func (s *scene) peak(t *testing.T) (stop func() int64) {
	t.Helper()
	quit, most := make(chan struct{}), make(chan int64)
	go func() {
		top := s.rss(t)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				most <- top
				return
			case <-tick.C:
				top = max(top, s.rss(t))
			}
		}
	}()
	return func() int64 { close(quit); return <-most }
}

// What may be left over: the connections of good clients that are kept, the 512 to the app that are kept for a
// minute, with two goroutines each, and a heap that is not collected to the last byte.
const (
	spareConnections = 64
	spareGoroutines  = 2*512 + 200
	spareHeap        = 64 << 20
)

// settle waits until the connections and goroutines of an attack are gone.
func (s *scene) settle(t *testing.T, before load) load {
	t.Helper()
	var now load
	stage.Wait(t, "connections and goroutines are back to what they were", func() bool {
		now = s.weigh(t)
		return now.connections <= before.connections+spareConnections && now.goroutines <= before.goroutines+spareGoroutines
	})
	return now
}

// collected waits until the heap is back to what it was. Somebody has to ask meanwhile, for a heap that
// nobody uses is collected every two minutes only.
func (s *scene) collected(t *testing.T, before load) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for n := range goodClients {
		all.Go(func() {
			client := s.honest(true)
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				stage.Get(ctx, client, s.Public+"/collect", s.cookies[n])
			}
		})
	}
	defer func() { cancel(); all.Wait() }()
	var now load
	stage.Wait(t, "the heap is back to what it was", func() bool {
		now = s.weigh(t)
		return now.heap <= before.heap+spareHeap
	})
	fmt.Printf("%s: heap in use %s before everything, %s after it\n", t.Name(), mib(before.heap), mib(now.heap))
}

// quantile is the q-th of sorted times.
func (tr *traffic) quantile(q float64) time.Duration {
	slices.Sort(tr.took)
	return tr.took[int(q*float64(len(tr.took)-1))].Round(10 * time.Microsecond)
}

func mib(bytes int64) string { return fmt.Sprintf("%d MiB", bytes>>20) }
