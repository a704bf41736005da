package web

import (
	"errors"
	"net/netip"
	"strings"
)

// CanonicalHost is the one spelling in which hosts are compared: lower-case, without a trailing dot
// and without the default port of the scheme (empty: every port stays), IPv4-in-IPv6 as IPv4, no
// zone. The error says why raw is no host; international names are no hosts but in their xn-- form.
func CanonicalHost(raw, scheme string) (string, error) {
	host := strings.ToLower(raw)
	name, port := splitPort(host)
	if port != "" && (len(port) > 6 || strings.Trim(port[1:], "0123456789") != "" || port == ":") {
		return "", errors.New("the port is no number")
	}
	if scheme == "https" && port == ":443" || scheme == "http" && port == ":80" {
		port = ""
	}
	if strings.HasPrefix(name, "[") && strings.HasSuffix(name, "]") {
		addr, err := netip.ParseAddr(name[1 : len(name)-1])
		if err != nil {
			return "", errors.New("no address between the brackets")
		}
		if addr = addr.WithZone("").Unmap(); addr.Is4() {
			return addr.String() + port, nil
		}
		return "[" + addr.String() + "]" + port, nil
	}
	bare := strings.TrimSuffix(name, ".")
	if bare == "" || !nameBytes(bare) {
		return "", errors.New("the host is empty or holds a byte that no host name has")
	}
	if bare == name {
		return host[:len(name)+len(port)], nil // as nearly all come, and without an allocation
	}
	return bare + port, nil
}

// nameBytes reports whether a text is made of what host names are made of.
func nameBytes(name string) bool {
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

// splitPort parts a host from ":port", which may be empty.
func splitPort(host string) (name, port string) {
	if at := strings.LastIndexByte(host, ':'); at > strings.LastIndexByte(host, ']') {
		return host[:at], host[at:]
	}
	return host, ""
}
