package main

import "github.com/gatehouse-auth/gatehouse/auth"

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
		if !auth.ValidRole(role) {
			j.bad(key+".roles", role, "not a role", "lower-case letters, digits and ._:-")
		}
	}
	for _, email := range a.Emails {
		if _, err := auth.CanonicalEmail(email); err != nil {
			j.bad(key+".emails", email, "not an e-mail", "write ann@example.com")
		}
	}
	for _, domain := range a.Domains {
		j.mailDomain(key+".domains", domain)
	}
}
