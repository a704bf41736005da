package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/gatehouse-auth/gatehouse/web"
)

// Drop-in mode: the endpoint that configurations written for oauth2-proxy ask. What differs from the
// dialects of our own is how little such a configuration says: often no method, sometimes no address.

// Compat is the name of the drop-in mode, and of its dialect. Its endpoint is {prefix}/auth.
const Compat = "oauth2-proxy"

// compatSubject reads what is told of a request, as far as the peer may tell it. Without an address
// nobody can say which route it belongs to: then any signed-in user may, and nothing is public
// (RULE-21). An address without a method is judged for all methods.
func compatSubject(r *http.Request, _ string) (subject, error) {
	peer := web.PeerOf(r.Context())
	s := subject{scheme: peer.Scheme, host: r.Host}
	if peer.May(web.ClaimHost) {
		if host, err := atMostOnce(r.Header, "X-Forwarded-Host"); err != nil {
			return subject{}, err
		} else if host != "" {
			s.host = host
		}
	}
	if !peer.May(web.ClaimURI) {
		return s, nil
	}
	if err := s.address(r.Header); err != nil {
		return subject{}, err
	}
	if s.target == "" || !peer.May(web.ClaimMethod) {
		return s, nil
	}
	method, err := atMostOnce(r.Header, "X-Forwarded-Method")
	s.method = method
	return s, err
}

// address takes in the two headers that may hold the address. The one that the front proxy does not
// set is the client's, so that they must not contradict each other.
func (s *subject) address(h http.Header) error {
	uri, err := atMostOnce(h, "X-Forwarded-Uri")
	if err != nil {
		return err
	}
	redirect, err := atMostOnce(h, "X-Auth-Request-Redirect")
	if err != nil {
		return err
	}
	if redirect != "" && !strings.HasPrefix(redirect, "/") {
		whole, _, err := splitAddress(redirect)
		if err != nil || !strings.EqualFold(whole.host, s.host) {
			return unclear(errors.New("X-Auth-Request-Redirect is of another host"))
		}
		redirect = whole.target
	}
	if uri != "" && redirect != "" && uri != redirect {
		return unclear(errors.New("X-Forwarded-Uri and X-Auth-Request-Redirect differ"))
	}
	s.target = uri
	if uri == "" {
		s.target = redirect
	}
	return nil
}

// atMostOnce is a header that need not be there.
func atMostOnce(h http.Header, name string) (string, error) {
	if len(h[name]) == 0 {
		return "", nil
	}
	value, err := single(h, name)
	if err != nil {
		return "", unclear(err)
	}
	return value, nil
}

// demands are what the query of a check asks of a user beside the routes. Each that is given must be
// met; within one, one match is enough.
type demands struct {
	groups, emails, domains []string
}

func (d demands) any() bool { return d.groups != nil || d.emails != nil || d.domains != nil }

// judge turns a yes into a no for a user who does not meet the demands.
func (d demands) judge(decision Decision) Decision {
	if decision.Verdict != Allowed || !d.any() {
		return decision
	}
	u := decision.Session.User
	met := (d.groups == nil || Allow{Roles: d.groups}.admits(u)) &&
		(d.emails == nil || Allow{Emails: d.emails}.admits(u)) &&
		(d.domains == nil || inDomain(u.Email, d.domains))
	if !met {
		decision.Verdict = Forbidden
	}
	return decision
}

// inDomain reports whether an e-mail is of a listed domain, or below one that is written .example.com
// or *.example.com.
func inDomain(email string, domains []string) bool {
	at := strings.LastIndexByte(email, '@')
	if at < 0 {
		return false
	}
	for _, d := range domains {
		d = strings.TrimPrefix(d, "*")
		if email[at+1:] == d || strings.HasPrefix(d, ".") && strings.HasSuffix(email[at+1:], d) {
			return true
		}
	}
	return false
}

// need reads the demands of a check's query.
func (d dialect) need(rest string) (demands, error) {
	if d.demands == nil {
		return demands{}, nil
	}
	return d.demands(strings.TrimPrefix(rest, "?"))
}

// compatDemands refuses what it does not know: whoever wrote it meant to shut somebody out (RULE-21).
// An empty list shuts everybody out for the same reason.
func compatDemands(query string) (demands, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return demands{}, badRequest("The query of this check is malformed.", err)
	}
	var d demands
	lists := map[string]*[]string{"allowed_groups": &d.groups, "allowed_emails": &d.emails, "allowed_email_domains": &d.domains}
	for name, given := range values {
		list := lists[name]
		if list == nil {
			return demands{}, badRequest("This check has a parameter that Gatehouse does not know.", fmt.Errorf("parameter %.40q", name))
		}
		*list = []string{}
		for item := range strings.SplitSeq(strings.Join(given, ","), ",") {
			if item = strings.TrimSpace(item); item != "" && name != "allowed_groups" {
				item = strings.ToLower(item)
			}
			if item != "" {
				*list = append(*list, item)
			}
		}
	}
	return d, nil
}

// compatHeaders are what oauth2-proxy sets with --set-xauthrequest.
var compatHeaders = []IdentityHeader{
	{"X-Auth-Request-User", "user"},
	{"X-Auth-Request-Email", "email"},
	{"X-Auth-Request-Groups", "groups"},
	{"X-Auth-Request-Preferred-Username", "preferred_username"},
}
