package web

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
)

// TrustedPeer is one entry of server.trusted_proxies: who may say something about the requests that
// it passes on, and what.
type TrustedPeer struct {
	From    string   // a prefix in CIDR form, one address, or the word "unix"
	Headers []string // what it is said to set: for, proto, host, uri, method, id
}

// Claim is a set of things that a peer may say about a request.
type Claim uint8

// The claims, one bit each, and the header words of the config that stand for them. URI and method
// are read by the forward-auth endpoints only, in each dialect's own headers.
const (
	ClaimFor    Claim = 1 << iota // "for": X-Forwarded-For
	ClaimProto                    // "proto": X-Forwarded-Proto
	ClaimHost                     // "host": X-Forwarded-Host
	ClaimURI                      // "uri": the path and query that the client asked for
	ClaimMethod                   // "method": the client's method
	ClaimID                       // "id": X-Request-Id
)

var claims = map[string]Claim{
	"for": ClaimFor, "proto": ClaimProto, "host": ClaimHost, "uri": ClaimURI, "method": ClaimMethod, "id": ClaimID,
}

// Peer is who is at the other end of a connection, and what it was believed about this request. The
// fields after Trusted always hold a value to use: the peer's word where it may give one, and
// otherwise what the connection itself shows.
type Peer struct {
	Addr      netip.Addr // the connection's other end; zero for a unix socket
	Trusted   bool       // listed, for whatever claims
	Client    netip.Addr // the nearest address that is not a trusted proxy; zero: not known
	Scheme    string     // "http" or "https"
	Host      string     // as sent: not lower-cased, with its port
	RequestID string     // empty: none, or none that may be used
	may       Claim
}

// May reports whether the peer is trusted with every claim in c.
func (p Peer) May(c Claim) bool { return c != 0 && p.may&c == c }

// Peers knows which peers may claim what. A nil *Peers trusts nobody.
type Peers struct {
	prefixes []trusted // the most specific first
	unix     *Claim    // nil: unix peers are not trusted
	silent   bool      // forwarded scheme and host are not read, see Silent
}

type trusted struct {
	prefix netip.Prefix
	may    Claim
}

// NewPeers reads the list of trusted peers and reports every fault in it at once. A prefix that takes
// in every address is refused: it would let any client choose its own address and scheme.
func NewPeers(list []TrustedPeer) (*Peers, error) {
	ps := new(Peers)
	var faults []error
	for _, t := range list {
		if err := ps.add(t); err != nil {
			faults = append(faults, fmt.Errorf("trusted peer %q: %w", t.From, err))
		}
	}
	slices.SortStableFunc(ps.prefixes, func(a, b trusted) int { return b.prefix.Bits() - a.prefix.Bits() })
	return ps, errors.Join(faults...)
}

func (ps *Peers) add(t TrustedPeer) error {
	may, err := parseClaims(t.Headers)
	if err != nil {
		return err
	}
	if t.From == "unix" {
		if ps.unix != nil {
			return errors.New("is listed twice")
		}
		ps.unix = &may
		return nil
	}
	prefix, err := parsePrefix(t.From)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(ps.prefixes, func(o trusted) bool { return o.prefix == prefix }) {
		return errors.New("is listed twice")
	}
	ps.prefixes = append(ps.prefixes, trusted{prefix, may})
	return nil
}

func parseClaims(words []string) (Claim, error) {
	if len(words) == 0 {
		return 0, errors.New("names no headers; list what this proxy sets: for, proto, host, uri, method, id")
	}
	var all Claim
	for _, word := range words {
		c, ok := claims[word]
		if !ok {
			return 0, fmt.Errorf("unknown header word %q; use for, proto, host, uri, method or id", word)
		}
		all |= c
	}
	return all, nil
}

// parsePrefix reads a prefix or one address, and brings IPv4 written as IPv6 into its IPv4 form, in
// which peers are compared.
func parsePrefix(text string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(text)
	if addr, alone := netip.ParseAddr(text); alone == nil && addr.Zone() == "" {
		prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	if err != nil {
		return netip.Prefix{}, errors.New(`is neither a prefix such as 10.0.0.0/8, nor an address, nor the word "unix"`)
	}
	if mapped := prefix.Addr(); mapped.Is4In6() {
		prefix = netip.PrefixFrom(mapped.Unmap(), max(prefix.Bits()-96, 0))
	}
	if prefix.Bits() == 0 {
		return netip.Prefix{}, errors.New("takes in every address; name the proxies")
	}
	if prefix != prefix.Masked() {
		return netip.Prefix{}, fmt.Errorf("has bits behind its length; write %s or one address", prefix.Masked())
	}
	return prefix, nil
}

// Of tells who sent a request and what is to be believed about it. Headers of a peer that may not set
// them are not even read. An *Error of status 400: a peer that may claim something claims two things
// at once, or something that cannot be.
func (ps *Peers) Of(r *http.Request) (Peer, error) {
	p := Peer{Host: r.Host, Scheme: "http"}
	if r.TLS != nil {
		p.Scheme = "https"
	}
	p.Addr, p.may, p.Trusted = ps.origin(r)
	p.Client = p.Addr
	if p.May(ClaimFor) {
		p.Client = ps.client(p.Addr, r.Header["X-Forwarded-For"])
	}
	if p.May(ClaimID) {
		p.RequestID = requestID(r.Header["X-Request-Id"])
	}
	if ps != nil && ps.silent {
		return p, nil
	}
	return p, p.forwarded(r.Header)
}

// Silent is the same peers for requests that are about another request, as in forward auth. What
// those say of its scheme and host stands in headers that their handler reads by itself; the ones
// that are read here may be the client's, which a front proxy passed on unseen.
func (ps *Peers) Silent() *Peers {
	silent := *ps
	silent.silent = true
	return &silent
}

// origin tells the connection's other end. What kind of socket it is comes from our own end: a client
// of a unix socket may bind its end to a file named 10.0.0.1:80.
func (ps *Peers) origin(r *http.Request) (addr netip.Addr, may Claim, listed bool) {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local != nil && local.Network() == "unix" {
		if ps == nil || ps.unix == nil {
			return netip.Addr{}, 0, false
		}
		return netip.Addr{}, *ps.unix, true
	}
	end, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, 0, false
	}
	addr = bare(end.Addr())
	may, listed = ps.lookup(addr)
	return addr, may, listed
}

// Lists reports whether an address is that of a trusted peer.
func (ps *Peers) Lists(addr netip.Addr) bool {
	_, listed := ps.lookup(bare(addr))
	return listed
}

func (ps *Peers) lookup(addr netip.Addr) (may Claim, listed bool) {
	if ps == nil {
		return 0, false
	}
	for _, t := range ps.prefixes {
		if t.prefix.Contains(addr) {
			return t.may, true
		}
	}
	return 0, false
}

// bare is an address as addresses are compared: IPv4 in its own form, and without a zone, which is
// the name of an interface of some machine and not a part of who it is.
func bare(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
