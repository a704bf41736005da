package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/gatehouse-auth/gatehouse/web"
)

// Ask is a request as it is judged. Whatever is forwarded was judged in this form: no rule looks at
// the http.Request again.
type Ask struct {
	Method string
	Wanted string // the method that a CORS preflight asks about; empty for any other request
	Scheme string // http or https, at the client's end
	Host   string // canonical, see web.CanonicalHost
	Path   string // as sent; begins with a slash
	Query  string // as sent, with its question mark; empty if there is none
	Origin string // the page across origins that made the request; empty if none did
	Socket bool   // a WebSocket handshake
	Client netip.Addr

	readings []string // of Path, see readingsOf; the first is Path itself
}

// askOf builds the Ask of a request in reverse-proxy placement, where the path that is judged is the
// one on the request line and no header has a say in it (FA-01).
func (p *Proxy) askOf(r *http.Request) (Ask, error) {
	if err := framing(r); err != nil {
		return Ask{}, badRequest("Gatehouse cannot tell what this request asks for.", err)
	}
	peer := web.PeerOf(r.Context())
	host, err := web.CanonicalHost(peer.Host, p.parts.Site.Public.Scheme)
	if err != nil {
		return Ask{}, badRequest("The host name of this request is not one.", err)
	}
	ask := Ask{Method: r.Method, Scheme: peer.Scheme, Host: host, Client: peer.Client}
	if err := ask.target(r.RequestURI); err != nil {
		return Ask{}, badRequest("The address of this request is ambiguous or malformed.", err)
	}
	ask.page(r.Header)
	ask.Socket = socket(r)
	return ask, nil
}

// target takes in a request target in origin form (RFC 9112, section 3.2.1). The absolute form is
// refused: net/http keeps its host and forgets the Host line, so that a contradiction between the two
// could not be seen (RULE-12). The asterisk form has no path to judge.
func (a *Ask) target(target string) error {
	if !strings.HasPrefix(target, "/") {
		return errors.New("the target is no path")
	}
	// A fragment never belongs on the wire. Some servers cut it off, others take it for a part of
	// the path (oauth2-proxy GHSA-pxq7-h93f-9jrg). Nor does a blank: over HTTP/2 one can be sent, and
	// over HTTP/1 it ends the target, so that "/admin HTTP/1.1" would be judged as one path and served as
	// another (RULE-12).
	if strings.ContainsAny(target, "# ") || hasControl(target) {
		return errors.New("the target holds a raw #, a blank or a control byte")
	}
	a.Path = target
	if at := strings.IndexByte(target, '?'); at >= 0 {
		a.Path, a.Query = target[:at], target[at:]
	}
	// url.URL can send the bytes of a path as they came only in its Opaque field, and takes a value
	// there that begins with two slashes for a host. Such paths pass if they need no re-encoding.
	if strings.HasPrefix(a.Path, "//") && !sendable(a.Path) {
		return errors.New("a path that begins with // holds a byte that must be percent-encoded")
	}
	var err error
	a.readings, err = readingsOf(a.Path)
	return err
}

// page notes which page made the request. The Origin null says nothing; where the browser vouches
// that the page is of the same origin all the same (a form on a page with no-referrer sends null, and
// no script can set Sec-Fetch-Site), the request counts as made by no other page.
func (a *Ask) page(h http.Header) {
	a.Origin = h.Get("Origin")
	if a.Origin == "null" && h.Get("Sec-Fetch-Site") == "same-origin" {
		a.Origin = ""
	}
	if a.Method == http.MethodOptions && a.Origin != "" {
		a.Wanted = h.Get("Access-Control-Request-Method")
	}
}

// uri is the target as it was sent.
func (a *Ask) uri() string { return a.Path + a.Query }

// framing refuses what net/http hands on although two servers may understand it differently: CONNECT,
// and over HTTP/2 a method that is no token, a Host line beside another :authority, and a length that
// contradicts the body (RULE-12).
func framing(r *http.Request) error {
	if !httpguts.ValidHeaderFieldName(r.Method) {
		return errors.New("the method is no token")
	}
	if r.Method == http.MethodConnect {
		// It asks for a tunnel to a host, and an app that agrees to one gets bytes that nobody judged.
		return errors.New("CONNECT is not for what is behind a gateway")
	}
	for _, host := range r.Header["Host"] {
		if !strings.EqualFold(host, r.Host) {
			return errors.New("the Host line differs from :authority")
		}
	}
	for _, line := range r.Header["Content-Length"] {
		n, err := strconv.ParseInt(line, 10, 64)
		if err != nil || n != r.ContentLength {
			return fmt.Errorf("content-length says %.20q, the body %d", line, r.ContentLength)
		}
	}
	return nil
}

// socket reports whether a request is a WebSocket handshake (RFC 6455, section 4.1). No other upgrade
// is carried on: a tunnel of another protocol would pass requests that nobody judged (h2c smuggling).
func socket(r *http.Request) bool {
	return r.Method == http.MethodGet && r.ProtoMajor == 1 && r.ProtoMinor > 0 && r.ContentLength == 0 &&
		httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade") &&
		len(r.Header["Upgrade"]) == 1 && strings.EqualFold(r.Header["Upgrade"][0], "websocket")
}

func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return true
		}
	}
	return false
}

func badRequest(text string, cause error) *web.Error {
	return &web.Error{Status: http.StatusBadRequest, Title: "Bad request", Text: text, Event: "bad_request", Cause: cause}
}

func notFound(text string) *web.Error {
	return &web.Error{Status: http.StatusNotFound, Title: "Not found", Text: text}
}
