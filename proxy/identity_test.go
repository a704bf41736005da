package proxy_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/proxy"
)

// once checks that a head has exactly one header that an app could take for name, with this value, or
// none if the value is empty.
func once(t *testing.T, head, name, value string) {
	t.Helper()
	var found []string
	for line := range strings.SplitSeq(head, "\r\n") {
		key, val, _ := strings.Cut(line, ":")
		if strings.EqualFold(strings.ReplaceAll(key, "_", "-"), name) {
			found = append(found, key+"="+strings.TrimSpace(val))
		}
	}
	switch {
	case value == "" && len(found) == 0:
	case len(found) != 1 || !strings.EqualFold(found[0], name+"="+value):
		t.Errorf("the app got %q as %s, want only %q", found, name, value)
	}
}

func TestSpoofedIdentityNeverReachesTheApp(t *testing.T) {
	engines(t, testSpoofedIdentityNeverReachesTheApp)
}

func testSpoofedIdentityNeverReachesTheApp(t *testing.T) {
	w, up := plainWorld(t)
	for name, spoof := range map[string]string{
		"ID-01/lower": "x-auth-email: admin", "ID-01/underscores": "X_Auth_Email: admin", "ID-01/mixed": "X-Auth_Email: admin",
		"ID-01/forwarded": "x_forwarded_user: admin", "ID-01/two": "X-Auth-Email: admin\r\nX-Auth-Email: root", "ID-01/empty": "X-Auth-Email:",
		"ID-01/dots": "X.Auth.Email: admin", "ID-01/remote": "Remote-User: admin\r\nREMOTE_USER: admin", "ID-01/connection": "Connection: X-Auth-Email, X-Auth-Request-User",
	} {
		t.Run(name, func(t *testing.T) {
			if res := w.ask("GET", "/", w.authed(), spoof); res.StatusCode != http.StatusOK {
				t.Fatalf("got %s", res.Status)
			}
			head := up.last()
			once(t, head, "X-Auth-Email", "alice@corp.test")
			once(t, head, "X-Auth-Request-User", "alice@corp.test")
			once(t, head, "X-Auth-Request-Groups", "staff,ops")
			once(t, head, "X-Forwarded-User", "")
			once(t, head, "Remote-User", "")
			if strings.Contains(head, "admin") || strings.Contains(head, "root") {
				t.Errorf("a claim of the client reached the app: %q", head)
			}
		})
	}
	t.Run("ID-01/space", func(t *testing.T) {
		if res := w.ask("GET", "/", w.authed(), "X-Auth-Email : admin"); res.StatusCode != http.StatusBadRequest {
			t.Errorf("got %s, want 400", res.Status)
		}
	})
	t.Run("ID-01/trailer", func(t *testing.T) {
		res := w.raw("POST", "POST / HTTP/1.1\r\nHost: app.test\r\n"+w.authed()+"\r\nTransfer-Encoding: chunked\r\nTrailer: X-Auth-Email, X_Auth_Name, X-Sum\r\nConnection: close\r\n\r\n"+
			"2\r\nhi\r\n0\r\nX-Auth-Email: admin\r\nX_Auth_Name: admin\r\nX-Sum: 7\r\n\r\n")
		if res.StatusCode != http.StatusOK {
			t.Fatalf("got %s", res.Status)
		}
		if got := up.bytes(); strings.Contains(got, "admin") || !strings.HasSuffix(got, "0\r\nX-Sum: 7\r\n\r\n") || !strings.Contains(got, "\r\nTrailer: X-Sum\r\n") {
			t.Errorf("the app got %q", got)
		}
	})
}

func TestAbsentClaimDeletesTheHeader(t *testing.T) { engines(t, testAbsentClaimDeletesTheHeader) }

func testAbsentClaimDeletesTheHeader(t *testing.T) {
	w, up := plainWorld(t)
	spoofs := "X-Auth-Name: root\r\nX-Auth-Email: root\r\nX-Auth-Request-User: root\r\nX-Auth-Request-Groups: root\r\nX-Auth-Request-Email: root"
	for name, lines := range map[string][]string{"ID-02/a": {"/", w.authed()}, "ID-02/b": {"/public/a"}, "ID-02/c": {"/public/a", w.authed()}} {
		t.Run(name, func(t *testing.T) {
			if res := w.ask("GET", lines[0], append(lines[1:], spoofs)...); res.StatusCode != http.StatusOK {
				t.Fatalf("got %s", res.Status)
			}
			head := up.last()
			if strings.Contains(head, "root") {
				t.Errorf("the app got %q", head)
			}
			once(t, head, "X-Auth-Name", "")
			if strings.HasPrefix(lines[0], "/public") {
				once(t, head, "X-Auth-Email", "")
			}
			if cookies := values(head, "Cookie"); strings.Contains(strings.Join(cookies, ";"), "gate=") {
				t.Errorf("our cookie reached the app: %q", cookies)
			}
		})
	}
}

func TestHostileProfileValues(t *testing.T) { engines(t, testHostileProfileValues) }

func testHostileProfileValues(t *testing.T) {
	for name, text := range map[string]string{
		"ID-03/unicode": "Zoë 漢字", "ID-03/newline": "a\r\nX-Admin: 1", "ID-03/nul": "\x00b", "ID-03/percent": "100%25 Bob", "ID-03/spaces": " a b ",
		"ID-03/long": strings.Repeat("é", 2048),
	} {
		t.Run(name, func(t *testing.T) {
			up := newApp(t, nil)
			w := newWorld(t, setup{routes: routes(up.upstream(proxy.Target{})), name: text})
			if res := w.ask("GET", "/", w.authed()); res.StatusCode != http.StatusOK {
				t.Fatalf("got %s", res.Status)
			}
			got := values(up.last(), "X-Auth-Name")
			if len(got) != 1 || len(values(up.last(), "X-Admin")) != 0 {
				t.Fatalf("the app got %q", up.last())
			}
			back, err := url.PathUnescape(got[0])
			if err != nil || !strings.HasPrefix(text, back) || len(text) <= 512 && back != text {
				t.Errorf("%q decodes to %q, %v; want %q", got[0], back, err, text)
			}
		})
	}
}

func TestIdentityFaults(t *testing.T) {
	for _, bad := range [][]proxy.IdentityHeader{
		{{Header: "X Auth", Value: "email"}},
		{{Header: "X-Auth", Value: "password"}},
		{{Header: "Cookie", Value: "email"}},
		{{Header: "X-Auth", Value: "email"}, {Header: "x_auth", Value: "name"}},
	} {
		if _, err := proxy.NewIdentity(bad); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

// FuzzErase checks that no header survives that an app could take for one of ours or for a well-known
// one, however it is spelt, and that what is vouched for is legal.
func FuzzErase(f *testing.F) {
	for _, seed := range []string{"X_Auth_Email", "x-auth-email", "REMOTE.USER", "X-Forwarded-For", "X-Auth-Token", "Accept", "X!Auth~Name"} {
		f.Add(seed, "Zoë\r\n%")
	}
	id := must(proxy.NewIdentity(names))
	f.Fuzz(func(t *testing.T, name, text string) {
		h := http.Header{name: {"spoof"}, "Accept": {"x"}}
		id.Erase(h)
		if _, there := h[name]; there {
			flat := flatten(name)
			for _, one := range append(names, proxy.IdentityHeader{Header: "Remote-User"}, proxy.IdentityHeader{Header: "X-Forwarded-Email"}) {
				if flat == flatten(one.Header) {
					t.Errorf("%q survived, which an app may take for %s", name, one.Header)
				}
			}
		}
		if h["Accept"] == nil {
			t.Error("an innocent header was erased")
		}
		id.Vouch(h, &auth.Session{User: auth.User{Email: "a@b.test", Name: text}})
		for _, value := range h["X-Auth-Name"] {
			if strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 || r > 0x7e }) || value != strings.TrimSpace(value) {
				t.Errorf("%q is no legal value", value)
			}
		}
	})
}

// flatten is the reference for how lax an app may be about names, written another way than fold.
func flatten(name string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789", r) {
			return r
		}
		return '-'
	}, strings.ToLower(name))
}
