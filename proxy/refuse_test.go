package proxy_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/proxy"
	"github.com/gatehouse-auth/gatehouse/web"
)

// FA-01, in reverse-proxy placement: the path that is judged is the path that is forwarded.
func TestSpoofedOriginalURL(t *testing.T) {
	spoofs := []string{
		"X-Forwarded-Uri: /public/x", "X-Original-URL: /public/x", "X-Original-URI: /public/x", "X-Rewrite-URL: /public/x",
		"X-Forwarded-Method: OPTIONS", "X-Forwarded-Prefix: /public", "X-Forwarded-Host: public.test",
	}
	all := strings.Join(spoofs, "\r\n")
	trusted := []web.TrustedPeer{{From: "127.0.0.1", Headers: []string{"for", "proto", "host", "uri", "method"}}}
	for name, peers := range map[string][]web.TrustedPeer{
		"FA-01/a": {{From: "192.0.2.1", Headers: []string{"for"}}}, "FA-01/b": nil, "FA-01/c": trusted,
	} {
		t.Run(name, func(t *testing.T) {
			up := newApp(t, nil)
			w := newWorld(t, setup{routes: routes(up.upstream(proxy.Target{})), peers: peers})
			for _, spoof := range append(spoofs, all) {
				denied(t, w.ask("GET", "/admin", spoof, nav), up)
				denied(t, w.ask("GET", "/admin", spoof, xhr), up)
			}
		})
	}
}

func TestQueryNeverSatisfiesAPathRule(t *testing.T) {
	w, up := plainWorld(t)
	for name, target := range map[string]string{
		"SK-01/a-query": "/admin?x=/public/", "SK-01/a-double": "/admin?/public/y", "SK-01/a-suffix": "/api/private?path=/public/status",
		"SK-01/b-raw": "/public/secret#/endpoint",
	} {
		t.Run(name, func(t *testing.T) { denied(t, w.ask("GET", target, xhr), up) })
	}
	t.Run("SK-01/c", func(t *testing.T) {
		if res := w.ask("GET", "/public/x?verbose=1"); res.StatusCode != http.StatusOK {
			t.Fatalf("got %s", res.Status)
		}
		if head := up.last(); !strings.HasPrefix(head, "GET /public/x?verbose=1 HTTP/1.1\r\n") {
			t.Errorf("the app got %q", head)
		}
	})
}

// SK-01 b with an encoded # stays in the public prefix, whichever way it is read, unless a stricter
// route begins in front of the #.
func TestEncodedFragment(t *testing.T) {
	up := newApp(t, nil)
	next := up.upstream(proxy.Target{})
	w := newWorld(t, setup{routes: append(routes(next), proxy.Route{Host: "app.test", Path: "/public/secret", Next: next})})
	t.Run("SK-01/b-encoded", func(t *testing.T) { denied(t, w.ask("GET", "/public/secret%23/endpoint", xhr), up) })
}

func TestDecisionPathIsTheAppsPath(t *testing.T) { engines(t, testDecisionPathIsTheAppsPath) }

func testDecisionPathIsTheAppsPath(t *testing.T) {
	w, up := plainWorld(t)
	for _, target := range []string{
		"/public/../admin", "/public/%2e%2e/admin", "/public/%2E./admin", "/public/..%2fadmin", "/public/%2e%2e%2fadmin",
		"/public//../admin", "/public/..;/admin", "/public/.;/../admin", "/public/%252e%252e/admin", `/public/..\admin`,
		"/public/..%5cadmin", "/public%2f..%2fadmin", "/public/%00", "//public/x", "/./public/x", "/PUBLIC/x",
		"/public/..%3bx/admin", "/public/x/..%2f..%2fadmin", "/%70ublic/x",
		"/public/.. /admin", "/public/..%20/admin", "/public/..%20./admin",
	} {
		t.Run("SK-02"+target, func(t *testing.T) { denied(t, w.ask("GET", target, xhr), up) })
	}
}

func TestSideDoors(t *testing.T) { engines(t, testSideDoors) }

func testSideDoors(t *testing.T) {
	w, up := plainWorld(t)
	for name, res := range map[string]*answer{
		"SK-06/a-agent":   w.ask("GET", "/admin", "User-Agent: kube-probe/1.30", xhr),
		"SK-06/a-dots":    w.ask("GET", "/healthz/../admin", xhr),
		"SK-06/a-healthz": w.ask("GET", "/healthz/x", xhr),
	} {
		t.Run(name, func(t *testing.T) { denied(t, res, up) })
	}
	expired, key := w.signIn(w.alice)
	if err := w.store.End(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	for name, line := range map[string]string{
		"ended": "Cookie: " + expired, "random": "Cookie: gate=abc", "long": "Cookie: gate=" + strings.Repeat("a", 9000),
		"bytes": "Cookie: gate=\xff\xfe", "bearer": "Authorization: Bearer x", "basic": "Authorization: Basic !!!",
	} {
		t.Run("SK-06/b-"+name, func(t *testing.T) {
			res := w.ask("GET", "/public/a", line)
			if res.StatusCode != http.StatusOK || res.Header.Get("Set-Cookie") != "" {
				t.Errorf("got %s, Set-Cookie %q", res.Status, res.Header.Get("Set-Cookie"))
			}
			if head := up.last(); len(values(head, "X-Auth-Email")) != 0 {
				t.Errorf("an identity went to the app: %q", head)
			}
		})
	}
	t.Run("SK-06/c", func(t *testing.T) {
		res := w.ask("GET", "/private?q=1", "Cookie: gate=garbage", nav)
		if want := "http://gw.test/_gate/login?next=http%3A%2F%2Fapp.test%2Fprivate%3Fq%3D1"; res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != want {
			t.Errorf("got %s to %q, want 303 to %q", res.Status, res.Header.Get("Location"), want)
		}
		if set := res.Header.Get("Set-Cookie"); !strings.HasPrefix(set, "gate=;") || !strings.Contains(set, "Max-Age=0") {
			t.Errorf("the dead cookie was not cleared: %q", set)
		}
	})
}

func TestUnknownHost(t *testing.T) {
	up := newApp(t, nil)
	w := newWorld(t, setup{routes: routes(up.upstream(proxy.Target{})), returns: []string{"port.test:8080", ".corp.test"}})
	for _, one := range []struct {
		host, target string
		status       int
	}{
		{"evil.test", "/", 404},
		{"evil.test", "/_gate/login", 404},
		{"app.test", "/_gate/login", 200},
		{"APP.test.", "/_gate/login", 200},
		{"app.test:80", "/_gate/me", 200},
		{"app.test:81", "/_gate/me", 404},
		{"app.test", "/_gate/sessions", 404},
		{"app.test", "/_gate/loginx", 404},
		{"gw.test", "/_gate/sessions", 200},
		{"gw.test", "/", 404},
		{"port.test:8080", "/_gate/logout", 200},
		{"port.test", "/_gate/logout", 404},
		{"a.b.corp.test", "/_gate/callback", 200},
		{"evilcorp.test", "/_gate/callback", 404},
		{"corp.test", "/_gate/callback", 404},
		{"a.b.corp.test", "/", 404},
	} {
		res := w.ask("GET", one.target, "Host: "+one.host, xhr)
		if res.StatusCode != one.status {
			t.Errorf("%s%s: got %s, want %d", one.host, one.target, res.Status, one.status)
		}
	}
	if got := up.bytes(); got != "" {
		t.Errorf("the app got %q", got)
	}
}

// Nothing that decodes into our prefix reaches an upstream, whoever asks.
func TestOwnPrefixNeverReachesAnUpstream(t *testing.T) {
	w, up := plainWorld(t)
	for _, target := range []string{
		"/%5fgate/login", "/_gate%2flogin", "/public/../_gate/login", "/public/%252e%252e/_gate/login", "/_GATE/login",
		"//_gate/login", `/\_gate/login`, "/_gate;x/login", "/x/..;/_gate/login",
	} {
		if res := w.ask("GET", target, w.authed()); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: got %s, want 404", target, res.Status)
		}
	}
	if got := up.bytes(); got != "" {
		t.Errorf("the app got %q", got)
	}
}

func TestAmbiguousRequestsAreRefused(t *testing.T) {
	w, up := plainWorld(t)
	for name, raw := range map[string]string{
		"RULE-12/absolute":       "GET http://app.test/admin HTTP/1.1\r\nHost: app.test\r\n\r\n",
		"RULE-12/absolute-other": "GET http://app.test/admin HTTP/1.1\r\nHost: evil.test\r\n\r\n",
		"RULE-12/host-list":      "GET / HTTP/1.1\r\nHost: app.test, inner\r\n\r\n",
		"RULE-12/host-space":     "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
		"RULE-12/host-twice":     "GET / HTTP/1.1\r\nHost: app.test\r\nHost: evil.test\r\n\r\n",
		"RULE-12/host-empty":     "GET / HTTP/1.1\r\nHost:\r\n\r\n",
		"RULE-12/method":         "GE(T / HTTP/1.1\r\nHost: app.test\r\n\r\n",
		"RULE-12/port":           "GET / HTTP/1.1\r\nHost: app.test:8x\r\n\r\n",
		"RULE-12/nul":            "GET /a%00b HTTP/1.1\r\nHost: app.test\r\n\r\n",
		"RULE-12/nul-twice":      "GET /a%2500b HTTP/1.1\r\nHost: app.test\r\n\r\n",
		"RULE-12/newline":        "GET /a%0ab HTTP/1.1\r\nHost: app.test\r\n\r\n",
		"RULE-12/fragment":       "GET /a#b HTTP/1.1\r\nHost: app.test\r\n\r\n",
		"RULE-12/fragment-query": "GET /a?b#c HTTP/1.1\r\nHost: app.test\r\n\r\n",
		"RULE-12/slashes-odd":    "GET //a|b HTTP/1.1\r\nHost: app.test\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			res := w.raw("GET", strings.Replace(raw, "\r\n\r\n", "\r\n"+w.authed()+"\r\n\r\n", 1))
			if res.StatusCode != http.StatusBadRequest || res.body == "" {
				t.Errorf("got %s with %q, want a readable 400", res.Status, res.body)
			}
		})
	}
	if got := up.bytes(); got != "" {
		t.Errorf("the app got %q", got)
	}
}
