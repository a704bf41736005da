package proxy

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/web"
)

// match is the routes that an Ask may mean, taken together.
type match struct {
	route     *Route // of the path as sent: where the request goes
	access    Access // the strictest
	rest      []*Route
	preflight bool // a CORS preflight that every route lets through
	ruled     bool // some route rules methods
}

// judge says whether a signed-in user may: every route that the path may mean must admit him.
func (m match) judge(u auth.User) Verdict {
	if !m.route.admits(u) {
		return Forbidden
	}
	for _, rt := range m.rest {
		if !rt.admits(u) {
			return Forbidden
		}
	}
	return Allowed
}

func (rt *Route) admits(u auth.User) bool { return rt.Access != SignedIn || rt.Allow.admits(u) }

// match finds the routes of every reading of an Ask. The error is the 404 or 405 that answers it: a
// reading without a route is one that nobody may take, and a method that the longest prefix does not
// list never falls through to a shorter one.
func (t *Table) match(ask Ask) (match, error) {
	z := t.zones[ask.Host]
	if z == nil {
		return match{}, notFound("No such page here.")
	}
	var m match
	for _, path := range ask.readings {
		found := find(z.exact, path, z.depth)
		if found == nil {
			return match{}, notFound("No such page here.")
		}
		if err := m.add(found, ask); err != nil {
			return match{}, err
		}
		for _, other := range find(z.folded, strings.ToLower(path), z.depth) {
			if err := m.add(z.exact[other], ask); err != nil {
				return match{}, err
			}
		}
	}
	return m, nil
}

// find returns what stands under the longest prefix of a path. Prefixes have at most depth segments,
// so that a path of thousands costs no more.
func find[T any](by map[string][]T, path string, depth int) []T {
	end := len(path)
	for i, n := 1, 0; i < len(path); i++ {
		if path[i] == '/' {
			if n++; n == depth {
				end = i
				break
			}
		}
	}
	for end > 0 {
		if found := by[path[:end]]; found != nil {
			return found
		}
		end = strings.LastIndexByte(path[:end], '/')
	}
	return by["/"]
}

// add takes in the route of a list that serves the Ask's method.
func (m *match) add(list []*Route, ask Ask) error {
	if ask.Method == "" {
		m.addAll(list)
		return nil
	}
	rt, preflight := choose(list, ask)
	if rt == nil {
		return methodNotAllowed(list)
	}
	m.take(rt, preflight)
	return nil
}

// addAll takes in every route of a list, for a request of which only the path is known: who may has to
// be let in by all of them, and what is public by some methods only is not public.
func (m *match) addAll(list []*Route) {
	for _, rt := range list {
		m.take(rt, false)
		if len(rt.Methods) > 0 {
			m.access = SignedIn
		}
	}
}

func (m *match) take(rt *Route, preflight bool) {
	m.ruled = m.ruled || len(rt.Methods) > 0
	switch {
	case m.route == nil: // the first reading is the path as sent
		m.route, m.access, m.preflight = rt, rt.Access, preflight
		return
	case m.route != rt && !slices.Contains(m.rest, rt):
		m.rest = append(m.rest, rt)
	}
	m.access = stricter(m.access, rt.Access)
	m.preflight = m.preflight && preflight
}

// choose picks the route of a method. A preflight that no route lists belongs to the route of the
// method that it asks about, if that one lets preflights through.
func choose(list []*Route, ask Ask) (rt *Route, preflight bool) {
	for _, rt := range list {
		if rt.serves(ask.Method) {
			return rt, ask.Wanted != "" && rt.AllowPreflight
		}
	}
	for _, rt := range list {
		if ask.Wanted != "" && rt.AllowPreflight && rt.serves(ask.Wanted) {
			return rt, true
		}
	}
	return nil, false
}

func stricter(a, b Access) Access {
	for _, one := range []Access{SignedIn, Identify} {
		if a == one || b == one {
			return one
		}
	}
	return Public
}

// methodNotAllowed is the 405; its Allow header is set by refuse.
func methodNotAllowed(list []*Route) error {
	var methods []string
	for _, rt := range list {
		methods = append(methods, rt.Methods...)
	}
	return &wrongMethod{allow: strings.Join(methods, ", "), answer: &web.Error{
		Status: http.StatusMethodNotAllowed, Title: "Method not allowed", Text: "This address does not take requests of this method.",
	}}
}

// wrongMethod is a 405 with what would have been right (RFC 9110, section 15.5.6).
type wrongMethod struct {
	allow  string
	answer *web.Error
}

func (e *wrongMethod) Error() string { return e.answer.Error() }
func (e *wrongMethod) Unwrap() error { return e.answer }
