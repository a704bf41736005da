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
	headers []IdentityHeader // with canonical names
	names   map[string]bool  // folded: what is erased besides the families
	ours    map[string]bool  // folded: the headers by which we vouch
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

// families are the beginnings of such names. The forwarding headers are among them: what a client, or
// a proxy that is not listed, says there is worth nothing, and upstream.go sets them anew.
var families = []string{
	"x-auth-request-", "x-forwarded-", "x-original-", "x-remote-", "remote-", "x-webauth-", "x-authentik-",
	"x-pomerium-", "x-vouch-", "x-token-", "x-ms-client-principal", "x-goog-authenticated-user-",
	"x-amzn-oidc-", "cf-access-", "tailscale-user-", "x-proxy-user", "x-proxy-remote-", "x-ssl-client-",
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
		id.headers = append(id.headers, IdentityHeader{textproto.CanonicalMIMEHeaderKey(h.Header), h.Value})
	}
	return id, nil
}

// reserved are names that an identity header cannot have: erasing or setting them would break the
// request itself.
var reserved = map[string]bool{
	"host": true, "connection": true, "content-length": true, "content-type": true, "transfer-encoding": true, "trailer": true,
	"te": true, "upgrade": true, "expect": true, "cookie": true, "origin": true, "referer": true, "accept": true,
	"keep-alive": true, "proxy-connection": true, "proxy-authorization": true, "proxy-authenticate": true,
}

// Erase removes every header that an app could take for an identity or for a word about where the
// request came from, in every spelling: CGI and its heirs show X_Remote-User and X-Remote-User to the
// app as one variable (GHSA-vjrc-mh2v-45x6). It serves trailers as well.
func (id *Identity) Erase(h http.Header) {
	for name := range h {
		if id.claimed(fold(name)) {
			delete(h, name)
		}
	}
}

// claimed reports whether a folded name is one of those that only we may set.
func (id *Identity) claimed(folded string) bool {
	if id.names[folded] {
		return true
	}
	for _, family := range families {
		if strings.HasPrefix(folded, family) {
			return true
		}
	}
	return false
}

// Vouch sets the identity headers of a user. What the user does not have is deleted, never left as
// it was (GHSA-7r4p-vjf4-gxv4).
func (id *Identity) Vouch(h http.Header, u auth.User) {
	for _, one := range id.headers {
		if value := printable(claims[one.Value](u)); value != "" {
			h[one.Header] = []string{value}
		} else {
			delete(h, one.Header)
		}
	}
}

// Declare sets every identity header of an answer to a front proxy. What is not known is empty and
// never left out: the proxy copies what it gets, and a header that it did not get would stay the
// client's (GHSA-7r4p-vjf4-gxv4).
func (id *Identity) Declare(h http.Header, u auth.User) {
	values := make([]string, len(id.headers)) // one allocation for all of them
	for i, one := range id.headers {
		values[i] = printable(claims[one.Value](u))
		h[one.Header] = values[i : i+1 : i+1]
	}
}

// fold is a header name as the laxest app sees it: lower-case, and whatever is no letter or digit a
// dash.
func fold(name string) string {
	out := []byte(name)
	for i, c := range out {
		switch {
		case 'A' <= c && c <= 'Z':
			out[i] = c + 'a' - 'A'
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		default:
			out[i] = '-'
		}
	}
	return string(out)
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
