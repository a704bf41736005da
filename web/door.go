package web

import (
	"cmp"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Room is where the connections of a process sit: so many in all, and so many of each client. net/http
// takes every connection that comes, until the process has no file left for the database or an app.
//
// When all seats are taken, whoever has waited longest without sending the whole head of a request has
// to go: an idle browser comes again by itself, and a client that sends a header a minute to hold a
// seat (slowloris) is what the bound is for. Only where nobody idles is the newcomer turned away, and
// told so at once. golang.org/x/net/netutil.LimitListener would leave it in the kernel's queue, where
// it cannot tell us from a machine that is dead.
type Room struct {
	limits RoomLimits
	shed   func(what string, who netip.Prefix)

	mu     sync.Mutex
	seats  map[*seat]struct{}
	of     map[netip.Prefix]*guest
	barren time.Time // when it was last seen that nobody idles

	farewells chan struct{} // for each newcomer who is being told
}

// guest is a client with a seat or several.
type guest struct {
	seats  int
	barren time.Time // when it was last seen that none of them idles
}

// RoomLimits is how many connections a Room takes.
type RoomLimits struct {
	All    int                   // in all
	Each   int                   // from one IPv4 address, or one /64 of IPv6
	Ahead  int64                 // bytes that a client may have sent of a body before it hears that nobody wants it: its window in HTTP/2
	Exempt func(netip.Addr) bool // those whose connections are many people's: trusted proxies; they are never told to go either
}

const (
	// patience is how long every connection may take for the head of its request, however full it is:
	// TLS over a slow line takes three round trips first.
	patience = time.Second
	// clearing is how many seats are freed at once, so that one look at all of them serves many.
	clearing = 32
	// farewellsAtOnce bounds how many newcomers are told at once that there is no room; the rest are
	// just closed.
	farewellsAtOnce = 64
	// farewell is how long a newcomer may take to hear it.
	farewell = 500 * time.Millisecond
)

// NewRoom makes a room. Shed is told of every connection that was closed or turned away, and whose it was:
// "idle", "flood", "connection" or "connection_client". It must not wait.
func NewRoom(limits RoomLimits, shed func(what string, who netip.Prefix)) *Room {
	return &Room{
		limits: limits, shed: shed, seats: map[*seat]struct{}{}, of: map[netip.Prefix]*guest{},
		farewells: make(chan struct{}, farewellsAtOnce),
	}
}

// Taken returns how many connections there are.
func (r *Room) Taken() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seats)
}

// Door is the listener through which connections come in. Several may lead into one room. Secure says
// that they will speak TLS, which decides how they are turned away.
func (r *Room) Door(listener net.Listener, secure *tls.Config) net.Listener {
	if secure != nil {
		return &door{listener, r, noSeatTLS}
	}
	return &door{listener, r, noSeat}
}

// door is one listener of a room.
type door struct {
	net.Listener
	room *Room
	full string // what a newcomer hears for whom there is no seat
}

// Accept returns the next connection for which there is a seat.
func (d *door) Accept() (net.Conn, error) {
	for {
		conn, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		s, why := d.room.admit(conn)
		if why == "" {
			tune(conn)
			return s, nil
		}
		d.room.shed(why, s.who)
		d.room.sendAway(conn, d.full)
	}
}

// admit makes a seat, if need be by asking others to go, or says why there is no room for it.
func (r *Room) admit(conn net.Conn) (s *seat, why string) {
	s = &seat{Conn: conn, room: r}
	s.waits.Store(time.Now().UnixNano())
	if at, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil && !r.limits.Exempt(bare(at.Addr())) {
		s.who = Network(at.Addr())
	}
	r.mu.Lock()
	gone := r.vacate(s.who)
	defer func() {
		for _, one := range gone {
			r.shed("idle", one.who)
			_ = one.Conn.Close() // its own goroutine leaves the seat, which is free already
		}
	}()
	defer r.mu.Unlock()
	switch {
	case r.hasShare(r.of[s.who]):
		return s, "connection_client"
	case len(r.seats) >= r.limits.All:
		return s, "connection"
	}
	r.sit(s)
	return s, ""
}

// hasShare reports whether a client, nil if it has no seat or may have any number, has all that it may.
func (r *Room) hasShare(g *guest) bool { return g != nil && g.seats >= r.limits.Each }

// vacate frees seats of those who idle, where a newcomer finds none: of his own if he has too many, and
// else of anybody.
func (r *Room) vacate(who netip.Prefix) (gone []*seat) {
	// Each look is at every seat, so there is not one for every newcomer.
	own, looked := r.hasShare(r.of[who]), &r.barren
	if own {
		looked = &r.of[who].barren
	}
	now := time.Now()
	if !own && len(r.seats) < r.limits.All || now.Sub(*looked) < patience/10 {
		return nil
	}
	type idler struct {
		*seat
		since int64
	}
	var idlers []idler
	for one := range r.seats {
		if since := one.waits.Load(); since > 0 && now.UnixNano()-since > int64(patience) && one.who.IsValid() && (!own || one.who == who) {
			idlers = append(idlers, idler{one, since})
		}
	}
	if len(idlers) == 0 {
		*looked = now
		return nil
	}
	slices.SortFunc(idlers, func(a, b idler) int { return cmp.Compare(a.since, b.since) })
	for _, one := range idlers[:min(len(idlers), clearing)] {
		if one.waits.CompareAndSwap(one.since, seatGone) { // a request may have come since the look
			r.leave(one.seat)
			gone = append(gone, one.seat)
		}
	}
	return gone
}

func (r *Room) sit(s *seat) {
	r.seats[s] = struct{}{}
	if !s.who.IsValid() {
		return
	}
	if r.of[s.who] == nil {
		r.of[s.who] = new(guest)
	}
	r.of[s.who].seats++
}

// leave frees a seat, once.
func (r *Room) leave(s *seat) {
	if _, sits := r.seats[s]; !sits {
		return
	}
	delete(r.seats, s)
	if !s.who.IsValid() {
		return
	}
	if r.of[s.who].seats--; r.of[s.who].seats == 0 {
		delete(r.of, s.who)
	}
}

// What a newcomer hears for whom there is no seat. Over TLS there is no HTTP yet, and a handshake is
// the costliest thing that a client can ask for: it gets an alert, fatal, internal_error (RFC 8446,
// section 6), which clients report at once.
const (
	noSeat    = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nCache-Control: no-store\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 52\r\n\r\nToo many connections. Please try again in a moment.\n"
	noSeatTLS = "\x15\x03\x03\x00\x02\x02\x50"
)

// sendAway tells a newcomer that there is no seat, without making anybody wait. What it has sent is read
// and thrown away: closed over unread bytes, a connection is reset, and the answer may be lost with it.
func (r *Room) sendAway(conn net.Conn, text string) {
	select {
	case r.farewells <- struct{}{}:
	default:
		_ = conn.Close()
		return
	}
	go func() {
		defer func() { _ = conn.Close(); <-r.farewells }()
		if conn.SetDeadline(time.Now().Add(farewell)) != nil {
			return
		}
		if _, err := io.WriteString(conn, text); err != nil {
			return
		}
		if half, ok := conn.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
			return
		}
		_, _ = io.CopyN(io.Discard, conn, 64<<10) // until the deadline, at the most
	}()
}
