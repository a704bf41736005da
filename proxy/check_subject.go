package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/gatehouse-auth/gatehouse/web"
)

// subject is the request that a check is about, as the front proxy tells it.
type subject struct {
	method string // empty: not told, which only the drop-in mode knows
	scheme string // http or https
	host   string // as sent
	target string // path and query as sent; empty: not told, which only the drop-in mode knows
}

// wholeSubject is what a peer must be trusted with to tell a subject in headers.
const wholeSubject = web.ClaimURI | web.ClaimMethod | web.ClaimHost | web.ClaimProto

// forwardedURI reads the subject of Traefik, Caddy and our HAProxy script, which set X-Forwarded-*.
func forwardedURI(r *http.Request, rest string) (subject, error) {
	if err := mayTell(r, rest); err != nil {
		return subject{}, err
	}
	var values [4]string
	for i, name := range [...]string{"X-Forwarded-Method", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Uri"} {
		value, err := single(r.Header, name)
		if err != nil {
			return subject{}, unclear(err)
		}
		values[i] = value
	}
	return subject{method: values[0], host: values[2], target: values[3]}.complete(values[1])
}

// originalURL reads the subject of nginx: the whole address in X-Original-URL, which the snippet
// builds of $host and the port. It must not use $http_host there, for in absolute form a client
// chooses that freely (RULE-18).
func originalURL(r *http.Request, rest string) (subject, error) {
	if err := mayTell(r, rest); err != nil {
		return subject{}, err
	}
	address, err := single(r.Header, "X-Original-Url")
	if err != nil {
		return subject{}, unclear(err)
	}
	method, err := single(r.Header, "X-Original-Method")
	if err != nil {
		return subject{}, unclear(err)
	}
	s, proto, err := splitAddress(address)
	if err != nil {
		return subject{}, unclear(err)
	}
	s.method = method
	return s.complete(proto)
}

// ownTarget reads the subject of Envoy: the check's own method and host, and the path after our
// prefix. X-Envoy-Original-Path is a client's word (RULE-18).
func ownTarget(r *http.Request, rest string) (subject, error) {
	if !web.PeerOf(r.Context()).May(wholeSubject) {
		return subject{}, mayNotTell()
	}
	if rest == "" {
		return subject{}, unclear(errors.New("nothing follows the prefix"))
	}
	s := subject{method: r.Method, host: r.Host, target: rest}
	return s.complete(web.PeerOf(r.Context()).Scheme)
}

// mayTell reports whether the peer may tell a subject in headers, at an endpoint whose path ends with
// its name.
func mayTell(r *http.Request, rest string) error {
	if !web.PeerOf(r.Context()).May(wholeSubject) {
		return mayNotTell()
	}
	if strings.HasPrefix(rest, "/") {
		return notFound("No such page here.")
	}
	return nil
}

func mayNotTell() error {
	return untrusted("This peer may not ask about requests: server.trusted_proxies does not trust it with uri, method, host and proto.")
}

// single is a header that must be there once. Two equal lines are one; of two different ones another
// part of the chain could take the other.
func single(h http.Header, name string) (string, error) {
	lines := h[name]
	if len(lines) == 0 || lines[0] == "" {
		return "", fmt.Errorf("no %s", name)
	}
	for _, line := range lines[1:] {
		if line != lines[0] {
			return "", fmt.Errorf("two different lines of %s", name)
		}
	}
	return lines[0], nil
}

// splitAddress takes an absolute address apart without changing a byte of its target.
func splitAddress(address string) (s subject, proto string, err error) {
	proto, rest, ok := strings.Cut(address, "://")
	slash := strings.IndexByte(rest, '/')
	if !ok || slash < 0 {
		return subject{}, "", errors.New("the address is not scheme://host/path")
	}
	return subject{host: rest[:slash], target: rest[slash:]}, proto, nil
}

// complete judges the parts of a subject that nothing else looks at. A proxy that names the
// WebSocket's own schemes means those of its handshake.
func (s subject) complete(proto string) (subject, error) {
	switch strings.ToLower(proto) {
	case "http", "ws":
		s.scheme = "http"
	case "https", "wss":
		s.scheme = "https"
	default:
		return subject{}, unclear(fmt.Errorf("scheme %.20q is neither http nor https", proto))
	}
	return s, nil
}

func unclear(cause error) error {
	return badRequest("Gatehouse cannot tell which request this check is about.", cause)
}
