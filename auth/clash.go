package auth

import (
	"net/http"
	"strings"

	"github.com/gatehouse-auth/gatehouse/web"
)

// maxVariants bounds how many domains, and how many paths, a clash clears cookies for.
const maxVariants = 4

// Clash is the answer to ErrTwoUsers: a 400 page that clears every cookie with our name that the
// browser may hold for this host. A neighbour under the same domain can plant a second one, with
// another domain or a longer path, and the browser does not tell which is whose; so both go, and
// their owner signs in again.
func (c Cookies) Clash(w http.ResponseWriter, r *http.Request) error {
	for _, domain := range c.domains(hostOf(r)) {
		for _, path := range paths(r.URL.Path) {
			cookie := c.cookie("")
			cookie.Domain, cookie.Path, cookie.MaxAge = domain, path, -1
			http.SetCookie(w, cookie)
		}
	}
	return &web.Error{
		Status: http.StatusBadRequest,
		Title:  "Two people are signed in here",
		Text:   "This browser sent the sessions of two different users, so nobody was let in. Both have been removed from this browser. Please sign in again.",
		Links:  []web.Link{{Name: "Sign in", Rel: "login", Href: c.site.Login("")}},
		Event:  "two_users",
		Cause:  ErrTwoUsers,
	}
}

// domains are the Domain attributes under which a cookie that reaches a host may have been set: none,
// the host's own and each parent's. A __Host- cookie has none.
func (c Cookies) domains(host string) []string {
	name, _, _ := strings.Cut(host, ":")
	if strings.HasPrefix(c.name, "__Host-") {
		return []string{""}
	}
	all := []string{""}
	for strings.Contains(name, ".") && len(all) <= maxVariants {
		all = append(all, name)
		_, name, _ = strings.Cut(name, ".")
	}
	return all
}

// paths are the Path attributes under which a cookie that reaches a path may have been set.
func paths(path string) []string {
	all := []string{"/"}
	for i := 1; i < len(path) && len(all) <= maxVariants; i++ {
		if path[i] == '/' || i == len(path)-1 {
			all = append(all, strings.TrimSuffix(path[:i+1], "/"))
		}
	}
	return all
}
