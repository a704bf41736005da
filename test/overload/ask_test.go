package overload

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"
)

// floodOf has many clients send requests of a kind, over connections that they keep, until ctx is done,
// and counts the answers by status.
func (s *scene) floodOf(ctx context.Context, clients int, request func() string) map[int]int {
	var mu sync.Mutex
	got := map[int]int{}
	var all sync.WaitGroup
	for n := range clients {
		all.Go(func() {
			for ctx.Err() == nil {
				conn, err := s.dial(ctx, n)
				if err != nil {
					continue
				}
				stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
				for from := bufio.NewReader(conn); ; {
					if _, err := io.WriteString(conn, request()); err != nil {
						break
					}
					resp, err := http.ReadResponse(from, nil)
					if err != nil {
						break
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
					mu.Lock()
					got[resp.StatusCode]++
					mu.Unlock()
					time.Sleep(10 * time.Millisecond) // it is not the processor that this is about
				}
				stop()
				_ = conn.Close()
			}
		})
	}
	all.Wait()
	return got
}

// token is one that nobody minted, under a key that perhaps another replica has: a database has to say.
func token() string {
	raw := make([]byte, 33)
	rand.Read(raw)
	return base64.RawURLEncoding.EncodeToString(raw)
}

// tokens holds that somebody who makes up tokens gets few look-ups, and those who are known none the less
// good answers.
func (s *scene) tokens(t *testing.T) {
	s.gate.ToSQL.Slow(250 * time.Millisecond)
	defer s.Well(t)
	defer s.gate.ToSQL.Mend()
	before := s.weigh(t)
	var got map[int]int
	tr := s.under(t, func(ctx context.Context) {
		got = s.floodOf(ctx, 200, func() string {
			return "GET /made-up HTTP/1.1\r\nHost: " + s.host + "\r\nAccept: application/json\r\nCookie: gate=" + token() + "\r\n\r\n"
		})
	})
	during := s.weigh(t)
	shed := s.shed(t, "lookup")
	fmt.Printf("%s: %v; shed %.0f; good requests %d, p99 %s; memory %s → %s\n", t.Name(), got, shed, len(tr.took), tr.quantile(.99), mib(before.rss), mib(during.rss))
	if got[http.StatusServiceUnavailable] == 0 || shed == 0 {
		t.Error("every made-up token was looked up")
	}
	if got[http.StatusOK] > 0 || got[http.StatusFound] > 0 {
		t.Errorf("somebody was let in, or sent to sign in: %v", got)
	}
	s.settle(t, before)
}

// signIns holds that a sign-in that begins costs its browser a cookie, and us nothing.
func (s *scene) signIns(t *testing.T) {
	before := s.weigh(t)
	var got map[int]int
	tr := s.under(t, func(ctx context.Context) {
		got = s.floodOf(ctx, 200, func() string {
			return "GET /_gate/login?next=/x HTTP/1.1\r\nHost: " + s.host + "\r\nAccept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n\r\n"
		})
	})
	after := s.settle(t, before)
	fmt.Printf("%s: %v; good requests %d, p99 %s; heap in use %s → %s\n", t.Name(), got, len(tr.took), tr.quantile(.99), mib(before.heap), mib(after.heap))
	if got[http.StatusSeeOther] == 0 || len(got) != 1 {
		t.Errorf("got %v, want a redirect to the provider for each", got)
	}
}
