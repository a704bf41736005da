// Command upload measures what it costs to pass files on to S3: Gatehouse beside tusd and the SDK's own
// uploader, and beside a bare relay of the same bytes, all on this machine in the same run.
//
// Each server is a process of its own; its CPU time and peak memory are read from /proc. The load comes
// from this process, and its time is nobody's. Against a null S3, which reads and forgets, it is seen
// what the servers cost themselves; against versitygw, which writes to disk and hashes, how it is in
// the field. CPU-seconds per GiB are the figure to compare: throughput on a machine of few cores says
// more about the S3 server and the load.
//
// The relay floors: a connection is read, hashed with SHA-256 or not, and written to another one.
//
// All load stays on the loopback interface. -scale makes all sizes smaller for a quick look.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// plan says what to measure.
type plan struct {
	rounds int
	scale  float64
	only   string // cases whose names hold it
	keep   string // subjects whose names hold it; the floors always run
	stores string // null, versitygw or both
}

func main() {
	log.SetFlags(0)
	if len(os.Args) > 1 {
		if run := peers[os.Args[1]]; run != nil {
			log.Fatal(run(os.Args[2:]))
		}
	}
	var p plan
	flag.IntVar(&p.rounds, "rounds", 3, "rounds, of which the median counts")
	flag.Float64Var(&p.scale, "scale", 1, "factor of all sizes; below 1 for a quick look")
	flag.StringVar(&p.only, "case", "", "only cases whose names hold this")
	flag.StringVar(&p.keep, "subject", "", "only servers whose names hold this, beside the floors")
	flag.StringVar(&p.stores, "store", "null,versitygw", "what stands for S3: null, versitygw or both")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := compare(ctx, p); err != nil {
		log.Fatalf("upload: %v", err)
	}
}

// compare runs everything in one throwaway folder and prints a table for each case.
func compare(ctx context.Context, p plan) error {
	dir, err := os.MkdirTemp("", "gate-upload-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &stage{ctx: ctx, dir: dir}
	defer s.stop()
	if err := s.build(); err != nil {
		return err
	}
	for _, store := range strings.Split(p.stores, ",") {
		subjects, err := s.set(store, func(name string) bool { return strings.Contains(name, p.keep) })
		if err != nil {
			return fmt.Errorf("%s: %w", store, err)
		}
		for _, c := range cases(p.scale) {
			if strings.Contains(c.name, p.only) {
				if err := c.compare(ctx, store, p, subjects); err != nil {
					return err
				}
			}
		}
		s.stop()
	}
	return nil
}
