package web

import (
	"net/netip"
	"sync"
)

// Turns bounds what is under way at once, in all and for each of those who ask for it. It is safe for
// concurrent use and forgets whoever has nothing under way.
type Turns[K comparable] struct {
	all, each int

	mu sync.Mutex
	of map[K]int
	in int
}

// NewTurns makes Turns: so many in all, and so many for each.
func NewTurns[K comparable](all, each int) *Turns[K] {
	return &Turns[K]{all: all, each: each, of: map[K]int{}}
}

// Take reports whether there is a turn for who. If so it must be given back.
func (t *Turns[K]) Take(who K) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.in >= t.all || t.of[who] >= t.each {
		return false
	}
	t.in++
	t.of[who]++
	return true
}

// Give gives a turn of who back.
func (t *Turns[K]) Give(who K) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.in--
	if t.of[who]--; t.of[who] == 0 {
		delete(t.of, who)
	}
}

// Held returns how many turns are taken, in all and by how many.
func (t *Turns[K]) Held() (turns, holders int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.in, len(t.of)
}

// Network is what one client can easily change its address within: nothing in IPv4, a /64 in IPv6.
func Network(client netip.Addr) netip.Prefix {
	client = bare(client)
	bits := client.BitLen()
	if client.Is6() {
		bits = 64
	}
	p, _ := client.Prefix(bits) // fails for the zero address only, which is a network of its own
	return p
}
