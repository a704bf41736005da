// Package proxy answers one question, may they, and carries the request where it goes.
//
// The story. A request becomes an Ask (ask.go): method, host, path in every reading that an app may
// take of it, origin, client address; built once, from the bytes that were sent, and never changed.
// The Table (table.go) finds the routes of all readings (match.go). decide looks up who is asking, but
// only where a route wants to know, and comes to a Verdict: the strictest over all readings. Whoever is
// refused gets an answer (answer.go) that fits the kind of request (auth.Navigates): a navigation goes
// to sign in and comes back (back.go), anything else gets a status that programs understand.
// Whoever is allowed goes on to the route's Next: an Upstream (upstream.go) or a handler of ours. On
// the way out the client's copies of identity headers are erased in every spelling, and ours are set
// (identity.go). Front proxies that carry requests themselves ask about them (check.go, compat.go): the
// same Ask and the same decide, answered in words that they understand.
//
// What this package never does: it never judges another path than the one it forwards, it never
// believes a header because it is there, it takes "could not find out" neither for a yes nor for a no,
// it hands no cookie of ours to an app, and it lets nothing that an app could read as our own prefix
// through to an upstream.
package proxy

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/web"
)

// Verdict is what was decided about a request. The zero value is no yes.
type Verdict int

const (
	// Unknown says that it could not be found out who is asking.
	Unknown Verdict = iota
	// SignInFirst says that nobody is signed in, and that somebody must be.
	SignInFirst
	// Forbidden says that whoever is asking is known, and may not.
	Forbidden
	// Allowed lets the request through.
	Allowed
)

// String is the verdict as the log has it.
func (v Verdict) String() string {
	return [...]string{"unknown", "sign_in", "forbidden", "allow"}[v]
}

// Parts is what a Proxy is made of.
type Parts struct {
	Gate        *auth.Gate
	Streams     *auth.Streams
	Cookies     auth.Cookies
	Site        auth.Site
	Identity    *Identity
	Table       *Table
	Latest      *atomic.Pointer[Table] // the table of this moment, by which what is running is judged again; nil: Table
	Own         http.Handler           // our endpoints, under Site.Prefix
	Running     *web.Turns[int64]      // the requests of each session that are under way; nil: any number
	ReturnHosts []string               // hosts without routes on which our endpoints answer; .corp.test means its subdomains
}

// Proxy judges requests and carries the allowed ones on. It is safe for concurrent use.
type Proxy struct {
	parts  Parts
	public string // the canonical public host; empty if it is none
	prefix string // Site.Prefix in lower case
}

// New makes a Proxy of its parts. To reload, make another Proxy with the same Latest, store the new
// table there and call Streams.HeardAll: requests that are being judged are judged to the end by the
// table that they met, and what is running, behind whichever Proxy, by the new one (RULE-17).
func New(parts Parts) *Proxy {
	if parts.Latest == nil {
		parts.Latest = new(atomic.Pointer[Table])
		parts.Latest.Store(parts.Table)
	}
	p := &Proxy{parts: parts, prefix: strings.ToLower(parts.Site.Prefix)}
	if host, err := web.CanonicalHost(parts.Site.Public.Host, parts.Site.Public.Scheme); err == nil {
		p.public = host
	}
	return p
}

// Serve answers a request or returns what went wrong with it.
func (p *Proxy) Serve(w http.ResponseWriter, r *http.Request) error {
	ask, err := p.askOf(r)
	if err != nil {
		return refuse(w, err)
	}
	if !p.known(ask.Host) {
		return refuse(w, notFound("No such site here."))
	}
	if within(ask.Path, p.parts.Site.Prefix) {
		return p.own(w, r, ask)
	}
	d, err := p.decide(r.Context(), p.parts.Table, ask, func(ctx context.Context) (auth.Session, error) {
		return p.parts.Gate.Who(ctx, r.Header)
	})
	if err != nil {
		return refuse(w, err)
	}
	p.note(r.Context(), &d)
	if d.Verdict != Allowed {
		return refuse(w, p.answer(w, r, ask, d))
	}
	return p.pass(w, r, ask, d)
}

// known reports whether a host is ours to answer for.
func (p *Proxy) known(host string) bool {
	if p.parts.Table.has(host) || host == p.public {
		return true
	}
	for _, h := range p.parts.ReturnHosts {
		if host == h || strings.HasPrefix(h, ".") && strings.HasSuffix(host, h) {
			return true
		}
	}
	return false
}

// everywhere are the endpoints of ours that answer on every known host. Pages about sessions, users
// and files live on the public host alone, where no app can run a script.
var everywhere = []string{"/login", "/callback", "/logout", "/me", "/start", "/sign_in", "/sign_out", "/userinfo"}

// own hands a request to our own endpoints.
func (p *Proxy) own(w http.ResponseWriter, r *http.Request, ask Ask) error {
	rest := strings.TrimPrefix(ask.Path, p.parts.Site.Prefix)
	open := ask.Host == p.public
	for _, path := range everywhere {
		open = open || within(rest, path)
	}
	if !open {
		return refuse(w, notFound("No such page here."))
	}
	p.parts.Own.ServeHTTP(w, r)
	return nil
}

// Decision is a verdict with its grounds.
type Decision struct {
	Verdict Verdict
	Route   *Route       // of the path as sent
	Session auth.Session // zero: nobody, or nobody was looked up
	Strange bool         // forbidden because of the page that the request came from, not of who asks
	Ruled   bool         // a route that was met rules methods
	Cause   error        // why nobody is in, or why it could not be found out
}

// decide is the one place that says who may. It asks who at most once, and not at all where every
// route that the path may mean is public. An error is the answer to an Ask that has no route.
func (p *Proxy) decide(ctx context.Context, table *Table, ask Ask, who func(context.Context) (auth.Session, error)) (Decision, error) {
	for _, reading := range ask.readings {
		if within(strings.ToLower(reading), p.prefix) {
			return Decision{}, notFound("No such page here.")
		}
	}
	met, err := table.match(ask)
	if err != nil {
		return Decision{}, err
	}
	return p.grant(ctx, met, ask, who), nil
}

// grant decides by the routes that an Ask may mean.
func (p *Proxy) grant(ctx context.Context, met match, ask Ask, who func(context.Context) (auth.Session, error)) Decision {
	d := Decision{Route: met.route, Ruled: met.ruled}
	strange := p.strange(ask, met.route)
	// A request from a page of another site does not speak for the user, so that where nobody has to
	// be signed in nobody is looked up for it.
	if met.preflight || met.access == Public || met.access == Identify && strange {
		d.Verdict = Allowed
		return d
	}
	s, err := who(ctx)
	switch {
	case errors.Is(err, auth.ErrNoSession) && met.access == Identify:
		d.Verdict = Allowed
	case errors.Is(err, auth.ErrNoSession):
		d.Verdict, d.Cause = SignInFirst, err
	case err != nil:
		d.Verdict, d.Cause = Unknown, err
	case strange:
		d.Session, d.Strange, d.Verdict = s, true, Forbidden
	default:
		d.Session, d.Verdict = s, met.judge(s.User)
	}
	return d
}

// strange reports whether the request was made by a page that is not the app's own and not listed
// for the route (RULE-10). A request without Origin was not made by a page across origins.
func (p *Proxy) strange(ask Ask, route *Route) bool {
	return ask.Origin != "" && ask.Origin != p.originOf(ask) && !slices.Contains(route.Origins, ask.Origin)
}

// originOf is the origin of the app itself, with the scheme by which browsers reach all of the site.
func (p *Proxy) originOf(ask Ask) string {
	return p.parts.Site.Public.Scheme + "://" + ask.Host
}

func (p *Proxy) note(ctx context.Context, d *Decision) {
	rec := web.RecordOf(ctx)
	rec.Outcome.Verdict = d.Verdict.String()
	rec.Whereto.Route = d.Route.Name
	if d.Session.ID != 0 {
		rec.Who = web.Who{User: d.Session.User.Email, Session: d.Session.ID}
	}
}

// pass carries an allowed request on. The work of a signed-in user ends with the session: the context
// that Next sees is cut then, with the cause auth.ErrRevoked. The error says that too much of it is under
// way.
func (p *Proxy) pass(w http.ResponseWriter, r *http.Request, ask Ask, d Decision) error {
	if running := p.parts.Running; running != nil && d.Session.ID != 0 {
		if !running.Take(d.Session.ID) {
			return tooMany()
		}
		defer running.Give(d.Session.ID)
	}
	pass := &passage{Context: r.Context(), proxy: p, ask: ask, decision: d, identity: p.parts.Identity, scheme: p.parts.Site.Public.Scheme}
	ctx := context.Context(pass)
	if d.Session.ID != 0 {
		attached, detach := p.parts.Streams.Attach(pass, d.Session, pass.still)
		defer detach()
		pass.used = usedNowAndThen(pass.slide, d.Session)
		ctx = attached
	}
	d.Route.Next.ServeHTTP(w, r.WithContext(ctx))
	return nil
}

// tooMany is the answer to a session that has as much under way as one may have: no browser does, but a
// program with a cookie of somebody else's, or his own, may.
func tooMany() error {
	return &web.Error{
		Status: http.StatusTooManyRequests, Event: "shed_session", RetryAfter: time.Second,
		Text: "Too many requests of this session are under way. Please wait for some of them to come to their end.",
	}
}

// passage is what an upstream has to know of a request that was let through. It is the request's context
// as well, so that it is found there without another allocation.
type passage struct {
	context.Context //nolint:containedctx // it is one
	proxy           *Proxy
	ask             Ask
	decision        Decision
	identity        *Identity
	scheme          string // by which browsers reach the site
	used            func() // notes that bytes moved; nil where nobody is signed in
}

type passageKey struct{}

// Value keeps the contract of context.Context.
func (p *passage) Value(key any) any {
	if _, mine := key.(passageKey); mine {
		return p
	}
	return p.Context.Value(key)
}

// still judges a running request again, by the table of that moment.
func (p *passage) still(s auth.Session) bool {
	latest := p.proxy.parts.Latest.Load()
	d, err := p.proxy.decide(context.Background(), latest, p.ask, func(context.Context) (auth.Session, error) { return s, nil })
	return err == nil && d.Verdict == Allowed && s.User.ID == p.decision.Session.User.ID
}

// slide notes that the session is in use.
func (p *passage) slide() { p.proxy.parts.Gate.Used(p, p.decision.Session) }
