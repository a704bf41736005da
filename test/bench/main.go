// Command bench measures what Gatehouse adds to a request, beside what Go's own parts cost on the
// same machine in the same run: a bare handler that reads one cookie, and a bare ReverseProxy.
//
// It starts each server as a process of its own, puts load on it with wrk from Debian's packages, and
// reads the CPU time of that process from /proc. CPU per request is the figure to compare: it holds
// where requests per second depend on what else the machine is doing. Rounds are interleaved, so that
// a slow minute hits all of them, and medians are printed.
//
// Session checks are put beside oauth2-proxy's with the same Redis, asked directly and by nginx's
// auth_request; of the two the CPU time is that of the auth server alone.
//
// All load stays on the loopback interface, and every round ends by itself.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// plan says how long and how hard to measure.
type plan struct {
	rounds int
	length time.Duration
	conns  int
}

func main() {
	log.SetFlags(0)
	if len(os.Args) > 1 {
		if run := peers[os.Args[1]]; run != nil {
			log.Fatal(run(os.Args[2:]))
		}
	}
	var p plan
	flag.IntVar(&p.rounds, "rounds", 5, "rounds, of which the median counts")
	flag.DurationVar(&p.length, "length", 4*time.Second, "length of a measurement")
	flag.IntVar(&p.conns, "conns", 32, "connections at once")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := compare(ctx, p); err != nil {
		log.Fatalf("bench: %v", err)
	}
}

// compare runs everything in one throwaway folder and prints the table.
func compare(ctx context.Context, p plan) error {
	dir, err := os.MkdirTemp("", "gate-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &stage{ctx: ctx, dir: dir}
	defer s.stop()
	subjects, err := s.set()
	if err != nil {
		return err
	}
	for round := range p.rounds {
		for i := range subjects {
			r, err := measure(ctx, subjects[i], p)
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", subjects[i].name, round+1, err)
			}
			subjects[i].results = append(subjects[i].results, r)
		}
	}
	report(os.Stdout, subjects, p)
	return nil
}
