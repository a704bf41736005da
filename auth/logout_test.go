package auth_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

func TestLogout(t *testing.T) {
	w := newWorld(t)
	b := w.browser(t)
	b.signIn("/", alice)
	token := b.cookies()["gate"]
	address := b.gate("/logout")

	for name, row := range map[string]struct {
		method string
		edits  []func(http.Header)
		status int
	}{
		"LO-01/a":           {http.MethodGet, []func(http.Header){with("Sec-Fetch-Site", "cross-site"), with("Sec-Fetch-Dest", "image")}, http.StatusOK},
		"LO-01/b":           {http.MethodPost, []func(http.Header){with("Origin", "https://evil.test")}, http.StatusForbidden},
		"LO-01/b-fetch":     {http.MethodPost, []func(http.Header){with("Sec-Fetch-Site", "cross-site")}, http.StatusForbidden},
		"LO-01/b-same-site": {http.MethodPost, []func(http.Header){with("Sec-Fetch-Site", "same-site"), with("Origin", "http://app.gw.test")}, http.StatusForbidden},
		"LO-01/b-null":      {http.MethodPost, []func(http.Header){with("Origin", "null")}, http.StatusForbidden},
		"LO-01/b-port":      {http.MethodPost, []func(http.Header){with("Origin", "http://gw.test:81")}, http.StatusForbidden},
		"LO-01/c":           {http.MethodGet, []func(http.Header){with("Sec-Purpose", "prefetch")}, http.StatusOK},
		"LO-01/g":           {http.MethodHead, nil, http.StatusOK},
		"LO-01/put":         {http.MethodPut, nil, http.StatusMethodNotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			p := b.do(row.method, address, "", row.edits...)
			is(t, "RULE-10: status", p.StatusCode, row.status)
			is(t, "Set-Cookie", p.Header.Get("Set-Cookie"), "")
			is(t, "who", b.who(), alice)
		})
	}
	t.Run("LO-01/page", func(t *testing.T) {
		p := b.get(address)
		for _, want := range []string{alice, `<form method="post" action="/_gate/logout">`} {
			is(t, want, strings.Contains(p.text, want), true)
		}
		is(t, "needs no script", strings.Contains(p.text, "<script"), false)
	})
	t.Run("LO-01/store-down", func(t *testing.T) {
		w.store.Fail(storetest.End, errors.New("the database is down"))
		p := b.do(http.MethodPost, address, "")
		is(t, "status", p.StatusCode, http.StatusServiceUnavailable)
		is(t, "Retry-After", p.Header.Get("Retry-After") != "", true)
		is(t, "Set-Cookie", p.Header.Get("Set-Cookie"), "")
		w.store.Heal(storetest.End)
		is(t, "who", b.who(), alice)
	})
	t.Run("LO-01/d", func(t *testing.T) {
		p := b.do(http.MethodPost, address, "", with("Origin", "http://gw.test"), with("Sec-Fetch-Site", "same-origin"))
		is(t, "status", p.StatusCode, http.StatusSeeOther)
		is(t, "Set-Cookie", p.Header.Get("Set-Cookie"), "gate=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax")
		is(t, "sessions", w.users.Live(), 0)
		is(t, "event", w.last().Outcome.Event, "logout")
		is(t, "user", w.last().Who.User, alice)
		after := b.get(p.next())
		is(t, "page", after.StatusCode, http.StatusOK)
		is(t, "says so", strings.Contains(after.text, "You are signed out"), true)
		wantLink(t, after, "/_gate/login")
	})
	for _, name := range []string{"LO-01/e", "LO-01/f"} {
		t.Run(name, func(t *testing.T) {
			b.plant("gate", token)
			p := b.do(http.MethodPost, address, "")
			is(t, "status", p.StatusCode, http.StatusSeeOther)
			is(t, "cleared", strings.Contains(p.Header.Get("Set-Cookie"), "Max-Age=0"), true)
			is(t, "who", b.who(), "")
		})
	}
}

// While nobody can tell who is asking, the page says neither that somebody is signed in nor that
// nobody is.
func TestLogoutUnknown(t *testing.T) {
	b := newWorld(t).browser(t)
	b.signIn("/", alice)
	b.store.Fail(storetest.Find, errors.New("the database is down"))
	is(t, "page", b.get(b.gate("/logout")).StatusCode, http.StatusServiceUnavailable)
	is(t, "me", b.get(b.gate("/me")).StatusCode, http.StatusServiceUnavailable)
	// Ending does not need to know whose session it is.
	is(t, "LO-01: end", b.do(http.MethodPost, b.gate("/logout"), "").StatusCode, http.StatusSeeOther)
	is(t, "sessions", b.users.Live(), 0)
}

// With a cookie domain, signing out works on an app's host too, and stays there.
func TestLogoutDomain(t *testing.T) {
	w := newWorld(t, func(w *world) {
		w.site.Public.Host, w.domain, w.back = "auth.corp.test", "corp.test", []string{".corp.test"}
	})
	b := w.browser(t)
	b.signIn("/", alice)
	cross := b.do(http.MethodPost, "http://app.corp.test/_gate/logout", "", with("Origin", "http://evil.corp.test"))
	is(t, "LO-01: a neighbour", cross.StatusCode, http.StatusForbidden)
	p := b.do(http.MethodPost, "http://app.corp.test:80/_gate/logout", "", with("Origin", "http://app.corp.test"))
	is(t, "status", p.StatusCode, http.StatusSeeOther)
	is(t, "to", p.to(), "/_gate/logout")
	is(t, "who", b.who(), "")
	is(t, "CK-03: cookie left", b.cookies()["gate"], "")
}

func TestMe(t *testing.T) {
	w := newWorld(t)
	b := w.browser(t)
	nobody := b.get(b.gate("/me"), with("Accept", "application/json"))
	is(t, "nobody", nobody.StatusCode, http.StatusUnauthorized)
	is(t, "sign in at", strings.Contains(nobody.text, `"login":"http://gw.test/_gate/login"`), true)
	if err := w.users.SetRoles(t.Context(), alice, []string{"staff", "wiki:write"}); err != nil {
		t.Fatal(err)
	}
	b.signIn("/", alice)
	data := b.get(b.gate("/me"), with("Accept", "application/json"))
	for _, want := range []string{`"email":"alice@corp.test"`, `"name":"Alice"`, `"roles":["staff","wiki:write"]`} {
		is(t, want, strings.Contains(data.text, want), true)
	}
	is(t, "shows the token", strings.Contains(data.text, b.cookies()["gate"]), false)
	drawn := b.get(b.gate("/me"))
	for _, want := range []string{"<dd>alice@corp.test</dd>", "<dd>staff, wiki:write</dd>", `action="/_gate/logout"`} {
		is(t, want, strings.Contains(drawn.text, want), true)
	}
	is(t, "POST", b.do(http.MethodPost, b.gate("/me"), "").StatusCode, http.StatusMethodNotAllowed)
	head := b.do(http.MethodHead, b.gate("/me"), "", with("Accept", "application/json"))
	is(t, "HEAD", head.StatusCode, http.StatusOK)
}
