package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"reflect"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/gatehouse-auth/gatehouse/web"
)

// headLimits is how large the head of a request may be. Over it the answer is a readable 431 or 414.
var headLimits = web.Limits{Target: 16 << 10, Head: 32 << 10}

// errStopped ends the group of a gateway that was told to stop; it is no fault.
var errStopped = errors.New("stopped")

// run serves until ctx is done, or until a part that nothing works without has failed.
func (g *gateway) run(ctx context.Context, load func() (Config, error)) error {
	cfg := g.front.Load().cfg
	public, admin, err := g.bind(ctx, cfg)
	if err != nil {
		return err
	}
	all, ctx := errgroup.WithContext(ctx)
	// Whoever is being drained is signed out all the same, and costs the database no look-up for each
	// request: the stores hear of revocations until nothing is answered any more.
	hearing, deafen := context.WithCancel(context.WithoutCancel(ctx))
	for _, s := range append(public, admin) {
		all.Go(s.serve)
	}
	all.Go(func() error { return g.stores.run(hearing, cfg.Session.TTL) })
	all.Go(func() error { g.watch(ctx, load); return nil })
	all.Go(func() error { breathe(ctx); return nil })
	all.Go(func() error { newOutages(g.log.Logger, g.metrics.Part).watch(ctx, g.health); return nil })
	if g.uploads != nil {
		all.Go(func() error { g.uploads.janitor.Run(ctx); return nil })
	}
	all.Go(func() error {
		<-ctx.Done()
		defer deafen()
		g.stop(cfg, public, admin)
		return errStopped
	})
	g.health.enter(serving)
	g.log.Info("serving", "listen", public[0].listener.Addr().String(), "public_url", cfg.Server.PublicURL, "version", build().Version)
	if err := all.Wait(); !errors.Is(err, errStopped) && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// bind opens all listeners before anything is served, so that a port in use is a fault of the start.
// The public ones are that of browsers and, if it has one of its own, that of checks.
func (g *gateway) bind(ctx context.Context, cfg Config) (public []*server, admin *server, err error) {
	var secure *tls.Config
	if cfg.Server.TLS.CertFile != "" {
		secure = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return g.front.Load().cert, nil
		}}
	}
	var opened []*server
	for _, one := range []struct {
		key, address string
		secure       *tls.Config
		handler      http.Handler
		room         *web.Room
	}{
		{"server.listen", cfg.Server.Listen, secure, g, g.bounds.room},
		{"server.check_listen", cfg.Server.CheckListen, secure, http.HandlerFunc(g.serveCheck), g.bounds.room},
		{"admin.listen", cfg.Admin.Listen, nil, g.admin(), nil},
	} {
		if one.address == "" {
			continue
		}
		s, err := listen(ctx, one.address, one.secure, one.handler, one.room, g.log.Logger)
		if err != nil {
			for _, before := range opened {
				before.listener.Close()
			}
			return nil, nil, fmt.Errorf("%s: %w", one.key, err)
		}
		opened = append(opened, s)
	}
	last := len(opened) - 1
	return opened[:last:last], opened[last], nil
}

// admin is the listener of probes and metrics: it changes nothing and names no user.
func (g *gateway) admin() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /livez", g.health.live)
	m.HandleFunc("GET /readyz", g.health.ready)
	m.Handle("GET /metrics", g.metrics.Handler())
	return m
}

// stop drains the public listeners first; probes are answered to the end.
func (g *gateway) stop(cfg Config, public []*server, admin *server) {
	g.health.enter(stopping)
	g.log.Info("stopping", "drain_delay", cfg.Server.DrainDelay.String(), "drain_timeout", cfg.Server.DrainTimeout.String())
	var all sync.WaitGroup
	for _, s := range public {
		all.Go(func() {
			if s.drain(cfg.Server.DrainDelay, cfg.Server.DrainTimeout) {
				g.log.Warn("drain_timeout is over: what was still running was cut; if those were no calls that never end, raise server.drain_timeout, and the orchestrator's grace with it")
			}
		})
	}
	all.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	admin.shut(ctx)
	g.log.Info("stopped")
}

// watch reloads on SIGHUP, and when one of the files that a reload renews has changed.
func (g *gateway) watch(ctx context.Context, load func() (Config, error)) {
	if load == nil {
		return
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	watch(ctx, func() []string { return g.front.Load().cfg.files() }, hangup, func() { g.reload(load) })
}

// reload replaces the front by that of the configuration as it is now. A configuration with faults
// changes nothing and is reported once.
func (g *gateway) reload(load func() (Config, error)) {
	cfg, err := load()
	if err == nil {
		err = g.renew(g.keep(cfg))
	}
	if err != nil {
		g.log.Error("configuration not reloaded, the old one stays", "error", errors.New(strings.ReplaceAll(err.Error(), "\n", "; ")))
		return
	}
	g.warn(cfg)
	g.log.Info("configuration reloaded")
}

// keep puts the running values of keys that count only at start into a new configuration, and names
// those that differ: a restart is needed for them (RULE-17).
func (g *gateway) keep(cfg Config) Config {
	before := g.front.Load().cfg
	was, is := leaves(before), leaves(cfg)
	for _, key := range sortedKeys(is) {
		if startOnly(key) && !reflect.DeepEqual(was[key], is[key]) {
			g.log.Warn("changed, but counts only after a restart", "key", key)
		}
	}
	live := before
	live.Server.TrustedProxies = cfg.Server.TrustedProxies
	live.Login.ReturnHosts = cfg.Login.ReturnHosts
	live.Identity, live.Routes, live.ForwardAuth = cfg.Identity, cfg.Routes, cfg.ForwardAuth
	return live
}

// startOnly tells the keys that a reload leaves alone from those that it renews.
func startOnly(key string) bool {
	switch key {
	case "server.trusted_proxies", "login.return_hosts", "forward_auth", "identity", "routes":
		return false
	}
	return true
}
