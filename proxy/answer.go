package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/web"
)

// answer tells whoever may not pass what to do. It sets headers and leaves the rest to the error that
// it returns, or answers by itself and returns nil.
func (p *Proxy) answer(w http.ResponseWriter, r *http.Request, ask Ask, d Decision) error {
	share(w, ask, d.Route)
	if errors.Is(d.Cause, auth.ErrTwoUsers) {
		return p.parts.Cookies.Clash(w, r)
	}
	going := d.Verdict == SignInFirst && auth.Navigates(r)
	// A cookie goes only if it is certainly dead, and only where a person is looking: the answer to
	// a background request could overtake a login in another tab and clear its new cookie.
	if going && errors.Is(d.Cause, auth.ErrDeadCookie) {
		p.parts.Cookies.Clear(w)
	}
	if going && retrieval(r.Method) {
		web.Redirect(w, r, http.StatusSeeOther, p.parts.Site.Login(p.back(r, ask)))
		return nil
	}
	return p.refusal(r, ask, d)
}

// refusal is the error that says why a request may not pass, and what to do.
func (p *Proxy) refusal(r *http.Request, ask Ask, d Decision) error {
	switch {
	case errors.Is(d.Cause, auth.ErrTwoUsers):
		return p.twoUsers(r, ask, d)
	case d.Verdict == SignInFirst:
		return p.signIn(r, ask, d)
	case d.Verdict == Forbidden && d.Strange:
		return stranger(ask)
	case d.Verdict == Forbidden:
		return p.forbidden(r, ask, d)
	}
	return web.Unavailable(d.Cause)
}

// signIn is a 401 that says where to sign in: a script cannot follow a redirect to another site, and
// a POST must not become a GET (PX-01, PX-03).
func (p *Proxy) signIn(r *http.Request, ask Ask, d Decision) error {
	text := "You have to sign in to use this page."
	if !retrieval(r.Method) {
		text = "You are signed out, so what you sent was not passed on. Sign in and send it again."
	}
	return &web.Error{
		Status: http.StatusUnauthorized, Title: "Please sign in", Text: text, Cause: d.Cause,
		Links: []web.Link{{Name: "Sign in", Rel: "login", Href: p.parts.Site.Login(p.back(r, ask))}},
	}
}

// forbidden says whose account it was, because that is what people get wrong, and offers another.
func (p *Proxy) forbidden(r *http.Request, ask Ask, d Decision) error {
	return &web.Error{
		Status: http.StatusForbidden, Title: "Not allowed", Event: "forbidden",
		Text: fmt.Sprintf("You are signed in as %s, and this account may not use this page.", d.Session.User.Email),
		Links: []web.Link{
			{Name: "Use another account", Rel: "login", Href: p.parts.Site.OtherAccount(p.back(r, ask))},
			{Name: "Sign out", Rel: "logout", Href: p.parts.Site.Logout()},
		},
	}
}

// stranger refuses a request that a page of another site made with the user's cookies (RULE-10).
func stranger(ask Ask) error {
	return &web.Error{
		Status: http.StatusForbidden, Title: "Not allowed", Event: "foreign_origin",
		Text:  "This request was made by a page of another site that may not make it.",
		Cause: fmt.Errorf("origin %.100q is not listed", ask.Origin),
	}
}

// twoUsers refuses a browser that carries sessions of two users, where no cookie can be cleared:
// a check is answered to a proxy (RULE-07).
func (p *Proxy) twoUsers(r *http.Request, ask Ask, d Decision) error {
	return &web.Error{
		Status: http.StatusBadRequest, Title: "Two accounts at once", Event: "two_users", Cause: d.Cause,
		Text:  "Your browser sent the sessions of two different accounts, so Gatehouse took neither. Please sign in again.",
		Links: []web.Link{{Name: "Sign in", Rel: "login", Href: p.parts.Site.Login(p.back(r, ask))}},
	}
}

// refuse prepares the answer of an error, which may be nil.
func refuse(w http.ResponseWriter, err error) error {
	var wrong *wrongMethod
	if errors.As(err, &wrong) {
		w.Header().Set("Allow", wrong.allow)
	}
	return err
}

// share lets the scripts of a listed origin read our refusals: without CORS headers a script cannot
// tell a 401 from a dead network (PX-01).
func share(w http.ResponseWriter, ask Ask, route *Route) {
	if len(route.Origins) == 0 {
		return
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	if slices.Contains(route.Origins, ask.Origin) {
		h.Set("Access-Control-Allow-Origin", ask.Origin)
		h.Set("Access-Control-Allow-Credentials", "true")
	}
}
