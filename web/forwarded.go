package web

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// client finds the client of a request in its X-Forwarded-For lines. Each proxy appends the address
// that it saw, so the list is read from its end, and only as far as the word of those who wrote it
// goes: the first address that is not a proxy trusted with "for" is the client, and whatever stands
// before it was that client's to write. Something that is no address ("unknown", "_hidden") ends the
// walk too: the last address that was certain stands.
func (ps *Peers) client(known netip.Addr, lines []string) netip.Addr {
	for _, line := range slices.Backward(lines) {
		for line != "" {
			var item string
			line, item = lastItem(line)
			if item == "" {
				continue // an empty element says nothing (RFC 9110 section 5.6.1)
			}
			addr, ok := node(item)
			if !ok {
				return known
			}
			known = addr
			if may, _ := ps.lookup(addr); may&ClaimFor == 0 {
				return known
			}
		}
	}
	return known
}

// lastItem cuts the last element off a comma list.
func lastItem(line string) (rest, item string) {
	if i := strings.LastIndexByte(line, ','); i >= 0 {
		return line[:i], strings.TrimSpace(line[i+1:])
	}
	return "", strings.TrimSpace(line)
}

// node reads an address as proxies write it: bare, in brackets, with or without a port.
func node(item string) (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(item, "["), "]")); err == nil {
		return bare(addr), true
	}
	if end, err := netip.ParseAddrPort(item); err == nil {
		return bare(end.Addr()), true
	}
	return netip.Addr{}, false
}

// forwarded takes in the scheme and host that the peer claims, where it may.
func (p *Peer) forwarded(h http.Header) error {
	if p.May(ClaimProto) {
		proto, err := agreed(h, "X-Forwarded-Proto")
		if err != nil {
			return err
		}
		if err := p.believeScheme(proto); err != nil {
			return err
		}
	}
	if p.May(ClaimHost) {
		host, err := agreed(h, "X-Forwarded-Host")
		if err != nil {
			return err
		}
		if strings.ContainsFunc(host, notOfHost) {
			return Fail(http.StatusBadRequest, "X-Forwarded-Host is not a host name.", nil)
		}
		if host != "" {
			p.Host = host
		}
	}
	return nil
}

// believeScheme takes in a claimed scheme. Some proxies name the WebSocket's own.
func (p *Peer) believeScheme(proto string) error {
	switch strings.ToLower(proto) {
	case "":
	case "http", "ws":
		p.Scheme = "http"
	case "https", "wss":
		p.Scheme = "https"
	default:
		return Fail(http.StatusBadRequest, "X-Forwarded-Proto is neither http nor https.", nil)
	}
	return nil
}

// agreed returns the one value of a header that may come as several lines or as a list. Values that
// differ are refused: whichever we picked, another part of the chain could pick the other.
func agreed(h http.Header, name string) (string, error) {
	value := ""
	for _, line := range h[name] {
		for item := range strings.SplitSeq(line, ",") {
			item = strings.TrimSpace(item)
			if item == "" {
				continue
			}
			if value != "" && !strings.EqualFold(value, item) {
				return "", Fail(http.StatusBadRequest, "The proxies before this server do not agree on "+name+".", nil)
			}
			value = item
		}
	}
	return value, nil
}

// notOfHost reports bytes that no host and port is made of: letters, digits, and what stands in
// names, ports, IPv6 addresses and their zones.
func notOfHost(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-._:[]%", c)
}
