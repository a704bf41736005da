package main

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-auth/gatehouse/proxy"
	"github.com/gatehouse-auth/gatehouse/web"
)

// trustedProxies has each entry judged by the code that will use it, and then all together.
func (j *judge) trustedProxies() {
	const fix = "from: 10.0.0.7, 10.0.0.0/24 or unix; headers: [for, proto, host]"
	before := len(j.faults)
	peers := j.trustedPeers()
	for i, p := range j.Server.TrustedProxies {
		if _, err := web.NewPeers(peers[i : i+1]); err != nil {
			j.bad(fmt.Sprintf("server.trusted_proxies[%d]", i), p.From, reason(err), fix)
		}
	}
	if len(j.faults) > before {
		return
	}
	if _, err := web.NewPeers(peers); err != nil {
		j.bad("server.trusted_proxies", "", err.Error(), "keep one of them")
	}
}

// parts are the errors that errors.Join put together; none of nil.
func parts(err error) []error {
	switch joined := err.(type) { //nolint:errorlint // only the outermost may be a join
	case nil:
		return nil
	case interface{ Unwrap() []error }:
		return joined.Unwrap()
	default:
		return []error{err}
	}
}

// reason is the innermost cause of an error, for key and value already stand before it.
func reason(err error) string {
	for {
		inner := errors.Unwrap(err)
		if list := parts(err); len(list) == 1 && inner == nil && list[0] != err { //nolint:errorlint // the very same value, or this would never end
			inner = list[0]
		}
		if inner == nil {
			return strings.ReplaceAll(err.Error(), "\n", "; ")
		}
		err = inner
	}
}

// identity has each header judged alone, so that every fault is named, and then all together.
func (j *judge) identity() {
	before := len(j.faults)
	for i, h := range j.Identity {
		if _, err := proxy.NewIdentity([]proxy.IdentityHeader{{Header: h.Header, Value: h.Value}}); err != nil {
			j.bad(fmt.Sprintf("identity[%d]", i), h.Header, reason(err), "for example {header: Remote-User, value: user}")
		}
	}
	if len(j.faults) > before {
		return
	}
	if _, err := proxy.NewIdentity(j.identityHeaders()); err != nil {
		j.bad("identity", "", err.Error(), "keep one of them")
	}
}

func (c *Config) identityHeaders() []proxy.IdentityHeader {
	headers := make([]proxy.IdentityHeader, len(c.Identity))
	for i, h := range c.Identity {
		headers[i] = proxy.IdentityHeader{Header: h.Header, Value: h.Value}
	}
	return headers
}

// routes has each route judged alone by the code that will use it, and then all as a table, which
// finds collisions.
func (j *judge) routes() {
	if len(j.Routes) == 0 {
		j.warn("routes", "none: every address but Gatehouse's own is 404")
	}
	before := len(j.faults)
	for i, r := range j.Routes {
		j.route(fmt.Sprintf("routes[%d]", i), r)
	}
	if len(j.faults) > before {
		return // a collision of routes that are wrong anyway would only repeat it
	}
	table, err := proxy.NewTable(j.proxyRoutes(nowhere))
	for _, e := range parts(err) {
		j.bad("routes", "", e.Error(), "")
	}
	if err != nil {
		return
	}
	for _, text := range table.Lax() {
		j.warn("routes", text)
	}
}

func nowhere(RouteConfig) http.Handler { return http.NotFoundHandler() }

// proxyRoutes are the routes as the proxy takes them; next makes the handler of each.
func (c *Config) proxyRoutes(next func(RouteConfig) http.Handler) []proxy.Route {
	routes := make([]proxy.Route, len(c.Routes))
	for i, r := range c.Routes {
		routes[i] = r.route(c.site().Public.Scheme, next(r))
	}
	return routes
}

func (r RouteConfig) route(scheme string, next http.Handler) proxy.Route {
	route := proxy.Route{
		Name:           r.Host + r.Path,
		Host:           canonicalHost(r.Host, scheme),
		Path:           r.Path,
		Methods:        r.Methods,
		Access:         map[Public]proxy.Access{"true": proxy.Public, "identify": proxy.Identify}[r.Public],
		Origins:        r.Origins,
		AllowPreflight: r.AllowPreflight,
		SharedCache:    r.SharedCache,
		Next:           next,
	}
	if r.Allow != nil {
		route.Allow = proxy.Allow{Roles: r.Allow.Roles, Emails: each(r.Allow.Emails, canonicalEmail), Domains: each(r.Allow.Domains, strings.ToLower)}
	}
	return route
}

// each is a list with every item brought into its canonical form. No list stays no list.
func each(list []string, canonical func(string) string) []string {
	list = slices.Clone(list)
	for i := range list {
		list[i] = canonical(list[i])
	}
	return list
}

func (j *judge) route(key string, r RouteConfig) {
	before := len(j.faults)
	j.routeHost(key+".host", r.Host)
	if p := strings.ToLower(j.Server.Prefix); p != "" && strings.HasPrefix(strings.ToLower(r.Path)+"/", p+"/") {
		j.bad(key+".path", r.Path, "is under server.prefix, which is Gatehouse's own on every host", "move server.prefix")
	}
	if r.Methods != nil && len(r.Methods) == 0 {
		j.bad(key+".methods", "", "is empty", "remove it for all methods")
	}
	j.oneOf(key+".public", string(r.Public), "false", "true", "identify")
	j.allow(key+".allow", r)
	j.upstream(key, r)
	for _, t := range []struct {
		name string
		d    time.Duration
	}{{"dial", r.Timeouts.Dial}, {"header", r.Timeouts.Header}, {"idle", r.Timeouts.Idle}, {"stall", r.Timeouts.Stall}} {
		j.atLeast(key+".timeouts."+t.name, t.d, time.Millisecond)
	}
	if len(j.faults) > before {
		return
	}
	_, err := proxy.NewTable([]proxy.Route{r.route(j.site().Public.Scheme, http.NotFoundHandler())})
	for _, e := range parts(err) {
		j.bad(key, r.Host+r.Path, reason(e), "")
	}
}

// routeHost insists that the session cookie reaches the host: elsewhere a sign-in would never end.
func (j *judge) routeHost(key, host string) {
	if host == "" {
		j.bad(key, "", "is required", "write the host that browsers ask for")
		return
	}
	if !validHost(host) {
		j.bad(key, host, "not a host", "write app.example.com or app.example.com:8443, without scheme, path or *")
		return
	}
	site := j.site()
	if site.Public.Host == "" || canonicalHost(host, site.Public.Scheme) == site.Public.Host {
		return
	}
	if d := j.Cookie.Domain; d == "" || !under(hostname(strings.ToLower(host)), d) {
		j.bad(key, host, "the session cookie does not reach it: neither the host of server.public_url nor under cookie.domain", "set cookie.domain to a domain that both are in")
	}
}
