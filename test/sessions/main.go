// Command sessions measures whether Gatehouse stays as quick with a million live sessions in Postgres
// as with a thousand: the look-up of a session, a sign-in, lists, slides, the sweep, and what ends many
// sessions at once, until the feed of a replica has heard of all of them.
//
// It starts a Postgres server of its own in a throwaway folder, with the settings of a fresh
// installation but for the shared buffers, and fills one database for each size. Every call goes
// through package store, over the loopback interface, as in the gateway. A single caller makes them one
// after the other: the figures are latencies, not what the server could do at most.
//
// One session in eleven is over when the measurement begins, for the sweep to find, and one live
// session in ten belongs to one user, for there are accounts that scripts share.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	log.SetFlags(0)
	sizes := flag.String("sizes", "1000,100000,1000000", "live sessions, a database for each")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *sizes); err != nil {
		log.Fatalf("sessions: %v", err)
	}
}

func run(ctx context.Context, list string) error {
	server, err := startPostgres(ctx)
	if err != nil {
		return err
	}
	defer server.stop()
	var sheet sheet
	for text := range strings.SplitSeq(list, ",") {
		size, err := strconv.Atoi(text)
		if err != nil || size < 1000 {
			return fmt.Errorf("a size of %q: it must be a number of at least 1000", text)
		}
		if err := measureSize(ctx, server, size, &sheet); err != nil {
			return fmt.Errorf("%d sessions: %w", size, err)
		}
	}
	return sheet.print(os.Stdout)
}

// measureSize makes a database with so many live sessions and takes all figures of it.
func measureSize(ctx context.Context, server *postgres, size int, out *sheet) error {
	url, err := server.database(ctx, size)
	if err != nil {
		return err
	}
	out.column(size)
	b, err := newBench(ctx, url, size)
	if err != nil {
		return err
	}
	defer b.close()
	for _, task := range tasks {
		log.Printf("%d sessions: %s", size, task.name)
		text, err := task.run(ctx, b)
		if err != nil {
			return fmt.Errorf("%s: %w", task.name, err)
		}
		out.cell(task.name, text)
	}
	return nil
}
