package auth

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gatehouse-auth/gatehouse/web"
)

// Logout ends sessions, and tells people whose they are.
type Logout struct {
	site    Site
	cookies Cookies
	gate    *Gate
	origins *http.CrossOriginProtection
}

// NewLogout makes a logout. The error names a public URL that is no origin.
func NewLogout(site Site, cookies Cookies, gate *Gate) (*Logout, error) {
	origins := http.NewCrossOriginProtection()
	// Behind a proxy that changes Host, our own origin would otherwise not be known as ours.
	if err := origins.AddTrustedOrigin(site.Public.Scheme + "://" + site.host()); err != nil {
		return nil, fmt.Errorf("public URL: %w", err)
	}
	return &Logout{site: site, cookies: cookies, gate: gate, origins: origins}, nil
}

// Page answers GET /logout: a button for whoever is signed in, and for everybody else the word that
// nobody is. It ends nothing, so an image, a prefetch or a link in a mail cannot sign anybody out.
func (l *Logout) Page(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return onlyGet(w, "This page is asked for with GET.")
	}
	s, err := l.gate.Who(r.Context(), r.Header)
	switch {
	case err == nil:
		note(r, s)
		web.Draw(w, r, web.Page{Title: "Sign out?", Text: []string{"You are signed in as " + s.User.Email + "."}, Buttons: l.button()})
	case errors.Is(err, ErrTwoUsers):
		return l.cookies.Clash(w, r)
	case errors.Is(err, ErrNoSession):
		web.Draw(w, r, web.Page{
			Title: "You are signed out",
			Text:  []string{"Nobody is signed in here in this browser."},
			Links: []web.Link{{Name: "Sign in", Rel: "login", Href: l.site.Login("")}},
		})
	default:
		return web.Unavailable(err)
	}
	return nil
}

// button is the form that signs out. Its address has no host, so that it stays on the origin of the
// page it is on, where the cookie is.
func (l *Logout) button() []web.Button {
	return []web.Button{{Name: "Sign out", Action: l.site.Prefix + "/logout"}}
}

// End answers POST /logout from a page of our own origin: it ends the sessions that the browser
// carries, and only then clears the cookie. If a session cannot be ended the answer is 503 and the
// cookie stays, because a browser that forgot the token could not try again while whoever stole it
// still can use it.
func (l *Logout) End(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		return web.Fail(http.StatusMethodNotAllowed, "Signing out takes a POST request.", nil)
	}
	if err := l.ownPage(r); err != nil {
		return err
	}
	return l.end(w, r, l.site.Prefix+"/logout")
}

// end ends the sessions that a request carries, and sends the browser to next, which is clean.
func (l *Logout) end(w http.ResponseWriter, r *http.Request, next string) error {
	if s, err := l.gate.Who(r.Context(), r.Header); err == nil {
		note(r, s) // for the record only; whether End works is what counts
	}
	if err := l.gate.endAll(r.Context(), r.Header); err != nil {
		return &web.Error{
			Status: http.StatusServiceUnavailable, Title: "You are still signed in",
			Text:       "You could not be signed out, because a store of ours does not answer. Please try again in a few seconds.",
			Links:      []web.Link{{Name: "Try again", Rel: "logout", Href: l.site.Logout()}},
			RetryAfter: 5 * time.Second, Event: "logout_failed", Cause: err,
		}
	}
	l.cookies.Clear(w)
	// Without this the back button shows the app's last pages from the browser's cache, to whoever
	// sits there next (LO-02). The app's pages are private, but not all of them say no-store.
	w.Header().Set("Clear-Site-Data", `"cache"`)
	web.RecordOf(r.Context()).Outcome.Event = "logout"
	web.Redirect(w, r, http.StatusSeeOther, next)
	return nil
}

// ownPage refuses to sign out at the request of another site's page.
func (l *Logout) ownPage(r *http.Request) error {
	err := l.sameOrigin(r)
	if err == nil {
		return nil
	}
	return &web.Error{
		Status: http.StatusForbidden, Title: "You are still signed in",
		Text:  "Another site asked to sign you out. If you want that, do it here.",
		Links: []web.Link{{Name: "Sign out", Rel: "logout", Href: l.site.Logout()}},
		Event: "logout_cross_site", Cause: err,
	}
}

// sameOrigin refuses what a page of another origin sends. The host it is compared with is the one
// that the browser asked for, not the one that a proxy may have put in its place.
func (l *Logout) sameOrigin(r *http.Request) error {
	asked := r.WithContext(r.Context())
	asked.Host = hostOf(r)
	return l.origins.Check(asked)
}
