package proxy

import (
	"errors"
	"net/http"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/web"
)

// The headers by which a proxy that understands 2xx, 401 and 403 only learns the rest.
const (
	loginHeader  = "X-Gatehouse-Login"  // where to sign in, and come back
	reasonHeader = "X-Gatehouse-Reason" // why the answer is 403, in one word
)

// allow says yes: who it is, and which cookies the app may see. Everything that an app may ever get
// from us is said, empty where there is nothing, so that a front proxy overwrites what a client sent.
func (c *Checks) allow(w http.ResponseWriter, r *http.Request, ask *Ask, decision *Decision, d *dialect) {
	h := w.Header()
	identity, session := c.proxy.parts.Identity, &decision.Session
	if session.ID == 0 || decision.Route.Access == Public {
		session = nil
	}
	identity.Declare(h, session)
	if d.name == Compat {
		identity.declareCompat(h, session)
	}
	h["Cookie"] = empty
	// A preflight carries no credentials (Fetch standard, section 4.8).
	if others := auth.Others(r.Header); others != "" && (ask.Wanted == "" || decision.Session.ID != 0) {
		h["Cookie"] = []string{others}
	}
	h["Cache-Control"] = noStore
	if r.Method == http.MethodHead {
		h["Content-Length"] = zero // with any other method net/http says so by itself
	}
	if r.ProtoMajor == 1 && r.ContentLength != 0 {
		h["Connection"] = []string{"close"} // or net/http would read a body that nobody wants
	}
	w.WriteHeader(d.allowed)
}

// Header values that every yes has. They are shared and never written to: net/http reads them, and
// whoever adds a value makes a copy.
var (
	empty   = []string{""}[:1:1]
	noStore = []string{"no-store"}[:1:1]
	zero    = []string{"0"}[:1:1]
)

// turnAway says no to the request that a check is about. A front proxy relays our answer to its
// client, so it is the answer that the client would have got here; only that no cookie is cleared,
// for not every proxy relays that.
func (c *Checks) turnAway(w http.ResponseWriter, r *http.Request, ask Ask, decision Decision, d dialect) error {
	share(w, ask, decision.Route)
	asked := r.WithContext(r.Context())
	if ask.Method != "" {
		asked.Method = ask.Method
	}
	if !d.narrow && decision.Verdict == SignInFirst && retrieval(ask.Method) && auth.Navigates(asked) {
		web.Redirect(w, r, http.StatusFound, c.proxy.parts.Site.Login(c.proxy.back(asked, ask)))
		return nil
	}
	return c.proxy.refusal(asked, ask, decision)
}

// say brings an error into what a dialect understands. nginx makes a 500 of whatever is neither 2xx
// nor 401 nor 403, so the rest of the refusals are 403 with a reason beside them (RULE-20). A 503
// stays one: that nobody could be asked is no refusal.
func (d dialect) say(w http.ResponseWriter, err error) error {
	if err == nil || !d.narrow {
		return err
	}
	var e *web.Error
	if !errors.As(err, &e) {
		return err
	}
	h := w.Header()
	for _, link := range e.Links {
		if link.Rel == "login" {
			h.Set(loginHeader, link.Href)
		}
	}
	if e.Status == http.StatusUnauthorized || e.Status >= http.StatusInternalServerError {
		return err
	}
	h.Set(reasonHeader, reason(e))
	narrowed := *e
	narrowed.Status = http.StatusForbidden
	return &narrowed
}

// reason is why an answer is no, in a word of a fixed set.
func reason(e *web.Error) string {
	if e.Event != "" {
		return e.Event
	}
	switch e.Status {
	case http.StatusNotFound:
		return "not_found"
	case http.StatusMethodNotAllowed:
		return "method_not_allowed"
	case http.StatusRequestURITooLong:
		return "target_too_long"
	case http.StatusRequestHeaderFieldsTooLarge:
		return "headers_too_large"
	}
	return "forbidden"
}
