package proxy

import (
	"net/http"
	"net/url"
)

// retrieval reports whether a request of a method can be made again by following a redirect.
func retrieval(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// back is where somebody should be after signing in: where the request asked to go, or, if it cannot
// be made again because it carried a body, the page it was made from, if that is one of the same
// origin (PX-03).
func (p *Proxy) back(r *http.Request, ask Ask) string {
	origin := p.originOf(ask)
	if retrieval(ask.Method) && !ask.Socket {
		return fitting(origin+ask.uri(), origin+ask.Path, origin+"/")
	}
	from, err := url.Parse(r.Referer())
	if err != nil || from.Scheme+"://"+from.Host != origin || from.User != nil {
		return origin + "/"
	}
	from.Fragment, from.RawFragment = "", ""
	return fitting(from.String(), origin+"/")
}

// maxBack is how long an address to come back to may be once it is escaped in another one, in bytes.
// Front proxies take answers whose head is 16 KiB or less, and some of them only if they are told to.
const maxBack = 12 << 10

// maxReturn is how long an address auth.Next takes, in bytes: of a longer one nothing would be left.
const maxReturn = 8 << 10

// fitting is the first address that is not too long, or the last.
func fitting(addresses ...string) string {
	for _, address := range addresses {
		if len(address) <= maxReturn && len(url.QueryEscape(address)) <= maxBack {
			return address
		}
	}
	return addresses[len(addresses)-1]
}
