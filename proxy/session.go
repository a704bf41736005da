package proxy

import (
	"context"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// SessionOf returns the session on whose behalf a request came through, from the context that a
// Route's Next sees. On a public route there is none.
func SessionOf(ctx context.Context) (auth.Session, bool) {
	pass, _ := ctx.Value(passageKey{}).(*passage)
	if pass == nil || pass.decision.Session.ID == 0 {
		return auth.Session{}, false
	}
	return pass.decision.Session, true
}

// Used notes that bytes move on behalf of the request's session, which is use of it. It may be called
// for every few bytes: only now and then does it tell anybody.
func Used(ctx context.Context) {
	if pass, _ := ctx.Value(passageKey{}).(*passage); pass != nil && pass.used != nil {
		pass.used()
	}
}
