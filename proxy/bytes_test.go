package proxy_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/proxy"
	"github.com/gatehouse-auth/gatehouse/web"
)

func TestTargetBytesPassUnchanged(t *testing.T) { engines(t, testTargetBytesPassUnchanged) }

func testTargetBytesPassUnchanged(t *testing.T) {
	w, up := plainWorld(t)
	many := strings.Repeat("a=1&", 1800) + "z"
	for _, one := range []struct{ id, method, target string }{
		{"SK-03", "POST", "//api/items"},
		{"SK-03", "PATCH", "/resources//item"},
		{"SK-03", "GET", "/a/%2F%2Fb"},
		{"SK-03", "GET", "/x%2Fy/"},
		{"SK-03", "GET", "/x/./y"},
		{"SK-03", "GET", "/x"},
		{"SK-03", "GET", "/x?"},
		{"SK-03", "GET", "/%E2%82%AC"},
		{"SK-03", "GET", "/%e2%82%ac"},
		{"SK-03", "GET", "/a|b"},
		{"SK-03", "GET", "//a%2fb?x"},
		{"SK-03", "GET", "/caf\xe9"},
		{"SK-03", "GET", "/a;b=c/%41"},
		{"SK-03", "GET", "//"},
		{"SK-03", "DELETE", "/"},
		{"SK-05", "GET", "/s?a=1;b=2&c=%zz&d=4&e"},
		{"SK-05", "GET", "/s?" + many},
		{"SK-05", "GET", "/s??=&&"},
	} {
		t.Run(fmt.Sprintf("%s%.40s", one.id, one.target), func(t *testing.T) {
			before := len(up.heard())
			lines := []string{w.authed()}
			body := ""
			if one.method == "POST" || one.method == "PATCH" {
				body = "hello"
				lines = append(lines, "Content-Length: 5")
			}
			res := w.raw(one.method, one.method+" "+one.target+" HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n"+strings.Join(lines, "\r\n")+"\r\n\r\n"+body)
			if res.StatusCode != http.StatusOK {
				t.Fatalf("got %s %q", res.Status, res.body)
			}
			heads := up.heard()
			if len(heads) != before+1 {
				t.Fatalf("the app got %d requests, want one", len(heads)-before)
			}
			if want := one.method + " " + one.target + " HTTP/1.1\r\nHost: app.test\r\n"; !strings.HasPrefix(heads[before], want) {
				t.Errorf("the app got %.200q, want %.200q", heads[before], want)
			}
			if body != "" && !strings.HasSuffix(up.bytes(), "\r\n\r\n"+body) {
				t.Error("the body did not arrive")
			}
		})
	}
}

// SK-05 with 10,050 parameters needs a longer target than the limit of these tests, so it goes to the
// proxy without one in front.
func TestTenThousandParameters(t *testing.T) { engines(t, testTenThousandParameters) }

func testTenThousandParameters(t *testing.T) {
	t.Run("SK-05/10050", func(t *testing.T) {
		w, up := plainWorld(t)
		query := strings.Repeat("a&", 10050) + "z"
		recorder := web.Recorder{}
		w.server.Handler = recorder.Wrap(web.Handler(w.proxy.Serve))
		if res := w.ask("GET", "/s?"+query, w.authed()); res.StatusCode != http.StatusOK {
			t.Fatalf("got %s", res.Status)
		}
		if !strings.HasPrefix(up.last(), "GET /s?"+query+" HTTP/1.1\r\n") {
			t.Error("the query changed on the way")
		}
	})
}

func TestWhatTheAppIsTold(t *testing.T) { engines(t, testWhatTheAppIsTold) }

func testWhatTheAppIsTold(t *testing.T) {
	trusted := []web.TrustedPeer{{From: "127.0.0.1", Headers: []string{"for", "proto", "host"}}}
	claims := strings.Join([]string{
		"X-Forwarded-For: 192.0.2.7, 203.0.113.9", "X-Forwarded-Proto: https", "X-Forwarded-Host: app.test", "X-Forwarded-Port: 99", "Forwarded: for=192.0.2.7",
		"X-Real-Ip: 192.0.2.7", "X-Original-Url: /x", "X-Forwarded-Uri: /x", "X_Forwarded_For: 192.0.2.7", "X-Request-Id: spoofed",
	}, "\r\n")
	for _, one := range []struct {
		name   string
		peers  []web.TrustedPeer
		client string
		scheme string
	}{{"untrusted", nil, "127.0.0.1", "http"}, {"trusted", trusted, "203.0.113.9", "https"}} {
		t.Run(one.name, func(t *testing.T) {
			up := newApp(t, nil)
			w := newWorld(t, setup{routes: routes(up.upstream(proxy.Target{})), peers: one.peers})
			if res := w.ask("GET", "/", w.authed(), claims); res.StatusCode != http.StatusOK {
				t.Fatalf("got %s", res.Status)
			}
			head := up.last()
			for name, want := range map[string]string{
				"X-Forwarded-For": one.client, "X-Real-Ip": one.client, "X-Forwarded-Proto": one.scheme, "X-Forwarded-Host": "app.test",
				"X-Forwarded-Port": "", "Forwarded": "", "X-Original-Url": "", "X-Forwarded-Uri": "",
			} {
				once(t, head, name, want)
			}
			if strings.Contains(head, "spoofed") || !strings.Contains(head, "Cookie: app=1; theme=dark\r\n") {
				t.Errorf("the app got %q", head)
			}
		})
	}
}

func TestHostChoiceAndStrippedPrefix(t *testing.T) { engines(t, testHostChoiceAndStrippedPrefix) }

func testHostChoiceAndStrippedPrefix(t *testing.T) {
	up := newApp(t, nil)
	w := newWorld(t, setup{routes: []proxy.Route{
		{Host: "app.test", Path: "/", Next: up.upstream(proxy.Target{})},
		{Host: "app.test", Path: "/own", Next: up.upstream(proxy.Target{Host: "upstream"})},
		{Host: "app.test", Path: "/named", Next: up.upstream(proxy.Target{Host: "legacy.corp"})},
		{Host: "app.test", Path: "/sub/app", Next: up.upstream(proxy.Target{Strip: "/sub/app"})},
	}})
	for target, want := range map[string]string{
		"/x":                "GET /x HTTP/1.1\r\nHost: app.test\r\n",
		"/own/x":            "GET /own/x HTTP/1.1\r\nHost: " + up.addr + "\r\n",
		"/named":            "GET /named HTTP/1.1\r\nHost: legacy.corp\r\n",
		"/sub/app":          "GET / HTTP/1.1\r\nHost: app.test\r\n",
		"/sub/app?q":        "GET /?q HTTP/1.1\r\nHost: app.test\r\n",
		"/sub/app/x%2Fy/?q": "GET /x%2Fy/?q HTTP/1.1\r\nHost: app.test\r\n",
		"/sub/app//x":       "GET //x HTTP/1.1\r\nHost: app.test\r\n",
		"/sub/application":  "GET /sub/application HTTP/1.1\r\nHost: app.test\r\n",
	} {
		if res := w.ask("GET", target, w.authed()); res.StatusCode != http.StatusOK {
			t.Fatalf("%s: got %s", target, res.Status)
		}
		if head := up.last(); !strings.HasPrefix(head, want) {
			t.Errorf("%s: the app got %q, want %q", target, head, want)
		}
		if strings.HasPrefix(target, "/sub/app/") || target == "/sub/app" {
			once(t, up.last(), "X-Forwarded-Prefix", "/sub/app")
		}
	}
}

// With a prefix cut off, an app must not read a path as one that was not judged.
func TestStrippedPrefixIsNotLeft(t *testing.T) { engines(t, testStrippedPrefixIsNotLeft) }

func testStrippedPrefixIsNotLeft(t *testing.T) {
	up := newApp(t, nil)
	app := up.upstream(proxy.Target{Strip: "/app"})
	w := newWorld(t, setup{routes: []proxy.Route{
		{Host: "app.test", Path: "/", Next: app},
		{Host: "app.test", Path: "/app", Next: app},
		{Host: "app.test", Path: "/app/admin", Allow: proxy.Allow{Roles: []string{"root"}}, Next: app},
		{Host: "app.test", Path: "/app/app", Allow: proxy.Allow{Roles: []string{"root"}}, Next: app},
	}})
	for _, path := range []string{
		"/app/../admin", "/app/%2e%2e/admin", "/app/..;/admin", `/app/..\admin`, "/app/x/../../admin", "/app//../../admin", "/app/x/../../app/../admin", "/app/x/../../app/y",
	} {
		t.Run("SK-02/"+path, func(t *testing.T) { denied(t, w.ask("GET", path, w.authed()), up) })
	}
	for path, want := range map[string]string{
		"/app/a/../b": "/a/../b", "/app//x": "//x", "/app/%2e/x": "/%2e/x", "/app/a%2Fb;c=1/./d": "/a%2Fb;c=1/./d", "/app/": "/", "/app/x/..": "/x/..",
	} {
		t.Run("SK-02/"+path, func(t *testing.T) {
			if res := w.ask("GET", path, w.authed()); res.StatusCode != http.StatusOK || !strings.HasPrefix(up.last(), "GET "+want+" ") {
				t.Errorf("%d, the app got %.40q", res.StatusCode, up.last())
			}
		})
	}
}

// An app that does not read the body of a GET must not find another request in it.
func TestBodyOfMethodWithout(t *testing.T) { engines(t, testBodyOfMethodWithout) }

func testBodyOfMethodWithout(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "DELETE", "OPTIONS"} {
		t.Run("PX-14/"+method, func(t *testing.T) {
			w, up := plainWorld(t)
			const body = "GET /smuggled HTTP/1.1\r\n\r\n"
			request := fmt.Sprintf("%s / HTTP/1.1\r\nHost: app.test\r\n%s\r\nContent-Length: %d\r\n\r\n%s", method, w.authed(), len(body), body)
			if res := w.raw(method, request); res.StatusCode != http.StatusOK {
				t.Fatal(res.Status)
			}
			if got := values(up.last(), "Connection"); len(got) != 1 || got[0] != "close" {
				t.Errorf("Connection to the app: %q", got)
			}
		})
	}
}
