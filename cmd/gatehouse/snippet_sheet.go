package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
)

// sheet is what a template has to know of the configuration.
type sheet struct {
	Scheme     string // of browsers: http or https
	PublicHost string
	Prefix     string
	Gate       endpoint // where Gatehouse answers browsers
	Check      endpoint // where it answers checks
	Apart      bool     // the two are different
	Identity   []headerName
	Apps       []place
	Public     *place // the public host, if no app is on it
	Whole      bool   // not the part of one app only
}

// place is one host of the front proxy.
type place struct {
	*sheet
	Host string // with its port, if that is not the scheme's own
	App  endpoint
	All  bool // all of it is Gatehouse's
}

// headerName is the name of an identity header in the spellings that templates need.
type headerName string

// newSheet collects it, and says what the proxy could not do.
func newSheet(cfg Config, o order) (*sheet, error) {
	site := cfg.site()
	s := &sheet{
		Scheme: site.Public.Scheme, PublicHost: site.Public.Host, Prefix: site.Prefix,
		Apart: cfg.Server.CheckListen != "", Whole: o.app == "",
	}
	for _, h := range cfg.Identity {
		if strings.Trim(strings.ToLower(h.Header), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return nil, fmt.Errorf("identity: %s: proxies drop or confuse headers whose names hold more than letters, digits and -", h.Header)
		}
		s.Identity = append(s.Identity, headerName(h.Header))
	}
	var err error
	if s.Gate, err = cfg.reachedAt(cmp.Or(o.at, cfg.Server.Listen)); err != nil {
		return nil, err
	}
	s.Check = s.Gate
	if s.Apart {
		if s.Check, err = cfg.reachedAt(portFrom(o.at, cfg.Server.CheckListen)); err != nil {
			return nil, err
		}
	}
	if err := s.addApps(cfg, o); err != nil {
		return nil, err
	}
	if s.Whole && !slices.ContainsFunc(s.Apps, func(p place) bool { return p.Host == s.PublicHost }) {
		s.Public = &place{sheet: s, Host: s.PublicHost, All: true}
	}
	return s, s.fits(o.proxy)
}

// addApps makes a place of each host of the routes, in their order. Its app is where the shortest path
// with an upstream leads: which of several apps behind one host gets a request is the proxy's to say.
func (s *sheet) addApps(cfg Config, o order) error {
	routes := slices.Clone(cfg.Routes)
	slices.SortStableFunc(routes, func(a, b RouteConfig) int { return cmp.Compare(len(a.Path), len(b.Path)) })
	seen := map[string]int{}
	for _, r := range cfg.Routes {
		host := canonicalHost(r.Host, s.Scheme)
		if _, twice := seen[host]; twice || o.app != "" && host != canonicalHost(o.app, s.Scheme) {
			continue
		}
		seen[host] = len(s.Apps)
		s.Apps = append(s.Apps, place{sheet: s, Host: host})
	}
	if len(s.Apps) == 0 {
		return fmt.Errorf("no route is for the host %s: nothing would be let through there", cmp.Or(o.app, "of an app"))
	}
	for _, r := range routes {
		at, ok := seen[canonicalHost(r.Host, s.Scheme)]
		if !ok || r.Upstream == "" || s.Apps[at].App != (endpoint{}) {
			continue
		}
		s.Apps[at].App = endpointOf(r.Upstream)
	}
	for i, p := range s.Apps {
		if p.App == (endpoint{}) && o.upstream == "" {
			return fmt.Errorf("no route of %s has an upstream, so where its app is has to be said: --upstream http://127.0.0.1:3000 (%w)", p.Host, errUsage)
		}
		if p.App == (endpoint{}) {
			s.Apps[i].App = endpointOf(o.upstream)
		}
	}
	return nil
}

// fits says what the templates of a proxy cannot express.
func (s *sheet) fits(proxy string) error {
	kinds := strings.Fields(frontKinds[proxy].speaks)
	speaks := func(e endpoint) bool { return slices.Contains(kinds, e.kind()) }
	var faults []error
	for _, p := range append(slices.Clone(s.Apps), place{Host: "Gatehouse", App: s.Gate}, place{Host: "Gatehouse", App: s.Check}) {
		if !speaks(p.App) {
			faults = append(faults, fmt.Errorf("%s is at %s, and this snippet for %s knows only %s: give it such an address", p.Host, p.App, proxy, strings.Join(kinds, ", ")))
		}
	}
	for _, p := range s.Apps {
		if proxy == "ingress-nginx" && net.ParseIP(p.App.HostName()) != nil {
			faults = append(faults, fmt.Errorf("the app of %s is at %s: an Ingress needs the name of its Service, as in http://wiki.apps.svc:3000", p.Host, p.App))
		}
		if p.Port() != s.Port() {
			faults = append(faults, fmt.Errorf("%s has another port than server.public_url: the snippet makes one listener", p.Host))
		}
	}
	return errors.Join(faults...)
}

// Port is that at which browsers reach the front proxy.
func (s *sheet) Port() string { return portOf(s.PublicHost, s.Scheme) }

// Secure reports whether browsers come by https.
func (s *sheet) Secure() bool { return s.Scheme == "https" }

// CheckSuffix is what the name of the upstream for checks ends with, where it is another one.
func (s *sheet) CheckSuffix() string {
	if s.Apart {
		return "_check"
	}
	return ""
}

// Name is the host without its port.
func (p place) Name() string { return hostname(p.Host) }

// Port is the port of the host.
func (p place) Port() string { return portOf(p.Host, p.Scheme) }

// Origin is what the address of the host begins with.
func (p place) Origin() string { return p.Scheme + "://" + p.Host }

// Label is the name of the host for where dots have a meaning.
func (p place) Label() string { return strings.ReplaceAll(p.Name(), ".", "-") }

func portOf(host, scheme string) string {
	if u := (url.URL{Host: host}); u.Port() != "" {
		return u.Port()
	}
	return map[string]string{"http": "80", "https": "443"}[scheme]
}

// Lower is the name in lower case, with dashes.
func (h headerName) Lower() string { return strings.ToLower(string(h)) }

// Under is the name as nginx has it in the names of variables.
func (h headerName) Under() string { return strings.ReplaceAll(h.Lower(), "-", "_") }

// Variable is a variable of nginx that holds what Gatehouse said.
func (h headerName) Variable() string { return "gatehouse_" + h.Under() }

// endpoint is where something listens.
type endpoint struct {
	Scheme string // http, https or h2c
	Addr   string // host:port; empty: a socket
	Socket string // the path of a Unix socket
	Name   string // the name in its certificate, or of its host
}

// reachedAt is where the proxy finds a listener of ours: at its address, or, if that is every address
// of this machine, at loopback.
func (c *Config) reachedAt(address string) (endpoint, error) {
	e := endpoint{Scheme: "http", Name: hostname(c.site().Public.Host)}
	if c.Server.TLS.CertFile != "" {
		e.Scheme = "https"
	}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		e.Socket = path
		return e, nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return endpoint{}, fmt.Errorf("--at: %w (%w)", err, errUsage)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	e.Addr = net.JoinHostPort(host, port)
	return e, nil
}

// portFrom is where another listener is, on the host of --at. A socket is where it is.
func portFrom(at, listen string) string {
	host, _, err := net.SplitHostPort(at)
	_, port, otherwise := net.SplitHostPort(listen)
	if err != nil || otherwise != nil {
		return listen
	}
	return net.JoinHostPort(host, port)
}

// endpointOf reads the address of an upstream, which is checked already.
func endpointOf(upstream string) endpoint {
	if path, ok := strings.CutPrefix(upstream, "unix:"); ok {
		return endpoint{Scheme: "http", Socket: path, Name: "localhost"}
	}
	u, err := url.Parse(upstream)
	if err != nil {
		return endpoint{Scheme: "unknown", Addr: upstream}
	}
	scheme := map[string]string{"https": "https"}[u.Scheme]
	return endpoint{Scheme: u.Scheme, Addr: net.JoinHostPort(u.Hostname(), portOf(u.Host, cmp.Or(scheme, "http"))), Name: u.Hostname()}
}

func (e endpoint) kind() string {
	if e.Socket != "" {
		return "unix"
	}
	return e.Scheme
}

// String is the endpoint as the configuration of Gatehouse would have it.
func (e endpoint) String() string {
	if e.Socket != "" {
		return "unix:" + e.Socket
	}
	return e.Scheme + "://" + e.Addr
}

// TLS reports whether one speaks TLS there.
func (e endpoint) TLS() bool { return e.Scheme == "https" }

// HostName is the host of the address, PortNumber its port.
func (e endpoint) HostName() string { return hostname(e.Addr) }

// PortNumber is the port of the address.
func (e endpoint) PortNumber() string { return portOf(e.Addr, "http") }

// ServiceName is the Kubernetes service that an address names: the first label of its host.
func (e endpoint) ServiceName() string {
	name, _, _ := strings.Cut(e.HostName(), ".")
	return name
}

// Base is where requests go, as URLs begin.
func (e endpoint) Base() string {
	if e.Socket != "" {
		return e.Scheme + "://localhost"
	}
	return e.Scheme + "://" + e.Addr
}

// Nginx is Base as proxy_pass takes it, or with the name of an upstream block.
func (e endpoint) Nginx(upstream string) string {
	switch {
	case upstream != "":
		return e.Scheme + "://" + upstream
	case e.Socket != "":
		return e.Scheme + "://unix:" + e.Socket + ":"
	}
	return e.Base()
}

// Server is the address as nginx and HAProxy write servers.
func (e endpoint) Server(socket string) string {
	if e.Socket != "" {
		return socket + e.Socket
	}
	return e.Addr
}

// Caddy is the address as reverse_proxy takes it.
func (e endpoint) Caddy() string {
	switch {
	case e.Socket != "":
		return "unix/" + e.Socket
	case e.Scheme == "http":
		return e.Addr
	}
	return e.Base()
}

// Cluster is an endpoint with the name that Envoy gives it.
type cluster struct {
	endpoint
	Cluster string
}

// As is the endpoint with a name.
func (e endpoint) As(name string) cluster { return cluster{e, name} }
