//go:build !race

package proxy

import (
	"net/http"
	"testing"
)

// Under the race detector sync.Pool forgets a part of what it is given, on purpose, so this count means
// nothing there: `make unit` runs the tests of allocations once more without it.

// A check of a live session allocates five times between net/http's call and return, and each has its
// reason: the exchange (record, peer and writer in one), the request that carries it, its id, the list of
// the path's readings, and the line of cookies that the app may see. What comes on top is net/http's own.
func TestAllocationsOfACheck(t *testing.T) {
	gate := busyBooth(t)
	for _, kind := range []string{"nginx", "traefik", "haproxy", "envoy"} {
		r, w := gate.asked(kind, "/x/y?z=1"), &sink{header: http.Header{}}
		n := testing.AllocsPerRun(200, func() {
			clear(w.header)
			gate.ServeHTTP(w, r)
		})
		if w.status != http.StatusOK || w.header.Get("X-Auth-Email") != "alice@corp.test" || w.header.Get("Cookie") != "theme=dark" {
			t.Fatalf("%s: got %d %v", kind, w.status, w.header)
		}
		if n > 5 {
			t.Errorf("%s: %v allocations", kind, n)
		}
	}
}
