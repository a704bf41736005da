package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/proxy"
	"github.com/gatehouse-auth/gatehouse/web"
)

// openLimit bounds the wait for the database at start: whoever restarts us sees why it failed, and a
// frozen database does not hang the start for ever.
const openLimit = 15 * time.Second

// gateway holds the parts that outlive a reload. What a reload renews is the front.
type gateway struct {
	log      *web.Log
	metrics  *web.Metrics
	stores   *stores
	keys     *auth.Keyring
	cookies  auth.Cookies
	gate     *auth.Gate
	streams  *auth.Streams
	provider *auth.Provider
	health   *health
	bounds   *bounds
	uploads  *uploads      // nil: no route takes files
	extra    []proxy.Route // the demo's, which no configuration can name

	front atomic.Pointer[front]
	table atomic.Pointer[proxy.Table] // the front's, by which what runs behind earlier ones is judged
}

// front is everything that a reload renews: each request meets the old one or the new one, whole.
type front struct {
	cfg     Config
	handler http.Handler
	checks  http.Handler // of front proxies that ask, on a listener of their own
	peers   *web.Peers
	table   *proxy.Table
	apps    []*proxy.Upstream
	cert    *tls.Certificate // nil without server.tls
}

// close lets go of what no request needs any more: idle connections. Those in use go on.
func (f *front) close() {
	for _, app := range f.apps {
		app.Close()
	}
}

// serve runs the gateway until ctx is done and then drains it. load reads the configuration anew for
// a reload.
func serve(ctx context.Context, cfg Config, load func() (Config, error), _, errw io.Writer) error {
	g, err := open(ctx, cfg, errw)
	if err != nil {
		return err
	}
	defer g.close()
	if err := g.renew(cfg); err != nil {
		return err
	}
	return g.run(ctx, load)
}

// open makes the parts that outlive a reload, stores first. The provider is not asked: it may be down.
func open(ctx context.Context, cfg Config, errw io.Writer) (*gateway, error) {
	log, err := web.NewLog(errw, cfg.Log.Level, cfg.Log.Format)
	if err != nil {
		return nil, err
	}
	keys, err := openKeys(cfg)
	if err != nil {
		return nil, err
	}
	// What libraries write to the standard logger (net/http's transport does) belongs into ours.
	slog.SetDefault(log.Logger)
	g := &gateway{log: log, keys: keys, metrics: web.NewMetrics(build())}
	g.metrics.LinesLost(log.Lost)
	g.openBounds(cfg)
	g.warn(cfg)
	// The feed tells the streams, and the streams ask the stores: neither runs before both are there.
	heard := hearing{one: func(k auth.Key) { g.streams.Heard(k) }, all: func() { g.streams.HeardAll() }}
	if g.stores, err = openStores(ctx, cfg, keys, g.metrics, heard); err != nil {
		return nil, err
	}
	g.cookies = auth.NewCookies(cfg.site(), cfg.Cookie.Domain, cfg.Session.MaxLifetime)
	g.gate = auth.NewGate(keys, g.cookies, g.stores.sessions, cfg.lifetime())
	g.streams = auth.NewStreams(g.stores.sessions, cfg.Session.MaxUnverified)
	g.provider = auth.NewProvider(auth.ProviderConfig{
		Issuer: cfg.Login.Issuer, ClientID: cfg.Login.ClientID, ClientSecret: cfg.Login.ClientSecret,
		Redirect: cfg.site().Callback(), HostedDomain: cfg.Login.HostedDomain,
		AutoCreate: cfg.Login.AutoCreateDomains, TrustEmail: cfg.Login.TrustEmail,
	})
	g.health = newHealth(g.stores, g.provider)
	if err := g.openUploads(ctx, cfg); err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

// warn says what is allowed but odd about a configuration.
func (g *gateway) warn(cfg Config) {
	for _, text := range cfg.Warnings {
		g.log.Warn("configuration", "warning", text)
	}
}

func openKeys(cfg Config) (*auth.Keyring, error) {
	if err := cfg.MakeKeys(); err != nil {
		return nil, err
	}
	secrets, err := cfg.Keys()
	if err != nil {
		return nil, err
	}
	return auth.NewKeyring(secrets)
}

// close lets go of everything; what is still being written is waited for.
func (g *gateway) close() {
	if f := g.front.Load(); f != nil {
		f.close()
	}
	if g.uploads != nil {
		if err := g.uploads.close(); err != nil {
			g.log.Warn("something of an upload may be left in the bucket; a janitor will find it", "error", err)
		}
	}
	g.gate.Close()
	g.provider.Close()
	if err := g.stores.close(); err != nil {
		g.log.Warn("close the stores", "error", err)
	}
	g.log.Flush()
}

// renew builds a front from a configuration and puts it in the place of the present one. After an
// error everything is as it was.
func (g *gateway) renew(cfg Config) error {
	secrets, err := cfg.Keys()
	if err != nil {
		return err
	}
	next, err := g.newFront(cfg)
	if err != nil {
		return err
	}
	if err := g.keys.Replace(secrets); err != nil {
		return err
	}
	g.table.Store(next.table)
	before := g.front.Swap(next)
	if before == nil {
		return nil
	}
	g.streams.HeardAll() // what is running is judged by the new table (RULE-17)
	before.close()
	return nil
}

// newFront is the wiring of one request's way: recorder, limits, proxy, and our own endpoints beside
// the apps.
func (g *gateway) newFront(cfg Config) (*front, error) {
	table, apps, err := g.routes(cfg)
	if err != nil {
		return nil, err
	}
	identity, err := proxy.NewIdentity(cfg.identityHeaders())
	if err != nil {
		return nil, err
	}
	peers, err := web.NewPeers(cfg.trustedPeers())
	if err != nil {
		return nil, err
	}
	own, err := g.own(cfg)
	if err != nil {
		return nil, err
	}
	cert, err := cfg.certificate()
	if err != nil {
		return nil, err
	}
	p := proxy.New(proxy.Parts{
		Gate: g.gate, Streams: g.streams, Cookies: g.cookies, Site: cfg.site(), Identity: identity,
		Table: table, Latest: &g.table, Own: own, Running: g.bounds.sessions, ReturnHosts: cfg.Login.ReturnHosts,
	})
	checks, err := proxy.NewChecks(p, headLimits, cfg.dialects())
	if err != nil {
		return nil, err
	}
	recorder := web.Recorder{Log: g.log, Peers: peers, Observe: g.observe, Leaving: g.health.leaving}
	load := g.bounds.load
	f := &front{cfg: cfg, peers: peers, table: table, apps: apps, cert: cert}
	f.handler = recorder.Wrap(load.Wrap(headLimits.Wrap(web.Handler(p.Serve))))
	recorder.Peers = peers.Silent()
	f.checks = recorder.Wrap(load.Wrap(web.Handler(checks.Serve)))
	if cfg.Server.CheckListen == "" {
		f.handler = beside(checks, f.checks, f.handler)
	}
	return f, nil
}

// beside answers checks on the listener of all else.
func beside(checks *proxy.Checks, answer, rest http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if checks.Asked(r) {
			answer.ServeHTTP(w, r)
			return
		}
		rest.ServeHTTP(w, r)
	})
}

// routes makes the table with its upstreams, and the demo's routes beside them.
func (g *gateway) routes(cfg Config) (*proxy.Table, []*proxy.Upstream, error) {
	var faults []error
	var apps []*proxy.Upstream
	routes := cfg.proxyRoutes(func(r RouteConfig) http.Handler {
		if r.Upload {
			next, err := g.uploadRoute(r)
			faults = append(faults, err)
			return next
		}
		if r.Upstream == "" {
			return web.Handler(misdirected)
		}
		app, err := proxy.NewUpstream(cfg.target(r))
		if err != nil {
			faults = append(faults, fmt.Errorf("route %s%s: %w", r.Host, r.Path, err))
			return nil
		}
		apps = append(apps, app)
		return app
	})
	if err := errors.Join(faults...); err != nil {
		return nil, nil, err
	}
	table, err := proxy.NewTable(append(routes, g.extra...))
	return table, apps, err
}

// own are our own endpoints. gorilla/mux would answer 301 to // and to dot segments, which makes a GET
// of a POST, so it is told to leave paths alone; no proxied request comes this way.
func (g *gateway) own(cfg Config) (http.Handler, error) {
	site := cfg.site()
	next, err := auth.NewNext(site, cfg.returnHosts())
	if err != nil {
		return nil, err
	}
	login := auth.NewLogin(auth.LoginParts{
		Site: site, Keys: g.keys, Cookies: g.cookies, Gate: g.gate, Users: g.stores.sql,
		Sessions: g.stores.sessions, Provider: g.provider, Next: next, Life: cfg.lifetime(),
	})
	logout, err := auth.NewLogout(site, g.cookies, g.gate)
	if err != nil {
		return nil, err
	}
	m := mux.NewRouter().SkipClean(true).UseEncodedPath()
	m.Handle(site.Prefix+"/login", web.Handler(login.Start))
	m.Handle(site.Prefix+"/callback", web.Handler(login.Callback))
	m.Handle(site.Prefix+"/logout", web.Handler(logout.End)).Methods(http.MethodPost)
	m.Handle(site.Prefix+"/logout", web.Handler(logout.Page))
	m.Handle(site.Prefix+"/me", web.Handler(logout.Me))
	m.Handle(site.Prefix+"/", web.Handler(logout.Me))
	m.Handle(site.Prefix, web.Handler(logout.Me))
	if cfg.Compat != "" {
		compat := auth.NewCompat(login, logout)
		m.Handle(site.Prefix+"/start", web.Handler(compat.Start))
		m.Handle(site.Prefix+"/sign_in", web.Handler(compat.SignIn))
		m.Handle(site.Prefix+"/sign_out", web.Handler(compat.SignOut))
		m.Handle(site.Prefix+"/userinfo", web.Handler(compat.UserInfo))
	}
	m.NotFoundHandler = web.Handler(func(http.ResponseWriter, *http.Request) error {
		return web.Fail(http.StatusNotFound, "There is no such page here.", nil)
	})
	return m, nil
}

// ServeHTTP answers a request with the front of this moment.
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.front.Load().handler.ServeHTTP(w, r)
}

// serveCheck answers a check with the front of this moment.
func (g *gateway) serveCheck(w http.ResponseWriter, r *http.Request) {
	g.front.Load().checks.ServeHTTP(w, r)
}

// loginEvents are the security events with which a login ends; they are the results that are counted.
var loginEvents = map[string]bool{
	"login": true, "login_busy": true, "login_denied": true, "login_refused": true, "user_unknown": true,
	"attempt_junk": true, "attempt_stale": true, "forged_state": true, "provider_fault": true,
}

// observe counts a request that is over, and a login that ended with it.
func (g *gateway) observe(rec *web.Record) {
	g.metrics.Request(rec)
	g.bounds.observe(rec)
	if loginEvents[rec.Outcome.Event] {
		g.metrics.Login(rec.Outcome.Event)
	}
}
