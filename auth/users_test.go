package auth_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/auth/standin"
)

// said makes userinfo (and, for hd, the ID token) say something else.
func (w *world) said(edit func(claims map[string]any)) {
	w.provider.Edit(func(e standin.Endpoint, c map[string]any) {
		if e == standin.UserInfo {
			edit(c)
		}
	})
}

// answered logs alice in and returns the status of the callback's answer, with nobody let in by mistake.
func (w *world) answered(t *testing.T) int {
	t.Helper()
	b := w.browser(t)
	before := w.users.Live()
	p := b.login("/", alice)
	if p.StatusCode != http.StatusSeeOther {
		is(t, "rows", w.users.Live()-before, 0)
		is(t, "cookie", b.cookies()["gate"], "")
		wantLink(t, p, map[bool]string{true: "/_gate/login?prompt=select_account", false: "/_gate/login"}[p.StatusCode == http.StatusForbidden])
	}
	return p.StatusCode
}

func TestLetterCase(t *testing.T) {
	w := newWorld(t)
	w.addUser("Carol@Corp.test")
	b := w.browser(t)
	b.signIn("/", "carol@corp.TEST")
	is(t, "US-01/a: who", b.who(), "carol@corp.test")
}

func TestMalformedEmail(t *testing.T) {
	w := newWorld(t, func(w *world) { w.config.AutoCreate = []string{"company.test"} })
	for name, email := range map[string]any{
		"two-at": "attacker@evil.test@company.test", "quoted": `"a@evil.test"@company.test`, "dot": "a@company.test.",
		"line-end": "a@company.test\n", "blank": " a@company.test", "sub": "a@sub.company.test", "suffix": "a@evilcompany.test",
		"no-at": "company.test", "empty": "", "long": strings.Repeat("a", 10<<10) + "@company.test", "long-local": strings.Repeat("a.", 40) + "a@company.test", "null": nil, "number": 7,
		"list": []string{"a@company.test"}, "object": map[string]any{"a": "a@company.test"}, "nul": "a\x00@company.test",
		"no-local": "@company.test", "comment": "a(b)@company.test", "kelvin": "a@company.test\u212a", "bracket": "<a@company.test>",
		"comma": "a@company.test,b@company.test", "percent": "a@company.test%00",
	} {
		t.Run("US-02/"+name, func(t *testing.T) {
			w.said(func(c map[string]any) { c["email"] = email; c["hd"] = "company.test" })
			is(t, "status", w.answered(t), http.StatusForbidden)
		})
	}
	t.Run("US-02/good", func(t *testing.T) {
		w := newWorld(t, func(w *world) { w.config.AutoCreate = []string{"company.test"} })
		w.said(func(c map[string]any) { c["email"] = "a.b+c@company.test" })
		is(t, "status", w.answered(t), http.StatusSeeOther)
	})
	t.Run("US-02/other-spelling", func(t *testing.T) {
		// A struct of Go would take EMAIL for email.
		w.said(func(c map[string]any) { c["EMAIL"] = "evil@evil.test"; c["email"] = alice })
		is(t, "status", w.answered(t), http.StatusSeeOther)
	})
	t.Run("LG-08/no-email", func(t *testing.T) {
		w.said(func(c map[string]any) { delete(c, "email") })
		is(t, "status", w.answered(t), http.StatusBadGateway)
	})
	t.Run("LG-08/other-subject", func(t *testing.T) {
		w.said(func(c map[string]any) { c["sub"] = "somebody else" })
		is(t, "status", w.answered(t), http.StatusBadGateway)
	})
	t.Run("LG-08/no-subject", func(t *testing.T) {
		w.provider.Edit(func(_ standin.Endpoint, c map[string]any) { delete(c, "sub") })
		is(t, "status", w.answered(t), http.StatusBadGateway)
	})
}

func TestVerified(t *testing.T) {
	trusting := func(w *world) { w.config.TrustEmail = true }
	strict := func(*world) {}
	for name, row := range map[string]struct {
		edit  func(map[string]any)
		world func(*world)
		want  int
	}{
		"US-03/a":          {func(c map[string]any) { c["email_verified"] = false }, strict, http.StatusForbidden},
		"US-03/b":          {func(c map[string]any) { c["email_verified"] = "false" }, strict, http.StatusForbidden},
		"US-03/b-true":     {func(c map[string]any) { c["email_verified"] = "true" }, strict, http.StatusSeeOther},
		"US-03/b-number":   {func(c map[string]any) { c["email_verified"] = 1 }, strict, http.StatusForbidden},
		"US-03/b-null":     {func(c map[string]any) { c["email_verified"] = nil }, strict, http.StatusForbidden},
		"US-03/c":          {func(c map[string]any) { delete(c, "email_verified") }, strict, http.StatusForbidden},
		"US-03/d":          {func(c map[string]any) { c["verified_email"] = false }, strict, http.StatusForbidden},
		"US-03/d-alone":    {func(c map[string]any) { delete(c, "email_verified"); c["verified_email"] = false }, strict, http.StatusForbidden},
		"US-03/d-true":     {func(c map[string]any) { delete(c, "email_verified"); c["verified_email"] = true }, strict, http.StatusSeeOther},
		"RULE-09/trusted":  {func(c map[string]any) { delete(c, "email_verified") }, trusting, http.StatusSeeOther},
		"RULE-09/false":    {func(c map[string]any) { c["email_verified"] = false }, trusting, http.StatusForbidden},
		"RULE-09/default":  {func(c map[string]any) { delete(c, "email_verified") }, strict, http.StatusForbidden},
		"RULE-09/verified": {func(map[string]any) {}, strict, http.StatusSeeOther},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, row.world)
			w.said(row.edit)
			is(t, "status", w.answered(t), row.want)
			if row.want == http.StatusForbidden {
				is(t, "event", w.last().Outcome.Event, "login_refused")
			}
		})
	}
}

func TestHostedDomain(t *testing.T) {
	w := newWorld(t, func(w *world) { w.config.HostedDomain = "corp.test" })
	for name, row := range map[string]struct {
		token, info any
		want        int
	}{
		"US-03/e":            {nil, nil, http.StatusForbidden},
		"US-03/f":            {"other.test", "other.test", http.StatusForbidden},
		"US-03/g":            {"CORP.test", "CORP.test", http.StatusSeeOther},
		"US-03/only-token":   {"corp.test", nil, http.StatusSeeOther},
		"US-03/only-info":    {nil, "corp.test", http.StatusSeeOther},
		"US-03/disagree":     {"other.test", "corp.test", http.StatusForbidden},
		"US-03/suffix":       {"evilcorp.test", "evilcorp.test", http.StatusForbidden},
		"US-03/wrong-type":   {nil, []string{"corp.test"}, http.StatusForbidden},
		"US-03/second-login": {nil, nil, http.StatusForbidden}, // after g: at each login, not the first only
	} {
		t.Run(name, func(t *testing.T) {
			w.provider.Edit(func(e standin.Endpoint, c map[string]any) {
				value := row.info
				if e == standin.Token {
					value = row.token
				}
				if delete(c, "hd"); value != nil {
					c["hd"] = value
				}
			})
			is(t, "status", w.answered(t), row.want)
		})
	}
	t.Run("US-03/h", func(t *testing.T) {
		w.provider.Edit(nil)
		b := w.browser(t)
		chooser := strings.Replace(b.begin("/"), "hd=corp.test", "hd=other.test", 1)
		is(t, "status", b.get(b.choose(chooser, alice)).StatusCode, http.StatusForbidden)
	})
}

func TestWelcome(t *testing.T) {
	listed := func(w *world) { w.config.AutoCreate = []string{"corp.test"} }
	for name, row := range map[string]struct {
		email string
		edit  func(map[string]any)
		world func(*world)
		want  int
	}{
		"listed":     {"new@corp.test", func(map[string]any) {}, listed, http.StatusSeeOther},
		"upper":      {"new@CORP.test", func(map[string]any) {}, listed, http.StatusSeeOther},
		"not-listed": {"new@other.test", func(map[string]any) {}, listed, http.StatusForbidden},
		"below":      {"new@sub.corp.test", func(map[string]any) {}, listed, http.StatusForbidden},
		"no-list":    {"new@corp.test", func(map[string]any) {}, func(*world) {}, http.StatusForbidden},
		"trusted-only": {"new@corp.test", func(c map[string]any) { delete(c, "email_verified") }, func(w *world) {
			listed(w)
			w.config.TrustEmail = true
		}, http.StatusForbidden},
	} {
		t.Run("US-03/welcome-"+name, func(t *testing.T) {
			w := newWorld(t, row.world)
			w.said(row.edit)
			is(t, "status", w.browser(t).login("/", row.email).StatusCode, row.want)
		})
	}
}

func TestSamePerson(t *testing.T) {
	subject := func(sub string) func(standin.Endpoint, map[string]any) {
		return func(_ standin.Endpoint, c map[string]any) { c["sub"] = sub }
	}
	t.Run("US-05/a", func(t *testing.T) {
		w := newWorld(t)
		w.provider.Edit(subject("S1"))
		is(t, "first", w.answered(t), http.StatusSeeOther)
		b := w.browser(t)
		is(t, "new address", b.login("/", "alice.new@corp.test").StatusCode, http.StatusForbidden)
	})
	t.Run("US-05/b", func(t *testing.T) {
		w := newWorld(t)
		w.provider.Edit(subject("S1"))
		is(t, "first", w.answered(t), http.StatusSeeOther)
		w.provider.Edit(subject("S2"))
		is(t, "RULE-08: another account", w.answered(t), http.StatusForbidden)
		w.provider.Edit(subject("S1"))
		is(t, "the first again", w.answered(t), http.StatusSeeOther)
	})
	t.Run("US-05/c", func(t *testing.T) {
		w := newWorld(t) // alice's row is bound to nobody yet
		w.provider.Edit(subject("S7"))
		is(t, "the first account binds", w.answered(t), http.StatusSeeOther)
		is(t, "and comes in again", w.answered(t), http.StatusSeeOther)
		w.provider.Edit(nil)
		is(t, "any other does not", w.answered(t), http.StatusForbidden)
	})
	t.Run("US-05/d", func(t *testing.T) {
		w := newWorld(t)
		w.addUser("new@corp.test")
		w.provider.Edit(subject("S1"))
		is(t, "S1", w.answered(t), http.StatusSeeOther)
		w.provider.Edit(subject("S9"))
		w.browser(t).signIn("/", "new@corp.test")
		w.provider.Edit(subject("S1"))
		b := w.browser(t)
		is(t, "S1 with the address of S9", b.login("/", "new@corp.test").StatusCode, http.StatusForbidden)
	})
}

// A session is never idle beyond its absolute end; the store of these tests complains if one may be.
func TestShortLife(t *testing.T) {
	b := newWorld(t, func(w *world) { w.life = auth.Lifetime{TTL: 2 * time.Hour, Max: time.Hour} }).browser(t)
	b.signIn("/", alice)
	is(t, "who", b.who(), alice)
}

// What the session is made of.
func TestSessionRow(t *testing.T) {
	w := newWorld(t)
	seen := &seeing{Sessions: w.users}
	w.store.Sessions = seen
	b := w.browser(t)
	chooser := b.begin("/")
	before := time.Now()
	b.get(b.choose(chooser, alice), with("User-Agent", strings.Repeat("é", 300)))
	s := seen.made
	is(t, "user agent", s.UserAgent, strings.Repeat("é", 128))
	is(t, "address", s.IP.String(), "127.0.0.1")
	for what, gap := range map[string]time.Duration{
		"made": s.CreatedAt.Sub(before), "idle end": s.ExpiresAt.Sub(before) - time.Hour, "absolute end": s.EndsAt.Sub(before) - 12*time.Hour,
	} {
		if gap < 0 || gap > time.Minute {
			t.Errorf("ST-08: %s is off by %v", what, gap)
		}
	}
	if rec := w.last(); rec.Who.User != alice || rec.Outcome.Event != "login" {
		t.Errorf("record: %+v %+v", rec.Who, rec.Outcome)
	}
}

// seeing keeps the session that was made last.
type seeing struct {
	auth.Sessions
	made auth.Session
}

func (s *seeing) Create(ctx context.Context, made auth.Session) error {
	s.made = made
	return s.Sessions.Create(ctx, made)
}

func TestCanonicalEmail(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[A-Za-z0-9.!+@" \-]{0,30}`).Draw(t, "address")
		canonical, err := auth.CanonicalEmail(s)
		if err != nil {
			return
		}
		again, err := auth.CanonicalEmail(canonical)
		if err != nil || again != canonical || !strings.EqualFold(canonical, s) || strings.Count(s, "@") != 1 || strings.ContainsAny(s, "\" ") {
			t.Fatalf("%q became %q, then %q, %v", s, canonical, again, err)
		}
	})
}
