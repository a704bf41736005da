package auth_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth/standin"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

const alice = "alice@corp.test"

// What the provider is asked is what keeps a stolen code or a foreign answer from being of use.
func TestAuthorizationRequest(t *testing.T) {
	b := newWorld(t, func(w *world) { w.config.HostedDomain = "corp.test" }).browser(t)
	u, err := url.Parse(b.begin("/"))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	is(t, "response_type", q.Get("response_type"), "code")
	is(t, "code_challenge_method", q.Get("code_challenge_method"), "S256")
	is(t, "redirect_uri", q.Get("redirect_uri"), "http://gw.test/_gate/callback")
	is(t, "scope", q.Get("scope"), "openid profile email")
	is(t, "hd", q.Get("hd"), "corp.test")
	is(t, "prompt", q.Get("prompt"), "")
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if len(q.Get(name)) < 22 { // 128 bits in base64
			t.Errorf("%s is %q", name, q.Get(name))
		}
	}
	is(t, "client_secret", q.Has("client_secret"), false)
	choose := b.get(b.gate("/login?prompt=select_account"))
	is(t, "prompt passed on", strings.Contains(choose.to(), "prompt=select_account"), true)
	other := b.get(b.gate("/login?prompt=none"))
	is(t, "another prompt passed on", strings.Contains(other.to(), "prompt="), false)
}

func TestGoogleScopes(t *testing.T) {
	var asked string
	w := newWorld(t, func(w *world) {
		w.config.Issuer = "https://accounts.google.com"
		w.config.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			asked = r.URL.String()
			return answer(http.StatusOK, `{"issuer":"https://accounts.google.com","authorization_endpoint":"https://accounts.google.com/o/oauth2/v2/auth",
				"token_endpoint":"https://oauth2.googleapis.com/token","userinfo_endpoint":"https://openidconnect.googleapis.com/v1/userinfo",
				"jwks_uri":"https://www.googleapis.com/oauth2/v3/certs"}`), nil
		})
	})
	to := w.browser(t).get(w.gate("/login")).to()
	is(t, "discovery", asked, "https://accounts.google.com/.well-known/openid-configuration")
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	is(t, "scope", u.Query().Get("scope"), "openid https://www.googleapis.com/auth/userinfo.profile https://www.googleapis.com/auth/userinfo.email")
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body))}
}

func TestTwoTabs(t *testing.T) {
	for name, order := range map[string][]int{"LG-01/a": {1, 0}, "LG-01/b": {0, 1}} {
		t.Run(name, func(t *testing.T) {
			b := newWorld(t).browser(t)
			targets := []string{"/a", "/b"}
			var callbacks []string
			for _, target := range targets {
				callbacks = append(callbacks, b.choose(b.begin(target), alice))
			}
			for _, i := range order {
				p := b.get(callbacks[i])
				is(t, "status", p.StatusCode, http.StatusSeeOther)
				is(t, "target", p.to(), targets[i])
				is(t, "who", b.who(), alice)
			}
			is(t, "sessions", b.users.Live(), 1)
		})
	}
	t.Run("LG-01/c", func(t *testing.T) {
		b := newWorld(t).browser(t)
		first := b.choose(b.begin("/a"), alice)
		b.signIn("/b", alice)
		is(t, "attempts left", b.attempts(), 0)
		p := b.get(first)
		is(t, "status", p.StatusCode, http.StatusSeeOther)
		is(t, "target", p.to(), "/a")
		is(t, "token calls", b.provider.Calls(standin.Token), 1)
	})
}

func TestCallbackAgain(t *testing.T) {
	t.Run("LG-02/a", func(t *testing.T) {
		b := newWorld(t).browser(t)
		callback := b.choose(b.begin("/a?b=c"), alice)
		b.get(callback)
		creations := b.store.Calls(storetest.Create)
		for range 3 {
			is(t, "target", b.get(callback).to(), "/a?b=c")
		}
		is(t, "token calls", b.provider.Calls(standin.Token), 1)
		is(t, "new rows", b.store.Calls(storetest.Create)-creations, 0)
	})
	t.Run("LG-02/b-long", func(t *testing.T) {
		// An address too long for the state is forgotten with its cookie.
		b := newWorld(t).browser(t)
		callback := b.choose(b.begin("/a?"+strings.Repeat("x", 600)), alice)
		b.get(callback)
		is(t, "target", b.get(callback).to(), "/")
	})
	t.Run("LG-02/c", func(t *testing.T) {
		w := newWorld(t)
		b := w.browser(t)
		callback := b.choose(b.begin("/a"), alice)
		b.get(callback)
		other := w.browser(t)
		p := other.get(callback)
		is(t, "status", p.StatusCode, http.StatusBadRequest)
		is(t, "redirect", p.to(), "")
		wantLink(t, p, "/_gate/login?next=%2Fa")
		is(t, "who", other.who(), "")
		is(t, "event", w.last().Outcome.Event, "")
	})
	t.Run("LG-02/d", func(t *testing.T) {
		b := newWorld(t).browser(t)
		b.signIn("/", alice)
		creations := b.store.Calls(storetest.Create)
		p := b.get(b.gate("/callback?code=x&state=" + newToken()))
		is(t, "status", p.StatusCode, http.StatusSeeOther)
		is(t, "target", p.to(), "/")
		is(t, "event", b.last().Outcome.Event, "forged_state")
		is(t, "new rows", b.store.Calls(storetest.Create)-creations, 0)
	})
	t.Run("LG-02/outage", func(t *testing.T) {
		// Whether somebody is signed in cannot be found out: neither a yes nor a no.
		b := newWorld(t).browser(t)
		callback := b.choose(b.begin("/a"), alice)
		b.get(callback)
		b.store.Fail(storetest.Find, errors.New("the database is down"))
		is(t, "status", b.get(callback).StatusCode, http.StatusServiceUnavailable)
	})
}

// wantLink checks that a page offers a way on, whose address ends like this once HTML is undone.
func wantLink(t *testing.T, p page, end string) {
	t.Helper()
	if !strings.Contains(strings.ReplaceAll(p.text, "&amp;", "&"), end+`"`) {
		t.Errorf("%s offers no link to %q:\n%s", p.at, end, p.text)
	}
}

func TestCallbackJunk(t *testing.T) {
	w := newWorld(t)
	for name, row := range map[string]struct {
		query  func(state string) string
		status int
		event  string
		spent  bool // the attempt is over
	}{
		"LG-04/a": {func(s string) string {
			return "error=access_denied&error_description=%3Cscript%3Ex%3C/script%3E&state=" + s
		}, http.StatusForbidden, "login_denied", true},
		"LG-04/a-junk-error": {func(s string) string { return "error=%3Cscript%3E&state=" + s }, http.StatusForbidden, "login_denied", true},
		"LG-04/b":            {func(string) string { return "error=access_denied&state=" + newToken() }, http.StatusBadRequest, "forged_state", false},
		"LG-04/c":            {func(string) string { return "code=x" }, http.StatusBadRequest, "attempt_junk", false},
		"LG-04/c-nothing":    {func(string) string { return "" }, http.StatusBadRequest, "attempt_junk", false},
		"LG-04/d":            {func(string) string { return "code=x&state=x" }, http.StatusBadRequest, "forged_state", false},
		"LG-04/d-tampered":   {func(s string) string { return "code=x&state=" + swapCase(s) }, http.StatusBadRequest, "forged_state", false},
		"LG-04/e":            {func(string) string { return "code=x&state=" + strings.Repeat("A", 10<<10) }, http.StatusBadRequest, "attempt_junk", false},
		"LG-04/f":            {func(s string) string { return "code=x&state=" + s + "&state=" + s }, http.StatusBadRequest, "attempt_junk", false},
		"LG-04/g":            {func(s string) string { return "state=" + s }, http.StatusBadRequest, "attempt_junk", true},
		"LG-04/two-codes":    {func(s string) string { return "code=x&code=y&state=" + s }, http.StatusBadRequest, "attempt_junk", false},
		"LG-04/semicolon":    {func(s string) string { return "code=x;state=" + s }, http.StatusBadRequest, "attempt_junk", false},
		"LG-04/other-issuer": {func(s string) string { return "code=x&iss=https%3A%2F%2Fevil.test&state=" + s }, http.StatusBadRequest, "attempt_junk", true},
	} {
		t.Run(name, func(t *testing.T) {
			b := w.browser(t)
			calls := w.provider.Calls(standin.Token)
			chooser, err := url.Parse(b.begin("/a"))
			if err != nil {
				t.Fatal(err)
			}
			p := b.get(b.gate("/callback?" + row.query(chooser.Query().Get("state"))))
			is(t, "status", p.StatusCode, row.status)
			is(t, "redirect", p.to(), "")
			is(t, "event", w.last().Outcome.Event, row.event)
			is(t, "attempts left", b.attempts(), map[bool]int{true: 0, false: 1}[row.spent])
			is(t, "calls of the provider", w.provider.Calls(standin.Token)-calls, 0)
			is(t, "rows", w.users.Live(), 0)
			if strings.Contains(p.text, "<script") {
				t.Error("the page repeats what the provider said")
			}
			if !strings.Contains(p.text, "prompt=select_account") {
				t.Error("the page offers no choice of accounts")
			}
		})
	}
	for _, method := range []string{http.MethodPost, http.MethodHead, http.MethodPut} {
		t.Run("LG-04/h-"+method, func(t *testing.T) {
			b := w.browser(t)
			callback := b.choose(b.begin("/a"), alice)
			p := b.do(method, callback, "")
			is(t, "status", p.StatusCode, http.StatusMethodNotAllowed)
			is(t, "then with GET", b.get(callback).to(), "/a")
		})
	}
}

func swapCase(s string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}, s)
}

// A code that was planted in this browser, with a state from the planter's own login, is never
// redeemed: it would sign its user in as somebody else.
func TestForgedLogin(t *testing.T) {
	w := newWorld(t)
	w.addUser("mallory@corp.test")
	planted := func(t *testing.T) string {
		mallory := w.browser(t)
		return mallory.choose(mallory.begin("/"), "mallory@corp.test")
	}
	t.Run("LG-02/no-cookie", func(t *testing.T) {
		b := w.browser(t)
		calls := w.provider.Calls(standin.Token)
		is(t, "status", b.get(planted(t)).StatusCode, http.StatusBadRequest)
		is(t, "token calls", w.provider.Calls(standin.Token)-calls, 0)
		is(t, "who", b.who(), "")
	})
	t.Run("LG-02/own-attempt", func(t *testing.T) {
		b := w.browser(t)
		b.begin("/a")
		calls := w.provider.Calls(standin.Token)
		is(t, "status", b.get(planted(t)).StatusCode, http.StatusBadRequest)
		is(t, "token calls", w.provider.Calls(standin.Token)-calls, 0)
	})
	t.Run("LG-02/code-of-another", func(t *testing.T) {
		// The own state with a foreign code: PKCE binds the code to the planter's verifier.
		b := w.browser(t)
		own, err := url.Parse(b.choose(b.begin("/a"), alice))
		if err != nil {
			t.Fatal(err)
		}
		foreign, err := url.Parse(planted(t))
		if err != nil {
			t.Fatal(err)
		}
		q := own.Query()
		q.Set("code", foreign.Query().Get("code"))
		p := b.get(b.gate("/callback?" + q.Encode()))
		is(t, "status", p.StatusCode, http.StatusBadRequest)
		is(t, "who", b.who(), "")
	})
	t.Run("LG-02/nonce", func(t *testing.T) {
		w.provider.Edit(func(e standin.Endpoint, c map[string]any) {
			if e == standin.Token {
				c["nonce"] = "of another login"
			}
		})
		defer w.provider.Edit(nil)
		p := w.browser(t).login("/a", alice)
		is(t, "status", p.StatusCode, http.StatusBadGateway)
	})
}

func TestNotAUser(t *testing.T) {
	w := newWorld(t)
	w.addUser("dan@corp.test")
	b := w.browser(t)
	var texts []string
	t.Run("LG-05/unknown", func(t *testing.T) {
		p := b.login("/a", "bob@corp.test")
		is(t, "status", p.StatusCode, http.StatusForbidden)
		is(t, "event", w.last().Outcome.Event, "user_unknown")
		is(t, "the log names the account", strings.Contains(w.last().Outcome.Cause.Error(), `"bob@corp.test": `), true)
		is(t, "rows", w.users.Live(), 0)
		is(t, "session cookie", b.cookies()["gate"], "")
		wantLink(t, p, "/_gate/login?next=%2Fa&prompt=select_account")
		is(t, "named", strings.Contains(p.text, "bob@corp.test"), true)
		texts = append(texts, strings.ReplaceAll(p.text, "bob@", "x@"))
	})
	t.Run("LG-05/revisit", func(t *testing.T) {
		if to := b.get(b.gate("/login?next=%2F")).to(); !strings.HasPrefix(to, idp) {
			t.Errorf("a revisit leads to %q, want the provider", to)
		}
	})
	t.Run("LG-05/disabled", func(t *testing.T) {
		if _, err := w.users.DisableUser(t.Context(), "dan@corp.test"); err != nil {
			t.Fatal(err)
		}
		p := b.login("/a", "dan@corp.test")
		is(t, "status", p.StatusCode, http.StatusForbidden)
		texts = append(texts, strings.ReplaceAll(p.text, "dan@", "x@"))
		is(t, "the same text", withoutID(texts[1]), withoutID(texts[0]))
	})
	t.Run("LG-05/then-alice", func(t *testing.T) {
		is(t, "target", b.signIn("/a", alice).to(), "/a")
		is(t, "who", b.who(), alice)
	})
}

// withoutID is a page without the id that differs from request to request.
func withoutID(text string) string {
	before, rest, _ := strings.Cut(text, "<code>")
	_, after, _ := strings.Cut(rest, "</code>")
	return before + after
}

func TestFixation(t *testing.T) {
	t.Run("LG-06/a", func(t *testing.T) {
		w := newWorld(t)
		b := w.browser(t)
		chosen := string(w.keys.Mint()) // even a token with a good tag
		b.plant("gate", chosen)
		b.signIn("/", alice)
		is(t, "the token is new", b.cookies()["gate"] != chosen, true)
		thief := w.browser(t)
		thief.plant("gate", chosen)
		is(t, "the planted token is", thief.who(), "")
	})
	t.Run("LG-06/b", func(t *testing.T) {
		w := newWorld(t)
		w.addUser("mallory@corp.test")
		mallory := w.browser(t)
		mallory.signIn("/", "mallory@corp.test")
		b := w.browser(t)
		b.plant("gate", mallory.cookies()["gate"])
		p := b.get(b.gate("/login?prompt=select_account"))
		b.get(b.choose(p.to(), alice))
		is(t, "who", b.who(), alice)
		is(t, "mallory's old session is", mallory.who(), "")
	})
	t.Run("LG-06/c", func(t *testing.T) {
		w := newWorld(t)
		b := w.browser(t)
		b.signIn("/", alice)
		old := b.cookies()["gate"]
		b.do(http.MethodPost, b.gate("/logout"), "")
		b.signIn("/", alice)
		is(t, "the token is new", b.cookies()["gate"] != old, true)
		again := w.browser(t)
		again.plant("gate", old)
		is(t, "the old token is", again.who(), "")
	})
}

// A live session goes straight on; the provider is not asked.
func TestAlreadySignedIn(t *testing.T) {
	b := newWorld(t).browser(t)
	b.signIn("/", alice)
	p := b.get(b.gate("/login?next=%2Fb"))
	is(t, "target", p.to(), "/b")
	// Its cookie does not reach there: to send it there could go round in circles.
	if to := b.get(b.gate("/login?next=" + url.QueryEscape("https://app.test/"))).to(); !strings.HasPrefix(to, idp) {
		t.Errorf("target is %q, want the provider", to)
	}
	b.store.Fail(storetest.Find, errors.New("the database is down"))
	is(t, "while nobody can tell", b.get(b.gate("/login?next=%2Fb")).StatusCode, http.StatusServiceUnavailable)
}

func TestOtherHost(t *testing.T) {
	w := newWorld(t, func(w *world) {
		w.site.Public.Host, w.domain, w.back = "auth.corp.test", "corp.test", []string{".corp.test"}
	})
	b := w.browser(t)
	p := b.get("http://App.corp.test.:80/_gate/login?next=%2Fx%3Fy&prompt=select_account")
	is(t, "to", p.to(), "http://auth.corp.test/_gate/login?next=http%3A%2F%2Fapp.corp.test%2Fx%3Fy&prompt=select_account")
	p = b.get(b.choose(b.get(p.to()).to(), alice))
	is(t, "target", p.to(), "http://app.corp.test/x?y")
	p = b.get("http://app.corp.test/_gate/me", with("Accept", "application/json"))
	is(t, "signed in there", p.StatusCode, http.StatusOK)
	is(t, "straight on", b.get(b.gate("/login?next="+url.QueryEscape("http://app.corp.test/z"))).to(), "http://app.corp.test/z")
}

func TestStoreFaults(t *testing.T) {
	down := errors.New("the database is down")
	for name, op := range map[string]storetest.Op{"SignIn": storetest.SignIn, "Create": storetest.Create} {
		t.Run("LG-08/"+name, func(t *testing.T) {
			b := newWorld(t).browser(t)
			b.store.Fail(op, down)
			p := b.login("/a", alice)
			is(t, "status", p.StatusCode, http.StatusServiceUnavailable)
			is(t, "Retry-After", p.Header.Get("Retry-After") != "", true)
			is(t, "cookie", b.cookies()["gate"], "")
			is(t, "cause is shown", strings.Contains(p.text, "database is down"), false)
			b.store.Heal(op)
			is(t, "later", b.signIn("/a", alice).to(), "/a")
		})
	}
	t.Run("LG-08/End", func(t *testing.T) {
		// The old session cannot be ended: nobody gets a second one beside it.
		b := newWorld(t).browser(t)
		b.signIn("/", alice)
		b.store.Fail(storetest.End, down)
		chooser := b.get(b.gate("/login?prompt=select_account")).to()
		is(t, "status", b.get(b.choose(chooser, alice)).StatusCode, http.StatusServiceUnavailable)
		is(t, "still signed in", b.who(), alice)
	})
	t.Run("LG-08/Create-lost", func(t *testing.T) {
		b := newWorld(t).browser(t)
		b.store.FailAfter(storetest.Create, down)
		is(t, "status", b.login("/", alice).StatusCode, http.StatusServiceUnavailable)
		is(t, "cookie", b.cookies()["gate"], "")
	})
	t.Run("RULE-08/disabled-between", func(t *testing.T) {
		w := newWorld(t)
		b := w.browser(t)
		release := w.store.Block(storetest.Create)
		callback := b.choose(b.begin("/"), alice)
		result := make(chan page, 1)
		go func() { result <- b.get(callback) }()
		for w.store.Calls(storetest.Create) == 0 {
			time.Sleep(time.Millisecond)
		}
		if _, err := w.users.DisableUser(t.Context(), alice); err != nil {
			t.Fatal(err)
		}
		release()
		p := <-result
		is(t, "status", p.StatusCode, http.StatusForbidden)
		is(t, "rows", w.users.Live(), 0)
		is(t, "cookie", b.cookies()["gate"], "")
	})
}

// clocks ±90 s: at the provider, and between two replicas (the fuzz of attempts has the latter).
func TestClocks(t *testing.T) {
	for name, skew := range map[string]time.Duration{"ST-08/fast": 90 * time.Second, "ST-08/slow": -90 * time.Second} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.provider.Edit(func(e standin.Endpoint, c map[string]any) {
				if e == standin.Token {
					c["iat"], c["nbf"] = time.Now().Add(skew).Unix(), time.Now().Add(skew).Unix()
					c["exp"] = time.Now().Add(skew + time.Minute).Unix()
				}
			})
			b := w.browser(t)
			b.signIn("/", alice)
			is(t, "who", b.who(), alice)
		})
	}
}

func TestIDToken(t *testing.T) {
	w := newWorld(t)
	for name, edit := range map[string]func(map[string]any){
		"issuer":        func(c map[string]any) { c["iss"] = "https://evil.test" },
		"audience":      func(c map[string]any) { c["aud"] = "another client" },
		"party":         func(c map[string]any) { c["aud"] = []string{"gatehouse", "another"}; c["azp"] = "another" },
		"party-missing": func(c map[string]any) { c["aud"] = []string{"gatehouse", "another"} },
		"expired":       func(c map[string]any) { c["exp"] = time.Now().Add(-time.Hour).Unix() },
		"not-yet":       func(c map[string]any) { c["nbf"] = time.Now().Add(time.Hour).Unix() },
		"no-nonce":      func(c map[string]any) { delete(c, "nonce") },
		"other-subject": func(c map[string]any) { c["sub"] = "somebody else" },
	} {
		t.Run("LG-08/id-token-"+name, func(t *testing.T) {
			w.provider.Edit(func(e standin.Endpoint, c map[string]any) {
				if e == standin.Token {
					edit(c)
				}
			})
			defer w.provider.Edit(nil)
			b := w.browser(t)
			p := b.login("/a", alice)
			is(t, "status", p.StatusCode, http.StatusBadGateway)
			is(t, "event", w.last().Outcome.Event, "provider_fault")
			is(t, "rows", w.users.Live(), 0)
			is(t, "cookie", b.cookies()["gate"], "")
			wantLink(t, p, "/_gate/login?next=%2Fa")
		})
	}
}

func TestProviderFaults(t *testing.T) {
	hang := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the server does not notice that the client has gone
		<-r.Context().Done()
	})
	plain := func(status int, kind, body string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Location", "http://evil.test/")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		})
	}
	cut := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	huge := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for range 50 {
			if _, err := io.WriteString(w, strings.Repeat(" ", 1<<20)); err != nil {
				return
			}
		}
	})
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, string(body)+r.Header.Get("Authorization"))
	})
	for name, row := range map[string]struct {
		answer http.Handler
		status int
	}{
		"cut":      {cut, http.StatusBadGateway},
		"hangs":    {hang, http.StatusGatewayTimeout},
		"500":      {plain(500, "application/json", `{"error":"server_error"}`), http.StatusBadGateway},
		"empty":    {plain(200, "application/json", `{}`), http.StatusBadGateway},
		"null":     {plain(200, "application/json", `null`), http.StatusBadGateway},
		"list":     {plain(200, "application/json", `[]`), http.StatusBadGateway},
		"html":     {plain(200, "text/html", `<html>hello`), http.StatusBadGateway},
		"redirect": {plain(302, "text/html", ``), http.StatusBadGateway},
		"huge":     {huge, http.StatusBadGateway},
		"echo":     {echo, http.StatusBadGateway},
	} {
		for _, endpoint := range []standin.Endpoint{standin.Token, standin.UserInfo, standin.Keys, standin.Discovery} {
			t.Run("LG-08"+string(endpoint)+"-"+name, func(t *testing.T) {
				w := newWorld(t, func(w *world) {
					w.config.Timeout = 10 * time.Second
					if name == "hangs" {
						w.config.Timeout = 300 * time.Millisecond
					}
				})
				b := w.browser(t)
				w.provider.Answer(endpoint, row.answer)
				var p page
				if endpoint == standin.Discovery {
					p = b.get(b.gate("/login?next=%2Fa"))
				} else {
					p = b.login("/a", alice)
				}
				is(t, "status", p.StatusCode, row.status)
				is(t, "rows", w.users.Live(), 0)
				is(t, "cookie", b.cookies()["gate"], "")
				is(t, "attempts left", b.attempts(), 0)
				wantLink(t, p, "/_gate/login?next=%2Fa")
				hidesSecrets(t, p, w)
				is(t, "requests that followed a redirect", w.asked("evil.test"), 0)
				w.provider.Answer(endpoint, nil)
				if name == "hangs" {
					time.Sleep(w.config.Timeout) // go-oidc shares one request for keys among all who need them
				}
				is(t, "once it is well again", b.signIn("/a", alice).to(), "/a")
			})
		}
	}
}

// hidesSecrets checks that neither the page nor the record holds what was exchanged.
func hidesSecrets(t *testing.T, p page, w *world) {
	t.Helper()
	u, err := url.Parse(p.at)
	if err != nil {
		t.Fatal(err)
	}
	cause := ""
	if err := w.last().Outcome.Cause; err != nil {
		cause = err.Error()
	}
	for _, secret := range []string{w.config.ClientSecret, u.Query().Get("code"), "Basic "} {
		if secret != "" && (strings.Contains(p.text, secret) || strings.Contains(cause, secret)) {
			t.Errorf("%q is shown: %s\n%s", secret, cause, p.text)
		}
	}
	if cause == "" || len(cause) > 400 {
		t.Errorf("the cause has %d bytes: %.400s", len(cause), cause)
	}
}

func TestProviderMemory(t *testing.T) {
	w := newWorld(t)
	w.provider.Answer(standin.UserInfo, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		for range 50 {
			if _, err := rw.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	}))
	b := w.browser(t)
	callback := b.choose(b.begin("/"), alice)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	is(t, "status", b.get(callback).StatusCode, http.StatusBadGateway)
	runtime.ReadMemStats(&after)
	// The server of this test writes them too, from one slice.
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 80<<20 {
		t.Errorf("LG-08: %d MiB were allocated for a body of 50", grown>>20)
	}
}

func TestProviderCertificate(t *testing.T) {
	expired := certificate(t, time.Now().Add(-time.Minute))
	roots := x509.NewCertPool()
	roots.AddCert(expired.Leaf)
	for name, trusts := range map[string]*x509.CertPool{"LG-08/unknown": x509.NewCertPool(), "LG-08/expired": roots} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(http.NotFoundHandler())
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.TLS = &tls.Config{Certificates: []tls.Certificate{expired}}
			server.StartTLS()
			defer server.Close()
			w := newWorld(t, func(w *world) {
				w.config.Issuer = server.URL
				w.config.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusts}}
			})
			p := w.browser(t).get(w.gate("/login"))
			is(t, "status", p.StatusCode, http.StatusBadGateway)
		})
	}
}

// certificate makes a certificate for 127.0.0.1 that signs itself.
func certificate(t *testing.T, ends time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: ends.Add(-time.Hour), NotAfter: ends,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// The provider may be down at start; `check --connect` asks it.
func TestProviderLater(t *testing.T) {
	w := newWorld(t)
	down := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	w.provider.Answer(standin.Discovery, down)
	if err := w.client.Discover(t.Context()); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("Discover: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.client.Discover(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("Discover for somebody who has gone: %v", err)
	}
	w.provider.Answer(standin.Discovery, nil)
	if err := w.client.Discover(t.Context()); err != nil {
		t.Errorf("Discover: %v", err)
	}
	calls := w.provider.Calls(standin.Discovery)
	w.browser(t).signIn("/", alice)
	is(t, "asked again", w.provider.Calls(standin.Discovery)-calls, 0)

	// Ping asks again, and what was found before stays: a login does not need the discovery.
	is(t, "Ping", w.client.Ping(t.Context()), error(nil))
	w.provider.Answer(standin.Discovery, down)
	if err := w.client.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("Ping: %v", err)
	}
	is(t, "Discover", w.client.Discover(t.Context()), error(nil))
}

func TestExchangeBounds(t *testing.T) {
	w := newWorld(t)
	entered := make(chan struct{}, 64)
	release := make(chan struct{})
	w.provider.Answer(standin.Token, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		entered <- struct{}{}
		<-release
		rw.WriteHeader(http.StatusInternalServerError)
	}))
	const each = 8
	var waiting sync.WaitGroup
	for range each {
		b := w.browser(t)
		callback := b.choose(b.begin("/"), alice)
		waiting.Go(func() { b.get(callback) })
		<-entered
	}
	b := w.browser(t)
	callback := b.choose(b.begin("/a"), alice)
	p := b.get(callback)
	is(t, "RULE-30: status", p.StatusCode, http.StatusServiceUnavailable)
	is(t, "RULE-30: Retry-After", p.Header.Get("Retry-After"), "2")
	is(t, "RULE-30: calls", w.provider.Calls(standin.Token), each)
	close(release)
	waiting.Wait()
	w.provider.Answer(standin.Token, nil)
	is(t, "RULE-30: the same address, later", b.get(callback).to(), "/a")
}
