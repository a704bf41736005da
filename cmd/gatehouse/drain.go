package main

import (
	"context"
	"errors"
	"net"
	"time"
)

const (
	// lastWords is how long handlers get to close what they tunnel once their context has ended.
	lastWords = 3 * time.Second
	// lastCall is how long a connection may stay open for another request behind an answer that did not
	// ask for a new one, since it began before the drain did.
	lastCall = time.Second
)

// drain stops the server without losing a request that came in time, and reports whether anything had to
// be cut.
//
// For delay it goes on as before, but each answer asks for a new connection (web.Recorder), while balancers
// notice. Then it takes no new connection, and serves on those that there are until nothing runs any
// more but WebSockets and event streams, for timeout at the most. What is idle is closed last: Server.Shutdown, like
// SetKeepAlivesEnabled(false), closes idle connections at once, and those on which an answer has just ended,
// and with them requests that are just on their way (RULE-27). In the end the contexts of what still runs
// end, tunnels included.
func (s *server) drain(delay, timeout time.Duration) (cut bool) {
	time.Sleep(delay)
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	s.closing.Store(true)
	closeWhenEmpty(s.socket)
	s.awaitQuiet(ctx)
	return s.shut(ctx)
}

// shut closes what is idle, waits for the rest, and cuts it when ctx is over.
func (s *server) shut(ctx context.Context) (cut bool) {
	s.endThem(errGoingAway)
	cut = errors.Is(s.http.Shutdown(ctx), context.DeadlineExceeded)
	s.end(errGoingAway) // Shutdown knows nothing of hijacked connections (golang/go#17721)
	done := make(chan struct{})
	go func() { s.busy.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(lastWords):
		cut = true
	}
	s.http.Close() // everything is closed already, or is cut here
	return cut
}

// awaitQuiet waits until nothing runs, and nothing has for the time of lastCall.
func (s *server) awaitQuiet(ctx context.Context) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for s.underWay.Load() > 0 || time.Since(time.Unix(0, s.ended.Load())) < lastCall {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// closeWhenEmpty closes a listener when nobody stands in its queue: connections that the kernel has accepted and we
// have not would be reset, although their clients may have sent a request already, which for a POST
// nobody dares to send again.
func closeWhenEmpty(l net.Listener) {
	if tcp, ok := l.(*net.TCPListener); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			for end := time.Now().Add(time.Second); waiting(raw) > 0 && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
		}
	}
	_ = l.Close() // Shutdown closes it a second time
}
