package auth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

func TestSameNameTwice(t *testing.T) {
	w := newWorld(t)
	b := w.browser(t)
	b.signIn("/", alice)
	live, stale, forged := b.cookies()["gate"], string(w.keys.Mint()), "x"
	b.jar = nil
	b.http.Jar = nil
	me := func(t *testing.T, lines ...string) int {
		return b.get(b.gate("/me"), func(h http.Header) { h["Cookie"] = lines }).StatusCode
	}
	for name, lines := range map[string][]string{
		"a": {"gate=" + stale + "; gate=" + live}, "b": {"gate=" + live + "; gate=" + stale}, "c": {"gate=" + stale, "gate=" + live},
		"c-forged": {"gate=" + forged + ";gate=" + live}, "blank": {"a=1; gate =" + live}, "twice": {"gate=" + live + "; gate=" + live},
		"d-neighbours": {"gateb=1; gate_b=2; xgate=3; gate=" + live + "; __Host-gate=" + stale},
	} {
		t.Run("CK-01/"+name, func(t *testing.T) { is(t, "status", me(t, lines...), http.StatusOK) })
	}
	t.Run("CK-01/e", func(t *testing.T) {
		var many []string
		for range 30 {
			many = append(many, "gate="+string(w.keys.Mint()))
		}
		finds := w.store.Calls(storetest.Find)
		is(t, "status", me(t, strings.Join(many, "; ")), http.StatusUnauthorized)
		if n := w.store.Calls(storetest.Find) - finds; n > 4 {
			t.Errorf("RULE-07: %d look-ups", n)
		}
	})
	t.Run("CK-01/forged", func(t *testing.T) {
		finds := w.store.Calls(storetest.Find)
		is(t, "status", me(t, "gate="+forged+"; gate="+live[:43]+"!"), http.StatusUnauthorized)
		is(t, "look-ups", w.store.Calls(storetest.Find)-finds, 0)
	})
	t.Run("CK-03/d", func(t *testing.T) {
		is(t, "status", me(t, "gate_b="+live+"; gateb="+live+"; __Secure-gate="+live), http.StatusUnauthorized)
	})
}

// Two attempts of one name, one of them planted: the one that fits counts.
func TestTwoStates(t *testing.T) {
	for name, order := range map[string]string{"first": "%[1]s=x; %[1]s=%[2]s", "last": "%[1]s=%[2]s; %[1]s=x"} {
		t.Run("CK-01/d-"+name, func(t *testing.T) {
			b := newWorld(t).browser(t)
			callback := b.choose(b.begin("/a"), alice)
			var line string
			for name, value := range b.cookies() {
				line = fmt.Sprintf(order, name, value)
			}
			b.http.Jar = nil
			p := b.get(callback, with("Cookie", line))
			is(t, "target", p.to(), "/a")
		})
	}
}

func TestCookieAttributes(t *testing.T) {
	for name, row := range map[string]struct{ public, domain, name, rest string }{
		"CK-03/a-port":   {"http://corp.test:8080", "", "gate", "Path=/; Max-Age=43200; HttpOnly; SameSite=Lax"},
		"CK-03/a-domain": {"https://auth.corp.test:8443", "corp.test", "__Secure-gate", "Path=/; Domain=corp.test; Max-Age=43200; HttpOnly; Secure; SameSite=Lax"},
		"CK-03/a-unset":  {"https://auth.corp.test", "", "__Host-gate", "Path=/; Max-Age=43200; HttpOnly; Secure; SameSite=Lax"},
		"CK-03/a-http":   {"http://auth.corp.test", "corp.test", "gate", "Path=/; Domain=corp.test; Max-Age=43200; HttpOnly; SameSite=Lax"},
	} {
		t.Run(name, func(t *testing.T) {
			public, err := url.Parse(row.public)
			if err != nil {
				t.Fatal(err)
			}
			c := auth.NewCookies(auth.Site{Public: public, Prefix: "/_gate"}, row.domain, 12*time.Hour)
			set, clear := httptest.NewRecorder(), httptest.NewRecorder()
			c.Set(set, "token")
			is(t, "set", set.Header().Get("Set-Cookie"), row.name+"=token; "+row.rest)
			c.Clear(clear)
			is(t, "cleared", clear.Header().Get("Set-Cookie"), row.name+"=; "+strings.Replace(row.rest, "Max-Age=43200", "Max-Age=0", 1))
		})
	}
}

// Over https the attempt's cookie is __Host-, Secure and Lax: the callback comes from another site, so
// Strict would lose it (vouch#470).
func TestAttemptAttributes(t *testing.T) {
	for name, row := range map[string]struct{ scheme, prefix, rest string }{
		"CK-03/c-https": {"https", "__Host-gate-attempt-", "; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax"},
		"CK-03/c-http":  {"http", "gate-attempt-", "; Path=/; Max-Age=600; HttpOnly; SameSite=Lax"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(w *world) { w.site.Public.Scheme = row.scheme; w.config.Issuer = idp })
			if row.scheme == "https" {
				t.Run("login", func(t *testing.T) { httpsLogin(t) })
				return
			}
			line := w.browser(t).get(w.gate("/login")).Header.Get("Set-Cookie")
			is(t, "name", strings.HasPrefix(line, row.prefix), true)
			is(t, "attributes", line[strings.Index(line, ";"):], row.rest)
		})
	}
}

// httpsLogin goes through a login over TLS, where names and attributes are the strict ones.
func httpsLogin(t *testing.T) {
	w := newWorld(t, func(w *world) {
		w.site.Public.Scheme = "https"
		w.provider = newProvider("https://idp.test")
		w.config.Issuer = "https://idp.test"
	})
	b := w.browser(t)
	start := b.get(w.gate("/login?next=%2Fa"))
	line := start.Header.Get("Set-Cookie")
	is(t, "name", strings.HasPrefix(line, "__Host-gate-attempt-"), true)
	is(t, "attributes", line[strings.Index(line, ";"):], "; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax")
	p := b.get(b.choose(start.to(), alice))
	is(t, "target", p.to(), "/a")
	is(t, "session", b.cookies()["__Host-gate"] != "", true)
	is(t, "attempts left", b.attempts(), 0)
	is(t, "who", b.who(), alice)
}

func TestPileUp(t *testing.T) {
	w := newWorld(t)
	b := w.browser(t)
	for i := range 60 {
		p := b.get(b.gate("/login?next=" + url.QueryEscape(fmt.Sprintf("/a/%d?%s", i, noise(i*20)))))
		is(t, "status", p.StatusCode, http.StatusSeeOther)
		if n := b.attempts(); n > 5 {
			t.Fatalf("CK-04: %d attempts after %d logins", n, i+1)
		}
		size := 0
		for name, value := range b.cookies() {
			size += len(name) + len(value) + 3
		}
		if size > 6<<10+100 {
			t.Fatalf("CK-04: cookies of %d bytes after %d logins", size, i+1)
		}
	}
	t.Run("CK-04/oldest-goes", func(t *testing.T) {
		b := w.browser(t)
		var callbacks []string
		for i := range 7 {
			callbacks = append(callbacks, b.choose(b.begin(fmt.Sprintf("/%d", i)), alice))
		}
		is(t, "attempts", b.attempts(), 5)
		is(t, "the first", b.get(callbacks[0]).StatusCode, http.StatusBadRequest)
		is(t, "the last", b.get(callbacks[6]).to(), "/6")
	})
	t.Run("CK-04/small", func(t *testing.T) {
		b := w.browser(t)
		for range 60 {
			b.begin("/an/ordinary/path?with=a&query=1")
		}
		size := 0
		for name, value := range b.cookies() {
			size += len(name) + len(value) + 3
		}
		if size > 4<<10 {
			t.Errorf("Cookie has %d bytes", size)
		}
	})
	for name, edit := range map[string]func(http.Header){
		"xhr":         with("X-Requested-With", "XMLHttpRequest"),
		"json":        with("Accept", "application/json"),
		"cors":        with("Sec-Fetch-Mode", "cors"),
		"image":       with("Sec-Fetch-Dest", "image"),
		"RULE-11":     with("Sec-Fetch-Dest", "iframe"),
		"prefetch":    with("Sec-Purpose", "prefetch"),
		"old-purpose": with("Purpose", "prefetch"),
	} {
		t.Run("CK-04/no-attempt-"+name, func(t *testing.T) {
			edits := []func(http.Header){edit}
			if name == "xhr" || name == "json" {
				edits = append(edits, with("Sec-Fetch-Mode", ""), with("Sec-Fetch-Dest", ""))
			}
			p := b.get(b.gate("/login?next=%2Fa"), edits...)
			is(t, "status", p.StatusCode, http.StatusUnauthorized)
			is(t, "Location", p.to(), "")
			is(t, "Set-Cookie", p.Header.Get("Set-Cookie"), "")
			is(t, "link", strings.Contains(p.text, "/_gate/login?next=%2Fa"), true)
			if csp := p.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "frame-ancestors 'none'") {
				t.Errorf("RULE-11: policy is %q", csp)
			}
		})
	}
	t.Run("PX-02/f CK-04/no-attempt-HEAD", func(t *testing.T) {
		p := b.do(http.MethodHead, b.gate("/login"), "")
		is(t, "status", p.StatusCode, http.StatusUnauthorized)
		is(t, "Set-Cookie", p.Header.Get("Set-Cookie"), "")
	})
	t.Run("CK-04/no-attempt-POST", func(t *testing.T) {
		p := b.do(http.MethodPost, b.gate("/login"), "next=/")
		is(t, "status", p.StatusCode, http.StatusMethodNotAllowed)
		is(t, "Set-Cookie", p.Header.Get("Set-Cookie"), "")
	})
	t.Run("CK-04/old-browser", func(t *testing.T) {
		p := b.get(b.gate("/login"), with("Sec-Fetch-Mode", ""), with("Sec-Fetch-Dest", ""))
		is(t, "status", p.StatusCode, http.StatusSeeOther)
	})
	t.Run("CK-04/after-login", func(t *testing.T) {
		b.signIn("/", alice)
		is(t, "attempts left", b.attempts(), 0)
	})
}

// Cookies that cannot be opened, as after a change of keys, make room first.
func TestPileUpForeign(t *testing.T) {
	w := newWorld(t)
	b := w.browser(t)
	for i := range 8 {
		b.plant(fmt.Sprintf("gate-attempt-JUNK%d", i), "junk")
	}
	callback := b.choose(b.begin("/a"), alice)
	is(t, "CK-04: attempts", b.attempts(), 1)
	is(t, "target", b.get(callback).to(), "/a")
}

func TestTwoUsers(t *testing.T) {
	w := newWorld(t)
	w.addUser("mallory@corp.test")
	tokens := map[string]string{}
	for _, email := range []string{alice, "mallory@corp.test"} {
		b := w.browser(t)
		b.signIn("/", email)
		tokens[email] = b.cookies()["gate"]
	}
	both := func(h http.Header) {
		h["Cookie"] = []string{"gate=" + tokens[alice], "gate=" + tokens["mallory@corp.test"]}
	}
	b := w.browser(t)
	b.http.Jar = nil
	callback := "/callback?code=x&state=x"
	for _, path := range []string{"/me", "/login", "/logout", callback} {
		t.Run("RULE-07"+path, func(t *testing.T) {
			p := b.get(b.gate(path), both)
			is(t, "status", p.StatusCode, http.StatusBadRequest)
			is(t, "event", w.last().Outcome.Event, "two_users")
			wantLink(t, p, "/_gate/login")
			cleared := strings.Join(p.Header.Values("Set-Cookie"), "\n")
			for _, want := range []string{"gate=; Path=/; Max-Age=0", "gate=; Path=/; Domain=gw.test; Max-Age=0", "gate=; Path=/_gate; Max-Age=0"} {
				is(t, want+" is cleared", strings.Contains(cleared, want), true)
			}
			is(t, "cookies cleared", len(p.Header.Values("Set-Cookie")) <= 25, true)
		})
	}
	t.Run("RULE-07/one-unknown", func(t *testing.T) {
		// The second one cannot be looked up: it may be another user's.
		down := errors.New("the database is down")
		w.store.Sessions = failing{w.users, auth.Token(tokens["mallory@corp.test"]).Key(), down}
		defer func() { w.store.Sessions = w.users }()
		p := b.get(b.gate("/me"), both)
		is(t, "status", p.StatusCode, http.StatusServiceUnavailable)
		is(t, "Set-Cookie", p.Header.Get("Set-Cookie"), "")
	})
	t.Run("RULE-07/sign-out", func(t *testing.T) {
		is(t, "status", b.do(http.MethodPost, b.gate("/logout"), "", both).StatusCode, http.StatusSeeOther)
		is(t, "sessions", w.users.Live(), 0)
	})
}

// failing is a store that cannot be asked about one key.
type failing struct {
	auth.Sessions
	key auth.Key
	err error
}

func (f failing) Find(ctx context.Context, k auth.Key) (auth.Session, error) {
	if k == f.key {
		return auth.Session{}, f.err
	}
	return f.Sessions.Find(ctx, k)
}

func TestStrip(t *testing.T) {
	for name, row := range map[string]struct{ sent, kept []string }{
		"none":     {[]string{"a=1; b=2"}, []string{"a=1; b=2"}},
		"only":     {[]string{"gate=x"}, nil},
		"all-ours": {[]string{"__Host-gate=x; __Secure-gate=y; gate-attempt-A=z", "__Host-gate-attempt-B=1"}, nil},
		"first":    {[]string{"gate=x; a=1"}, []string{"a=1"}},
		"middle":   {[]string{"a=1; gate=x; b=2"}, []string{"a=1; b=2"}},
		"last":     {[]string{"a=1; gate=x"}, []string{"a=1"}},
		"bytes":    {[]string{"a=\"1; 2\";b = é\xff; gate=x;;c"}, []string{"a=\"1; 2\";b = é\xff;;c"}},
		"lines":    {[]string{"a=1", "gate=x", "b=2"}, []string{"a=1", "b=2"}},
		"near":     {[]string{"gates=1; xgate=2; Gate=3"}, []string{"gates=1; xgate=2; Gate=3"}},
	} {
		t.Run("CK-03/"+name, func(t *testing.T) {
			h := http.Header{"Cookie": row.sent}
			auth.Strip(h)
			is(t, "kept", strings.Join(h["Cookie"], "\n"), strings.Join(row.kept, "\n"))
			_, left := h["Cookie"]
			is(t, "header left", left, row.kept != nil)
		})
	}
}

func FuzzCookieHeader(f *testing.F) {
	for _, line := range []string{
		"a=1; gate=x; b=2", "gate", "=gate", " gate =x", "gate=x;gate=y", "__Host-__Secure-gate=x", "gate-attempt-=1", ";;;", "a=\x00\xff", "__Secure-__Host-gate=1;\tgate=2",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		h := http.Header{"Cookie": {line}}
		auth.Strip(h)
		rest := strings.Join(h["Cookie"], ";")
		// Nothing of ours is left, in the reading of net/http.
		for _, c := range (&http.Request{Header: h}).Cookies() {
			if auth.Mine(c.Name) {
				t.Errorf("%q leaves %q", line, c.Name)
			}
		}
		// All that is not ours is left, in the same bytes and order.
		var others []string
		for part := range strings.SplitSeq(line, ";") {
			name, _, _ := strings.Cut(part, "=")
			if !auth.Mine(strings.TrimSpace(name)) {
				others = append(others, part)
			}
		}
		if want := strings.Trim(strings.Join(others, ";"), " \t"); rest != want {
			t.Errorf("%q leaves %q, want %q", line, rest, want)
		}
	})
}
