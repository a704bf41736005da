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
	log      *slog.Logger
	metrics  *web.Metrics
	stores   *stores
	keys     *auth.Keyring
	streams  *auth.Streams
	provider *auth.Provider
	health   *health
	extra    []proxy.Route // the demo's, which no configuration can name

	front atomic.Pointer[front]
}

// front is everything that a reload renews: each request meets the old one or the new one, whole.
type front struct {
	cfg     Config
	handler http.Handler
	gate    *auth.Gate
	proxy   *proxy.Proxy
	table   *proxy.Table
	cert    *tls.Certificate // nil without server.tls
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
	for _, text := range cfg.Warnings {
		log.Warn("configuration", "warning", text)
	}
	keys, err := openKeys(cfg)
	if err != nil {
		return nil, err
	}
	g := &gateway{log: log, keys: keys, metrics: web.NewMetrics(build())}
	// The feed tells the streams, and the streams ask the stores: neither runs before both are there.
	heard := hearing{one: func(k auth.Key) { g.streams.Heard(k) }, all: func() { g.streams.HeardAll() }}
	if g.stores, err = openStores(ctx, cfg, keys, g.metrics, heard); err != nil {
		return nil, err
	}
	g.streams = auth.NewStreams(g.stores.sessions, cfg.Session.MaxUnverified)
	g.provider = auth.NewProvider(auth.ProviderConfig{
		Issuer: cfg.Login.Issuer, ClientID: cfg.Login.ClientID, ClientSecret: cfg.Login.ClientSecret,
		Redirect: cfg.site().Callback(), HostedDomain: cfg.Login.HostedDomain,
		AutoCreate: cfg.Login.AutoCreateDomains, TrustEmail: cfg.Login.TrustEmail,
	})
	g.health = newHealth(g.stores, g.provider)
	return g, nil
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
		f.gate.Close()
	}
	g.provider.Close()
	if err := g.stores.close(); err != nil {
		g.log.Warn("close the stores", "error", err)
	}
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
	before := g.front.Swap(next)
	if before == nil {
		return nil
	}
	// What runs behind the old front is judged by the new table from here on (RULE-17).
	before.proxy.Reload(next.table)
	g.streams.HeardAll()
	before.gate.Close()
	return nil
}

// newFront is the wiring of one request's way: recorder, limits, proxy, and our own endpoints beside
// the apps.
func (g *gateway) newFront(cfg Config) (*front, error) {
	site := cfg.site()
	life := auth.Lifetime{TTL: cfg.Session.TTL, Max: cfg.Session.MaxLifetime}
	cookies := auth.NewCookies(site, cfg.Cookie.Domain, life.Max)
	gate := auth.NewGate(g.keys, cookies, g.stores.sessions, life)

	table, err := g.table(cfg)
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
	own, err := g.own(cfg, gate, cookies, life)
	if err != nil {
		return nil, err
	}
	cert, err := cfg.certificate()
	if err != nil {
		return nil, err
	}
	p := proxy.New(proxy.Parts{
		Gate: gate, Streams: g.streams, Cookies: cookies, Site: site, Identity: identity,
		Table: table, Own: own, ReturnHosts: cfg.Login.ReturnHosts,
	})
	recorder := web.Recorder{Log: g.log, Peers: peers, Observe: g.observe}
	return &front{
		cfg: cfg, gate: gate, proxy: p, table: table, cert: cert,
		handler: recorder.Wrap(headLimits.Wrap(web.Handler(p.Serve))),
	}, nil
}

// table makes the routes with their upstreams, and the demo's beside them.
func (g *gateway) table(cfg Config) (*proxy.Table, error) {
	var faults []error
	routes := cfg.proxyRoutes(func(r RouteConfig) http.Handler {
		upstream, err := proxy.NewUpstream(r.target())
		if err != nil {
			faults = append(faults, fmt.Errorf("route %s%s: %w", r.Host, r.Path, err))
			return nil
		}
		return upstream
	})
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return proxy.NewTable(append(routes, g.extra...))
}

// own are our own endpoints. gorilla/mux would answer 301 to // and to dot segments, which makes a GET
// of a POST, so it is told to leave paths alone; no proxied request comes this way.
func (g *gateway) own(cfg Config, gate *auth.Gate, cookies auth.Cookies, life auth.Lifetime) (http.Handler, error) {
	site := cfg.site()
	next, err := auth.NewNext(site, cfg.returnHosts())
	if err != nil {
		return nil, err
	}
	login := auth.NewLogin(auth.LoginParts{
		Site: site, Keys: g.keys, Cookies: cookies, Gate: gate, Users: g.stores.sql,
		Sessions: g.stores.sessions, Provider: g.provider, Next: next, Life: life,
	})
	logout, err := auth.NewLogout(site, cookies, gate)
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
	m.NotFoundHandler = web.Handler(func(http.ResponseWriter, *http.Request) error {
		return web.Fail(http.StatusNotFound, "There is no such page here.", nil)
	})
	return m, nil
}

// ServeHTTP answers a request with the front of this moment.
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.front.Load().handler.ServeHTTP(w, r)
}

// loginEvents are the security events with which a login ends; they are the results that are counted.
var loginEvents = map[string]bool{
	"login": true, "login_denied": true, "login_refused": true, "user_unknown": true,
	"attempt_junk": true, "attempt_stale": true, "forged_state": true, "provider_fault": true,
}

// observe counts a request that is over, and a login that ended with it.
func (g *gateway) observe(rec *web.Record) {
	g.metrics.Request(rec)
	if loginEvents[rec.Outcome.Event] {
		g.metrics.Login(rec.Outcome.Event)
	}
}
