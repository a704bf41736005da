package proxy

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// Access says what a route asks of a request before it looks at who may.
type Access int

const (
	// SignedIn lets in whoever has a live session and is in Allow.
	SignedIn Access = iota
	// Public lets everybody in, looks nobody up and carries no identity.
	Public
	// Identify lets everybody in and tells the app who it is where there is a session; where that
	// cannot be found out the answer is 503.
	Identify
)

// Allow says which signed-in users may. The kinds are OR-ed: one match is enough. The zero value
// allows every signed-in user.
type Allow struct {
	Roles   []string // any of these roles
	Emails  []string // canonical e-mails
	Domains []string // e-mail domains, lower-case; a domain does not include its subdomains
}

// Route is where a request goes, and who may. A table of routes never changes once it is made.
type Route struct {
	Name           string   // for logs and metrics: host and path as configured
	Host           string   // canonical: lower-case, no default port
	Path           string   // prefix, matched by whole segments; begins with a slash
	Methods        []string // upper-case; empty: all. GET implies HEAD.
	Access         Access
	Allow          Allow
	Origins        []string     // exact origins for CORS on our 401s, WebSocket Origin, cross-origin requests
	AllowPreflight bool         // true CORS preflights pass without a session and without cookies
	SharedCache    bool         // leave the app's public and s-maxage alone
	Next           http.Handler // where an allowed request goes: an Upstream, or a handler of ours
}

// everybody reports whether an Allow lets in every signed-in user.
func (a Allow) everybody() bool {
	return a.Roles == nil && a.Emails == nil && a.Domains == nil
}

// admits reports whether a signed-in user may.
func (a Allow) admits(u auth.User) bool {
	if a.everybody() || slices.Contains(a.Emails, u.Email) {
		return true
	}
	for _, role := range u.Roles {
		if slices.Contains(a.Roles, role) {
			return true
		}
	}
	// The domain stands after the last @: a quoted local part may hold another one.
	at := strings.LastIndexByte(u.Email, '@')
	return at > 0 && slices.Contains(a.Domains, u.Email[at+1:])
}

// covers reports whether everybody whom b admits is admitted by a, as far as the lists tell.
func (a Allow) covers(b Allow) bool {
	if a.everybody() {
		return true
	}
	return !b.everybody() && subset(b.Roles, a.Roles) && subset(b.Emails, a.Emails) && subset(b.Domains, a.Domains)
}

func subset(small, large []string) bool {
	return !slices.ContainsFunc(small, func(s string) bool { return !slices.Contains(large, s) })
}

// serves reports whether a route is meant for a method.
func (rt *Route) serves(method string) bool {
	return len(rt.Methods) == 0 || slices.Contains(rt.Methods, method) ||
		method == http.MethodHead && slices.Contains(rt.Methods, http.MethodGet)
}
