package proxy

import (
	"fmt"
	"net/http"
	"net/textproto"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// IdentityHeader is one header by which apps learn who is asking.
type IdentityHeader struct {
	Header string // its name
	Value  string // user, email, preferred_username, name, groups or picture
}

// Identity erases what a client claims about itself and vouches for what we know. It is immutable and
// safe for concurrent use.
type Identity struct {
	headers []statement     // with canonical names; the configured ones, and then those of the drop-in mode
	own     int             // how many of them are the configured ones
	names   map[string]bool // folded: what is erased besides the families
	ours    map[string]bool // folded: the headers by which we vouch
	nobody  []string        // the values for nobody: empty ones
}

// statement is a header and what it says of a user.
type statement struct {
	header string
	value  func(auth.User) string
}

// claims are the values that an identity header may carry. The first three are the e-mail, since the
// display name is anybody's choice: an app that takes it for an identifier would let in impostors.
var claims = map[string]func(auth.User) string{
	"user":               func(u auth.User) string { return u.Email },
	"email":              func(u auth.User) string { return u.Email },
	"preferred_username": func(u auth.User) string { return u.Email },
	"name":               func(u auth.User) string { return shorten(u.Name) },
	"groups":             func(u auth.User) string { return strings.Join(u.Roles, ",") },
	"picture":            func(u auth.User) string { return shorten(u.Picture) },
}

// wellKnown are names that apps and other gateways take for an identity. They are erased even if none
// of our headers has such a name: an app may still believe them from an earlier set-up.
var wellKnown = []string{
	"x-auth-user", "x-auth-username", "x-auth-email", "x-auth-name", "x-auth-groups", "x-auth-roles",
	"x-authenticated-user", "x-authenticated-email", "x-authenticated-userid", "x-authenticated-groups",
	"x-user", "x-user-id", "x-user-email", "x-user-name", "x-username", "x-email", "x-groups", "x-roles",
	"x-goog-iap-jwt-assertion", "auth-user", "http-remote-user",
}

// families are the beginnings of such names, by their first byte. The forwarding headers are among them:
// what a client, or a proxy that is not listed, says there is worth nothing, and upstream.go sets them anew.
var families = map[byte][]string{
	'x': {
		"x-auth-request-", "x-forwarded-", "x-original-", "x-remote-", "x-webauth-", "x-authentik-", "x-pomerium-", "x-vouch-",
		"x-token-", "x-ms-client-principal", "x-goog-authenticated-user-", "x-amzn-oidc-", "x-proxy-user", "x-proxy-remote-", "x-ssl-client-",
	},
	'r': {"remote-"},
	'c': {"cf-access-"},
	't': {"tailscale-user-"},
}

// forwarding are the forwarding headers outside those families.
var forwarding = []string{"forwarded", "x-forwarded", "x-real-ip", "x-rewrite-url", "x-client-ip", "x-cluster-client-ip", "true-client-ip"}

// NewIdentity makes the identity headers of an installation. The error names each header that cannot be.
func NewIdentity(headers []IdentityHeader) (*Identity, error) {
	id := &Identity{names: map[string]bool{}, ours: map[string]bool{}}
	for _, list := range [][]string{wellKnown, forwarding} {
		for _, name := range list {
			id.names[name] = true
		}
	}
	for _, h := range headers {
		name := fold(h.Header)
		switch {
		case !httpguts.ValidHeaderFieldName(h.Header):
			return nil, fmt.Errorf("identity header %q is no header name", h.Header)
		case reserved[name]:
			return nil, fmt.Errorf("identity header %q has a meaning of its own in HTTP", h.Header)
		case claims[h.Value] == nil:
			return nil, fmt.Errorf("identity header %s: no value %q (user, email, preferred_username, name, groups, picture)", h.Header, h.Value)
		case id.ours[name]:
			return nil, fmt.Errorf("identity header %s is named twice", h.Header)
		}
		id.ours[name], id.names[name] = true, true
		id.headers = append(id.headers, statement{textproto.CanonicalMIMEHeaderKey(h.Header), claims[h.Value]})
	}
	id.own = len(id.headers)
	for _, h := range compatHeaders {
		id.headers = append(id.headers, statement{h.Header, claims[h.Value]})
	}
	id.nobody = make([]string, len(id.headers))
	return id, nil
}

// reserved are names that an identity header cannot have: erasing or setting them would break the
// request itself.
var reserved = map[string]bool{
	"host": true, "connection": true, "content-length": true, "content-type": true, "transfer-encoding": true, "trailer": true,
	"te": true, "upgrade": true, "expect": true, "cookie": true, "origin": true, "referer": true, "accept": true, "user-agent": true,
	"keep-alive": true, "proxy-connection": true, "proxy-authorization": true, "proxy-authenticate": true,
}

// Erase removes every header that an app could take for an identity or for a word about where the
// request came from, in every spelling: CGI and its heirs show X_Remote-User and X-Remote-User to the
// app as one variable (GHSA-vjrc-mh2v-45x6). It serves trailers as well.
func (id *Identity) Erase(h http.Header) {
	for name := range h {
		if id.claimed(name) {
			delete(h, name)
		}
	}
}

// claimed reports whether a header, however it is spelt, has one of the names that only we may set.
func (id *Identity) claimed(name string) bool {
	var room [64]byte // few names are longer
	folded := appendFold(room[:0], name)
	if len(folded) == 0 || id.names[string(folded)] {
		return len(folded) > 0
	}
	for _, family := range families[folded[0]] {
		if len(folded) >= len(family) && string(folded[:len(family)]) == family {
			return true
		}
	}
	return false
}

// values are what the identity headers say of a session's user, each a legal header value, empty for what
// the user does not have. They are made once for each snapshot of a session and shared by all its requests.
func (id *Identity) values(s *auth.Session) []string {
	if kept, ok := s.Kept.By(id).([]string); ok {
		return kept
	}
	values := make([]string, len(id.headers))
	for i, one := range id.headers {
		values[i] = printable(one.value(s.User))
	}
	if s.Kept != nil {
		s.Kept.Keep(id, values)
	}
	return values
}

// Vouch sets the identity headers of a session's user. What the user does not have is deleted, never left
// as it was (GHSA-7r4p-vjf4-gxv4).
func (id *Identity) Vouch(h http.Header, s *auth.Session) {
	values := id.values(s)
	for i, one := range id.headers[:id.own] {
		if values[i] != "" {
			h[one.header] = values[i : i+1 : i+1]
		} else {
			delete(h, one.header)
		}
	}
}

// Declare sets every identity header of an answer to a front proxy, of nobody for a nil session. What is
// not known is empty and never left out: the proxy copies what it gets, and a header that it did not get
// would stay the client's (GHSA-7r4p-vjf4-gxv4).
func (id *Identity) Declare(h http.Header, s *auth.Session) { id.declare(h, s, 0, id.own) }

// declareCompat sets the headers of the drop-in mode, as Declare does.
func (id *Identity) declareCompat(h http.Header, s *auth.Session) {
	id.declare(h, s, id.own, len(id.headers))
}

func (id *Identity) declare(h http.Header, s *auth.Session, from, to int) {
	values := id.nobody
	if s != nil {
		values = id.values(s)
	}
	for i := from; i < to; i++ {
		h[id.headers[i].header] = values[i : i+1 : i+1] // whoever appends to it makes a copy
	}
}

// fold is a header name as the laxest app sees it: lower-case, and whatever is no letter or digit a
// dash.
func fold(name string) string { return string(appendFold(nil, name)) }

func appendFold(out []byte, name string) []byte {
	for i := range len(name) {
		c := name[i]
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		default:
			c = '-'
		}
		out = append(out, c)
	}
	return out
}

// printable makes any text a legal header value that decodes back: bytes outside printable ASCII and
// the percent sign are percent-encoded, and so is a space at either end, where HTTP would trim it.
func printable(s string) string {
	const hex = "0123456789ABCDEF"
	legal := func(i int) bool {
		edge := i == 0 || i == len(s)-1
		return s[i] > 0x20 && s[i] < 0x7f && s[i] != '%' || s[i] == ' ' && !edge
	}
	first := 0
	for first < len(s) && legal(first) {
		first++
	}
	if first == len(s) {
		return s // as nearly all are
	}
	var out strings.Builder
	out.WriteString(s[:first])
	for i := first; i < len(s); i++ {
		if legal(i) {
			out.WriteByte(s[i])
		} else {
			out.Write([]byte{'%', hex[s[i]>>4], hex[s[i]&15]})
		}
	}
	return out.String()
}

// maxText is how many bytes of a name or picture an app gets: with more, an app that limits headers
// to a few KiB would refuse every request of that user.
const maxText = 512

// shorten cuts a text at a character. Groups and e-mails are never cut, for half of one is another.
func shorten(s string) string {
	if len(s) <= maxText {
		return s
	}
	end := maxText
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}
