package web

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"
)

// seat is a connection in a room. It keeps the abilities that net/http and the proxy look for, and knows
// a flood when it sees one: net/http does whatever an HTTP/2 client asks for, at the client's pace.
type seat struct {
	net.Conn
	room   *Room
	who    netip.Prefix // zero: exempt
	waits  atomic.Int64 // since when the head of a request is awaited, in Unix nanoseconds; zero: one is being answered
	idle   atomic.Int64 // bytes that came while nothing was being answered
	asked  atomic.Int64 // requests over HTTP/2 that came to an end
	resets atomic.Int64 // those of them that the client broke off as soon as it had asked
	over   atomic.Bool  // it was a flood
}

const (
	// idleBytes is how much may come before there is a request: the largest head that is looked at, and
	// something for TLS. PING, SETTINGS and WINDOW_UPDATE on a connection without a request are no use
	// to anybody in such numbers (CVE-2019-9512, CVE-2019-9515).
	idleBytes = 256 << 10
	// resetsFrom is after how many requests it matters that most of them were broken off by the client
	// (CVE-2023-44487). It is Envoy's number; nobody who types into a search box comes near it.
	resetsFrom = 500
	// rapid is how soon a request is broken off that was made for nothing else. Who gives up a question
	// that he has waited for, as a long poll, is no flood.
	rapid = time.Second
	// seatGone in the place of a time says that the connection is being closed to make room.
	seatGone = -1
)

// errFlood is what net/http reads at the end of a flood.
var errFlood = errors.New("a flood")

// seatOf finds the seat under a connection, or nil.
func seatOf(conn net.Conn) *seat {
	if over, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
		conn = over.NetConn()
	}
	s, _ := conn.(*seat)
	return s
}

type seatKey struct{}

// Context lets the requests of a connection find its seat. It is for http.Server.ConnContext.
func (*Room) Context(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, seatKey{}, seatOf(conn))
}

// State follows what the connections do. It is for http.Server.ConnState.
func (*Room) State(conn net.Conn, state http.ConnState) {
	s := seatOf(conn)
	if s == nil {
		return
	}
	switch state {
	case http.StateActive, http.StateHijacked:
		s.waits.Store(0)
		s.idle.Store(0)
	case http.StateIdle:
		s.idle.Store(-s.room.limits.Ahead)
		s.waits.Store(time.Now().UnixNano())
	case http.StateNew, http.StateClosed:
	}
}

// Read ends a connection on which much comes and nothing is asked. What belongs to a request that has been
// answered before its body had come is still on its way, and is not that. A trusted proxy sends what its
// clients do.
func (s *seat) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if s.who.IsValid() && s.waits.Load() != 0 && s.idle.Add(int64(n)) > idleBytes {
		s.flood()
		return n, errFlood
	}
	return n, err
}

// ended notes the end of a request over HTTP/2, and ends the connection if most were broken off. A trusted
// proxy carries the requests of many, of whom one may break off all of his.
func (s *seat) ended() {
	asked, resets := s.asked.Add(1), s.resets.Load()
	if asked < resetsFrom || !s.who.IsValid() {
		return
	}
	if 2*resets > asked {
		s.flood()
		return
	}
	s.asked.Store(0) // what was long ago says nothing of now
	s.resets.Store(0)
}

// flood ends the connection, and counts it once however often that is seen.
func (s *seat) flood() {
	if s.over.CompareAndSwap(false, true) {
		s.room.shed("flood", s.who)
		_ = s.Close() // net/http hears of it as it reads on
	}
}

// Close closes the connection and then frees its seat.
func (s *seat) Close() error {
	err := s.Conn.Close()
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	s.room.leave(s)
	return err
}

// ReadFrom keeps the kernel's copy (sendfile, splice).
func (s *seat) ReadFrom(src io.Reader) (int64, error) { return io.Copy(s.Conn, src) }

// SetLinger says how the next Close ends the connection (SO_LINGER).
func (s *seat) SetLinger(sec int) error {
	tcp, ok := s.Conn.(interface{ SetLinger(sec int) error })
	if !ok {
		return http.ErrNotSupported
	}
	return tcp.SetLinger(sec)
}

// CloseWrite passes a half-close on.
func (s *seat) CloseWrite() error {
	half, ok := s.Conn.(interface{ CloseWrite() error })
	if !ok {
		return http.ErrNotSupported
	}
	return half.CloseWrite()
}
