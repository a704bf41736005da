package proxy_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/proxy"
)

// upgrade are the lines of a WebSocket handshake.
const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="

// The one table of what is allowed and what is not, in front of the app and beside another proxy. A
// row says how the request is answered in the first placement; in the second the answer must be the
// same, in each dialect, and the app must be told the same.
func TestBothPlacements(t *testing.T) { engines(t, testBothPlacements) }

func testBothPlacements(t *testing.T) {
	up := newApp(t, func(conn net.Conn, request string) {
		if strings.Contains(request, "Upgrade: websocket") {
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			_ = conn.Close()
			return
		}
		if head, body, _ := strings.Cut(ok, "\r\n\r\n"); strings.HasPrefix(request, "HEAD ") {
			_, _ = io.WriteString(conn, head+"\r\n\r\n")
		} else {
			_, _ = io.WriteString(conn, head+"\r\n\r\n"+body)
		}
	})
	next := up.upstream(proxy.Target{})
	w := checkWorld(t, setup{returns: []string{"port.test:8080"}, routes: append(routes(next),
		proxy.Route{Host: "app.test", Path: "/open", AllowPreflight: true, Origins: []string{"https://ui.test"}, Next: next},
		proxy.Route{Host: "app.test", Path: "/wiki", Access: proxy.Identify, Next: next},
		proxy.Route{Host: "app.test", Path: "/admin", Allow: proxy.Allow{Roles: []string{"admin"}}, Next: next},
		proxy.Route{Host: "app.test", Path: "/mail", Allow: proxy.Allow{Emails: []string{"alice@corp.test"}}, Next: next},
		proxy.Route{Host: "app.test", Path: "/corp", Allow: proxy.Allow{Domains: []string{"corp.test"}}, Next: next},
		proxy.Route{Host: "app.test", Path: "/api", Methods: []string{"GET"}, Access: proxy.Public, Next: next},
		proxy.Route{Host: "app.test", Path: "/api", Methods: []string{"PUT", "DELETE"}, AllowPreflight: true, Next: next},
		proxy.Route{Host: "app.test", Path: "/public/secret", Next: next},
	)})
	alice, _ := w.signIn(w.alice)
	bob, _ := w.signIn(must(w.store.AddUser(t.Context(), "bob@evil.test", "Bob", nil)))
	ended, key := w.signIn(w.alice)
	if err := w.store.End(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	as := func(cookie string) string { return "Cookie: app=1; " + cookie + "; theme=dark" }
	type row struct {
		id     string
		s      subject
		lines  []string
		status int
	}
	preflight := "Origin: https://ui.test\r\nAccess-Control-Request-Method: PUT"
	rows := []row{
		{"nobody/navigation", get("/x?a=1;b=%zz"), []string{nav}, 303},
		{"nobody/script", get("/x"), []string{xhr}, 401},
		{"nobody/curl", get("/x"), []string{"Accept: */*"}, 401},
		{"nobody/old-browser", get("/x"), []string{"Accept: text/html"}, 303},
		{"nobody/prefetch", get("/x"), []string{nav, "Sec-Purpose: prefetch"}, 401},
		{"nobody/frame", get("/x"), []string{"Accept: text/html", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"}, 401},
		{"nobody/requested-with", get("/x"), []string{"Accept: text/html", "X-Requested-With: XMLHttpRequest"}, 401},
		{"nobody/post", subject{method: "POST", target: "/x"}, []string{nav, "Content-Length: 0"}, 401},
		{"nobody/head", subject{method: "HEAD", target: "/x"}, []string{nav}, 303},
		{"alice", get("/x"), []string{as(alice)}, 200},
		{"alice/delete", subject{method: "DELETE", target: "/x"}, []string{as(alice)}, 200},
		{"bob", get("/x"), []string{as(bob)}, 200},
		{"allow/roles", get("/admin/x"), []string{as(alice), nav}, 403},
		{"allow/emails", get("/mail"), []string{as(alice)}, 200},
		{"allow/emails-other", get("/mail"), []string{as(bob), xhr}, 403},
		{"allow/domains", get("/corp"), []string{as(alice)}, 200},
		{"allow/domains-other", get("/corp"), []string{as(bob)}, 403},
		{"public/nobody", get("/public/x"), []string{"Cookie: app=1"}, 200},
		{"public/alice", get("/public/x"), []string{as(alice)}, 200},
		{"public/method", subject{method: "POST", target: "/public/x"}, []string{as(alice), "Content-Length: 0"}, 405},
		{"public/head", subject{method: "HEAD", target: "/public/x"}, nil, 200},
		{"identify/nobody", get("/wiki"), nil, 200},
		{"identify/alice", get("/wiki"), []string{as(alice)}, 200},
		{"identify/strange", get("/wiki"), []string{as(alice), "Origin: https://evil.test"}, 200},
		{"methods/get", get("/api/x"), nil, 200},
		{"methods/put", subject{method: "PUT", target: "/api/x"}, []string{xhr, "Content-Length: 0"}, 401},
		{"methods/put-alice", subject{method: "PUT", target: "/api/x"}, []string{as(alice), "Content-Length: 0"}, 200},
		{"methods/post", subject{method: "POST", target: "/api/x"}, []string{as(alice), "Content-Length: 0"}, 405},
		{"preflight/on", subject{method: "OPTIONS", target: "/open"}, []string{"Cookie: app=1", preflight}, 200},
		{"preflight/by-method", subject{method: "OPTIONS", target: "/api/x"}, []string{preflight}, 200},
		{"preflight/off", subject{method: "OPTIONS", target: "/x"}, []string{xhr, preflight}, 401},
		{"preflight/no-origin", subject{method: "OPTIONS", target: "/open"}, []string{xhr, "Access-Control-Request-Method: PUT"}, 401},
		{"origin/own", get("/x"), []string{as(alice), "Origin: http://app.test"}, 200},
		{"origin/listed", get("/open"), []string{as(alice), "Origin: https://ui.test"}, 200},
		{"origin/not-here", get("/x"), []string{as(alice), "Origin: https://ui.test"}, 403},
		{"origin/null", get("/x"), []string{as(alice), "Origin: null"}, 403},
		{"origin/null-same", get("/x"), []string{as(alice), "Origin: null", "Sec-Fetch-Site: same-origin"}, 200},
		{"origin/https", get("/x"), []string{as(alice), "Origin: https://app.test"}, 403},
		{"PX-04/d-authed", get("/socket"), []string{as(alice), upgrade}, 101},
		{"PX-04/d-nobody", get("/socket"), []string{upgrade}, 401},
		{"PX-04/d-origin", get("/socket"), []string{as(alice), "Origin: https://evil.test", upgrade}, 403},
		{"SK-01/a-query", get("/private?x=/public/"), []string{xhr}, 401},
		{"SK-01/a-double", get("/private?/public/y"), []string{xhr}, 401},
		{"SK-01/a-suffix", get("/api2/private?path=/public/status"), []string{xhr}, 401},
		{"SK-01/b-encoded", get("/public/secret%23/endpoint"), []string{xhr}, 401},
		{"SK-01/b-raw", get("/public/secret#/endpoint"), []string{xhr}, 400},
		{"SK-01/c", get("/public/x?verbose=1"), nil, 200},
		{"SK-02/authed", get("/public/x/..%2f..%2fprivate"), []string{as(alice)}, 200},
		{"SK-05", get("/s?a=1;b=2&c=%zz&d=4&e"), []string{as(alice)}, 200},
		{"SK-06/a-agent", get("/private"), []string{"User-Agent: kube-probe/1.30"}, 401},
		{"SK-06/a-dots", get("/healthz/../private"), []string{xhr}, 401},
		{"SK-06/a-healthz", get("/healthz/x"), []string{xhr}, 401},
		{"SK-06/b-ended", get("/public/a"), []string{"Cookie: " + ended}, 200},
		{"SK-06/b-random", get("/public/a"), []string{"Cookie: gate=abc"}, 200},
		{"SK-06/b-long", get("/public/a"), []string{"Cookie: gate=" + strings.Repeat("a", 9000)}, 200},
		{"SK-06/b-bytes", get("/public/a"), []string{"Cookie: gate=\xff\xfe"}, 200},
		{"SK-06/b-bearer", get("/public/a"), []string{"Authorization: Bearer x"}, 200},
		{"SK-06/b-basic", get("/public/a"), []string{"Authorization: Basic !!!"}, 200},
		{"SK-06/c", get("/private?q=1"), []string{"Cookie: gate=garbage", nav}, 303},
		{"RULE-07", get("/x"), []string{"Cookie: " + alice + "; " + bob, nav}, 400},
		{"RULE-12/nul", get("/a%00"), []string{as(alice)}, 400},
		{"RULE-12/method", subject{method: "G(T"}, []string{as(alice)}, 400},
		{"host/unknown", subject{host: "no.test"}, []string{as(alice)}, 404},
		{"host/return", subject{host: "port.test:8080"}, []string{as(alice)}, 404},
		{"host/spelling", subject{host: "APP.test.:80"}, []string{as(alice)}, 200},
	}
	for _, target := range []string{
		"/public/../private", "/public/%2e%2e/private", "/public/%2E./private", "/public/..%2fprivate", "/public/%2e%2e%2fprivate",
		"/public//../private", "/public/..;/private", "/public/.;/../private", "/public/%252e%252e/private", `/public/..\private`,
		"/public/..%5cprivate", "/public%2f..%2fprivate", "//public/x", "/./private/../public", "/PUBLIC/x",
		"/public/..%3bx/private", "/public/x/..%2f..%2fprivate", "/%70ublic/x",
	} {
		rows = append(rows, row{"SK-02" + target, get(target), []string{xhr}, 401})
	}
	for _, target := range []string{"/%5fgate/login", "/_gate%2flogin", "/public/../_gate/login", "/_GATE/login", "//_gate/login", "/x/..;/_gate/login"} {
		rows = append(rows, row{"RULE-18" + target, get(target), []string{as(alice)}, 404})
	}
	for _, one := range rows {
		t.Run(one.id, func(t *testing.T) {
			filled := one.s.filled()
			before := len(up.heard())
			front := w.raw(filled.method, filled.method+" "+filled.target+" HTTP/1.1\r\nHost: "+filled.host+"\r\n"+strings.Join(append(one.lines, "X-None: 1"), "\r\n")+"\r\n\r\n")
			if front.StatusCode != one.status {
				t.Fatalf("in front of the app: got %s, want %d", front.Status, one.status)
			}
			passed := one.status == http.StatusOK || one.status == http.StatusSwitchingProtocols
			if reached := len(up.heard()) > before; reached != passed {
				t.Fatalf("in front of the app: it got %d requests", len(up.heard())-before)
			}
			for _, kind := range kinds {
				if kind == "envoy" && (one.id == "RULE-12/method" || one.id == "SK-01/b-raw") {
					continue // net/http answers those by itself
				}
				beside := w.check(kind, one.s, one.lines...)
				if passed {
					same(t, kind, beside, up.last())
					continue
				}
				refused(t, kind, front, beside)
			}
		})
	}
}

// same checks that a check says of a request what the app was told of it in the other placement.
func same(t *testing.T, kind string, beside *answer, head string) {
	t.Helper()
	if beside.StatusCode != http.StatusOK || beside.body != "" {
		t.Fatalf("%s: got %s with %q, want 200", kind, beside.Status, beside.body)
	}
	for _, name := range []string{"X-Auth-Request-User", "X-Auth-Request-Email", "X-Auth-Request-Groups", "X-Auth-Email", "X-Auth-Name", "Cookie"} {
		want := strings.Join(values(head, name), "; ")
		if got := beside.Header[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s: %s is %q, in front of the app it is %q", kind, name, got, want)
		}
	}
	for _, name := range []string{"Connection", "Upgrade", "Set-Cookie"} {
		if name != "Connection" && beside.Header.Get(name) != "" || strings.EqualFold(beside.Header.Get(name), "upgrade") {
			t.Errorf("%s: the answer carries %s %q", kind, name, beside.Header.Get(name))
		}
	}
}

// refused checks that a check is refused like the request itself, as far as the dialect can say it.
func refused(t *testing.T, kind string, front, beside *answer) {
	t.Helper()
	want := front.StatusCode
	switch {
	case want == http.StatusSeeOther && kind == "nginx":
		want = http.StatusUnauthorized
		if beside.Header.Get("X-Gatehouse-Login") != front.Header.Get("Location") {
			t.Errorf("login is %q, want %q", beside.Header.Get("X-Gatehouse-Login"), front.Header.Get("Location"))
		}
	case want == http.StatusSeeOther:
		want = http.StatusFound
		if beside.Header.Get("Location") != front.Header.Get("Location") {
			t.Errorf("%s: Location is %q, want %q", kind, beside.Header.Get("Location"), front.Header.Get("Location"))
		}
	}
	if beside.StatusCode != status(kind, want) {
		t.Errorf("%s: got %s, in front of the app it is %s", kind, beside.Status, front.Status)
	}
	no(t, kind, beside)
	plain := strings.HasPrefix(front.Header.Get("Content-Type"), "text/plain") // net/http's own answer
	if kind == "nginx" || want == http.StatusFound || front.Request.Method == http.MethodHead || plain {
		return
	}
	if lost := "what you sent was not passed on"; strings.Contains(beside.body, lost) != strings.Contains(front.body, lost) {
		t.Errorf("%s: says %q, in front of the app it is %q", kind, beside.body, front.body)
	}
	for _, name := range []string{"Content-Type", "Allow", "Vary", "Access-Control-Allow-Origin"} {
		if beside.Header.Get(name) != front.Header.Get(name) {
			t.Errorf("%s: %s is %q, in front of the app it is %q", kind, name, beside.Header.Get(name), front.Header.Get(name))
		}
	}
}
