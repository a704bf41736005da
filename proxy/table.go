package proxy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/gatehouse-auth/gatehouse/web"
)

// Table finds the routes of a request: by host, then by the longest prefix of whole segments, then by
// method. It is immutable and safe for concurrent use.
type Table struct {
	zones map[string]*zone
	all   []*Route
}

// zone is the routes of one host.
type zone struct {
	exact  map[string][]*Route // by path
	folded map[string][]string // the paths that are one in lower case, for apps that do not tell cases apart
	depth  int                 // the most segments that a path has
}

// NewTable makes a table, or says everything that is wrong with the routes, each fault naming the
// route's host and path. Routes may share host and path if their methods are disjoint.
func NewTable(routes []Route) (*Table, error) {
	t := &Table{zones: map[string]*zone{}}
	var faults []error
	for _, given := range routes {
		rt := given
		if rt.Path != "/" {
			rt.Path = strings.TrimSuffix(rt.Path, "/")
		}
		faults = append(faults, rt.faults()...)
		faults = append(faults, t.add(&rt)...)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return t, nil
}

func (t *Table) add(rt *Route) (faults []error) {
	z := t.zones[rt.Host]
	if z == nil {
		z = &zone{exact: map[string][]*Route{}, folded: map[string][]string{}}
		t.zones[rt.Host] = z
	}
	for _, other := range z.exact[rt.Path] {
		if both := common(rt.Methods, other.Methods); both != "" {
			faults = append(faults, rt.fault("another route has the same host and path for %s: give them disjoint methods", both))
		}
	}
	if fold := strings.ToLower(rt.Path); !slices.Contains(z.folded[fold], rt.Path) {
		z.folded[fold] = append(z.folded[fold], rt.Path)
	}
	z.exact[rt.Path] = append(z.exact[rt.Path], rt)
	z.depth = max(z.depth, strings.Count(rt.Path, "/"))
	t.all = append(t.all, rt)
	return faults
}

// common names a method that two lists share, or nothing. An empty list means all methods.
func common(a, b []string) string {
	switch {
	case len(a) == 0 && len(b) == 0:
		return "every method"
	case len(a) == 0:
		return b[0]
	case len(b) == 0:
		return a[0]
	}
	for _, m := range a {
		if slices.Contains(b, m) {
			return m
		}
	}
	return ""
}

// faults says what is wrong with one route by itself.
func (rt *Route) faults() (faults []error) {
	check := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, rt.fault(format, args...))
		}
	}
	canonical, err := web.CanonicalHost(rt.Host, "")
	check(err != nil || canonical != rt.Host, "host %q is not canonical: lower-case, no trailing dot, no default port", rt.Host)
	check(!settled(rt.Path), "path %q must begin with a slash and be made of plain segments (letters, digits and -._~!$&'()*+,=:@)", rt.Path)
	for _, m := range rt.Methods {
		check(!httpguts.ValidHeaderFieldName(m) || m != strings.ToUpper(m), "method %q is not an upper-case method name", m)
	}
	for name, list := range map[string][]string{"roles": rt.Allow.Roles, "emails": rt.Allow.Emails, "domains": rt.Allow.Domains} {
		check(list != nil && len(list) == 0, "allow.%s is empty, which would let nobody in: leave it out or name somebody", name)
	}
	check(rt.Access != SignedIn && !rt.Allow.everybody(), "a public route cannot have an allow list")
	for _, o := range rt.Origins {
		check(!validOrigin(o), "origin %q is not scheme://host or scheme://host:port in lower case, without a default port", o)
	}
	check(rt.Next == nil, "leads nowhere")
	return faults
}

func (rt *Route) fault(format string, args ...any) error {
	return fmt.Errorf("route %s%s: %w", rt.Host, rt.Path, fmt.Errorf(format, args...))
}

// settled reports whether a prefix has one reading only and needs no encoding on the wire, so that
// matching it against the bytes as sent is enough.
func settled(path string) bool {
	const extra = "/-._~!$&'()*+,=:@"
	for i := range len(path) {
		c := path[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && !strings.ContainsRune(extra, rune(c)) {
			return false
		}
	}
	// A segment may begin with a dot (/.well-known) but not be one dot or two.
	return strings.HasPrefix(path, "/") && resolveDots(path) == path && mergeSlashes(path) == path
}

func validOrigin(o string) bool {
	scheme, host, ok := strings.Cut(o, "://")
	canonical, err := web.CanonicalHost(host, scheme)
	return ok && err == nil && canonical == host && scheme == strings.ToLower(scheme) && httpguts.ValidHeaderFieldName(scheme)
}

func (t *Table) has(host string) bool { return t.zones[host] != nil }

// Lax warns of longer prefixes that let in more people than the next shorter one, each in a sentence.
// That may be meant; nothing is inherited, so it may also be a forgotten line.
func (t *Table) Lax() []string {
	var warnings []string
	for _, rt := range t.all {
		for _, above := range t.above(rt) {
			if common(rt.Methods, above.Methods) != "" && laxer(rt, above) {
				warnings = append(warnings, fmt.Sprintf("route %s%s lets in more people than %s%s above it", rt.Host, rt.Path, above.Host, above.Path))
			}
		}
	}
	return warnings
}

// above returns the routes of the next shorter prefix.
func (t *Table) above(rt *Route) []*Route {
	if rt.Path == "/" {
		return nil
	}
	z := t.zones[rt.Host]
	return find(z.exact, rt.Path[:strings.LastIndexByte(rt.Path, '/')], z.depth)
}

func laxer(rt, above *Route) bool {
	if rt.Access != above.Access {
		return stricter(rt.Access, above.Access) != rt.Access
	}
	return rt.Access == SignedIn && !above.Allow.covers(rt.Allow)
}
