package proxy_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// ID-01 at the check endpoints: what a client claims is not in the answer, and what a front proxy
// would not erase by its exact name is refused (RULE-19).
func TestSpoofedIdentityInChecks(t *testing.T) {
	w := checkWorld(t, setup{})
	line := w.authed()
	for name, one := range map[string]struct {
		spoof   string
		refused bool
	}{
		"ID-01/lower":         {"x-auth-email: admin", false},
		"ID-01/upper":         {"X-AUTH-EMAIL: admin", false},
		"ID-01/two":           {"X-Auth-Email: admin\r\nX-Auth-Email: root", false},
		"ID-01/empty":         {"X-Auth-Email:", false},
		"ID-01/underscores":   {"X_Auth_Email: admin", true},
		"ID-01/mixed":         {"X-Auth_Email: admin", true},
		"ID-01/lower-mixed":   {"x_auth-request_user: admin", true},
		"ID-01/dots":          {"X.Auth.Email: admin", true},
		"RULE-19/tilde":       {"X~Auth~Name: admin", true},
		"RULE-19/connection":  {"Connection: close, X-Auth-Email", true},
		"RULE-19/lower-conn":  {"Connection: x-auth-request-user", true},
		"RULE-19/folded-conn": {"Connection: x_auth_name", true},
		"RULE-19/two-conns":   {"Connection: close\r\nConnection: upgrade ,\tX-Auth-Request-Groups\t", true},
		"RULE-19/other":       {"X_Forwarded_Server: a\r\nConnection: keep-alive, X-Own", false},
	} {
		for _, kind := range kinds {
			t.Run(name+"/"+kind, func(t *testing.T) {
				for _, target := range []string{"/x", "/public/x", "/_gate/login"} {
					res := w.check(kind, get(target), line, one.spoof)
					if one.refused {
						if res.StatusCode != status(kind, http.StatusBadRequest) {
							t.Errorf("%s: got %s", target, res.Status)
						}
						no(t, kind, res)
						continue
					}
					email := ""
					if target == "/x" {
						email = "alice@corp.test"
					}
					yes(t, res, email)
				}
			})
		}
	}
	t.Run("ID-01/space", func(t *testing.T) {
		if res := w.check("traefik", get("/x"), line, "X-Auth-Email : admin"); res.StatusCode != http.StatusBadRequest {
			t.Errorf("got %s, want 400", res.Status)
		}
	})
}

// ID-02: an empty value overwrites what the client sent, a missing one would not.
func TestAbsentClaimIsSaidEmpty(t *testing.T) {
	w := checkWorld(t, setup{})
	spoofs := "X-Auth-Name: root\r\nX-Auth-Email: root\r\nX-Auth-Request-User: root\r\nX-Auth-Request-Groups: root\r\nX-Auth-Request-Email: root"
	for _, kind := range kinds {
		for name, one := range map[string]struct{ target, line, email string }{
			"ID-02/a": {"/", w.authed(), "alice@corp.test"}, "ID-02/b": {"/public/a", "X-None: 1", ""}, "ID-02/c": {"/public/a", w.authed(), ""},
		} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				res := w.check(kind, get(one.target), one.line, spoofs)
				yes(t, res, one.email)
				if got := res.Header["X-Auth-Name"]; len(got) != 1 || got[0] != "" {
					t.Errorf("X-Auth-Name is %q, want it once and empty", got)
				}
			})
		}
	}
}

func TestCookiesInChecks(t *testing.T) {
	w := checkWorld(t, setup{})
	cookie, _ := w.signIn(w.alice)
	for name, one := range map[string]struct{ line, want string }{
		"alone":    {"Cookie: " + cookie, ""},
		"between":  {"Cookie: a=1; " + cookie + "; b=2", "a=1; b=2"},
		"lines":    {"Cookie: a=1\r\nCookie: " + cookie + "\r\nCookie: b=\"x y\"", "a=1; b=\"x y\""},
		"attempts": {"Cookie: " + cookie + "; __Host-gate-attempt-x=1; c=3", "c=3"},
		"prefixed": {"Cookie: __Host-gate=x; " + cookie + "; __Secure-gate=y; gateway=1", "gateway=1"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, kind := range kinds {
				res := w.check(kind, get("/"), one.line)
				yes(t, res, "alice@corp.test")
				if got := res.Header.Get("Cookie"); got != one.want {
					t.Errorf("%s: the app would get %q, want %q", kind, got, one.want)
				}
			}
		})
	}
}

// ID-03: a name that breaks HTTP does not break the answer.
func TestHostileProfileValuesInChecks(t *testing.T) {
	for name, text := range map[string]string{
		"ID-03/unicode": "Zoë 漢字", "ID-03/newline": "a\r\nX-Admin: 1", "ID-03/nul": "\x00b", "ID-03/percent": "100%25 Bob", "ID-03/long": strings.Repeat("é", 2000),
	} {
		w := checkWorld(t, setup{name: text})
		for _, kind := range kinds {
			t.Run(name+"/"+kind, func(t *testing.T) {
				res := w.check(kind, get("/"), w.authed())
				if res.StatusCode != http.StatusOK || res.Header.Get("X-Admin") != "" {
					t.Fatalf("got %s %v", res.Status, res.Header)
				}
				got := res.Header["X-Auth-Name"]
				if len(got) != 1 || len(got[0]) > 3*512 {
					t.Fatalf("X-Auth-Name is %q", got)
				}
				if plain, err := url.PathUnescape(got[0]); err != nil || !strings.HasPrefix(text, plain) || len(plain) < min(len(text), 500) {
					t.Errorf("%q decodes to %q (%v)", got[0], plain, err)
				}
			})
		}
	}
}

// RULE-14: a front proxy would pass on what is dropped where the request comes here itself.
func TestMethodOverrideInChecks(t *testing.T) {
	w := checkWorld(t, setup{})
	for _, kind := range kinds {
		for _, name := range []string{"X-HTTP-Method-Override", "X_Http_Method", "X-Method-Override"} {
			no(t, kind, w.check(kind, get("/public/x"), name+": DELETE"))
			yes(t, w.check(kind, get("/public/x"), name+": get"), "")
			yes(t, w.check(kind, get("/"), w.authed(), name+": DELETE"), "alice@corp.test") // no methods are ruled there
		}
	}
}

// RD-04 c: an address that is too long for the answer's head comes back without its query.
func TestLongWayBack(t *testing.T) {
	w := checkWorld(t, setup{})
	for _, one := range []struct{ id, target, want string }{
		{"RD-04/c", "/s?" + strings.Repeat("q=a%26b&", 750), "/s?" + strings.Repeat("q=a%26b&", 750)},
		{"RD-04/c-longer", "/s?" + strings.Repeat("%26", 2700), "/s"},
		{"RD-04/c-raw", "/s?" + strings.Repeat("a", 8185), "/s"},
		{"RD-04/c-path", "/" + strings.Repeat("%26", 2700), "/"},
	} {
		t.Run(one.id, func(t *testing.T) {
			for _, kind := range []string{"nginx", "traefik"} {
				res := w.check(kind, get(one.target), nav)
				login := res.Header.Get("X-Gatehouse-Login") + res.Header.Get("Location")
				if want := "http://gw.test/_gate/login?next=" + url.QueryEscape("http://app.test"+one.want); login != want {
					t.Errorf("%s: got %s with %d bytes %.80q, want %.80q", kind, res.Status, len(login), login, want)
				}
			}
		})
	}
}
