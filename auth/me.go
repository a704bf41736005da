package auth

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse-auth/gatehouse/web"
)

// me is the JSON of GET /me, for the pages of apps.
type me struct {
	Email     string    `json:"email"`
	Name      string    `json:"name"`
	Picture   string    `json:"picture,omitempty"`
	Roles     []string  `json:"roles"`
	Session   int64     `json:"session"` // its name, not a credential
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"` // moves with use
	EndsAt    time.Time `json:"ends_at"`
	Logout    string    `json:"logout"`
}

// Me answers GET /me: who is signed in here, as a page with a sign-out button or as JSON. Nobody is
// 401, with the address to sign in at.
func (l *Logout) Me(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return onlyGet(w, "This page is asked for with GET.")
	}
	s, err := l.gate.Who(r.Context(), r.Header)
	switch {
	case errors.Is(err, ErrTwoUsers):
		return l.cookies.Clash(w, r)
	case errors.Is(err, ErrNoSession):
		return nobody(l.site, err)
	case err != nil:
		return web.Unavailable(err)
	}
	note(r, s)
	if !web.WantsHTML(r) {
		return l.describe(w, r, s)
	}
	web.Draw(w, r, web.Page{
		Title:   "You are signed in",
		Facts:   facts(s),
		Buttons: l.button(),
		Links:   []web.Link{{Name: "Use another account", Rel: "other_account", Href: l.site.OtherAccount("")}},
	})
	return nil
}

func facts(s Session) []web.Fact {
	all := []web.Fact{{Name: "E-mail", Value: s.User.Email}}
	if s.User.Name != "" {
		all = append(all, web.Fact{Name: "Name", Value: s.User.Name})
	}
	if len(s.User.Roles) > 0 {
		all = append(all, web.Fact{Name: "Roles", Value: strings.Join(s.User.Roles, ", ")})
	}
	return append(all,
		web.Fact{Name: "Signed in", Value: minute(s.CreatedAt)},
		web.Fact{Name: "Ends at the latest", Value: minute(s.EndsAt)})
}

func minute(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") }

func (l *Logout) describe(w http.ResponseWriter, r *http.Request, s Session) error {
	roles := s.User.Roles
	if roles == nil {
		roles = []string{} // a list, whoever it is
	}
	return web.JSON(w, r, me{
		Email: s.User.Email, Name: s.User.Name, Picture: s.User.Picture, Roles: roles,
		Session: s.ID, CreatedAt: s.CreatedAt, ExpiresAt: s.ExpiresAt, EndsAt: s.EndsAt, Logout: l.site.Logout(),
	})
}

// nobody is the answer where somebody has to be signed in.
func nobody(site Site, cause error) error {
	return &web.Error{
		Status: http.StatusUnauthorized, Title: "Nobody is signed in",
		Text:  "Nobody is signed in here in this browser.",
		Links: []web.Link{{Name: "Sign in", Rel: "login", Href: site.Login("")}},
		Cause: cause,
	}
}
