package auth

import (
	"errors"
	"strings"
)

// Refusal says that the provider knows the account, but that it may not come in here, whoever is
// in the users table: its e-mail is malformed or not verified, or it is of another organisation.
type Refusal struct {
	Email string // as the provider gave it, if it is well-formed; may be shown to its owner
	Why   string // for us
}

func (r *Refusal) Error() string { return "account refused: " + r.Why }

// errNoEmail says that the provider told no e-mail at all: a scope is missing, so nobody can sign in.
var errNoEmail = errors.New("userinfo without e-mail: is the scope granted?")

// google is the one provider whose hd claim says which organisation owns an e-mail's domain.
const google = "https://accounts.google.com"

// claims are what the provider says of an account. They are read by exact name and type: Go's own
// decoding into a struct would take "EMAIL" for "email".
type claims map[string]any

func (c claims) text(name string) string {
	s, _ := c[name].(string)
	return s
}

// profile judges what the provider says of an account, first in the ID token, then in userinfo: the
// e-mail, whether it is verified, and the organisation. It runs at each login, not only the first.
func (p *Provider) profile(token, info claims) (Profile, error) {
	given, found := info["email"]
	if !found {
		return Profile{}, errNoEmail
	}
	email, _ := given.(string)
	canonical, err := CanonicalEmail(email)
	if err != nil {
		return Profile{}, &Refusal{Why: "malformed e-mail"}
	}
	verified := p.verified(info)
	if verified == no || verified == unsaid && !p.config.TrustEmail {
		return Profile{}, &Refusal{Email: canonical, Why: "e-mail not verified"}
	}
	hosted, agreed := hostedDomain(token, info)
	if want := p.config.HostedDomain; want != "" && !strings.EqualFold(hosted, want) {
		return Profile{}, &Refusal{Email: canonical, Why: "not of the hosted domain"}
	}
	return Profile{
		Issuer: p.config.Issuer, Subject: info.text("sub"), Email: email,
		Name: info.text("name"), Picture: info.text("picture"),
		Welcome: verified == yes && agreed && p.welcome(canonical, hosted),
	}, nil
}

// welcome reports whether the e-mail's domain is one whose people come in without being listed. With
// Google the domain must also be the account's organisation: anybody can open a consumer account
// under an address of a domain, and keep it after leaving.
func (p *Provider) welcome(email, hosted string) bool {
	_, domain, _ := strings.Cut(email, "@")
	if p.config.Issuer == google && !strings.EqualFold(hosted, domain) {
		return false
	}
	for _, listed := range p.config.AutoCreate {
		if strings.EqualFold(listed, domain) {
			return true
		}
	}
	return false
}

type answer int

const (
	unsaid answer = iota
	yes
	no
)

// verified reads email_verified, and verified_email as Google's older endpoint calls it. Any one that
// is not true is a no. Some providers write the boolean as text.
func (p *Provider) verified(info claims) answer {
	result := unsaid
	for _, name := range []string{"email_verified", "verified_email"} {
		value, found := info[name]
		if !found {
			continue
		}
		if value != true && value != "true" {
			return no
		}
		result = yes
	}
	return result
}

// hostedDomain returns the organisation that owns the account. The ID token and userinfo may both
// name it, and then must agree.
func hostedDomain(token, info claims) (domain string, agreed bool) {
	a, b := token.text("hd"), info.text("hd")
	if a != "" && b != "" && !strings.EqualFold(a, b) {
		return "", false
	}
	if b != "" {
		return b, true
	}
	return a, true
}

// CanonicalEmail returns an address with its ASCII letters lower-cased, or an error if it is not
// plainly local@domain: one at sign, no quotes, no blanks, no bytes outside ASCII. RFC 5321 allows
// more, but what two programs may read differently is no name for a user (GHSA-c5c4-8r6x-56w3).
func CanonicalEmail(s string) (string, error) {
	local, domain, found := strings.Cut(s, "@")
	if !found || len(s) > 254 || len(local) > 64 || !dotted(local, atomChars) || !dotted(domain, labelChars) {
		return "", errors.New("not a plain e-mail address")
	}
	return strings.ToLower(s), nil
}

const (
	alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	labelChars   = alphanumeric + "-"
	atomChars    = alphanumeric + "!#$%&'*+-/=?^_`{|}~" // RFC 5322, 3.2.3
)

// dotted reports whether s is one or more parts of at most 64 of the given bytes, joined by dots.
func dotted(s, chars string) bool {
	for part := range strings.SplitSeq(s, ".") {
		if part == "" || len(part) > 64 || strings.Trim(part, chars) != "" {
			return false
		}
	}
	return true
}
