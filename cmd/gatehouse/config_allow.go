package main

import (
	"regexp"
	"strings"
)

// roleName is what a role is called: it stands in a header, joined with others by commas.
var roleName = regexp.MustCompile(`^[a-z0-9._:-]+$`)

// allow refuses an empty list: whoever writes one means nobody or everybody, and we do not guess.
func (j *judge) allow(key string, r RouteConfig) {
	a := r.Allow
	if a == nil {
		return
	}
	if r.Public != "false" {
		j.bad(key, "", "contradicts public: "+string(r.Public), "remove one of them")
	}
	if len(a.Roles)+len(a.Emails)+len(a.Domains) == 0 {
		j.bad(key, "", "names nobody", "list roles, emails or domains; remove allow to let in every signed-in user")
		return
	}
	for name, list := range map[string][]string{"roles": a.Roles, "emails": a.Emails, "domains": a.Domains} {
		if list != nil && len(list) == 0 {
			j.bad(key+"."+name, "", "is empty", "remove it, or name somebody")
		}
	}
	for _, role := range a.Roles {
		if !roleName.MatchString(role) {
			j.bad(key+".roles", role, "not a role", "lower-case letters, digits and ._:-")
		}
	}
	for _, email := range a.Emails {
		if !validEmail(email) {
			j.bad(key+".emails", email, "not an e-mail", "write ann@example.com")
		}
	}
	for _, domain := range a.Domains {
		j.mailDomain(key+".domains", domain)
	}
}

// validEmail is loose: the provider decides what an address is, we only refuse what cannot be one.
func validEmail(s string) bool {
	name, domain, ok := strings.Cut(s, "@")
	return ok && name != "" && domain != "" && !strings.ContainsAny(s, " \t,<>*") && !strings.Contains(domain, "@") && printable(s) == s
}
