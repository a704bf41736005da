package auth

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/gatehouse-auth/gatehouse/web"
)

// Site is where Gatehouse itself is met: the public URL, on whose host login and callback happen,
// and the path prefix of its own endpoints on every host.
type Site struct {
	Public *url.URL // scheme and host only: https://auth.example.com
	Prefix string   // begins with a slash, has no slash at the end: /_gate
}

// Login is the absolute address that starts a login and then leads to next, an absolute URL.
// An empty next means the front page.
func (s Site) Login(next string) string {
	return s.at("/login", next)
}

// OtherAccount is Login with the provider asked to offer a choice of accounts.
func (s Site) OtherAccount(next string) string {
	address := s.at("/login", next)
	if strings.Contains(address, "?") {
		return address + "&prompt=select_account"
	}
	return address + "?prompt=select_account"
}

// Logout is the absolute address of the sign-out page.
func (s Site) Logout() string { return s.at("/logout", "") }

// Callback is the one redirect URI to register with the provider.
func (s Site) Callback() string { return s.at("/callback", "") }

// Secure reports whether browsers reach Gatehouse over https. Cookies and schemes follow this alone.
func (s Site) Secure() bool { return s.Public.Scheme == "https" }

func (s Site) at(path, next string) string {
	address := s.Public.Scheme + "://" + s.Public.Host + s.Prefix + path
	if next != "" {
		address += "?next=" + url.QueryEscape(next)
	}
	return address
}

// host is the public host in the form of hostOf.
func (s Site) host() string { return canonicalHost(s.Public.Host, s.Public.Scheme) }

// hostOf is the host that the browser asked for, as far as the peer may say it, in canonical form.
func hostOf(r *http.Request) string {
	peer := web.PeerOf(r.Context())
	if peer.Host == "" { // no Recorder around us
		return canonicalHost(r.Host, "http")
	}
	return canonicalHost(peer.Host, peer.Scheme)
}

// canonicalHost is a host as web.CanonicalHost spells it. One that is none stays as it is, and then
// equals none of ours.
func canonicalHost(host, scheme string) string {
	if canonical, err := web.CanonicalHost(host, scheme); err == nil {
		return canonical
	}
	return host
}
