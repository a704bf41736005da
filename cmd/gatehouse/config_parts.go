package main

import (
	"crypto/tls"
	"fmt"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/proxy"
	"github.com/gatehouse-auth/gatehouse/web"
)

// What the parts are made of, as the configuration says it. Everything here is checked already.

func (c *Config) lifetime() auth.Lifetime {
	return auth.Lifetime{TTL: c.Session.TTL, Max: c.Session.MaxLifetime}
}

func (c *Config) trustedPeers() []web.TrustedPeer {
	peers := make([]web.TrustedPeer, len(c.Server.TrustedProxies))
	for i, p := range c.Server.TrustedProxies {
		peers[i] = web.TrustedPeer{From: p.From, Headers: p.Headers}
	}
	return peers
}

// returnHosts are the hosts to which a login may lead back: every app's, and those that stand beside.
func (c *Config) returnHosts() []string {
	hosts := make([]string, 0, len(c.Routes)+len(c.Login.ReturnHosts))
	for _, r := range c.Routes {
		hosts = append(hosts, r.Host)
	}
	return append(hosts, c.Login.ReturnHosts...)
}

func (c *Config) target(r RouteConfig) proxy.Target {
	t := proxy.Target{
		URL: r.Upstream, Host: r.UpstreamHost, Engine: c.Proxy.Engine, TLS: proxy.ClientTLS(r.TLS),
		Dial: r.Timeouts.Dial, Header: r.Timeouts.Header, Idle: r.Timeouts.Idle, Stall: r.Timeouts.Stall,
	}
	if r.StripPrefix {
		t.Strip = r.Path
	}
	return t
}

// certificate loads the certificate of the public listener; nil: it speaks plain HTTP.
func (c *Config) certificate() (*tls.Certificate, error) {
	if c.Server.TLS.CertFile == "" {
		return nil, nil //nolint:nilnil // no certificate is not a fault
	}
	cert, err := tls.LoadX509KeyPair(c.Server.TLS.CertFile, c.Server.TLS.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("server.tls: %w", err)
	}
	return &cert, nil
}

// files are those whose content a reload takes up.
func (c *Config) files() []string {
	names := []string{c.file, c.keysFile(), c.Server.TLS.CertFile, c.Server.TLS.KeyFile}
	for _, r := range c.Routes {
		names = append(names, r.TLS.CAFile, r.TLS.CertFile, r.TLS.KeyFile)
	}
	present := names[:0]
	for _, name := range names {
		if name != "" {
			present = append(present, name)
		}
	}
	return present
}
