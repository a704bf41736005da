package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// Traefik and Envoy are no Debian packages, so what they put on the wire is replayed here from their
// documentation, before a Gatehouse as `serve` runs it, and an app.

// wire is a front proxy that is played by the test.
type wire struct {
	*rig
	front *httptest.Server
	asked atomic.Value // http.Header of the last check
	conns atomic.Int32 // connections opened to ask
}

// newWire starts Gatehouse with a certificate, for Traefik's one connection of HTTP/2, and the played
// proxy, which browsers reach at localhost.
func newWire(t *testing.T, dialect string, play func(*wire) http.Handler) *wire {
	t.Helper()
	w := &wire{rig: newRig(t)}
	f := &frontRig{rig: w.rig}
	f.certificates(w.dir)
	w.front = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { play(w).ServeHTTP(rw, r) }))
	t.Cleanup(w.front.Close)
	listen := w.host()
	w.at = "https://" + strings.Replace(listen, "localhost", "127.0.0.1", 1)
	w.public = strings.Replace(w.front.URL, "127.0.0.1", "localhost", 1)
	w.write(fmt.Sprintf(`server:
  listen: %q
  public_url: %q
  drain_delay: 0s
  tls: {cert_file: "%[3]s/%[4]s.crt", key_file: "%[3]s/%[4]s.key"}
  trusted_proxies: [{from: 127.0.0.1, headers: [for, proto, host, uri, method]}]
admin: {listen: %[5]q}
login: {issuer: %[6]q, client_id: gatehouse, client_secret: client-s3cret}
log: {format: json}
store: {dir: %[7]q}
forward_auth: [%[8]s]
routes:
  - {host: %[9]q, upstream: %[10]q}
  - {host: %[9]q, path: /public, upstream: %[10]q, public: true}
  - {host: %[9]q, path: /read, upstream: %[10]q, methods: [GET]}
  - {host: %[9]q, path: /admin, upstream: %[10]q, allow: {roles: [admin]}}
`, strings.TrimPrefix(w.at, "https://"), w.public, w.dir, wiki, strings.TrimPrefix(w.admin, "http://"), w.issuer, filepath.Join(w.dir, "data"), dialect, w.host(), w.app.URL))
	w.start()
	return w
}

// asking is the client with which a proxy asks: it follows no redirect.
func (w *wire) asking() *http.Client {
	transport := &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			w.conns.Add(1)
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
	w.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// pass carries a request on: own pages to Gatehouse, everything else to the app.
func (w *wire) pass(client *http.Client) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Transport: client.Transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			target := w.app.URL
			if strings.HasPrefix(r.In.URL.Path, "/_gate/") {
				target = w.at
			}
			to, _ := url.Parse(target)
			r.SetURL(to)
			r.Out.URL.RawQuery = r.In.URL.RawQuery
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
	}
}

var identityNames = []string{"X-Auth-Request-User", "X-Auth-Request-Email", "X-Auth-Request-Preferred-Username", "X-Auth-Request-Name", "X-Auth-Request-Groups", "Cookie"}

// traefik plays the middleware forwardAuth with trustForwardHeader off: a GET with the request's
// headers and X-Forwarded-Method, -Proto, -Host, -Uri and -For of its own; whatever is not 2xx is
// relayed with its headers; authResponseHeaders replace those of the request.
func traefik(w *wire) func(http.ResponseWriter, *http.Request) {
	client := w.asking()
	pass := w.pass(client)
	return func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/_gate/") && !strings.HasPrefix(r.URL.Path, "/_gate/check/") {
			pass.ServeHTTP(rw, r)
			return
		}
		check, _ := http.NewRequestWithContext(r.Context(), http.MethodGet, w.at+"/_gate/check/traefik", http.NoBody)
		maps.Copy(check.Header, r.Header.Clone())
		for _, hop := range []string{"Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade"} {
			check.Header.Del(hop)
		}
		address, _, _ := net.SplitHostPort(r.RemoteAddr)
		check.Header.Set("X-Forwarded-Method", r.Method)
		check.Header.Set("X-Forwarded-Proto", "http")
		check.Header.Set("X-Forwarded-Host", r.Host)
		check.Header.Set("X-Forwarded-Uri", r.URL.RequestURI())
		check.Header.Set("X-Forwarded-For", address)
		w.ask(rw, r, client, check, func(status int) bool { return status < 300 }, nil, pass)
	}
}

// envoy plays ext_authz with an HTTP service and path_prefix /_gate/check/envoy: the request's own
// method, host and path, its headers, a body of no length; only 200 is a yes; only the headers that
// the snippet allows go either way.
func envoy(w *wire) func(http.ResponseWriter, *http.Request) {
	client := w.asking()
	pass := w.pass(client)
	relayed := []string{"Location", "Cache-Control", "Content-Type", "Content-Security-Policy", "Retry-After", "Allow", "Vary"}
	return func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/_gate/") && !strings.HasPrefix(r.URL.Path, "/_gate/check/") {
			pass.ServeHTTP(rw, r)
			return
		}
		check, _ := http.NewRequestWithContext(r.Context(), r.Method, w.at, http.NoBody)
		check.URL.Opaque = "/_gate/check/envoy" + r.RequestURI
		maps.Copy(check.Header, r.Header.Clone())
		check.Host = r.Host
		check.Header.Del("Connection")
		check.Header.Del("Upgrade")
		check.Header.Set("X-Forwarded-Proto", "http")
		check.Header.Set("X-Envoy-Internal", "true")
		w.ask(rw, r, client, check, func(status int) bool { return status == http.StatusOK }, relayed, pass)
	}
}

// ask puts the question and does what the answer says; relayed nil means all headers.
func (w *wire) ask(rw http.ResponseWriter, r *http.Request, client *http.Client, check *http.Request, yes func(int) bool, relayed []string, pass http.Handler) {
	resp, err := client.Do(check)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	defer resp.Body.Close()
	w.asked.Store(resp.Header.Clone())
	if yes(resp.StatusCode) {
		for _, name := range identityNames {
			r.Header.Del(name)
			if values, ok := resp.Header[name]; ok {
				r.Header[name] = values
			}
		}
		pass.ServeHTTP(rw, r)
		return
	}
	if relayed == nil {
		maps.Copy(rw.Header(), resp.Header)
	}
	for _, name := range relayed {
		if values, ok := resp.Header[name]; ok {
			rw.Header()[name] = values
		}
	}
	rw.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(rw, resp.Body) // a client that went away needs no rest
}

func TestWireDialects(t *testing.T) {
	for name, play := range map[string]func(*wire) func(http.ResponseWriter, *http.Request){"traefik": traefik, "envoy": envoy} {
		t.Run(name, func(t *testing.T) {
			var handler http.Handler
			w := newWire(t, name, func(*wire) http.Handler { return handler })
			handler = http.HandlerFunc(play(w))
			w.judge(t)
		})
	}
}

// judge is what everybody may expect of an app behind such a proxy.
func (w *wire) judge(t *testing.T) {
	alice := w.browser()
	t.Run("RD-04/back to the deep link", func(t *testing.T) {
		link := "/deep/a%2Fb?q=a%26b&x=1;y=2&next=https%3A%2F%2Fother.test%2Fx"
		resp, body := alice.signIn(w.public+link, "alice@corp.test")
		if want := "GET " + link + " user=alice@corp.test\n"; body != want {
			t.Fatalf("%s: the app saw %q, want %q", resp.Status, body, want)
		}
		said := w.asked.Load().(http.Header)
		for _, name := range identityNames {
			if _, ok := said[name]; !ok {
				t.Errorf("ID-02: the answer to the check lacks %s", name)
			}
		}
		if said.Get("Cache-Control") != "no-store" || strings.Contains(said.Get("Cookie"), "gate=") || said.Get("Set-Cookie") != "" {
			t.Errorf("the answer to the check: %v", said)
		}
	})
	stranger := w.browser()
	stranger.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	page := map[string]string{"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
	spoof := map[string]string{"X-Auth-Request-Email": "admin@corp.test", "X-Forwarded-Uri": "/public/a", "X-Original-Url": w.public + "/public/a", "X-Envoy-Original-Path": "/public/a", "X-Forwarded-Method": "OPTIONS", "X-Forwarded-Host": "evil.test"}
	for _, c := range []struct {
		name, method, path string
		by                 *browser
		headers            map[string]string
		status             int
		body               string
	}{
		{"FA-02/an API call gets 401 JSON", "GET", "/x", stranger, map[string]string{"Accept": "application/json"}, 401, `"login"`},
		{"a navigation is sent to sign in", "GET", "/x", stranger, page, 302, ""},
		{"PX-03/a POST is not redirected", "POST", "/x", stranger, page, 401, ""},
		{"FA-02/public", "GET", "/public/a", stranger, nil, 200, "GET /public/a user=\n"},
		{"FA-02/a method that no route lists", "POST", "/read/a", alice, nil, 405, ""},
		{"a role that she has not", "GET", "/admin/", alice, page, 403, "alice@corp.test"},
		{"FA-01/a client's own word", "GET", "/x", stranger, spoof, 401, ""},
		{"ID-01/a client's own identity", "GET", "/x", alice, map[string]string{"X-Auth-Request-Email": "admin@corp.test"}, 200, "GET /x user=alice@corp.test\n"},
		{"ID-01/in another spelling", "GET", "/x", alice, map[string]string{"X_Auth_Request_Email": "admin@corp.test"}, 400, ""},
		{"ID-01/on a public route", "GET", "/public/a", stranger, map[string]string{"X-Auth-Request-Email": "admin@corp.test"}, 200, "GET /public/a user=\n"},
		{"SK-01/dot segments", "GET", "/public/%2e%2e/x", stranger, nil, 401, ""},
		{"PX-04/a handshake of a stranger", "GET", "/socket", stranger, map[string]string{"Upgrade": "websocket", "Connection": "Upgrade", "Sec-Websocket-Version": "13", "Sec-Websocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}, 401, ""},
		{"PX-04/a handshake from a page of another site", "GET", "/x", alice, map[string]string{"Origin": "https://evil.test", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-Websocket-Version": "13", "Sec-Websocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}, 403, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, body := c.by.do(c.method, w.public+c.path, nil, c.headers)
			if resp.StatusCode != c.status || !strings.Contains(body, c.body) || strings.Contains(body, "admin@corp.test") {
				t.Errorf("%s %q, want %d and %q", resp.Status, body, c.status, c.body)
			}
			if c.status == http.StatusUnauthorized && resp.Header.Get("Location") != "" {
				t.Errorf("401 with Location %s", resp.Header.Get("Location"))
			}
			if c.path == "/socket" && strings.Contains(body, "socket") {
				t.Errorf("the sign-in would lead back to a handshake, which cannot be opened as a page: %s", body)
			}
		})
	}
	t.Run("one connection of HTTP/2 carries all checks", func(t *testing.T) {
		before := w.conns.Load()
		for range 20 {
			if resp, _ := alice.do("GET", w.public+"/x", nil, nil); resp.StatusCode != http.StatusOK {
				t.Fatalf("%s", resp.Status)
			}
		}
		if n := w.conns.Load() - before; n > 2 { // the app's own may be among them
			t.Errorf("%d new connections for twenty requests", n)
		}
	})
	t.Run("LO-01/sign-out ends access", func(t *testing.T) {
		cookie := alice.cookie()
		if resp, body := alice.do("POST", w.public+"/_gate/logout", url.Values{}, map[string]string{"Accept": "text/html", "Origin": w.public}); resp.StatusCode != http.StatusOK || !strings.Contains(body, "signed out") {
			t.Fatalf("logout: %s %s", resp.Status, body)
		}
		if resp, body := stranger.do("GET", w.public+"/x", nil, map[string]string{"Cookie": cookie}); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("the old cookie: %s %s", resp.Status, body)
		}
	})
}
