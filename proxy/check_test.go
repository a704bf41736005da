package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/proxy"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
	"github.com/gatehouse-auth/gatehouse/web"
)

// FA-01 at the check endpoints: whoever is not trusted to ask learns nothing and asks no store.
func TestOnlyTrustedPeersAsk(t *testing.T) {
	for name, peers := range map[string][]web.TrustedPeer{
		"FA-01/a": {{From: "192.0.2.1", Headers: mayAsk[0].Headers}}, "FA-01/b": {},
		"FA-01/no-uri":    {{From: "127.0.0.1", Headers: []string{"for", "proto", "host", "method"}}},
		"FA-01/no-method": {{From: "127.0.0.1", Headers: []string{"for", "proto", "host", "uri"}}},
		"FA-01/no-host":   {{From: "127.0.0.1", Headers: []string{"for", "proto", "uri", "method"}}},
		"FA-01/no-proto":  {{From: "127.0.0.1", Headers: []string{"for", "host", "uri", "method"}}},
	} {
		w := checkWorld(t, setup{peers: peers})
		line := w.authed()
		for _, kind := range kinds {
			t.Run(name+"/"+kind, func(t *testing.T) {
				for _, target := range []string{"/admin", "/public/x", "/_gate/login"} {
					res := w.check(kind, get(target), line, nav)
					if res.StatusCode != http.StatusForbidden || res.Header.Get("Location") != "" {
						t.Errorf("%s: got %s, want 403", target, res.Status)
					}
					no(t, kind, res)
				}
			})
		}
		if n := w.faulty.Calls(storetest.Find); n != 0 {
			t.Errorf("%s: %d look-ups for a peer that may not ask", name, n)
		}
	}
	t.Run("FA-02/g", func(t *testing.T) {
		w := checkWorld(t, setup{peers: []web.TrustedPeer{{From: "192.0.2.1", Headers: mayAsk[0].Headers}}, routes: []proxy.Route{
			{Host: "app.test", Path: "/", AllowPreflight: true, Next: http.NotFoundHandler()},
		}})
		for _, kind := range kinds {
			no(t, kind, w.check(kind, subject{method: "OPTIONS", target: "/private"}, "Origin: https://ui.test", "Access-Control-Request-Method: PUT"))
		}
	})
}

// FA-02: the rules are those of the original request, never of the check.
func TestSubjectIsTheOriginalRequest(t *testing.T) {
	next := http.NotFoundHandler()
	asked := []string{"Origin: https://ui.test", "Access-Control-Request-Method: PUT"}
	w := checkWorld(t, setup{routes: append(routes(next),
		proxy.Route{Host: "app.test", Path: "/open", AllowPreflight: true, Next: next},
		proxy.Route{Host: "app.test", Path: "/listed", AllowPreflight: true, Methods: []string{"PUT"}, Next: next},
	)})
	for _, one := range []struct {
		id    string
		s     subject
		lines []string
		want  int
	}{
		{"FA-02/a", get("/public/a"), nil, 200},
		{"FA-02/a-query", get("/public/a?x=/private"), nil, 200},
		{"FA-02/a-head", subject{method: "HEAD", target: "/public/a"}, nil, 200},
		{"FA-02/b", subject{method: "POST", target: "/public/a"}, nil, 405},
		{"FA-02/c", get("/private"), nil, 401},
		{"FA-02/d", subject{method: "OPTIONS", target: "/open/x"}, asked, 200},
		{"FA-02/d-listed", subject{method: "OPTIONS", target: "/listed"}, asked, 200},
		{"FA-02/d-no-preflight", subject{method: "OPTIONS", target: "/open/x"}, []string{"Origin: https://ui.test"}, 401},
		{"FA-02/e", subject{method: "OPTIONS", target: "/private"}, asked, 401},
	} {
		for _, kind := range kinds {
			t.Run(one.id+"/"+kind, func(t *testing.T) {
				res := w.check(kind, one.s, append(one.lines, xhr, "Cookie: app=1")...)
				if want := status(kind, one.want); res.StatusCode != want {
					t.Fatalf("got %s, want %d", res.Status, want)
				}
				if one.want != http.StatusOK {
					no(t, kind, res)
					return
				}
				yes(t, res, "")
				if cookie := res.Header.Get("Cookie"); (cookie == "") != (one.s.method == "OPTIONS") {
					t.Errorf("the app would get the cookies %q", cookie)
				}
			})
		}
	}
	t.Run("FA-02/b-allow", func(t *testing.T) {
		if res := w.check("traefik", subject{method: "POST", target: "/public/a"}); res.Header.Get("Allow") != "GET" {
			t.Errorf("Allow is %q", res.Header.Get("Allow"))
		}
	})
}

// FA-02 f and RULE-18: only the dialect's own headers say what the subject is.
func TestOtherFamiliesAreIgnored(t *testing.T) {
	w := checkWorld(t, setup{})
	line := w.authed()
	forwarded := []string{"X-Forwarded-Method: GET", "X-Forwarded-Proto: http", "X-Forwarded-Host: app.test", "X-Forwarded-Uri: /public/x"}
	original := []string{"X-Original-URL: http://app.test/public/x", "X-Original-Method: GET"}
	others := []string{"X-Original-URI: /public/x", "X-Rewrite-URL: /public/x", "X-Forwarded-Prefix: /public", "X-Envoy-Original-Path: /public/x", "Forwarded: host=evil.test;proto=https"}
	junk := []string{"X-Forwarded-Proto: javascript", "X-Forwarded-Host: evil.test", "X-Forwarded-Host: a b", "X-Forwarded-Uri: %zz", "X-Forwarded-Method: G(T"}
	foreign := map[string][][]string{"nginx": {forwarded, junk}, "envoy": {forwarded, original, junk}, "traefik": {original}, "caddy": {original}, "haproxy": {original}}
	for _, kind := range kinds {
		for i, family := range append(foreign[kind], others) {
			t.Run(fmt.Sprintf("RULE-18/%s-%d", kind, i), func(t *testing.T) {
				if res := w.check(kind, get("/admin"), append(family, xhr)...); res.StatusCode != http.StatusUnauthorized {
					t.Errorf("got %s, want 401: another family's headers changed the subject", res.Status)
				}
				yes(t, w.check(kind, get("/admin"), append(family, line)...), "alice@corp.test")
				yes(t, w.check(kind, get("/public/x"), append(family, line)...), "")
			})
		}
		t.Run("FA-02/f-only/"+kind, func(t *testing.T) {
			for _, family := range foreign[kind] {
				if kind == "envoy" {
					continue // its subject is never missing
				}
				res := w.ask("GET", "/_gate/check/"+kind, append([]string{"Host: auth.internal"}, append(family, line)...)...)
				no(t, kind, res)
			}
		})
	}
}

// FA-04: one scheme and one host, or none.
func TestOddSchemesAndHosts(t *testing.T) {
	for _, public := range []string{"http://gw.test", "https://gw.test"} {
		w := checkWorld(t, setup{public: public})
		scheme, _, _ := strings.Cut(public, "://")
		host := "app.test"
		for i, one := range []struct {
			lines string
			want  int
		}{
			{"X-Forwarded-Proto: https\r\nX-Forwarded-Host: app.test", 302},
			{"X-Forwarded-Proto: HTTPS\r\nX-Forwarded-Host: APP.test.", 302},
			{"X-Forwarded-Proto: wss\r\nX-Forwarded-Host: app.test", 302},
			{"X-Forwarded-Proto: ws\r\nX-Forwarded-Host: app.test", 302},
			{"X-Forwarded-Proto: https\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: app.test", 302},
			{"X-Forwarded-Proto: https,http\r\nX-Forwarded-Host: app.test", 400},
			{"X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: app.test", 400},
			{"X-Forwarded-Proto: javascript\r\nX-Forwarded-Host: app.test", 400},
			{"X-Forwarded-Proto:\r\nX-Forwarded-Host: app.test", 400},
			{"X-Forwarded-Host: app.test", 400},
			{"X-Forwarded-Proto: https\r\nX-Forwarded-Host: app.test, inner", 400},
			{"X-Forwarded-Proto: https\r\nX-Forwarded-Host: app.test\r\nX-Forwarded-Host: evil.test", 400},
			{"X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Host: app.test", 400},
			{"X-Forwarded-Proto: https\r\nX-Forwarded-Host: a b", 400},
			{"X-Forwarded-Proto: https\r\nX-Forwarded-Host: app.test@evil.test", 400},
			{"X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.test", 404},
			{"X-Forwarded-Proto: https", 400},
			{"X-Forwarded-Proto: https\r\nX-Forwarded-Host: app.test" + map[string]string{"http": ":80", "https": ":443"}[scheme], 302},
		} {
			t.Run(fmt.Sprintf("FA-04/%s-%d", scheme, i), func(t *testing.T) {
				for _, kind := range []string{"traefik", "caddy", "haproxy"} {
					res := w.ask("GET", "/_gate/check/"+kind, "Host: auth.internal", "X-Forwarded-Method: GET", "X-Forwarded-Uri: /x?a=%26b", one.lines, nav)
					if res.StatusCode != one.want {
						t.Errorf("%q: got %s, want %d", one.lines, res.Status, one.want)
					}
					want := ""
					if one.want == http.StatusFound {
						want = public + "/_gate/login?next=" + scheme + "%3A%2F%2F" + host + "%2Fx%3Fa%3D%2526b"
					}
					if got := res.Header.Get("Location"); got != want {
						t.Errorf("%q: Location is %q, want %q", one.lines, got, want)
					}
					if strings.Contains(res.body, "evil.test") {
						t.Errorf("%q: the answer leads to evil.test", one.lines)
					}
				}
			})
		}
	}
}

// FA-05: what is not clear is not allowed, quickly, and the next good request is fine.
func TestUnclearSubjectFailsClosed(t *testing.T) {
	w := checkWorld(t, setup{})
	line := w.authed()
	long := "/" + strings.Repeat("a", 9000)
	unclear := map[string]bool{"absent": true, "empty": true, "relative": true, "absolute": true, "two": true, "two-turned": true, "fragment": true, "query-only": true, "nul": true}
	for name, uri := range map[string]string{
		"absent": "", "empty": "X-Forwarded-Uri:", "zz": "X-Forwarded-Uri: %zz", "percent": "X-Forwarded-Uri: /private/%", "relative": "X-Forwarded-Uri: public/x",
		"slashes": "X-Forwarded-Uri: //public/x", "absolute": "X-Forwarded-Uri: http://x/public/", "dots": "X-Forwarded-Uri: /public/../admin",
		"encoded-dots": "X-Forwarded-Uri: /public/%2e%2e/admin", "parameter": "X-Forwarded-Uri: /public/..;/admin", "long": "X-Forwarded-Uri: " + long,
		"two": "X-Forwarded-Uri: /public/a\r\nX-Forwarded-Uri: /admin", "two-turned": "X-Forwarded-Uri: /admin\r\nX-Forwarded-Uri: /public/a",
		"fragment": "X-Forwarded-Uri: /public/x#/admin", "space": "X-Forwarded-Uri: /public/a b/../../admin", "query-only": "X-Forwarded-Uri: ?/public/x", "nul": "X-Forwarded-Uri: /public/%00",
	} {
		t.Run("FA-05/"+name, func(t *testing.T) {
			for _, kind := range []string{"traefik", "caddy", "haproxy"} {
				lines := []string{"Host: auth.internal", "X-Forwarded-Method: GET", "X-Forwarded-Proto: http", "X-Forwarded-Host: app.test", "X-None: 1"}
				if uri != "" {
					lines = append(lines, uri)
				}
				began := time.Now()
				no(t, kind, w.ask("GET", "/_gate/check/"+kind, lines...))
				no(t, kind, w.ask("GET", "/_gate/check/"+kind, append(lines, nav)...))
				if res := w.ask("GET", "/_gate/check/"+kind, append(lines, line)...); unclear[name] && res.StatusCode != http.StatusBadRequest {
					t.Errorf("somebody who is signed in got %s, want 400", res.Status)
				}
				if took := time.Since(began); took > hang/2 {
					t.Errorf("took %v", took)
				}
				yes(t, w.check(kind, get("/public/a")), "")
			}
		})
	}
	for name, lines := range map[string][]string{
		"no-host":       {"X-Forwarded-Method: GET", "X-Forwarded-Proto: http", "X-Forwarded-Uri: /public/a"},
		"no-method":     {"X-Forwarded-Host: app.test", "X-Forwarded-Proto: http", "X-Forwarded-Uri: /public/a"},
		"empty-method":  {"X-Forwarded-Method:", "X-Forwarded-Host: app.test", "X-Forwarded-Proto: http", "X-Forwarded-Uri: /public/a"},
		"empty-host":    {"X-Forwarded-Method: GET", "X-Forwarded-Host:", "X-Forwarded-Proto: http", "X-Forwarded-Uri: /public/a"},
		"two-methods":   {"X-Forwarded-Method: GET", "X-Forwarded-Method: POST", "X-Forwarded-Host: app.test", "X-Forwarded-Proto: http", "X-Forwarded-Uri: /public/a"},
		"method-token":  {"X-Forwarded-Method: GE(T", "X-Forwarded-Host: app.test", "X-Forwarded-Proto: http", "X-Forwarded-Uri: /public/a"},
		"method-list":   {"X-Forwarded-Method: GET, POST", "X-Forwarded-Host: app.test", "X-Forwarded-Proto: http", "X-Forwarded-Uri: /public/a"},
		"misspelt-uri":  {"X-Forwarded-Method: GET", "X-Forwarded-Host: app.test", "X-Forwarded-Proto: http", "X_Forwarded_Uri: /public/a"},
		"nothing":       {},
		"nothing-known": {"X-Original-Host: app.test"},
	} {
		t.Run("FA-05/"+name, func(t *testing.T) {
			if res := w.ask("GET", "/_gate/check/traefik", append([]string{"Host: auth.internal"}, lines...)...); res.StatusCode != http.StatusBadRequest {
				t.Errorf("got %s, want 400", res.Status)
			}
		})
	}
	t.Run("FA-05/two-equal", func(t *testing.T) { yes(t, w.check("traefik", get("/public/a"), "X-Forwarded-Uri: /public/a"), "") })
}

// FA-05 for the dialects whose subject has another form.
func TestUnclearAddressFailsClosed(t *testing.T) {
	w := checkWorld(t, setup{})
	for name, lines := range map[string][]string{
		"absent": {"X-Original-Method: GET"}, "no-method": {"X-Original-URL: http://app.test/public/a"}, "path-only": {"X-Original-URL: /public/a", "X-Original-Method: GET"},
		"no-path": {"X-Original-URL: http://app.test", "X-Original-Method: GET"}, "no-host": {"X-Original-URL: http:///public/a", "X-Original-Method: GET"},
		"query": {"X-Original-URL: http://app.test?/public/a", "X-Original-Method: GET"}, "user": {"X-Original-URL: http://x@app.test/public/a", "X-Original-Method: GET"},
		"scheme": {"X-Original-URL: ftp://app.test/public/a", "X-Original-Method: GET"}, "absolute-uri": {"X-Original-URL: http://app.test:80http://evil.test/public/a", "X-Original-Method: GET"},
		"two":          {"X-Original-URL: http://app.test/public/a", "X-Original-URL: http://app.test/admin", "X-Original-Method: GET"},
		"empty-method": {"X-Original-URL: http://app.test/x", "X-Original-Method:"}, "empty-url": {"X-Original-URL:", "X-Original-Method: GET"},
		"two-methods": {"X-Original-URL: http://app.test/public/a", "X-Original-Method: GET", "X-Original-Method: POST"},
		"empty":       {"X-Original-URL:", "X-Original-Method:"}, "port": {"X-Original-URL: http://app.test:8x/public/a", "X-Original-Method: GET"},
	} {
		t.Run("FA-05/nginx-"+name, func(t *testing.T) {
			res := w.ask("GET", "/_gate/check/nginx", append([]string{"Host: auth.internal"}, lines...)...)
			if res.StatusCode != http.StatusForbidden || res.Header.Get("X-Gatehouse-Reason") != "bad_request" {
				t.Errorf("got %s, reason %q", res.Status, res.Header.Get("X-Gatehouse-Reason"))
			}
		})
	}
	for name, target := range map[string]string{"bare": "", "query": "?/public/a", "neighbour": "x/public/a", "encoded": "%2fpublic/a"} {
		t.Run("FA-05/envoy-"+name, func(t *testing.T) { no(t, "envoy", w.ask("GET", "/_gate/check/envoy"+target, "Host: app.test")) })
	}
	t.Run("FA-05/envoy-hosts", func(t *testing.T) {
		for _, raw := range []string{"GET /_gate/check/envoy/public/a HTTP/1.1\r\nHost: app.test\r\nHost: evil.test", "GET http://app.test/_gate/check/envoy/public/a HTTP/1.1\r\nHost: evil.test"} {
			if res := w.raw("GET", raw+"\r\nConnection: close\r\n\r\n"); res.StatusCode != http.StatusBadRequest {
				t.Errorf("got %s", res.Status)
			}
		}
	})
}

// A subject under our own prefix is for us to answer, so that it asks nobody to sign in; but only if
// no app could read it as another path.
func TestOwnPrefixNeedsNoSession(t *testing.T) {
	w := checkWorld(t, setup{returns: []string{"port.test:8080"}})
	line := w.authed()
	for _, kind := range kinds {
		for _, target := range []string{"/_gate/login?next=/x", "/_gate/callback?code=1", "/_gate", "/_gate//me", "/_gate/x%20y"} {
			t.Run("RULE-18/own-"+kind, func(t *testing.T) {
				yes(t, w.check(kind, get(target), line), "")
				yes(t, w.check(kind, subject{host: "port.test:8080", target: target}), "")
				no(t, kind, w.check(kind, subject{host: "evil.test", target: target}, line))
			})
		}
		for _, target := range []string{"/_gate/../admin", "/_gate/..%2fadmin", "/_gate%2f..%2fadmin", "/_gate/..;/admin", "/_GATE/login", "/x/../_gate/login", "/_gatex", "//_gate/login", `/_gate/..\admin`, "/_gate/%252e%252e/admin"} {
			t.Run("RULE-18/not-own-"+kind, func(t *testing.T) { no(t, kind, w.check(kind, get(target), xhr)) })
		}
	}
	if n := w.faulty.Calls(storetest.Find); n != 0 {
		t.Errorf("%d look-ups", n)
	}
}

// RULE-20: nginx makes a 500 of whatever it does not know.
func TestNginxGetsWhatItUnderstands(t *testing.T) {
	w := checkWorld(t, setup{routes: append(routes(http.NotFoundHandler()), proxy.Route{Host: "app.test", Path: "/admin", Allow: proxy.Allow{Roles: []string{"admin"}}, Next: http.NotFoundHandler()})})
	alice, _ := w.signIn(w.alice)
	bob, _ := w.signIn(must(w.store.AddUser(t.Context(), "bob@corp.test", "", nil)))
	for name, one := range map[string]struct {
		s      subject
		line   string
		want   int
		reason string
		login  string
	}{
		"navigation":  {get("/x?y=%26"), nav, 401, "", "http://gw.test/_gate/login?next=http%3A%2F%2Fapp.test%2Fx%3Fy%3D%2526"},
		"script":      {get("/x"), xhr, 401, "", "http://gw.test/_gate/login?next=http%3A%2F%2Fapp.test%2Fx"},
		"post":        {subject{method: "POST", target: "/x"}, nav + "\r\nReferer: http://app.test/form?q", 401, "", "http://gw.test/_gate/login?next=http%3A%2F%2Fapp.test%2Fform%3Fq"},
		"not allowed": {get("/admin"), "Cookie: " + bob, 403, "forbidden", "http://gw.test/_gate/login?next=http%3A%2F%2Fapp.test%2Fadmin&prompt=select_account"},
		"origin":      {get("/x"), "Origin: https://evil.test\r\nCookie: " + alice, 403, "foreign_origin", ""},
		"two users":   {get("/x"), "Cookie: " + alice + "; " + bob, 403, "two_users", "http://gw.test/_gate/login?next=http%3A%2F%2Fapp.test%2Fx"},
		"host":        {subject{host: "no.test"}, xhr, 403, "not_found", ""},
		"method":      {subject{method: "POST", target: "/public/x"}, xhr, 403, "method_not_allowed", ""},
		"control":     {get("/a%00"), xhr, 403, "bad_request", ""},
		"blank":       {get("/public/x HTTP/1.1"), xhr, 403, "bad_request", ""},
		"long":        {get("/" + strings.Repeat("a", 9<<10)), xhr, 403, "target_too_long", ""},
		"headers":     {get("/"), "X-Big: " + strings.Repeat("a", 40<<10), 403, "headers_too_large", ""},
	} {
		t.Run("RULE-20/"+name, func(t *testing.T) {
			res := w.check("nginx", one.s, one.line)
			if res.StatusCode != one.want || res.Header.Get("X-Gatehouse-Reason") != one.reason || res.Header.Get("X-Gatehouse-Login") != one.login {
				t.Errorf("got %s, reason %q, login %q", res.Status, res.Header.Get("X-Gatehouse-Reason"), res.Header.Get("X-Gatehouse-Login"))
			}
			if res.Header.Get("Location") != "" || res.Header.Get("Set-Cookie") != "" {
				t.Errorf("got %v", res.Header)
			}
		})
	}
}

// What is neither yes nor no is 503 to every front proxy, clears nothing and sends nobody to sign in.
func TestChecksWhileTheStoreIsDown(t *testing.T) {
	w := checkWorld(t, setup{})
	line := w.authed()
	w.faulty.Fail(storetest.Find, fmt.Errorf("refused"))
	for _, kind := range kinds {
		for _, who := range []string{nav, xhr} {
			res := w.check(kind, get("/"), line, who)
			if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || res.Header.Get("Location")+res.Header.Get("Set-Cookie")+res.Header.Get("X-Gatehouse-Login") != "" {
				t.Errorf("%s: got %s %v", kind, res.Status, res.Header)
			}
		}
		yes(t, w.check(kind, get("/public/x"), line), "")
	}
}

// The log of a check tells about its subject: whoever wants to know why alice was refused looks there.
func TestRecordOfACheck(t *testing.T) {
	w := checkWorld(t, setup{routes: []proxy.Route{{Name: "app", Host: "app.test", Path: "/", Allow: proxy.Allow{Roles: []string{"admin"}}, Next: http.NotFoundHandler()}}})
	w.check("traefik", subject{method: "PUT", target: "/a/b?secret=1"}, w.authed(), "X-Forwarded-For: 192.0.2.7, 203.0.113.9")
	rec := w.record(1)
	if got := rec.Request; got.Method != http.MethodPut || got.Host != "app.test" || got.Path != "/a/b" || got.Client.String() != "203.0.113.9" {
		t.Errorf("FA-06/a: recorded %+v", got)
	}
	if rec.Who.User != "alice@corp.test" || rec.Outcome.Verdict != "forbidden" || rec.Whereto.Route != "app" || rec.Whereto.Check != "traefik" || rec.Outcome.Status != 403 {
		t.Errorf("recorded %+v", rec)
	}
	for i, forwarded := range []string{"unknown", "[::1]:80", "fe80::1%eth0", "a,,b", ""} {
		if res := w.check("nginx", get("/"), xhr, "X-Forwarded-For: "+forwarded); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("FA-06/c %q: got %s", forwarded, res.Status)
		}
		w.record(2 + i)
	}
}

// FA-06 d: over a unix socket there is no address to speak of.
func TestChecksOverUnixSocket(t *testing.T) {
	w := checkWorld(t, setup{peers: []web.TrustedPeer{{From: "unix", Headers: mayAsk[0].Headers}}})
	t.Run("FA-06/d", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "gate.sock")
		listener := must(new(net.ListenConfig).Listen(t.Context(), "unix", path))
		done := make(chan struct{})
		go func() { defer close(done); _ = w.server.Serve(listener) }()
		t.Cleanup(func() { _ = listener.Close(); <-done })
		conn := must(new(net.Dialer).DialContext(t.Context(), "unix", path))
		defer conn.Close()
		_, target, set := get("/x").lines("nginx")
		_, _ = io.WriteString(conn, "GET "+target+" HTTP/1.1\r\n"+strings.Join(append(set, w.authed()), "\r\n")+"\r\nX-Forwarded-For: 192.0.2.7\r\nConnection: close\r\n\r\n")
		yes(t, w.read("GET", bufio.NewReader(conn)), "alice@corp.test")
	})
	no(t, "nginx", w.check("nginx", get("/public/x")))
}

// A check with a body is answered without reading it.
func TestChecksReadNoBody(t *testing.T) {
	w := checkWorld(t, setup{})
	line := w.authed()
	for _, kind := range kinds {
		for _, target := range []string{"/", "/public/x"} {
			_, path, set := subject{method: "GET", target: target}.lines(kind)
			began := time.Now()
			res := w.raw("GET", "GET "+path+" HTTP/1.1\r\n"+strings.Join(append(set, line), "\r\n")+"\r\nContent-Length: 2000\r\n\r\nabc") // net/http would wait for that much
			if res.StatusCode != http.StatusOK || time.Since(began) > hang/2 {
				t.Errorf("%s: got %s after %v", kind, res.Status, time.Since(began))
			}
		}
	}
}

func TestUnknownDialects(t *testing.T) {
	w := newWorld(t, setup{routes: routes(http.NotFoundHandler()), peers: mayAsk, checks: []string{"nginx"}})
	line := w.authed()
	for _, kind := range []string{"traefik", "caddy", "envoy"} {
		if res := w.check(kind, get("/public/x"), line); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: got %s, want 404", kind, res.Status)
		}
	}
	for _, target := range []string{"/_gate/check/nginx/x", "/_gate/check/nginxx", "/_gate/check/", "/_gate/check", "/_gate/check/oauth2-proxy", "/_gate/auth"} {
		_, _, set := get("/public/x").lines("nginx")
		if res := w.ask("GET", target, append(set, line)...); res.StatusCode == http.StatusOK {
			t.Errorf("%s: got %s", target, res.Status)
		}
	}
	yes(t, w.check("nginx", get("/public/x"), line), "")
	if _, err := proxy.NewChecks(w.proxy, limits, []string{"squid"}); err == nil || !strings.Contains(err.Error(), "squid") {
		t.Errorf("an unknown dialect is no error: %v", err)
	}
}
