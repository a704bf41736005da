package auth

import (
	"errors"
	"net/netip"
	"sync"
)

// Bounds on code exchanges with the provider (RULE-30). Whoever may start a login may also come back
// with any code, and each costs the provider a request and us a connection.
const (
	exchangesAtOnce    = 64
	exchangesPerClient = 8
)

// ErrTooMany says that a session was not looked up, because too many others were at that moment. Like
// every error but ErrNoSession it is neither yes nor no.
var ErrTooMany = errors.New("too many look-ups at once")

// errBusy says that too much of the same is under way.
var errBusy = errors.New("too many code exchanges at once")

// turns bounds what is under way at once, in all and for each client.
type turns struct {
	all, each int

	mu sync.Mutex
	of map[netip.Prefix]int
	in int
}

func newTurns(all, each int) *turns {
	return &turns{all: all, each: each, of: map[netip.Prefix]int{}}
}

// take returns a function to call when the turn is over, or errBusy.
func (t *turns) take(client netip.Addr) (done func(), err error) {
	who := network(client)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.in >= t.all || t.of[who] >= t.each {
		return nil, errBusy
	}
	t.in++
	t.of[who]++
	return func() { t.give(who) }, nil
}

func (t *turns) give(who netip.Prefix) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.in--
	if t.of[who]--; t.of[who] == 0 {
		delete(t.of, who)
	}
}

// network is what one client can easily change its address within: nothing in IPv4, a /64 in IPv6.
func network(client netip.Addr) netip.Prefix {
	client = client.Unmap().WithZone("")
	bits := client.BitLen()
	if client.Is6() {
		bits = 64
	}
	p, _ := client.Prefix(bits) // fails for the zero address only, which is a network of its own
	return p
}
