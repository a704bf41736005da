package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// load is files of one size, so many in all and so many at once, each by a user of its own.
type load struct {
	name   string
	size   int64
	count  int
	atOnce int
	slow   int // clients that send slowly meanwhile
}

// slowSize and slowRate are what a slow client sends, and how fast: bytes, and bytes a second.
const (
	slowSize = 900_000
	slowRate = 50_000
)

// cases are those by which uploads are judged.
func cases(scale float64) []load {
	of := func(n float64) int64 { return int64(math.Max(1, n*scale)) }
	return []load{
		{name: "one of 2 GiB", size: of(2 * gib), count: 1, atOnce: 1},
		{name: "50 of 40 MiB, 10 at once", size: of(40 * mib), count: 50, atOnce: 10},
		{name: "2,000 of 100 KB, 16 at once", size: 100_000, count: int(of(2000)), atOnce: 16},
		{name: "100 at once, of 20 MiB", size: of(20 * mib), count: 100, atOnce: 100},
		{name: "one of 512 MiB alone", size: of(512 * mib), count: 1, atOnce: 1},
		{name: "one of 512 MiB beside 100 slow clients", size: of(512 * mib), count: 1, atOnce: 1, slow: 100},
	}
}

// subject is one way for files to get to S3.
type subject struct {
	name  string
	pid   int                                                                        // of its process; zero: put starts one for each measurement
	floor string                                                                     // the name of the relay that it is compared with
	put   func(ctx context.Context, user int, size int64, body io.Reader) error      // one file
	batch func(ctx context.Context, l load) (cpu time.Duration, peak int64, _ error) // all files, in a process of its own
}

// result is what one measurement found.
type result struct {
	rate float64 // bytes a second
	cpu  float64 // seconds a GiB
	peak float64 // resident bytes at most
	back float64 // times that a client was told to come again, and did
}

func (l load) compare(ctx context.Context, store string, p plan, subjects []subject) error {
	found := map[string][]result{}
	for range p.rounds {
		for _, s := range subjects {
			if l.slow > 0 && s.put == nil {
				continue // nobody sends to it
			}
			r, err := l.measure(ctx, s)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", l.name, s.name, err)
			}
			found[s.name] = append(found[s.name], r)
		}
	}
	l.report(store, p, subjects, found)
	return nil
}

// report prints the medians, and what the CPU time is of that of the bare relay.
func (l load) report(store string, p plan, subjects []subject, found map[string][]result) {
	fmt.Printf("\n%s; S3 is %s; medians of %d rounds\n", l.name, store, p.rounds)
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\tMiB/s\tCPU s/GiB\tof the relay\tpeak RSS MiB\tcame again\t")
	for _, s := range subjects {
		if len(found[s.name]) == 0 {
			continue
		}
		cpu := median(found[s.name], func(r result) float64 { return r.cpu })
		fmt.Fprintf(table, "%s\t%.0f\t%.2f\t%.2f ×\t%.0f\t%.0f\t\n", s.name,
			median(found[s.name], func(r result) float64 { return r.rate })/mib, cpu,
			cpu/median(found[s.floor], func(r result) float64 { return r.cpu }),
			median(found[s.name], func(r result) float64 { return r.peak })/mib,
			median(found[s.name], func(r result) float64 { return r.back }))
	}
	table.Flush()
}

func median(results []result, of func(result) float64) float64 {
	if len(results) == 0 {
		return math.NaN()
	}
	values := make([]float64, len(results))
	for i, r := range results {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// measure puts the load on one subject.
func (l load) measure(ctx context.Context, s subject) (result, error) {
	bytes := float64(l.size) * float64(l.count)
	if s.put == nil {
		start := time.Now()
		cpu, peak, err := s.batch(ctx, l)
		return result{rate: bytes / time.Since(start).Seconds(), cpu: cpu.Seconds() / bytes * gib, peak: float64(peak)}, err
	}
	calm, stop := l.crawl(ctx, s)
	defer stop()
	if err := calm(); err != nil {
		return result{}, err
	}
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.pid), []byte("5"), 0); err != nil { // proc(5): resets VmHWM
		return result{}, err
	}
	before, err := cpuTime(s.pid)
	if err != nil {
		return result{}, err
	}
	start := time.Now()
	back, err := l.send(ctx, s)
	if err != nil {
		return result{}, err
	}
	took := time.Since(start)
	after, err := cpuTime(s.pid)
	if err != nil {
		return result{}, err
	}
	peak, err := peakMemory(s.pid)
	return result{rate: bytes / took.Seconds(), cpu: (after - before).Seconds() / bytes * gib, peak: float64(peak), back: float64(back)}, err
}

// comesAgain is how often a client does so for one file.
const comesAgain = 60

// send sends all files and returns the first error. A client that is told to come again does so, as the
// upload page does, and that is counted.
func (l load) send(ctx context.Context, s subject) (back int64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	left := make(chan int, l.count)
	for i := range l.count {
		left <- i
	}
	close(left)
	var wg sync.WaitGroup
	var again atomic.Int64
	one := func(i int) error {
		for try := 0; ; try++ {
			err := s.put(ctx, i, l.size, random(l.size))
			var full busy
			if !errors.As(err, &full) || try == comesAgain {
				return err
			}
			again.Add(1)
			select {
			case <-time.After(full.after):
			case <-ctx.Done():
			}
		}
	}
	for range l.atOnce {
		wg.Go(func() {
			for i := range left {
				if err := one(i); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return again.Load(), context.Cause(ctx)
}

// crawl starts the slow clients. calm waits until all are on their way.
func (l load) crawl(ctx context.Context, s subject) (calm func() error, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for i := range l.slow {
		wg.Go(func() {
			for ctx.Err() == nil {
				// That they end by our cancelling is no failure of theirs.
				_ = s.put(ctx, 1000+i, slowSize, &slowly{Reader: random(slowSize), ctx: ctx})
			}
		})
	}
	calm = func() error {
		if l.slow == 0 {
			return nil
		}
		select {
		case <-time.After(3 * time.Second):
			return nil
		case <-ctx.Done():
			return errors.New("interrupted")
		}
	}
	return calm, func() { cancel(); wg.Wait() }
}

// slowly hands out a tenth of a second's worth at a time.
type slowly struct {
	io.Reader
	ctx context.Context //nolint:containedctx // of the one request whose body it is
}

func (s *slowly) Read(p []byte) (int, error) {
	select {
	case <-time.After(100 * time.Millisecond):
		return s.Reader.Read(p[:min(len(p), slowRate/10)])
	case <-s.ctx.Done():
		return 0, s.ctx.Err()
	}
}

// ticksPerSecond is the unit of /proc/PID/stat: USER_HZ, which Linux fixed at 100 for user space.
const ticksPerSecond = 100

// cpuTime is what a process has used so far, in user and kernel mode, all threads together.
func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	var ticks int
	for _, field := range strings.Fields(rest)[11:13] { // utime and stime, proc(5)
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}

// peakMemory is the most that a process had resident since it was last reset, in bytes.
func peakMemory(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	var kib int64
	_, err = fmt.Sscanf(rest, "%d kB", &kib)
	return kib << 10, err
}
