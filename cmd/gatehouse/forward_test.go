package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// asking lets the loopback address ask, in the configuration of a rig or of a file.
const asking = `trusted_proxies: [{from: 127.0.0.1, headers: [for, proto, host, uri, method]}]`

func TestForwardAuthFaults(t *testing.T) {
	cleanEnv(t)
	server := func(more string) string {
		return strings.Replace(least, `"https://auth.corp.test"`, `"https://auth.corp.test", `+more, 1)
	}
	for name, one := range map[string]struct{ text, key, fix string }{
		"FA-01/nobody may ask":    {least + "forward_auth: [nginx]\n", "server.trusted_proxies", "[for, proto, host, uri, method]"},
		"FA-01/nobody, drop-in":   {least + "compat: oauth2-proxy\n", "server.trusted_proxies", "from: "},
		"FA-01/too few words":     {server("trusted_proxies: [{from: 10.0.0.7, headers: [for, proto, host, uri]}]") + "forward_auth: [traefik]\n", "server.trusted_proxies", "[for, proto, host, uri, method]"},
		"unknown front proxy":     {server(asking) + "forward_auth: [nginx, squid]\n", "forward_auth", ""},
		"drop-in is no dialect":   {server(asking) + "forward_auth: [oauth2-proxy]\n", "forward_auth", ""},
		"unknown drop-in":         {server(asking) + "compat: vouch\n", "compat", ""},
		"nothing to serve":        {server(asking + `, check_listen: ":9100"`), "server.check_listen", ""},
		"the same listener":       {server(asking+`, check_listen: ":8080"`) + "forward_auth: [nginx]\n", "server.check_listen", "another port"},
		"not an address":          {server(asking+`, check_listen: "9100"`) + "forward_auth: [nginx]\n", "server.check_listen", ":8080"},
		"no upstream, no asker":   {least + "routes: [{host: auth.corp.test}]\n", "routes[0].upstream", "http://"},
		"route where drop-in is":  {server(asking) + "compat: oauth2-proxy\nroutes: [{host: auth.corp.test, path: /oauth2/x}]\n", "routes[0].path", "server.prefix"},
		"route under a prefix":    {server(asking) + "forward_auth: [nginx]\nroutes: [{host: auth.corp.test, path: /_gate}]\n", "routes[0].path", "server.prefix"},
		"upstream that is no URL": {server(asking) + "forward_auth: [nginx]\nroutes: [{host: auth.corp.test, upstream: nowhere}]\n", "routes[0].upstream", "http://"},
	} {
		t.Run(name, func(t *testing.T) {
			if f := faultsOf(t, one.text).of(t, one.key); !strings.Contains(f.Fix, one.fix) {
				t.Errorf("the way out is %q, want it to say %q", f.Fix, one.fix)
			}
		})
	}
	cfg := loaded(t, server(asking)+"forward_auth: [nginx, envoy]\ncompat: oauth2-proxy\nroutes: [{host: auth.corp.test}]\n")
	if at := cfg.site().Callback(); at != "https://auth.corp.test/oauth2/callback" {
		t.Errorf("RULE-21: the redirect URI is %s", at)
	}
	cfg = loaded(t, server("prefix: /sso, "+asking)+"compat: oauth2-proxy\n")
	if at := cfg.site().Callback(); at != "https://auth.corp.test/sso/callback" {
		t.Errorf("RULE-21: the redirect URI is %s, not where it was put", at)
	}
}

// secureChecks gives a rig a certificate and a listener for checks, and returns its address.
func (r *rig) secureChecks() string {
	r.t.Helper()
	donor := httptest.NewTLSServer(nil)
	defer donor.Close()
	pair := donor.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		r.t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, "key.pem": {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(filepath.Join(r.dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	r.edit("drain_delay", fmt.Sprintf("tls: {cert_file: %q, key_file: %q}, drain_delay", filepath.Join(r.dir, "cert.pem"), filepath.Join(r.dir, "key.pem")))
	return r.ownChecks("nginx, traefik")
}

// ownChecks gives a rig a listener for checks, and returns its address.
func (r *rig) ownChecks(dialects string) string {
	r.t.Helper()
	at := "127.0.0.1:" + freePort(r.t)
	r.edit("drain_delay", fmt.Sprintf("check_listen: %q, %s, drain_delay", at, asking))
	r.edit("log: {", "forward_auth: ["+dialects+"]\nlog: {")
	return at
}

// traefikAsks asks about a path as Traefik does, by this client.
func (r *rig) traefikAsks(client *http.Client, address, path string) *http.Response {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, address+"/_gate/check/traefik", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for name, value := range map[string]string{"Method": "GET", "Proto": "http", "Host": r.host(), "Uri": path, "For": "192.0.2.7"} {
		req.Header.Set("X-Forwarded-"+name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		r.t.Fatal(err)
	}
	return resp
}

// RULE-20: checks on a listener of their own are served there alone, and over HTTP/2: Traefik's client
// keeps two idle connections over HTTP/1, and one with all its questions on it over HTTP/2.
func TestCheckListener(t *testing.T) {
	for _, scheme := range []string{"https", "http"} {
		t.Run("RULE-20/"+scheme, func(t *testing.T) {
			r := newRig(t)
			address := scheme + "://"
			transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: new(http.Protocols)}
			if scheme == "https" {
				address += r.secureChecks()
				transport.Protocols.SetHTTP2(true)
			} else {
				address += r.ownChecks("traefik")
				transport.Protocols.SetUnencryptedHTTP2(true)
			}
			r.start()
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			if resp := r.traefikAsks(client, address, "/x"); resp.StatusCode != http.StatusUnauthorized || resp.ProtoMajor != 2 {
				t.Errorf("a check there: %s over %s, want 401 over HTTP/2", resp.Status, resp.Proto)
			}
			if resp := r.traefikAsks(client, address, "/_gate/login"); resp.StatusCode != http.StatusOK {
				t.Errorf("a check of our own endpoint: %s", resp.Status)
			}
			public := scheme + "://" + strings.Replace(r.host(), "localhost", "127.0.0.1", 1)
			if resp := r.traefikAsks(client, public, "/_gate/login"); resp.StatusCode != http.StatusNotFound {
				t.Errorf("a check on the public listener: %s, want 404", resp.Status)
			}
			resp, err := client.Get(address + "/_gate/login")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusNotFound {
				t.Errorf("the login page on the check listener: %s, want 404", resp.Status)
			}
		})
	}
}

// One login serves both placements, and a reload opens and closes the endpoints.
func TestForwardAuth(t *testing.T) {
	r := newRig(t)
	r.edit("drain_delay", asking+", drain_delay")
	r.edit("routes:", "forward_auth: [traefik]\nroutes:")
	r.start()
	b := r.browser()
	b.signIn(r.public+"/", "alice@corp.test")
	resp, body := b.do(http.MethodGet, strings.Replace(r.public, "localhost", "127.0.0.1", 1)+"/_gate/check/traefik", nil, map[string]string{
		"X-Forwarded-Method": "GET", "X-Forwarded-Proto": "http", "X-Forwarded-Host": r.host(), "X-Forwarded-Uri": "/x", "Cookie": b.cookie() + "; app=1",
	})
	if resp.StatusCode != http.StatusOK || resp.Header.Get("X-Auth-Request-Email") != "alice@corp.test" || resp.Header.Get("Cookie") != "app=1" || body != "" {
		t.Errorf("a check of alice: %s %v", resp.Status, resp.Header)
	}
	r.eventually("the log says what was asked about", func() bool {
		return strings.Contains(r.log.String(), `"path":"/x"`) && strings.Contains(r.log.String(), `"check":"traefik"`)
	})
	r.edit("forward_auth: [traefik]", "forward_auth: [nginx]")
	r.eventually("the endpoint is gone", func() bool {
		return r.traefikAsks(http.DefaultClient, strings.Replace(r.public, "localhost", "127.0.0.1", 1), "/x").StatusCode == http.StatusNotFound
	})
}

// A route without an upstream has nothing behind it here: whoever comes is told so.
func TestRouteWithoutUpstream(t *testing.T) {
	r := newRig(t)
	r.edit("drain_delay", asking+", drain_delay")
	r.edit(fmt.Sprintf(", upstream: %q", r.app.URL), "")
	r.edit("routes:", "forward_auth: [nginx]\nroutes:")
	r.start()
	if resp, body := r.browser().signIn(r.public+"/", "alice@corp.test"); resp.StatusCode != http.StatusMisdirectedRequest || !strings.Contains(body, "behind another proxy") {
		t.Errorf("got %s: %s", resp.Status, body)
	}
	if code, out := r.run("check", "--connect"); code != exitOK {
		t.Errorf("check --connect: exit %d: %s", code, out)
	}
}

// RULE-21: with nothing but its own endpoints, a configuration for oauth2-proxy signs people in.
func TestDropIn(t *testing.T) {
	r := newRig(t)
	r.edit("drain_delay", asking+", drain_delay")
	r.edit("routes:", "compat: oauth2-proxy\nroutes:")
	r.start()
	b := r.browser()
	resp, body := b.signIn(r.public+"/oauth2/start?rd="+url.QueryEscape("/deep?x"), "alice@corp.test")
	if body != "GET /deep?x user=alice@corp.test\n" {
		t.Fatalf("the app saw %q (%s)", body, resp.Status)
	}
	ask := func(path string, headers map[string]string) *http.Response {
		resp, _ := b.do(http.MethodGet, r.public+path, nil, headers)
		return resp
	}
	if resp := ask("/oauth2/auth", nil); resp.StatusCode != http.StatusAccepted || resp.Header.Get("X-Auth-Request-Email") != "alice@corp.test" {
		t.Errorf("auth: %s %v", resp.Status, resp.Header)
	}
	if resp := ask("/oauth2/auth?allowed_groups=admin", nil); resp.StatusCode != http.StatusForbidden {
		t.Errorf("auth for a group that alice is not in: %s", resp.Status)
	}
	if _, body := b.do(http.MethodGet, r.public+"/oauth2/userinfo", nil, nil); body != `{"user":"alice@corp.test","email":"alice@corp.test","groups":["staff"],"preferredUsername":"alice@corp.test"}`+"\n" {
		t.Errorf("userinfo: %s", body)
	}
	if resp := ask("/oauth2/sign_out", map[string]string{"Sec-Fetch-Site": "cross-site"}); resp.StatusCode != http.StatusOK || b.cookie() == "" {
		t.Errorf("a link elsewhere signed alice out: %s", resp.Status)
	}
	ask("/oauth2/sign_out", map[string]string{"Sec-Fetch-Site": "none"})
	if resp := ask("/oauth2/auth", nil); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("auth after the sign-out: %s", resp.Status)
	}
	if resp := ask("/oauth2/sign_in", map[string]string{"Accept": "text/html"}); resp.StatusCode != http.StatusUnauthorized || !strings.Contains(resp.Header.Get("Content-Type"), "html") {
		t.Errorf("sign_in: %s", resp.Status)
	}
	if resp := ask("/_gate/login", map[string]string{"Accept": "application/json"}); resp.StatusCode == http.StatusOK {
		t.Errorf("the usual prefix is ours too: %s", resp.Status)
	}
}
