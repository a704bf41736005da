package main

import (
	"net/http"
	"slices"

	"github.com/gatehouse-auth/gatehouse/proxy"
	"github.com/gatehouse-auth/gatehouse/web"
)

// checks reports whether front proxies may ask about requests that they carry themselves.
func (c *Config) checks() bool { return len(c.ForwardAuth) > 0 || c.Compat != "" }

// dialects are the names of those who may ask.
func (c *Config) dialects() []string {
	if c.Compat == "" {
		return c.ForwardAuth
	}
	return append(slices.Clone(c.ForwardAuth), c.Compat)
}

// settlePrefix moves our own endpoints to where configurations written for oauth2-proxy look for
// them, unless they were given a place: everything of ours is then behind the one location that such
// a configuration passes on, and the redirect URI is the one that is registered already.
func (c *Config) settlePrefix() {
	if c.Compat == proxy.Compat && c.Server.Prefix == Defaults().Server.Prefix {
		c.Server.Prefix = "/oauth2"
	}
}

// askWords are the claims that a proxy needs to ask about requests, as trusted_proxies has them.
var askWords = []string{"for", "proto", "host", "uri", "method"}

// forwardAuth insists that somebody may ask: an endpoint that believes nobody would refuse every
// request of every app, and one that believed everybody would be no gate.
func (j *judge) forwardAuth() {
	known := slices.DeleteFunc(proxy.Dialects(), func(name string) bool { return name == proxy.Compat })
	for _, name := range j.ForwardAuth {
		j.oneOf("forward_auth", name, known...)
	}
	j.oneOf("compat", j.Compat, "", proxy.Compat)
	if at := j.Server.CheckListen; at != "" {
		j.checkListen(at)
	}
	switch {
	case !j.checks():
	case len(j.Server.TrustedProxies) == 0:
		j.bad("server.trusted_proxies", "", "is empty, so that no proxy may ask although forward_auth or compat is set", "write [{from: 10.0.0.7, headers: [for, proto, host, uri, method]}] with the address of the proxy that asks")
	case len(j.ForwardAuth) > 0 && !slices.ContainsFunc(j.Server.TrustedProxies, mayAsk):
		j.bad("server.trusted_proxies", "", "trusts no proxy with all that forward_auth needs", "write headers: [for, proto, host, uri, method] for the proxy that asks")
	}
}

func mayAsk(p TrustedPeerConfig) bool {
	return !slices.ContainsFunc(askWords, func(word string) bool { return !slices.Contains(p.Headers, word) })
}

func (j *judge) checkListen(address string) {
	const key = "server.check_listen"
	j.listen(key, address)
	if address == j.Server.Listen || address == j.Admin.Listen {
		j.bad(key, address, "the same address as another listener", "give it another port, or leave it out to answer checks on server.listen")
	}
	if !j.checks() {
		j.bad(key, address, "nothing would be served there", "name who asks in forward_auth, or remove it")
	}
}

// misdirected answers for a route without an upstream, whose requests another proxy carries.
func misdirected(http.ResponseWriter, *http.Request) error {
	return &web.Error{
		Status: http.StatusMisdirectedRequest, Title: "Not here",
		Text: "This app is behind another proxy, which asks Gatehouse who may use it. The request should have gone there.",
	}
}
