package main

import (
	"net"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/gatehouse-auth/gatehouse/web"
)

// validHost reports whether s is a host with or without a port: a name in ASCII letters, digits,
// dots and hyphens, or an address. International names are written as browsers send them (xn--…).
func validHost(s string) bool {
	canonical, err := web.CanonicalHost(s, "")
	if err != nil || canonical != strings.ToLower(s) {
		return false
	}
	name := hostname(canonical)
	_, err = netip.ParseAddr(name)
	return err == nil || validName(name)
}

func validName(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// hostname is a host without its port and brackets.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
}

// canonicalHost is a host as Ask spells it; one that is no host stays as it is, for its fault to
// show it.
func canonicalHost(host, scheme string) string {
	if canonical, err := web.CanonicalHost(host, scheme); err == nil {
		return canonical
	}
	return host
}

// under reports whether a name is the domain or below it.
func under(name, domain string) bool {
	return name == domain || strings.HasSuffix(name, "."+domain)
}

// sharedSuffix reports whether strangers can register names below a domain: a cookie set for co.uk
// or github.io would go to all of them, so browsers refuse it. A single label that no list knows
// (home, corp) counts as well, for browsers take it so.
func sharedSuffix(domain string) bool {
	suffix, _ := publicsuffix.PublicSuffix(domain)
	return suffix == domain
}

// listedSuffix is sharedSuffix but for single labels that no list knows: a private zone such as home
// is its owner's choice, com and github.io are everybody's.
func listedSuffix(domain string) bool {
	suffix, icann := publicsuffix.PublicSuffix(domain)
	return suffix == domain && (icann || strings.Contains(suffix, "."))
}

// loopback reports whether a host name is this machine.
func loopback(name string) bool {
	addr, err := netip.ParseAddr(name)
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || (err == nil && addr.IsLoopback())
}

func missing(file string) bool {
	_, err := os.Stat(file)
	return os.IsNotExist(err)
}
