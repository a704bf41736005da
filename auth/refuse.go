package auth

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gatehouse-auth/gatehouse/web"
)

// The ways in which a login ends without anybody being let in. Each is a page with a link on, and
// none says more than its reader may know.

// again asks to sign in once more.
func (l *Login) again(status int, event, next, text string, cause error) error {
	return &web.Error{
		Status: status, Title: "Please sign in", Text: text, Event: event, Cause: cause,
		Links: []web.Link{
			{Name: "Sign in", Rel: "login", Href: l.Site.Login(target(next))},
			{Name: "Use another account", Rel: "other_account", Href: l.Site.OtherAccount(target(next))},
		},
	}
}

// target leaves the front page out of an address: a login leads there by itself.
func target(next string) string {
	if next == frontPage {
		return ""
	}
	return next
}

// lost answers a callback that no login under way belongs to: it is forged, or comes late, twice, or
// from another browser. Whoever is signed in wanted to get somewhere and gets there (LG-01, LG-02).
// For everybody else it ends here: to start over by itself could go on for ever.
func (l *Login) lost(w http.ResponseWriter, r *http.Request, about ticket, event string, cause error) error {
	next := l.Next.Clean(about.Next)
	s, err := l.Gate.Who(r.Context(), r.Header)
	switch {
	case err == nil:
		note(r, s)
		web.RecordOf(r.Context()).Outcome.Event = event
		if about.ID != "" {
			l.attempts.clear(w, about.ID)
		}
		web.Redirect(w, r, http.StatusSeeOther, next)
		return nil
	case errors.Is(err, ErrTwoUsers):
		return l.Cookies.Clash(w, r)
	case !errors.Is(err, ErrNoSession):
		return web.Unavailable(err)
	}
	if about.ID != "" {
		l.attempts.clear(w, about.ID)
	}
	return l.again(http.StatusBadRequest, event, next, "This sign-in was finished before, took too long, or was started in another browser.", cause)
}

// refuse turns away an account that the provider knows. The text is the same whether it is unknown,
// disabled or bound to another account of the provider: that is nobody's business but the operator's.
func (l *Login) refuse(event, email, next string, cause error) error {
	text := "This account has no access here."
	if email != "" {
		text = "You signed in as " + email + ", and this account has no access here."
	}
	return &web.Error{
		Status: http.StatusForbidden,
		Title:  "No access",
		Text:   text + " If you have another account, use that one; otherwise ask whoever runs this site.",
		Links:  []web.Link{{Name: "Use another account", Rel: "login", Href: l.Site.OtherAccount(target(next))}},
		Event:  event,
		// The log names the account: "why was she refused" is asked with an e-mail in hand.
		Cause: fmt.Errorf("%q: %w", email, cause),
	}
}

// providerFault says that the provider is wrong (502) or late (504).
func (l *Login) providerFault(err error, next string) error {
	status, text := http.StatusBadGateway, "The sign-in provider gave no usable answer."
	if errors.Is(err, errLate) {
		status, text = http.StatusGatewayTimeout, "The sign-in provider did not answer in time."
	}
	return &web.Error{
		Status: status, Title: "Sign-in is not possible right now", Text: text + " Please try again in a moment.",
		Links: []web.Link{{Name: "Try again", Rel: "login", Href: l.Site.Login(target(next))}},
		Event: "provider_fault", Cause: err,
	}
}

// busy asks to come back: the code is unspent, and the same address will do.
func busy(err error) error {
	return &web.Error{
		Status: http.StatusServiceUnavailable, Title: "Just a moment",
		Text:       "Many sign-ins are under way. Please reload this page in a few seconds.",
		RetryAfter: 2 * time.Second, Event: "login_busy", Cause: err,
	}
}

// onlyGet answers a method that an endpoint does not have.
func onlyGet(w http.ResponseWriter, text string) error {
	w.Header().Set("Allow", http.MethodGet)
	return web.Fail(http.StatusMethodNotAllowed, text, nil)
}
