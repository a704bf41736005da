package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// subject is one server and the request that is put to it.
type subject struct {
	name    string
	url     string
	cookie  string // a Cookie header; may be empty
	headers []string
	pid     int
	against int // the subject that it is compared with
	results []result
}

// result is what one measurement found.
type result struct {
	perSecond float64       // requests
	p50, p99  time.Duration // as wrk saw them
	cpu       time.Duration // of the server's process, per request
}

// ticksPerSecond is the unit of /proc/PID/stat: USER_HZ, which Linux fixed at 100 for user space.
const ticksPerSecond = 100

// measure warms a subject up and then measures it once.
func measure(ctx context.Context, s subject, p plan) (result, error) {
	if _, err := load(ctx, s, p.conns, time.Second); err != nil {
		return result{}, err
	}
	before, err := cpuTime(s.pid)
	if err != nil {
		return result{}, err
	}
	text, err := load(ctx, s, p.conns, p.length)
	if err != nil {
		return result{}, err
	}
	after, err := cpuTime(s.pid)
	if err != nil {
		return result{}, err
	}
	return parse(text, after-before)
}

// load runs wrk from one thread, so that it takes at most one of the cores.
func load(ctx context.Context, s subject, conns int, length time.Duration) (string, error) {
	args := []string{"-t1", "-c" + strconv.Itoa(conns), fmt.Sprintf("-d%ds", int(length.Seconds())), "--latency"}
	if s.cookie != "" {
		args = append(args, "-H", "Cookie: "+s.cookie)
	}
	for _, line := range s.headers {
		args = append(args, "-H", line)
	}
	out, err := exec.CommandContext(ctx, "wrk", append(args, s.url)...).CombinedOutput() //nolint:gosec // our own arguments
	if err != nil {
		return "", fmt.Errorf("wrk: %w: %s", err, out)
	}
	return string(out), nil
}

var (
	requests = regexp.MustCompile(`(\d+) requests in`)
	rate     = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	latency  = regexp.MustCompile(`(?m)^\s+(50|99)%\s+([\d.]+)(us|ms|s)`)
	refused  = regexp.MustCompile(`Non-2xx or 3xx responses: \d+|Socket errors: .*`)
)

// parse reads wrk's report. One refused request makes the figure worthless: refusing is cheap.
func parse(text string, cpu time.Duration) (result, error) {
	if bad := refused.FindString(text); bad != "" {
		return result{}, fmt.Errorf("wrk: %s", bad)
	}
	n, each := requests.FindStringSubmatch(text), rate.FindStringSubmatch(text)
	if n == nil || each == nil {
		return result{}, fmt.Errorf("cannot read wrk's report: %s", text)
	}
	count, _ := strconv.Atoi(n[1])
	r := result{cpu: cpu / time.Duration(max(count, 1))}
	r.perSecond, _ = strconv.ParseFloat(each[1], 64)
	for _, found := range latency.FindAllStringSubmatch(text, -1) {
		d, err := time.ParseDuration(found[2] + found[3])
		if err != nil {
			return result{}, err
		}
		if found[1] == "50" {
			r.p50 = d
		} else {
			r.p99 = d
		}
	}
	return r, nil
}

// cpuTime is what a process has used so far, in user and kernel mode, all threads together.
func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name of the program stands in parentheses and may hold anything: count from behind it.
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	var ticks int
	for _, field := range fields[11:13] { // utime and stime, proc(5)
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}

// report prints the medians, and how each subject compares with its like.
func report(w io.Writer, subjects []subject, p plan) {
	fmt.Fprintf(w, "medians of %d rounds of %v, %d connections from one wrk thread\n\n", p.rounds, p.length, p.conns)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\treq/s\tp50\tp99\tCPU µs/req\tof its like\t")
	for _, s := range subjects {
		floor := median(subjects[s.against].results, cpuOf)
		fmt.Fprintf(table, "%s\t%.0f\t%s\t%s\t%.1f\t%.2f ×\t\n", s.name,
			median(s.results, func(r result) float64 { return r.perSecond }),
			time.Duration(median(s.results, func(r result) float64 { return float64(r.p50) })),
			time.Duration(median(s.results, func(r result) float64 { return float64(r.p99) })),
			median(s.results, cpuOf)/1e3,
			median(s.results, cpuOf)/floor)
	}
	table.Flush()
}

func cpuOf(r result) float64 { return float64(r.cpu) }

func median(results []result, of func(result) float64) float64 {
	values := make([]float64, len(results))
	for i, r := range results {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values[len(values)/2]
}
