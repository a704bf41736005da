// Package overload holds that whoever asks for too much slows nobody else down: thousands of clients that
// are slow on purpose, and every flood that HTTP/2 servers were felled by, against a gateway as it is run.
//
// The story. A gateway is asked by good clients, at a steady pace, over connections that they keep and
// over new ones. Then an attack begins, from other addresses, and every answer to the good ones must
// still be right. Meanwhile the gateway is weighed: its memory stays within what the attack can be
// charged with, and when the attack is over, connections, goroutines and heap are back where they were.
//
// A short form is part of every test run. `make bench-overload` has five thousand slow clients, adds
// slowhttptest, and prints the figures of docs/reliability.md.
package overload

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse-auth/gatehouse/test/stage"
)

var (
	slow = flag.Int("slow", 1000, "slow clients at once")
	span = flag.Duration("span", 1500*time.Millisecond, "how long each attack lasts, and quiet before it")
	all  = flag.Bool("all", false, "no good request may be told to come again, even on a machine that others use as well")
	tool = flag.Bool("slowhttptest", false, "let slowhttptest attack as well")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// big is more than what fits into the buffers of the gateway and the kernel before a client that does not
// read. It is not much more, for what the gateway does not take waits in the kernel that it shares with
// this app, whose memory for connections has an end: beyond that everybody on the machine is slow.
const big = 640 << 10

// app answers at once, takes any body, and has something large.
func app() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("/big", func(w http.ResponseWriter, r *http.Request) {
		block := make([]byte, 64<<10)
		for n := 0; n < big && r.Context().Err() == nil; n += len(block) {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	m.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%s for %s", r.URL.Path, r.Header.Get("X-Auth-Request-Email"))
	})
	return m
}

// scene is one gateway under attack.
type scene struct {
	*stage.Stage
	gate    *stage.Gate
	host    string   // by which browsers know it
	cookies []string // of as many sessions
}

const alice = "alice@corp.test"

// The scene is set up once: what one attack leaves behind the next one meets.
func TestOverload(t *testing.T) {
	st := stage.New(t, stage.Plan{Root: "../..", Users: []string{alice}, App: app()})
	s := &scene{Stage: st, gate: st.Gates[0], host: strings.TrimPrefix(st.Public, "http://")}
	for range 32 {
		cookie, err := st.MustSignIn(t.Context(), s.gate, alice)
		if err != nil {
			t.Fatal(err)
		}
		s.cookies = append(s.cookies, cookie)
	}
	before := s.weigh(t)
	t.Run("PX-09, UP-05/slow clients", s.slowClients)
	for _, f := range floods {
		t.Run(f.name, func(t *testing.T) { s.flood(t, f) })
	}
	t.Run("RULE-30/unknown tokens while the database is slow", s.tokens)
	t.Run("RULE-30/sign-ins that nobody finishes", s.signIns)
	if *tool {
		t.Run("slowhttptest", s.slowhttptest)
	}
	s.collected(t, before)
}

// address is one of the loopback network's from which attackers come. The gateway trusts 127.0.0.1, as a
// proxy, so that one is neither an attacker's nor an honest client's.
func address(n int) *net.TCPAddr { return &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+n%64))} }

// dial opens a connection to the gateway from the address of attacker n.
func (s *scene) dial(ctx context.Context, n int) (net.Conn, error) {
	d := net.Dialer{LocalAddr: address(n)}
	return d.DialContext(ctx, "tcp", s.gate.Listen)
}

// honest is a client of its own address.
func (s *scene) honest(keep bool) *http.Client {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 9, 9)}}
	return &http.Client{Timeout: stage.Hung, Transport: &http.Transport{
		DisableKeepAlives: !keep, MaxIdleConnsPerHost: 16,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return d.DialContext(ctx, network, s.gate.Listen)
		},
	}}
}

// traffic is what good clients ask and get.
type traffic struct {
	mu    sync.Mutex
	took  []time.Duration
	again int      // how often one was told to come again, and did
	wrong []string // answers that nobody should get
}

const (
	goodClients = 8
	pace        = 30 * time.Millisecond // between two requests of one
)

// ask has good clients ask until ctx is done: most over connections that they keep, some over new ones.
func (s *scene) ask(ctx context.Context) *traffic {
	tr := new(traffic)
	var all sync.WaitGroup
	for n := range goodClients {
		all.Go(func() {
			client := s.honest(n%4 != 0)
			defer client.CloseIdleConnections()
			for i := 0; ctx.Err() == nil; i++ {
				tr.one(client, s.Public+fmt.Sprintf("/%d/%d", n, i), s.cookies[n])
				time.Sleep(pace)
			}
		})
	}
	all.Wait()
	return tr
}

// one asks, and notes how long that took and whether the answer is right. Where the machine is so busy
// that neither the gateway nor the database gets a turn for seconds, it is told to come again, and does:
// that is neither yes nor no, and the one thing that may be said then.
func (tr *traffic) one(client *http.Client, address, cookie string) {
	began := time.Now()
	status, body := stage.Get(context.Background(), client, address, cookie)
	again := 0
	for ; status == http.StatusServiceUnavailable && time.Since(began) < stage.Hung; again++ {
		time.Sleep(pace)
		status, body = stage.Get(context.Background(), client, address, cookie)
	}
	took := time.Since(began)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.took = append(tr.took, took)
	tr.again += again
	path := address[strings.Index(address[8:], "/")+8:]
	if want := path + " for " + alice; status != http.StatusOK || body != want {
		tr.wrong = append(tr.wrong, fmt.Sprintf("%s after %s: %d %.80q", path, took.Round(time.Millisecond), status, body))
	}
}

// right fails the test if any good client got another answer than the right one.
func (tr *traffic) right(t *testing.T) {
	t.Helper()
	if len(tr.took) == 0 || len(tr.wrong) > 0 {
		t.Errorf("%d of %d good requests were answered wrong: %q", len(tr.wrong), len(tr.took), tr.wrong[:min(len(tr.wrong), 5)])
	}
	if *all && tr.again > 0 {
		t.Errorf("good clients were told to come again %d times", tr.again)
	}
}

// under runs an attack beside good traffic, whose answers must be right, and returns how that went.
func (s *scene) under(t *testing.T, attack func(ctx context.Context)) *traffic {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), *span)
	defer cancel()
	done := make(chan struct{})
	go func() { defer close(done); attack(ctx) }()
	tr := s.ask(ctx)
	select {
	case <-done:
	case <-time.After(stage.Hung):
		t.Error("the attack does not end")
	}
	tr.right(t)
	return tr
}
