package auth

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// Next is the policy on where a browser may be sent after it signed in. The address comes from
// whoever made the link, so an open gate here would lend our name to any phishing page.
//
// Two forms pass: a path on the public host ("/a?b"), and an absolute http(s) address whose host is
// the public one or listed. What passes goes on byte for byte, because apps compare their own links;
// only bytes outside ASCII, which no browser sends, are percent-encoded.
type Next struct {
	site  Site
	hosts []hostRule
}

// hostRule is one entry of the list. An entry without a port means the default port of the scheme.
type hostRule struct {
	name  string // lower-case; with a leading dot: every host below it, not itself
	port  string
	exact bool
}

// maxNext bounds an address. Servers commonly refuse request lines beyond 8 KiB.
const maxNext = 8 << 10

// frontPage is where a browser goes that asked for nothing, or for nothing good.
const frontPage = "/"

var errNext = errors.New("not a safe address to return to")

// NewNext makes the policy. Entries of hosts are "app.example.com", "app.example.com:8443", or, for
// all hosts below a domain but not the domain itself, ".example.com". The public host is always in.
// The error names every entry that is none of these.
func NewNext(site Site, hosts []string) (Next, error) {
	n := Next{site: site, hosts: []hostRule{ruleOf(site.Public)}}
	var faults []error
	for _, entry := range hosts {
		u, err := url.Parse("//" + strings.ToLower(entry))
		if err != nil || u.Host == "" || u.Host != strings.ToLower(entry) || !hostname(strings.TrimPrefix(u.Hostname(), ".")) {
			faults = append(faults, fmt.Errorf("%q is no host: write app.example.com, app.example.com:8443 or .example.com", entry))
			continue
		}
		n.hosts = append(n.hosts, ruleOf(u))
	}
	return n, errors.Join(faults...)
}

func ruleOf(u *url.URL) hostRule {
	name := strings.ToLower(u.Hostname())
	return hostRule{name: name, port: port(u), exact: !strings.HasPrefix(name, ".")}
}

// port is the port of an address, empty if it is the scheme's own.
func port(u *url.URL) string {
	if p := u.Port(); p != map[string]string{"http": "80", "https": "443"}[u.Scheme] {
		return p
	}
	return ""
}

// hostname reports whether s is an IP address or made of labels as DNS has them. Everything else,
// such as percent signs and bytes outside ASCII, is read differently by different programs.
func hostname(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// Clean returns raw if the browser may be sent there, and otherwise "/", the front page of the public
// host.
func (n Next) Clean(raw string) string {
	if len(raw) > maxNext || strings.ContainsFunc(raw, unprintable) {
		return frontPage
	}
	rest, err := n.local(raw)
	if err != nil || n.ours(rest) {
		return frontPage
	}
	clean := escapeHigh(raw)
	if len(clean) > maxNext { // escaped, a byte takes three
		return frontPage
	}
	return clean
}

// unprintable finds blanks and control bytes. Browsers drop tabs and line ends from an address before
// they read it, so that "/<TAB>/evil.example" becomes "//evil.example" (WHATWG URL, section 4.4).
func unprintable(r rune) bool { return r <= ' ' || r == 0x7f }

// local returns what follows the authority of an address that stays on a host of ours.
func (n Next) local(raw string) (string, error) {
	rest := raw
	if scheme, after, ok := strings.Cut(raw, "://"); ok && !strings.ContainsAny(scheme, "/?#\\") {
		end := strings.IndexAny(after, `/?#\`)
		if end < 0 {
			end = len(after)
		}
		if !n.known(strings.ToLower(scheme), after[:end]) {
			return "", errNext
		}
		rest = after[end:]
	} else if !strings.HasPrefix(raw, "/") || strings.HasPrefix(raw, "//") {
		return "", errNext
	}
	// Browsers take a backslash in a path for a slash. In a query it is a letter like any other.
	if strings.Contains(pathOf(rest), `\`) {
		return "", errNext
	}
	return rest, nil
}

// known reports whether scheme and authority name a host to which browsers may be sent.
func (n Next) known(scheme, authority string) bool {
	if scheme != "https" && (scheme != "http" || n.site.Secure()) {
		// Behind https the session cookie is Secure: a plain address would only start the next login.
		return false
	}
	u, err := url.Parse(scheme + "://" + strings.ToLower(authority))
	if err != nil || u.User != nil || !hostname(u.Hostname()) {
		return false
	}
	for _, rule := range n.hosts {
		if rule.matches(u) {
			return true
		}
	}
	return false
}

func (h hostRule) matches(u *url.URL) bool {
	if port(u) != h.port {
		return false
	}
	if h.exact {
		return u.Hostname() == h.name
	}
	return strings.HasSuffix(u.Hostname(), h.name) && len(u.Hostname()) > len(h.name)
}

// ours finds the addresses of the login itself: to return there would start over.
func (n Next) ours(rest string) bool {
	path := pathOf(rest)
	return path == n.site.Prefix+"/login" || path == n.site.Prefix+"/callback"
}

// pathOf is an address without query and fragment.
func pathOf(address string) string {
	if end := strings.IndexAny(address, "?#"); end >= 0 {
		return address[:end]
	}
	return address
}

// escapeHigh percent-encodes the bytes outside ASCII. A header may carry them, but clients differ
// in how they read them.
func escapeHigh(s string) string {
	var out strings.Builder
	for i := range len(s) {
		if s[i] < 0x80 {
			out.WriteByte(s[i])
			continue
		}
		fmt.Fprintf(&out, "%%%02X", s[i])
	}
	return out.String()
}

// asked returns the next parameter of a query, cleaned. Gatehouse's own links encode it, but a front
// proxy that cannot encode (nginx) pastes the original address as it is, and then everything up to
// the end belongs to it. The two are told apart by the first slash, which encoders escape.
func (n Next) asked(query string) string {
	for rest := query; rest != ""; {
		pair, after, _ := strings.Cut(rest, "&")
		value, found := strings.CutPrefix(pair, "next=")
		if !found {
			rest = after
			continue
		}
		if pasted(value) {
			return n.pasted(strings.TrimPrefix(rest, "next="))
		}
		plain, err := url.QueryUnescape(value)
		if err != nil {
			return frontPage
		}
		return n.Clean(plain)
	}
	return frontPage
}

func pasted(value string) bool {
	lower := strings.ToLower(value)
	return strings.HasPrefix(lower, "/") || strings.HasPrefix(lower, "http://") || strings.HasPrefix(lower, "https://")
}

// pasted judges an address that may after all be encoded, as by an encoder that leaves slashes alone:
// it must be good in both readings.
func (n Next) pasted(verbatim string) string {
	path, err := url.PathUnescape(pathOf(verbatim))
	if err != nil || strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == '\\' }) {
		return frontPage
	}
	if strings.HasPrefix(path, "//") || strings.HasPrefix(path, "/ ") {
		return frontPage
	}
	return n.Clean(verbatim)
}

// Absolute is a cleaned address with scheme and host; a path is one on the public host.
func (n Next) absolute(clean string) string {
	if strings.HasPrefix(clean, "/") {
		return n.site.Public.Scheme + "://" + n.site.Public.Host + clean
	}
	return clean
}
