package proxy_test

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/proxy"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

func TestBackgroundRequestsGet401(t *testing.T) {
	up := newApp(t, nil)
	w := newWorld(t, setup{routes: []proxy.Route{{Host: "app.test", Path: "/", Origins: []string{"https://ui.test"}, Next: up.upstream(proxy.Target{})}}})
	dead, key := w.signIn(w.alice)
	if err := w.store.End(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	socket := "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
	for name, lines := range map[string]string{
		"json": "Accept: application/json", "axios": "Accept: application/json, text/plain, */*", "events": "Accept: text/event-stream",
		"cors": "Accept: */*\r\nSec-Fetch-Mode: cors", "jquery": "Accept: text/html, */*; q=0.01\r\nX-Requested-With: XMLHttpRequest",
		"grpc": "Content-Type: application/grpc", "image": "Accept: image/avif,*/*\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image", "socket": socket,
		"frame": "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe", "prefetch": nav + "\r\nSec-Purpose: prefetch", "curl": "Accept: */*",
		"dead": "Accept: application/json\r\nCookie: " + dead,
	} {
		t.Run("PX-01/"+name, func(t *testing.T) {
			res := w.ask("GET", "/x", lines)
			if res.StatusCode != http.StatusUnauthorized || res.Header.Get("Location") != "" || res.Header.Get("Set-Cookie") != "" {
				t.Fatalf("got %s, Location %q, Set-Cookie %q", res.Status, res.Header.Get("Location"), res.Header.Get("Set-Cookie"))
			}
			if strings.Contains(lines, "text/html") {
				return
			}
			var body struct{ Login string }
			if err := json.Unmarshal([]byte(res.body), &body); err != nil || !strings.HasPrefix(body.Login, "http://gw.test/_gate/login?next=") {
				t.Errorf("the body %q names no login: %v", res.body, err)
			}
		})
	}
	for _, method := range []string{"POST", "PUT"} {
		t.Run("PX-01/"+method, func(t *testing.T) {
			res := w.raw(method, method+" /x HTTP/1.1\r\nHost: app.test\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
			if res.StatusCode != http.StatusUnauthorized || res.Header.Get("Location") != "" {
				t.Errorf("got %s to %q", res.Status, res.Header.Get("Location"))
			}
		})
	}
	t.Run("PX-01/nav", func(t *testing.T) {
		if res := w.ask("GET", "/x", nav); res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(res.Header.Get("Location"), "http://gw.test/_gate/login?next=") {
			t.Errorf("got %s to %q", res.Status, res.Header.Get("Location"))
		}
	})
	t.Run("PX-01/listed", func(t *testing.T) {
		h := w.ask("GET", "/x", xhr, "Origin: https://ui.test").Header
		if h.Get("Access-Control-Allow-Origin") != "https://ui.test" || h.Get("Access-Control-Allow-Credentials") != "true" || !strings.Contains(h.Get("Vary"), "Origin") {
			t.Errorf("got %v", h)
		}
	})
	for _, origin := range []string{"https://evil.test", "null", "http://ui.test", "https://ui.test:444", "https://UI.test"} {
		t.Run("PX-01/unlisted-"+origin, func(t *testing.T) {
			if h := w.ask("GET", "/x", xhr, "Origin: "+origin).Header; h.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("got %v", h)
			}
		})
	}
	if got := up.bytes(); got != "" {
		t.Errorf("the app got %q", got)
	}
}

func TestOptionsAndHead(t *testing.T) { engines(t, testOptionsAndHead) }

func testOptionsAndHead(t *testing.T) {
	up := newApp(t, func(conn net.Conn, head string) {
		if strings.HasPrefix(head, "HEAD") {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n")
			return
		}
		_, _ = io.WriteString(conn, ok)
	})
	next := up.upstream(proxy.Target{})
	w := newWorld(t, setup{routes: []proxy.Route{
		{Host: "app.test", Path: "/", Next: next},
		{Host: "app.test", Path: "/api", AllowPreflight: true, Methods: []string{"GET", "PUT"}, Next: next},
	}})
	preflight := "Origin: https://ui.test\r\nAccess-Control-Request-Method: PUT"
	for name, one := range map[string]struct {
		method, target, lines string
	}{
		"PX-02/a":              {"OPTIONS", "/private", preflight},
		"PX-02/c":              {"OPTIONS", "/api/x", "Origin: https://ui.test"},
		"PX-02/d":              {"HEAD", "/private", nav},
		"PX-02/g":              {"GET", "/api/x", "X-HTTP-Method-Override: OPTIONS\r\n" + preflight},
		"PX-02/b-other-method": {"OPTIONS", "/api/x", "Origin: https://ui.test\r\nAccess-Control-Request-Method: DELETE"},
	} {
		t.Run(name, func(t *testing.T) {
			res := w.ask(one.method, one.target, one.lines)
			denied(t, res, up)
			if one.method == "OPTIONS" && res.StatusCode < http.StatusBadRequest || one.method == "HEAD" && res.body != "" {
				t.Errorf("got %s with %q", res.Status, res.body)
			}
		})
	}
	t.Run("PX-02/b", func(t *testing.T) {
		res := w.ask("OPTIONS", "/api/x", preflight, w.authed(), "X-Auth-Email: root")
		if head := up.last(); res.StatusCode != http.StatusOK || len(values(head, "Cookie")) != 0 || len(values(head, "X-Auth-Email")) != 0 || len(values(head, "Origin")) != 1 {
			t.Errorf("got %s, the app %q", res.Status, head)
		}
	})
	t.Run("PX-02/b-override", func(t *testing.T) {
		// This route rules no method, but who has no session is let through for a preflight and nothing else.
		w := newWorld(t, setup{routes: []proxy.Route{{Host: "app.test", Path: "/", AllowPreflight: true, Next: next}}})
		res := w.ask("OPTIONS", "/x", preflight, "X-HTTP-Method-Override: DELETE", "X_Http_Method: DELETE")
		if head := up.last(); res.StatusCode != http.StatusOK || strings.Contains(head, "DELETE") {
			t.Errorf("got %s, the app %q", res.Status, head)
		}
	})
	t.Run("PX-02/e", func(t *testing.T) {
		res := w.ask("HEAD", "/private", w.authed())
		if res.StatusCode != http.StatusOK || res.Header.Get("Content-Length") != "1234" || res.body != "" {
			t.Errorf("got %s, Content-Length %q, %q", res.Status, res.Header.Get("Content-Length"), res.body)
		}
	})
	t.Run("PX-02/g-authed", func(t *testing.T) {
		w.ask("HEAD", "/api/x", w.authed(), "X-HTTP-Method-Override: DELETE", "X_Http_Method: DELETE", "X-Method-Override: DELETE")
		if strings.Contains(up.last(), "DELETE") {
			t.Errorf("RULE-14: the app got %q", up.last())
		}
	})
}

func TestPostMeetsAnExpiredSession(t *testing.T) {
	w, up := plainWorld(t)
	for name, one := range map[string]struct{ referer, next string }{
		"PX-03/a":      {"Referer: http://app.test/edit?id=7", "http%3A%2F%2Fapp.test%2Fedit%3Fid%3D7"},
		"PX-03/b":      {"X-None: 1", "http%3A%2F%2Fapp.test%2F"},
		"PX-03/c":      {"Referer: http://evil.test/edit", "http%3A%2F%2Fapp.test%2F"},
		"PX-03/c-user": {"Referer: http://app.test@evil.test/edit", "http%3A%2F%2Fapp.test%2F"},
	} {
		t.Run(name, func(t *testing.T) {
			res := w.raw("POST", "POST /form HTTP/1.1\r\nHost: app.test\r\nCookie: gate=x\r\n"+nav+"\r\n"+one.referer+"\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n\r\na=b")
			if res.StatusCode != http.StatusUnauthorized || !strings.Contains(res.body, `href="http://gw.test/_gate/login?next=`+one.next+`"`) {
				t.Errorf("got %s with %s, want a link back to %s", res.Status, res.body, one.next)
			}
		})
	}
	t.Run("PX-03/d", func(t *testing.T) {
		start := time.Now()
		res := w.raw("POST", "POST /form HTTP/1.1\r\nHost: app.test\r\n"+nav+"\r\nContent-Length: 20000000\r\n\r\nabc")
		if res.StatusCode != http.StatusUnauthorized || time.Since(start) > hang/2 {
			t.Errorf("got %s after %v", res.Status, time.Since(start))
		}
	})
	if got := up.bytes(); got != "" {
		t.Errorf("the app got %q", got)
	}
}

func TestTheSameCookieTwice(t *testing.T) {
	w, _ := plainWorld(t)
	valid, _ := w.signIn(w.alice)
	stale := "gate=" + string(w.keys.Mint())
	for name, lines := range map[string][]string{
		"CK-01/a": {"Cookie: " + stale + "; " + valid}, "CK-01/b": {"Cookie: " + valid + "; " + stale}, "CK-01/c": {"Cookie: " + stale, "Cookie: " + valid},
	} {
		t.Run(name, func(t *testing.T) {
			if res := w.ask("GET", "/", lines...); res.StatusCode != http.StatusOK {
				t.Errorf("got %s", res.Status)
			}
		})
	}
	t.Run("CK-01/e", func(t *testing.T) {
		var many []string
		for range 30 {
			many = append(many, "gate="+string(w.keys.Mint()))
		}
		before := w.faulty.Calls(storetest.Find)
		if res := w.ask("GET", "/", "Cookie: "+strings.Join(many, "; "), xhr); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("got %s", res.Status)
		}
		if n := w.faulty.Calls(storetest.Find) - before; n > 4 {
			t.Errorf("%d look-ups for one request", n)
		}
	})
	t.Run("RULE-07", func(t *testing.T) {
		other, _ := w.signIn(must(w.store.AddUser(t.Context(), "mallory@corp.test", "", nil)))
		res := w.ask("GET", "/app/x", "Cookie: "+valid+"; "+other, nav)
		cleared := strings.Join(res.Header["Set-Cookie"], "\n")
		// One that a neighbour planted under a longer path must go too, or every sign-in ends here.
		if res.StatusCode != http.StatusBadRequest || !strings.Contains(cleared, "gate=; Path=/;") || !strings.Contains(cleared, "gate=; Path=/app;") {
			t.Errorf("got %s, Set-Cookie %q", res.Status, cleared)
		}
	})
}

func TestCouldNotFindOutIsNeitherYesNorNo(t *testing.T) {
	engines(t, testCouldNotFindOutIsNeitherYesNorNo)
}

func testCouldNotFindOutIsNeitherYesNorNo(t *testing.T) {
	up := newApp(t, nil)
	next := up.upstream(proxy.Target{})
	w := newWorld(t, setup{routes: append(routes(next), proxy.Route{Host: "app.test", Path: "/wiki", Access: proxy.Identify, Next: next})})
	line := w.authed()
	w.faulty.Fail(storetest.Find, errors.New("refused"))
	for _, kind := range []string{nav, xhr} {
		for _, target := range []string{"/", "/wiki"} {
			res := w.ask("GET", target, line, kind)
			if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || res.Header.Get("Set-Cookie") != "" || res.Header.Get("Location") != "" {
				t.Errorf("%s: got %s %v", target, res.Status, res.Header)
			}
		}
	}
	if got := up.bytes(); got != "" {
		t.Errorf("the app got %q", got)
	}
	if res := w.ask("GET", "/public/x", line); res.StatusCode != http.StatusOK {
		t.Errorf("a public route asked the store: %s", res.Status)
	}
	w.faulty.Heal(storetest.Find)
	w.ask("GET", "/wiki", line)
	once(t, up.last(), "X-Auth-Email", "alice@corp.test")
	w.ask("GET", "/wiki", "X-Auth-Email: root")
	once(t, up.last(), "X-Auth-Email", "")
}

func TestForbiddenSaysAsWhom(t *testing.T) {
	up := newApp(t, nil)
	w := newWorld(t, setup{routes: []proxy.Route{{Host: "app.test", Path: "/", Allow: proxy.Allow{Roles: []string{"admin"}}, Next: up.upstream(proxy.Target{})}}})
	res := w.ask("GET", "/x", w.authed(), nav)
	if res.StatusCode != http.StatusForbidden || !strings.Contains(res.body, "alice@corp.test") || !strings.Contains(res.body, "prompt=select_account") {
		t.Errorf("got %s %s", res.Status, res.body)
	}
	if rec := w.record(1); rec.Who.User != "alice@corp.test" || rec.Outcome.Verdict != "forbidden" {
		t.Errorf("recorded %+v", rec)
	}
}

func TestCrossOrigin(t *testing.T) {
	up := newApp(t, func(conn net.Conn, head string) {
		if strings.Contains(head, "Upgrade: websocket") {
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			_ = conn.Close()
			return
		}
		_, _ = io.WriteString(conn, ok)
	})
	next := up.upstream(proxy.Target{})
	w := newWorld(t, setup{routes: []proxy.Route{
		{Host: "app.test", Path: "/", Origins: []string{"https://ui.test"}, Next: next},
		{Host: "app.test", Path: "/wiki", Access: proxy.Identify, Next: next},
	}})
	socket := "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
	for origin, want := range map[string]int{
		"http://app.test": 200, "https://ui.test": 200, "https://evil.test": 403, "null": 403, "http://ui.test": 403,
		"https://ui.test:8443": 403, "http://app.test:81": 403, "http://app.test.evil.test": 403, "https://app.test": 403,
	} {
		t.Run("RULE-10/"+origin, func(t *testing.T) {
			if res := w.ask("GET", "/x", w.authed(), "Origin: "+origin, xhr); res.StatusCode != want {
				t.Errorf("got %s, want %d", res.Status, want)
			}
			conn := w.dial()
			_, _ = io.WriteString(conn, "GET /x HTTP/1.1\r\nHost: app.test\r\n"+w.authed()+"\r\nOrigin: "+origin+"\r\n"+socket+"\r\n\r\n")
			head := make([]byte, len("HTTP/1.1 101"))
			_, _ = io.ReadFull(conn, head)
			if ok := string(head) == "HTTP/1.1 101"; ok != (want == 200) {
				t.Errorf("the handshake got %q", head)
			}
		})
	}
	t.Run("RULE-10/null-same-origin", func(t *testing.T) {
		if res := w.ask("GET", "/x", w.authed(), "Origin: null", "Sec-Fetch-Site: same-origin"); res.StatusCode != http.StatusOK {
			t.Errorf("got %s", res.Status)
		}
		if res := w.ask("GET", "/x", w.authed(), "Origin: null", "Sec-Fetch-Site: cross-site"); res.StatusCode != http.StatusForbidden {
			t.Errorf("got %s", res.Status)
		}
	})
	t.Run("RULE-10/identify", func(t *testing.T) {
		if res := w.ask("GET", "/wiki", w.authed(), "Origin: https://evil.test"); res.StatusCode != http.StatusOK {
			t.Errorf("got %s", res.Status)
		}
		once(t, up.last(), "X-Auth-Email", "")
	})
}

func TestNothingSensitiveInCaches(t *testing.T) { engines(t, testNothingSensitiveInCaches) }

func testNothingSensitiveInCaches(t *testing.T) {
	said, early := "", ""
	up := newApp(t, func(conn net.Conn, _ string) {
		_, _ = io.WriteString(conn, early+strings.Replace(ok, "\r\n\r\n", "\r\n"+said+"\r\n", 1))
	})
	next := up.upstream(proxy.Target{})
	w := newWorld(t, setup{routes: append(routes(next), proxy.Route{Host: "app.test", Path: "/shared", SharedCache: true, Next: next})})
	for _, one := range []struct{ name, target, said, want string }{
		{"LO-02/i", "/", "", "private"},
		{"LO-02/ii", "/", "Cache-Control: public, max-age=60\r\n", "max-age=60, private"},
		{"RULE-14/s-maxage", "/", "Cache-Control: s-maxage=9\r\nCache-Control: Public\r\n", "private"},
		{"RULE-14/max-age", "/", "Cache-Control: max-age=60\r\n", "max-age=60, private"},
		{"RULE-14/no-store", "/", "Cache-Control: no-store\r\n", "no-store"},
		{"RULE-14/private", "/", "Cache-Control: private, public\r\n", "private"},
		{"RULE-14/shared", "/shared", "Cache-Control: public, s-maxage=9\r\n", "public, s-maxage=9"},
		{"RULE-14/shared-absent", "/shared", "", "private"},
		{"RULE-14/public", "/public/x", "Cache-Control: public\r\n", "public"},
		{"RULE-14/public-absent", "/public/x", "", ""},
	} {
		t.Run(one.name, func(t *testing.T) {
			said = one.said + "Surrogate-Control: max-age=9\r\n"
			res := w.ask("GET", one.target, w.authed())
			if got := res.Header.Get("Cache-Control"); got != one.want {
				t.Errorf("got %q, want %q", got, one.want)
			}
			if one.target == "/" && res.Header.Get("Surrogate-Control") != "" {
				t.Error("a surrogate may still store it")
			}
		})
	}
	t.Run("LO-02/ours", func(t *testing.T) {
		for _, res := range []*answer{
			w.ask("GET", "/", nav), w.ask("GET", "/", xhr), w.ask("GET", "/%00", xhr), w.ask("GET", "/", "Host: no.test"), w.ask("POST", "/public/x"),
		} {
			if got := res.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("%s: Cache-Control is %q", res.Status, got)
			}
		}
	})
	t.Run("PX-10/i RULE-14/cookies", func(t *testing.T) {
		said = "Set-Cookie: gate=evil; Path=/\r\nSet-Cookie: app=2\r\nSet-Cookie: __Host-gate=evil\r\nSet-Cookie: =gate=evil\r\nSet-Cookie: gate-attempt-x=1\r\nSet-Cookie:  __Secure-gate =1\r\n"
		early = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nSet-Cookie: gate=evil\r\n\r\n"
		if hints := w.ask("GET", "/", w.authed()); hints.StatusCode != http.StatusEarlyHints || hints.Header.Get("Link") == "" || hints.Header.Get("Set-Cookie") != "" {
			t.Errorf("the hints are %s %v", hints.Status, hints.Header)
		}
		early = ""
		for _, target := range []string{"/", "/public/x"} {
			if got := w.ask("GET", target, w.authed()).Header["Set-Cookie"]; len(got) != 1 || got[0] != "app=2" {
				t.Errorf("%s: the client got %q", target, got)
			}
		}
	})
}

func TestMethodsAreRuled(t *testing.T) {
	w, up := plainWorld(t)
	res := w.ask("POST", "/public/x", w.authed(), "Content-Length: 0")
	if res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "GET" {
		t.Errorf("got %s, Allow %q; it must not fall through to /", res.Status, res.Header.Get("Allow"))
	}
	if got := up.bytes(); got != "" {
		t.Errorf("the app got %q", got)
	}
	if res := w.ask("HEAD", "/public/x"); res.StatusCode != http.StatusOK {
		t.Errorf("GET does not imply HEAD: %s", res.Status)
	}
}

// RULE-17: a request that still meets the old Proxy is judged by the old rules, whole. What is running
// is judged by the new ones: TestStreamsEndWithTheSession.
func TestLatest(t *testing.T) {
	w, up := plainWorld(t)
	line := w.authed()
	w.latest.Store(must(proxy.NewTable([]proxy.Route{{Host: "app.test", Path: "/", Allow: proxy.Allow{Emails: []string{"bob@corp.test"}}, Next: up.upstream(proxy.Target{})}})))
	if res := w.ask("GET", "/", line); res.StatusCode != http.StatusOK {
		t.Errorf("got %s", res.Status)
	}
}
