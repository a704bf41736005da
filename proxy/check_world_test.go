package proxy_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/proxy"
	"github.com/gatehouse-auth/gatehouse/web"
)

// mayAsk is the loopback address as a proxy that may ask about requests.
var mayAsk = []web.TrustedPeer{{From: "127.0.0.1", Headers: []string{"for", "proto", "host", "uri", "method"}}}

// kinds are the dialects of our own. Each test that goes over them holds for all front proxies.
var kinds = []string{"nginx", "traefik", "caddy", "haproxy", "envoy"}

// subject is a request that a front proxy holds back while it asks. The zero value of a field has the
// default of an ordinary request.
type subject struct{ method, scheme, host, target string }

func get(target string) subject { return subject{target: target} }

func (s subject) filled() subject {
	for _, part := range []struct {
		field     *string
		otherwise string
	}{{&s.method, "GET"}, {&s.scheme, "http"}, {&s.host, "app.test"}, {&s.target, "/"}} {
		if *part.field == "" {
			*part.field = part.otherwise
		}
	}
	return s
}

// lines are how a front proxy of a kind asks about a subject: the request line's method and target,
// and the headers that it sets.
func (s subject) lines(kind string) (method, target string, lines []string) {
	s = s.filled()
	switch kind {
	case "nginx":
		return "GET", "/_gate/check/nginx", []string{"Host: auth.internal:9000", "X-Original-URL: " + s.scheme + "://" + s.host + s.target, "X-Original-Method: " + s.method}
	case "envoy":
		return s.method, "/_gate/check/envoy" + s.target, []string{"Host: " + s.host}
	}
	return "GET", "/_gate/check/" + kind, []string{
		"Host: auth.internal:9000", "X-Forwarded-Method: " + s.method, "X-Forwarded-Proto: " + s.scheme, "X-Forwarded-Host: " + s.host, "X-Forwarded-Uri: " + s.target,
	}
}

// check asks about a subject, with these lines of its client's beside what the front proxy sets.
func (w *world) check(kind string, s subject, lines ...string) *answer {
	w.t.Helper()
	method, target, set := s.lines(kind)
	return w.ask(method, target, append(set, lines...)...)
}

// checkWorld is a gateway that all kinds of front proxies ask. Its apps are carried by them, so that
// no route has an upstream that could be reached.
func checkWorld(t *testing.T, s setup) *world {
	t.Helper()
	if s.routes == nil {
		s.routes = routes(http.NotFoundHandler())
	}
	if s.peers == nil {
		s.peers = mayAsk
	}
	s.checks = proxy.Dialects()
	return newWorld(t, s)
}

// yes checks that an answer lets a request pass, as whom, and that there is little else in it.
func yes(t *testing.T, res *answer, email string) {
	t.Helper()
	if res.StatusCode != http.StatusOK || res.body != "" {
		t.Fatalf("got %s with %q, want 200 and no body", res.Status, res.body)
	}
	identity(t, res, email)
	if got := res.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control is %q", got)
	}
	if got := res.Header["Set-Cookie"]; got != nil {
		t.Errorf("a check set cookies: %q", got)
	}
	if len(res.Header) > 10 {
		t.Errorf("more headers than few: %v", res.Header)
	}
}

// identity checks that every identity header is there once, empty for nobody.
func identity(t *testing.T, res *answer, email string) {
	t.Helper()
	groups := ""
	if email == "alice@corp.test" {
		groups = "staff,ops"
	}
	for name, want := range map[string]string{
		"X-Auth-Request-User": email, "X-Auth-Request-Email": email, "X-Auth-Email": email, "X-Auth-Request-Groups": groups,
	} {
		if got := res.Header[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want once %q", name, got, want)
		}
	}
	for _, name := range []string{"X-Auth-Name", "Cookie"} {
		if len(res.Header[name]) != 1 {
			t.Errorf("%s is %q, want it once", name, res.Header[name])
		}
	}
}

// no checks that an answer is a refusal that the kind of front proxy understands, and gives nothing
// away. It returns the status that another kind would have got.
func no(t *testing.T, kind string, res *answer) {
	t.Helper()
	allowed := map[int]bool{302: true, 400: true, 401: true, 403: true, 404: true, 405: true, 414: true, 431: true}
	if kind == "nginx" {
		allowed = map[int]bool{401: true, 403: true}
	}
	if !allowed[res.StatusCode] {
		t.Errorf("%s got %s, which it does not understand as a refusal", kind, res.Status)
	}
	if res.StatusCode == http.StatusUnauthorized && kind == "nginx" && !strings.HasPrefix(res.Header.Get("X-Gatehouse-Login"), "http://gw.test/_gate/login?next=") {
		t.Errorf("the 401 has no login address: %v", res.Header)
	}
	if res.StatusCode == http.StatusForbidden && kind == "nginx" && res.Header.Get("X-Gatehouse-Reason") == "" {
		t.Error("the 403 has no reason")
	}
	for name := range res.Header {
		if strings.HasPrefix(name, "X-Auth-") || name == "Set-Cookie" || name == "Cookie" {
			t.Errorf("a refusal carries %s", name)
		}
	}
	if res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control is %q", res.Header.Get("Cache-Control"))
	}
}

// status is what a kind of front proxy gets where the others get n.
func status(kind string, n int) int {
	if kind == "nginx" && n != http.StatusOK && n != http.StatusUnauthorized && n < http.StatusInternalServerError {
		return http.StatusForbidden
	}
	return n
}
