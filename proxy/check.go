package proxy

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/web"
)

// Checks answers front proxies that ask about requests of their own clients: forward auth.
//
// The story. A front proxy holds a request back and asks {prefix}/check/{dialect} about it. Only a
// trusted peer may ask. What the request is about, its subject, is read from where that dialect has
// it (check_subject.go) and becomes an Ask; headers of other dialects are not even looked at. From
// there on it goes the way of a request that came here itself: the same Ask, the same Table, the same
// decide. Then the answer is said in the proxy's own dialect (check_answer.go): a 2xx with who it is,
// or a refusal that the proxy relays to its client.
//
// A check never reads a body, never sets a cookie, and never says 2xx to what it did not understand.
type Checks struct {
	proxy    *Proxy
	limits   web.Limits
	dialects map[string]dialect
	guarded  map[string]bool // folded names of headers that front proxies take from our answers
}

// dialect is how one kind of front proxy asks, and what it understands.
type dialect struct {
	name    string
	subject func(r *http.Request, rest string) (subject, error)
	demands func(query string) (demands, error) // nil: the query is nothing to us
	allowed int                                 // the status of a yes
	narrow  bool                                // understands 2xx, 401 and 403, and takes all else for a fault of ours
}

var dialects = []dialect{
	{name: "nginx", subject: originalURL, allowed: http.StatusOK, narrow: true},
	{name: "traefik", subject: forwardedURI, allowed: http.StatusOK},
	{name: "caddy", subject: forwardedURI, allowed: http.StatusOK},
	{name: "haproxy", subject: forwardedURI, allowed: http.StatusOK},
	{name: "envoy", subject: ownTarget, allowed: http.StatusOK},
	{name: Compat, subject: compatSubject, demands: compatDemands, allowed: http.StatusAccepted, narrow: true},
}

// Dialects are the names of the front proxies that NewChecks knows.
func Dialects() []string {
	var names []string
	for _, d := range dialects {
		names = append(names, d.name)
	}
	return names
}

// NewChecks makes the endpoints of the dialects that are named, over p's table and sessions. The
// limits are those of whatever may be asked about. An unknown dialect is an error.
func NewChecks(p *Proxy, limits web.Limits, served []string) (*Checks, error) {
	c := &Checks{proxy: p, limits: limits, dialects: map[string]dialect{}, guarded: maps.Clone(p.parts.Identity.ours)}
	for _, d := range dialects {
		if slices.Contains(served, d.name) {
			c.dialects[d.name] = d
		}
	}
	if _, ok := c.dialects[Compat]; ok {
		for _, h := range compatHeaders {
			c.guarded[fold(h.Header)] = true
		}
	}
	for _, name := range served {
		if _, ok := c.dialects[name]; !ok {
			return nil, fmt.Errorf("forward auth: no dialect %q (%s)", name, strings.Join(Dialects(), ", "))
		}
	}
	return c, nil
}

// Asked reports whether a request is a check. It goes by the path as sent and not by the host: to a
// front proxy we have whatever name its operator gave us.
func (c *Checks) Asked(r *http.Request) bool {
	_, _, ok := c.find(r.RequestURI)
	return ok
}

// find tells the dialect of a target, and what follows the endpoint's path.
func (c *Checks) find(target string) (d dialect, rest string, ok bool) {
	rest, ok = strings.CutPrefix(target, c.proxy.parts.Site.Prefix)
	if !ok {
		return dialect{}, "", false
	}
	if query, found := strings.CutPrefix(rest, "/auth"); found && (query == "" || query[0] == '?') {
		d, ok = c.dialects[Compat]
		return d, query, ok
	}
	if rest, ok = strings.CutPrefix(rest, "/check/"); !ok {
		return dialect{}, "", false
	}
	name := rest
	if at := strings.IndexAny(rest, "/?"); at >= 0 {
		name = rest[:at]
	}
	d, ok = c.dialects[name]
	return d, rest[len(name):], ok && name != Compat
}

// Serve answers a check, or returns what went wrong with it in words of its dialect.
func (c *Checks) Serve(w http.ResponseWriter, r *http.Request) error {
	d, rest, ok := c.find(r.RequestURI)
	if !ok {
		return notFound("No such page here.")
	}
	return d.say(w, c.check(w, r, d, rest))
}

// check goes the way of a request that came here itself.
func (c *Checks) check(w http.ResponseWriter, r *http.Request, d dialect, rest string) error {
	rec := web.RecordOf(r.Context())
	rec.Whereto.Check = d.name
	if !web.PeerOf(r.Context()).Trusted {
		return untrusted("This peer may not ask about requests: it is not in server.trusted_proxies.")
	}
	ask, err := c.ask(r, d, rest)
	if err != nil {
		return err
	}
	if ask.Path != "" {
		// The log says what was asked about: whoever wants to know why alice was refused looks there.
		rec.Request.Method, rec.Request.Host, rec.Request.Path = ask.Method, ask.Host, ask.Path
	}
	need, err := d.need(rest)
	if err != nil {
		return err
	}
	decision, err := c.decide(r, ask, need)
	if err != nil {
		return refuse(w, err)
	}
	c.proxy.note(r.Context(), &decision)
	if decision.Verdict != Allowed {
		return c.turnAway(w, r, ask, decision, d)
	}
	c.allow(w, r, &ask, &decision, &d)
	return nil
}

// ask builds the Ask of the request that a check is about.
func (c *Checks) ask(r *http.Request, d dialect, rest string) (Ask, error) {
	if err := framing(r); err != nil {
		return Ask{}, badRequest("Gatehouse cannot tell what this check is about.", err)
	}
	if err := c.spelling(r.Header); err != nil {
		return Ask{}, err
	}
	s, err := d.subject(r, rest)
	if err != nil {
		return Ask{}, err
	}
	if err := c.limits.Judge(r, s.target); err != nil {
		return Ask{}, err
	}
	return c.proxy.askAbout(r, s)
}

// anybody is the route of what no route of the table is for.
var anybody = &Route{}

// decide puts the question that a request puts which came here itself. What lies under our own prefix
// is for us to answer and asks nobody to sign in, but only if no app could read the path as another
// one: the front proxy may send it on by a path that it made of this one.
func (c *Checks) decide(r *http.Request, ask Ask, need demands) (Decision, error) {
	who := func(ctx context.Context) (auth.Session, error) { return c.proxy.parts.Gate.Who(ctx, r.Header) }
	if ask.Path == "" {
		return need.judge(c.proxy.grant(r.Context(), match{route: anybody}, ask, who)), nil
	}
	if c.proxy.known(ask.Host) && c.own(ask) {
		return Decision{Verdict: Allowed, Route: anybody}, nil
	}
	d, err := c.proxy.decide(r.Context(), c.proxy.parts.Table, ask, who)
	if err != nil {
		return Decision{}, err
	}
	if d.Ruled && overridden(r.Header, ask.Method) {
		return Decision{}, badRequest("This request names a second method in a header.", nil)
	}
	if need.any() && d.Verdict == Allowed && d.Session.ID == 0 {
		d = c.proxy.grant(r.Context(), match{route: anybody}, ask, who)
	}
	return need.judge(d), nil
}

// own reports whether every reading of a path lies under our own endpoints.
func (c *Checks) own(ask Ask) bool {
	for _, reading := range ask.readings {
		if !within(reading, c.proxy.parts.Site.Prefix) {
			return false
		}
	}
	return true
}

func untrusted(text string) *web.Error {
	return &web.Error{Status: http.StatusForbidden, Title: "Not allowed", Text: text, Event: "untrusted_check"}
}

// askAbout builds the Ask of a request that somebody else has.
func (p *Proxy) askAbout(r *http.Request, s subject) (Ask, error) {
	if s.method != "" && !httpguts.ValidHeaderFieldName(s.method) {
		return Ask{}, unclear(fmt.Errorf("method %.20q is no token", s.method))
	}
	host, err := web.CanonicalHost(s.host, p.parts.Site.Public.Scheme)
	if err != nil {
		return Ask{}, badRequest("The host name of this request is not one.", err)
	}
	ask := Ask{Method: s.method, Scheme: s.scheme, Host: host, Client: web.PeerOf(r.Context()).Client}
	if s.target != "" {
		if err := ask.target(s.target); err != nil {
			return Ask{}, badRequest("The address of this request is ambiguous or malformed.", err)
		}
	}
	ask.page(r.Header)
	ask.Socket = s.method == http.MethodGet && opensSocket(r.Header)
	return ask, nil
}

// opensSocket reports whether the request that a check is about is a WebSocket handshake. Traefik and
// others remove Upgrade, which is between two neighbours, before they ask, so the headers that go with
// it count as well: browsers send both with every handshake, and no script can leave them out.
func opensSocket(h http.Header) bool {
	return httpguts.HeaderValuesContainsToken(h["Upgrade"], "websocket") || len(h["Sec-Websocket-Key"]) > 0 || len(h["Sec-Websocket-Version"]) > 0
}
