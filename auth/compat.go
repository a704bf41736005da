package auth

import (
	"errors"
	"net/http"
	"strings"

	"github.com/gatehouse-auth/gatehouse/web"
)

// Compat is the drop-in mode for configurations that were written for oauth2-proxy: its endpoints
// under their names there, by the code of our own. Only the question itself, /auth, is not here, for
// it is proxy's to answer.
//
// What it does not take over is what made that program unsafe: an address to return to passes Next,
// and a link on somebody else's page signs nobody out (RULE-21).
type Compat struct {
	login  *Login
	logout *Logout
}

// NewCompat makes the endpoints over those of our own.
func NewCompat(login *Login, logout *Logout) *Compat { return &Compat{login, logout} }

// Start answers GET /start?rd=…, which begins a sign-in.
func (c *Compat) Start(w http.ResponseWriter, r *http.Request) error {
	asked := *r
	address := *r.URL
	asked.URL, address.RawQuery = &address, c.wanted(r)
	return c.login.Start(w, &asked)
}

// SignIn answers /sign_in?rd=…, which front proxies show in the place of a 401: a page with a link.
// It is a 401 itself, for a program that gets it must not take it for what it asked for.
func (c *Compat) SignIn(_ http.ResponseWriter, r *http.Request) error {
	next := c.login.onHost(hostOf(r), c.login.Next.asked(c.wanted(r)))
	return c.login.again(http.StatusUnauthorized, "", next, "You have to sign in to use this page.", nil)
}

// SignOut answers /sign_out?rd=…. By GET it signs out only whoever typed the address or followed a
// link of the same origin; everybody else gets the page with the button.
func (c *Compat) SignOut(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodPost {
		if err := c.logout.ownPage(r); err != nil {
			return err
		}
	} else if from := r.Header.Get("Sec-Fetch-Site"); r.Method != http.MethodGet || from != "same-origin" && from != "none" {
		return c.logout.Page(w, r)
	}
	next := c.login.Next.asked(c.wanted(r))
	if next == frontPage {
		next = c.logout.site.Prefix + "/logout" // the front page would ask to sign in again
	}
	return c.logout.end(w, r, next)
}

// userInfo is the JSON of /userinfo, with the keys that it has in oauth2-proxy.
type userInfo struct {
	User              string   `json:"user"`
	Email             string   `json:"email"`
	Groups            []string `json:"groups,omitempty"`
	PreferredUsername string   `json:"preferredUsername"`
}

// UserInfo answers GET /userinfo: who is signed in, as JSON. Nobody is 401.
func (c *Compat) UserInfo(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return onlyGet(w, "This is asked for with GET.")
	}
	s, err := c.login.Gate.Who(r.Context(), r.Header)
	switch {
	case errors.Is(err, ErrTwoUsers):
		return c.login.Cookies.Clash(w, r)
	case errors.Is(err, ErrNoSession):
		return nobody(c.login.Site, err)
	case err != nil:
		return web.Unavailable(err)
	}
	note(r, s)
	return web.JSON(w, r, userInfo{s.User.Email, s.User.Email, s.User.Roles, s.User.Email})
}

// wanted is the query of our own login that asks for what a request to this mode asks: rd is next. A
// front proxy that shows the sign-in page in the place of a 401 says in X-Auth-Request-Redirect where
// that was.
func (c *Compat) wanted(r *http.Request) string {
	for rest := r.URL.RawQuery; rest != ""; {
		if value, found := strings.CutPrefix(rest, "rd="); found {
			return "next=" + value
		}
		_, rest, _ = strings.Cut(rest, "&")
	}
	from := r.Header.Get("X-Auth-Request-Redirect")
	if from == "" || !web.PeerOf(r.Context()).May(web.ClaimURI) || strings.HasPrefix(from, c.login.Site.Prefix+"/") {
		return ""
	}
	return "next=" + from
}
