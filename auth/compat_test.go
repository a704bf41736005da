package auth_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/store/storetest"
	"github.com/gatehouse-auth/gatehouse/web"
)

// RULE-21: a sign-in that starts as configurations for oauth2-proxy start it ends where rd says, if
// that is an address of ours.
func TestCompatStart(t *testing.T) {
	w := newWorld(t)
	for name, one := range map[string]struct{ query, want string }{
		"absolute":   {"?rd=" + url.QueryEscape("http://app.test/x?a=%26b"), "http://app.test/x?a=%26b"},
		"pasted":     {"?rd=http://app.test/x?a=1&b=2", "http://app.test/x?a=1&b=2"},
		"path":       {"?rd=%2Fx%3Fy", "/x?y"},
		"none":       {"", "/"},
		"after":      {"?approval=1&rd=%2Fx", "/x"},
		"not-ours":   {"?rd=https%3A%2F%2Fevil.test%2F", "/"},
		"slashes":    {"?rd=//evil.test/", "/"},
		"backslash":  {"?rd=%2F%5Cevil.test", "/"},
		"other-name": {"?ard=%2Fx&next=%2Fy", "/"},
	} {
		t.Run("RULE-21/"+name, func(t *testing.T) {
			b := w.browser(t)
			p := b.get(b.gate("/start" + one.query))
			if !strings.HasPrefix(p.to(), idp) {
				t.Fatalf("got %d to %q, want the provider", p.StatusCode, p.to())
			}
			is(t, "after the sign-in", b.get(b.choose(p.to(), alice)).to(), one.want)
		})
	}
	t.Run("RULE-21/app-host", func(t *testing.T) {
		p := w.browser(t).get("http://app.test/_gate/start?rd=%2Fdeep")
		is(t, "to", p.to(), "http://gw.test/_gate/login?next=http%3A%2F%2Fapp.test%2Fdeep")
	})
	t.Run("RULE-21/script", func(t *testing.T) {
		p := w.browser(t).get(w.gate("/start?rd=%2Fx"), with("Sec-Fetch-Mode", "cors"))
		is(t, "status", p.StatusCode, http.StatusUnauthorized)
	})
}

// RULE-21: the page in the place of a 401 is one itself, and leads back to where that was.
func TestCompatSignIn(t *testing.T) {
	peers, err := web.NewPeers([]web.TrustedPeer{{From: "127.0.0.1", Headers: []string{"uri"}}})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(w *world) { w.peers = peers })
	stranger := newWorld(t)
	for name, one := range map[string]struct {
		of      *world
		address string
		header  string
		want    string
	}{
		"rd":         {w, "http://app.test/_gate/sign_in?rd=%2Fx%3Fy", "", "http://app.test/x?y"},
		"header":     {w, "http://app.test/_gate/sign_in", "/x?y", "http://app.test/x?y"},
		"absolute":   {w, "http://app.test/_gate/sign_in", "http://app.test/x?y", "http://app.test/x?y"},
		"rd-first":   {w, "http://app.test/_gate/sign_in?rd=%2Fx", "/y", "http://app.test/x"},
		"itself":     {w, "http://app.test/_gate/sign_in", "/_gate/sign_in", "http://app.test/"},
		"not-ours":   {w, "http://app.test/_gate/sign_in", "https://evil.test/", "http://app.test/"},
		"untrusted":  {stranger, "http://app.test/_gate/sign_in", "/x", "http://app.test/"},
		"public":     {w, "http://gw.test/_gate/sign_in?rd=%2Fx", "", "/x"},
		"front-page": {w, "http://gw.test/_gate/sign_in", "", ""},
	} {
		t.Run("RULE-21/"+name, func(t *testing.T) {
			p := one.of.browser(t).get(one.address, with("X-Auth-Request-Redirect", one.header))
			is(t, "status", p.StatusCode, http.StatusUnauthorized)
			want := "http://gw.test/_gate/login"
			if one.want != "" {
				want += "?next=" + url.QueryEscape(one.want)
			}
			is(t, "leads to "+want, strings.Contains(p.text, `href="`+want+`"`), true)
		})
	}
}

// RULE-21: a link, an image or a form on somebody else's page signs nobody out.
func TestCompatSignOut(t *testing.T) {
	w := newWorld(t)
	b := w.browser(t)
	b.signIn("/", alice)
	for name, one := range map[string]struct {
		method string
		site   string
		origin string
		status int
	}{
		"cross-site":      {http.MethodGet, "cross-site", "", http.StatusOK},
		"same-site":       {http.MethodGet, "same-site", "", http.StatusOK},
		"unknown":         {http.MethodGet, "", "", http.StatusOK},
		"head":            {http.MethodHead, "same-origin", "", http.StatusOK},
		"post-cross-site": {http.MethodPost, "cross-site", "", http.StatusForbidden},
		"post-origin":     {http.MethodPost, "", "https://evil.test", http.StatusForbidden},
		"put":             {http.MethodPut, "same-origin", "", http.StatusMethodNotAllowed},
	} {
		t.Run("RULE-21/"+name, func(t *testing.T) {
			p := b.do(one.method, b.gate("/sign_out?rd=%2Fx"), "", with("Sec-Fetch-Site", one.site), with("Origin", one.origin))
			is(t, "status", p.StatusCode, one.status)
			is(t, "Set-Cookie", p.Header.Get("Set-Cookie"), "")
			is(t, "who", b.who(), alice)
		})
	}
	for name, one := range map[string]struct{ method, site, query, want string }{
		"none":        {http.MethodGet, "none", "", "/_gate/logout"},
		"same-origin": {http.MethodGet, "same-origin", "?rd=%2Fbye", "/bye"},
		"post":        {http.MethodPost, "same-origin", "?rd=http%3A%2F%2Fapp.test%2F", "http://app.test/"},
		"not-ours":    {http.MethodGet, "none", "?rd=https%3A%2F%2Faccounts.google.com%2FLogout", "/_gate/logout"},
		"front-page":  {http.MethodGet, "none", "?rd=%2F", "/_gate/logout"},
	} {
		t.Run("RULE-21/ends-"+name, func(t *testing.T) {
			b := w.browser(t)
			b.signIn("/", alice)
			p := b.do(one.method, b.gate("/sign_out"+one.query), "", with("Sec-Fetch-Site", one.site))
			is(t, "status", p.StatusCode, http.StatusSeeOther)
			is(t, "to", p.to(), one.want)
			is(t, "who", b.who(), "")
		})
	}
	t.Run("RULE-21/store-down", func(t *testing.T) {
		w.store.Fail(storetest.End, errors.New("the database is down"))
		p := b.get(b.gate("/sign_out"), with("Sec-Fetch-Site", "none"))
		is(t, "status", p.StatusCode, http.StatusServiceUnavailable)
		is(t, "Set-Cookie", p.Header.Get("Set-Cookie"), "")
	})
}

func TestCompatUserInfo(t *testing.T) {
	w := newWorld(t)
	b := w.browser(t)
	program := with("Accept", "application/json")
	is(t, "RULE-21: nobody", b.get(b.gate("/userinfo"), program).StatusCode, http.StatusUnauthorized)
	b.signIn("/", alice)
	is(t, "RULE-21: body", b.get(b.gate("/userinfo")).text, `{"user":"alice@corp.test","email":"alice@corp.test","preferredUsername":"alice@corp.test"}`+"\n")
	if err := w.users.SetRoles(t.Context(), alice, []string{"staff", "ops"}); err != nil {
		t.Fatal(err)
	}
	is(t, "RULE-21: groups", b.get(b.gate("/userinfo")).text, `{"user":"alice@corp.test","email":"alice@corp.test","groups":["staff","ops"],"preferredUsername":"alice@corp.test"}`+"\n")
	is(t, "RULE-21: POST", b.do(http.MethodPost, b.gate("/userinfo"), "").StatusCode, http.StatusMethodNotAllowed)
	w.store.Fail(storetest.Find, errors.New("the database is down"))
	is(t, "RULE-21: store down", b.get(b.gate("/userinfo"), program).StatusCode, http.StatusServiceUnavailable)
}
