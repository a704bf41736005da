package auth

import (
	"net/http"

	"github.com/gatehouse-auth/gatehouse/web"
)

// Navigates reports whether a request is a person going somewhere in a window of their own: only such
// a request may be answered with a trip to the provider. A frame, a prefetch or a script wants an
// answer for a program; it would only start a login that nobody sees (PX-01, RULE-11).
//
// Browsers say so themselves in Sec-Fetch headers, which no script can set. Over plain http, and from
// old browsers, there are none; then whatever asks for a page with GET or HEAD is one. A client that
// accepts anything, such as curl, is not.
func Navigates(r *http.Request) bool {
	h := r.Header
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Moz"} {
		if h.Get(name) != "" { // prefetch or prerender: nobody may ever see it
			return false
		}
	}
	if mode := h.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate" && h.Get("Sec-Fetch-Dest") == "document"
	}
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && web.WantsHTML(r) &&
		h.Get("X-Requested-With") == "" && h.Get("Upgrade") == ""
}
