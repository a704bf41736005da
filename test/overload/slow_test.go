package overload

import (
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// drop is how often a slow client sends or takes a byte.
const drop = time.Second

// chargedFor is what one slow client may cost the gateway: two connections with their buffers, and the
// goroutines between them (docs/operations.md).
const chargedFor = 320 << 10

// slowClients holds that people who work notice nothing of thousands who send a head, send a body, or
// take an answer a byte a second.
func (s *scene) slowClients(t *testing.T) {
	quietCtx, cancel := context.WithTimeout(t.Context(), *span)
	defer cancel()
	quiet := s.ask(quietCtx)
	quiet.right(t)
	before := s.weigh(t)

	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer func() { stop(); all.Wait() }()
	crowd := new(crowd)
	// They come over some seconds, so that those whose head does not come in time, ten seconds, are back at a
	// steady pace and not all at once.
	for n := range *slow {
		all.Go(func() {
			select {
			case <-ctx.Done():
			case <-time.After(*span / 2 * time.Duration(n) / time.Duration(*slow)):
				crowd.one(ctx, s, n)
			}
		})
	}
	// Some are always on their way back: those who were cut because their head did not come in ten seconds.
	for end := time.Now().Add(5 * time.Minute); s.weigh(t).connections < int64(*slow)*95/100; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not every slow client gets in")
		}
	}
	time.Sleep(*span / 4) // until those who ask for something large have what they do not read
	top := s.peak(t)
	during := s.under(t, func(context.Context) {})
	peak, used := top(), s.weigh(t).cpu
	cut := crowd.early()
	stop()
	all.Wait()
	after := s.settle(t, before)
	fmt.Printf("%s: %d slow clients for %s\n  good requests: quiet p50 %s p99 %s (%d), under attack p50 %s p99 %s (%d, told to come again %d times)\n  slow bodies and readers that were cut meanwhile: %d\n  memory: %s before, %s at most, %s after (heap in use %s → %s); goroutines %d → %d\n  CPU from the first slow client to the last good answer: %.1f s\n",
		t.Name(), *slow, *span, quiet.quantile(.5), quiet.quantile(.99), len(quiet.took), during.quantile(.5), during.quantile(.99), len(during.took), during.again, cut,
		mib(before.rss), mib(peak), mib(after.rss), mib(before.heap), mib(after.heap), before.goroutines, after.goroutines, used-before.cpu)
	if limit := before.rss + int64(*slow)*chargedFor + 64<<20; peak > limit {
		t.Errorf("%s at most, want %s", mib(peak), mib(limit))
	}
}

// crowd are slow clients.
type crowd struct {
	mu  sync.Mutex
	cut int // bodies and readers whose connection the gateway ended
}

func (c *crowd) early() int { c.mu.Lock(); defer c.mu.Unlock(); return c.cut }

// one is a slow client of one of three kinds, until ctx is done. The head has ten seconds to arrive; a
// client that is cut for that comes again at once.
func (c *crowd) one(ctx context.Context, s *scene, n int) {
	cookie := s.cookies[n%len(s.cookies)]
	kinds := []func(net.Conn) error{
		func(conn net.Conn) error { return trickle(ctx, conn, "GET /x HTTP/1.1\r\nHost: "+s.host+"\r\nX-A: ") },
		func(conn net.Conn) error {
			return trickle(ctx, conn, "POST /x HTTP/1.1\r\nHost: "+s.host+"\r\nCookie: "+cookie+"\r\nContent-Length: 1000000\r\n\r\n")
		},
		func(conn net.Conn) error {
			return sip(ctx, conn, "GET /big HTTP/1.1\r\nHost: "+s.host+"\r\nCookie: "+cookie+"\r\n\r\n")
		},
	}
	for ctx.Err() == nil {
		conn, err := s.dial(ctx, n)
		if err != nil {
			continue
		}
		_ = kinds[n%3](conn) // however that ended, it comes again
		_ = conn.Close()
		if ctx.Err() == nil && n%3 != 0 {
			c.mu.Lock()
			c.cut++
			c.mu.Unlock()
		}
	}
}

// trickle says a text and then a byte now and then.
func trickle(ctx context.Context, conn net.Conn, text string) error {
	if _, err := io.WriteString(conn, text); err != nil {
		return err
	}
	return everyDrop(ctx, func() error { _, err := io.WriteString(conn, "x"); return err })
}

// sip asks for something large and takes a byte of it now and then.
func sip(ctx context.Context, conn net.Conn, text string) error {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(4 << 10)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return err
	}
	one := make([]byte, 1)
	return everyDrop(ctx, func() error {
		_ = conn.SetReadDeadline(time.Now().Add(drop))
		_, err := conn.Read(one)
		if e, ok := err.(net.Error); ok && e.Timeout() { //nolint:errorlint // of package net, unwrapped
			return nil
		}
		return err
	})
}

func everyDrop(ctx context.Context, do func() error) error {
	tick := time.NewTicker(drop)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := do(); err != nil {
				return err
			}
		}
	}
}

// slowhttptest attacks with Debian's program of that name, in each of its ways.
func (s *scene) slowhttptest(t *testing.T) {
	for name, args := range map[string][]string{
		"slow headers": {"-H", "-i", "5"},
		"slow bodies":  {"-B", "-i", "5", "-s", "8192"},
		"slow reads":   {"-X", "-w", "10", "-y", "20", "-n", "5", "-z", "32", "-k", "3"},
	} {
		t.Run(name, func(t *testing.T) {
			before := s.weigh(t)
			top := s.peak(t)
			tr := s.under(t, func(ctx context.Context) {
				common := []string{"-c", "1000", "-r", "500", "-l", fmt.Sprint(int(span.Seconds())), "-u", "http://" + s.gate.Listen + "/", "-v", "0"}
				cmd := exec.CommandContext(ctx, "slowhttptest", append(args, common...)...)
				cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
				if out, err := cmd.CombinedOutput(); err != nil && ctx.Err() == nil {
					t.Errorf("slowhttptest: %v %.300s", err, out)
				}
			})
			fmt.Printf("%s: p99 of good requests %s, memory %s before, %s at most\n", t.Name(), tr.quantile(.99), mib(before.rss), mib(top()))
			s.settle(t, before)
		})
	}
}
