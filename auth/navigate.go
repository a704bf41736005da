package auth

import (
	"net/http"
	"strings"
)

// navigates reports whether a request is a browser's way to a page that its user will see: only such
// a request may be answered with a trip to the provider. Everything else wants an answer for a
// program. Browsers that send Sec-Fetch (over https and to localhost) say it themselves; otherwise
// the rest of the headers has to tell.
func navigates(r *http.Request) bool {
	h := r.Header
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Moz"} {
		if h.Get(name) != "" { // prefetch or prerender: nobody may ever see it
			return false
		}
	}
	if mode := h.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate" && h.Get("Sec-Fetch-Dest") == "document"
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	return strings.Contains(strings.ToLower(h.Get("Accept")), "text/html") &&
		h.Get("X-Requested-With") == "" && h.Get("Upgrade") == ""
}
