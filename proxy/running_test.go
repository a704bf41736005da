package proxy_test

import (
	"math"
	"net"
	"net/http"
	"testing"

	"github.com/gatehouse-auth/gatehouse/proxy"
	"github.com/gatehouse-auth/gatehouse/web"
)

// One session has so much under way and no more; another of the same user has room still, and so has the
// first as soon as something of it is over.
func TestRequestsOfOneSessionAreBounded(t *testing.T) {
	open := make(chan struct{})
	up := newApp(t, func(conn net.Conn, _ string) {
		<-open
		_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	})
	turns := web.NewTurns[int64](math.MaxInt, 2)
	w := newWorld(t, setup{routes: routes(up.upstream(proxy.Target{})), running: turns})
	first, _ := w.signIn(w.alice)
	second, _ := w.signIn(w.alice)
	done := make(chan int, 3)
	send := func(cookie string) { go func() { done <- w.ask("GET", "/x", "Cookie: "+cookie).StatusCode }() }
	send(first)
	send(first)
	if !eventually(func() bool { n, _ := turns.Held(); return n == 2 }) {
		t.Fatal("two requests are not under way")
	}
	res := w.ask("GET", "/x", "Cookie: "+first)
	if res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") == "" {
		t.Errorf("a third: %s, Retry-After %q", res.Status, res.Header.Get("Retry-After"))
	}
	send(second)
	if !eventually(func() bool { n, sessions := turns.Held(); return n == 3 && sessions == 2 }) {
		t.Error("another session is held up")
	}
	close(open)
	for range 3 {
		if status := <-done; status != http.StatusOK {
			t.Errorf("one that was let in got %d", status)
		}
	}
	if res := w.ask("GET", "/x", "Cookie: "+first); res.StatusCode != http.StatusOK {
		t.Errorf("when there is room again: %s", res.Status)
	}
}
