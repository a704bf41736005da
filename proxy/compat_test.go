package proxy_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/gatehouse-auth/gatehouse/proxy"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
	"github.com/gatehouse-auth/gatehouse/web"
)

// compat asks as a configuration for oauth2-proxy does.
func (w *world) compat(query string, lines ...string) *answer {
	w.t.Helper()
	return w.ask("GET", "/_gate/auth"+query, append([]string{"Host: app.test"}, lines...)...)
}

func TestDropInMode(t *testing.T) {
	next := http.NotFoundHandler()
	w := checkWorld(t, setup{routes: append(routes(next),
		proxy.Route{Host: "app.test", Path: "/admin", Allow: proxy.Allow{Roles: []string{"admin"}}, Next: next},
		proxy.Route{Host: "app.test", Path: "/mixed", Methods: []string{"GET"}, Next: next},
		proxy.Route{Host: "app.test", Path: "/mixed", Methods: []string{"DELETE"}, Allow: proxy.Allow{Roles: []string{"admin"}}, Next: next},
		proxy.Route{Host: "app.test", Path: "/assets", Access: proxy.Public, Next: next},
	)})
	alice := w.authed()
	for _, one := range []struct {
		name, query string
		lines       []string
		want        int
		email       string
	}{
		{"nobody", "", nil, 401, ""},
		{"nobody-navigation", "", []string{nav}, 401, ""},
		{"alice", "", []string{alice}, 202, "alice@corp.test"},
		{"uri", "", []string{alice, "X-Forwarded-Uri: /x"}, 202, "alice@corp.test"},
		{"uri-forbidden", "", []string{alice, "X-Forwarded-Uri: /admin/x"}, 403, ""},
		{"redirect-forbidden", "", []string{alice, "X-Auth-Request-Redirect: /admin/x?y"}, 403, ""},
		{"redirect-absolute", "", []string{alice, "X-Auth-Request-Redirect: https://app.test/admin"}, 403, ""},
		{"redirect-elsewhere", "", []string{alice, "X-Auth-Request-Redirect: https://other.test/x"}, 403, ""},
		{"both", "", []string{alice, "X-Forwarded-Uri: /x?a", "X-Auth-Request-Redirect: http://app.test/x?a"}, 202, "alice@corp.test"},
		{"both-differ", "", []string{alice, "X-Forwarded-Uri: /assets/x", "X-Auth-Request-Redirect: /x"}, 403, ""},
		{"both-differ-turned", "", []string{alice, "X-Forwarded-Uri: /x", "X-Auth-Request-Redirect: /assets/x"}, 403, ""},
		{"twice", "", []string{alice, "X-Forwarded-Uri: /x", "X-Forwarded-Uri: /assets"}, 403, ""},
		{"malformed", "", []string{alice, "X-Forwarded-Uri: x"}, 403, ""},
		{"no-route", "", []string{alice, "X-Forwarded-Uri: /x", "X-Forwarded-Host: no.test"}, 403, ""},
		{"public", "", []string{"X-Forwarded-Uri: /assets/x"}, 202, ""},
		{"public-some-methods", "", []string{"X-Forwarded-Uri: /public/x"}, 401, ""},
		{"public-some-methods-alice", "", []string{alice, "X-Forwarded-Uri: /public/x"}, 202, "-"},
		{"public-method", "", []string{"X-Forwarded-Uri: /public/x", "X-Forwarded-Method: GET"}, 202, ""},
		{"public-other-method", "", []string{alice, "X-Forwarded-Uri: /public/x", "X-Forwarded-Method: POST"}, 403, ""},
		{"method-unknown", "", []string{alice, "X-Forwarded-Uri: /mixed"}, 403, ""},
		{"method-known", "", []string{alice, "X-Forwarded-Uri: /mixed", "X-Forwarded-Method: GET"}, 202, "alice@corp.test"},
		{"groups", "?allowed_groups=staff", []string{alice}, 202, "alice@corp.test"},
		{"groups-any", "?allowed_groups=none,ops", []string{alice}, 202, "alice@corp.test"},
		{"groups-other", "?allowed_groups=admin", []string{alice}, 403, ""},
		{"groups-empty", "?allowed_groups=", []string{alice}, 403, ""},
		{"emails", "?allowed_emails=bob@corp.test,Alice@Corp.test", []string{alice}, 202, "alice@corp.test"},
		{"emails-other", "?allowed_emails=bob@corp.test", []string{alice}, 403, ""},
		{"domains", "?allowed_email_domains=corp.test", []string{alice}, 202, "alice@corp.test"},
		{"domains-other", "?allowed_email_domains=orp.test,test", []string{alice}, 403, ""},
		{"domains-below", "?allowed_email_domains=*.test", []string{alice}, 202, "alice@corp.test"},
		{"all-must-hold", "?allowed_groups=staff&allowed_emails=bob@corp.test", []string{alice}, 403, ""},
		{"twice-or", "?allowed_groups=admin&allowed_groups=staff", []string{alice}, 202, "alice@corp.test"},
		{"demand-on-public", "?allowed_groups=staff", []string{"X-Forwarded-Uri: /assets/x"}, 401, ""},
		{"demand-on-public-alice", "?allowed_groups=staff", []string{alice, "X-Forwarded-Uri: /assets/x"}, 202, "alice@corp.test"},
		{"demand-on-forbidden", "?allowed_groups=staff", []string{alice, "X-Forwarded-Uri: /admin"}, 403, ""},
		{"unknown-parameter", "?allowed_group=staff", []string{alice}, 403, ""},
		{"malformed-query", "?allowed_groups=staff;x&%zz", []string{alice}, 403, ""},
		{"misspelt", "", []string{alice, "X_Auth_Request_Email: admin"}, 403, ""},
		{"misspelt-preferred", "", []string{alice, "X-Auth-Request-Preferred_Username: admin"}, 403, ""},
		{"origin", "", []string{alice, "Origin: https://evil.test"}, 403, ""},
		{"own-origin", "", []string{alice, "Origin: http://app.test"}, 202, "alice@corp.test"},
	} {
		t.Run("RULE-21/"+one.name, func(t *testing.T) {
			res := w.compat(one.query, one.lines...)
			if res.StatusCode != one.want || res.Header.Get("Location") != "" || res.Header.Get("Set-Cookie") != "" {
				t.Fatalf("got %s, reason %q, want %d", res.Status, res.Header.Get("X-Gatehouse-Reason"), one.want)
			}
			if one.want != http.StatusAccepted {
				no(t, "nginx", res)
				return
			}
			if one.email == "-" {
				return
			}
			identity(t, res, one.email)
			if got := res.Header["X-Auth-Request-Preferred-Username"]; len(got) != 1 || got[0] != one.email || res.body != "" {
				t.Errorf("preferred username is %q, body %q", got, res.body)
			}
		})
	}
	t.Run("RULE-21/store-down", func(t *testing.T) {
		w.faulty.Fail(storetest.Find, fmt.Errorf("refused"))
		if res := w.compat("", alice, nav); res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
			t.Errorf("got %s", res.Status)
		}
	})
}

// RULE-21: who may not tell an address is not believed one, and then nothing is public.
func TestDropInModeBelievesOnlyWhatMayBeTold(t *testing.T) {
	for name, one := range map[string]struct {
		headers []string
		line    string
		want    int
	}{
		"no-uri":         {[]string{"for", "host", "method"}, "X-Forwarded-Uri: /public/x\r\nX-Forwarded-Method: GET", 401},
		"no-uri-admin":   {[]string{"for", "host", "method"}, "X-Auth-Request-Redirect: /public/x", 401},
		"no-method":      {[]string{"uri", "host"}, "X-Forwarded-Uri: /public/x\r\nX-Forwarded-Method: GET", 401},
		"no-host":        {[]string{"uri", "method"}, "X-Forwarded-Uri: /public/x\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Host: other.test", 202},
		"all":            {[]string{"uri", "method", "host"}, "X-Forwarded-Uri: /public/x\r\nX-Forwarded-Method: GET", 202},
		"all-other-host": {[]string{"uri", "method", "host"}, "X-Forwarded-Uri: /public/x\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Host: other.test", 403},
	} {
		t.Run("RULE-21/"+name, func(t *testing.T) {
			w := checkWorld(t, setup{peers: []web.TrustedPeer{{From: "127.0.0.1", Headers: one.headers}}})
			if res := w.compat("", one.line); res.StatusCode != one.want {
				t.Errorf("got %s, want %d", res.Status, one.want)
			}
		})
	}
	t.Run("RULE-21/untrusted", func(t *testing.T) {
		w := checkWorld(t, setup{peers: []web.TrustedPeer{{From: "192.0.2.1", Headers: []string{"for"}}}})
		if res := w.compat("", w.authed()); res.StatusCode != http.StatusForbidden || w.faulty.Calls(storetest.Find) != 0 {
			t.Errorf("got %s", res.Status)
		}
	})
}
