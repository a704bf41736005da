package main

import (
	"net/netip"
	"net/url"
	"strings"
)

const google = "https://accounts.google.com"

func (j *judge) login() {
	l := j.Login
	u, err := url.Parse(l.Issuer)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" ||
		(u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname()))) {
		j.bad("login.issuer", l.Issuer, "not the https address of an OpenID provider", "write "+google+" for Google")
	}
	if l.ClientID == "" {
		callback := "server.public_url + /_gate/callback"
		if j.site().Public.Host != "" {
			callback = j.site().Callback()
		}
		j.bad("login.client_id", "", "is required", "the provider gives it when you register Gatehouse with "+callback+" as redirect URI")
	}
	if l.ClientSecret == "" {
		j.bad("login.client_secret", "", "is required", "name its file in login.client_secret_file, or set GATEHOUSE_LOGIN_CLIENT_SECRET")
	}
	if l.HostedDomain != "" {
		j.mailDomain("login.hosted_domain", l.HostedDomain)
	}
	for _, d := range l.AutoCreateDomains {
		j.mailDomain("login.auto_create_domains", d)
	}
	for _, h := range l.ReturnHosts {
		j.returnHost(h)
	}
	if l.TrustEmail && l.Issuer == google {
		j.warn("login.trust_email", "Google says itself whether an e-mail is verified; leave this false")
	}
}

// mailDomain checks the part of an e-mail after the @.
func (j *judge) mailDomain(key, domain string) {
	if !validName(strings.ToLower(domain)) || !strings.Contains(domain, ".") {
		j.bad(key, domain, "not the domain of an e-mail", "write example.com, without @ or *; subdomains are not included")
	}
}

// returnHost checks a host to which a login may lead back. A name is that host and no other; a name
// after a dot is every host below it. So corp.test never matches evilcorp.test (RD-02).
func (j *judge) returnHost(host string) {
	const key, fix = "login.return_hosts", "write app.example.com or app.example.com:8443 for one host, .example.com for all below it"
	name := strings.TrimPrefix(strings.ToLower(host), ".")
	if !validHost(name) {
		j.bad(key, host, "not a host or a dot and a domain", fix)
		return
	}
	if name == strings.ToLower(host) {
		return
	}
	if _, err := netip.ParseAddr(hostname(name)); err == nil {
		j.bad(key, host, "nothing is below an address", fix)
		return
	}
	if listedSuffix(hostname(name)) {
		j.bad(key, host, "strangers can register names below it", fix)
	}
}

// cookie checks that browsers will take the session cookie and send it to every host that needs it.
func (j *judge) cookie() {
	const key = "cookie.domain"
	d := j.Cookie.Domain
	if d == "" {
		return
	}
	public := hostname(j.site().Public.Host)
	_, addrErr := netip.ParseAddr(strings.Trim(d, "[]"))
	switch {
	case addrErr == nil:
		j.bad(key, d, "an address; cookies can be shared below names only", "remove it, so that the cookie stays on the public host")
	case strings.Contains(d, ":"):
		j.bad(key, d, "a cookie's domain has no port", "write "+hostname(d))
	case strings.HasPrefix(d, "."):
		j.bad(key, d, "begins with a dot", "write "+strings.TrimLeft(d, ".")+"; hosts below it are always included")
	case !validName(d):
		j.bad(key, d, "not a lower-case domain name", "write example.com")
	case sharedSuffix(d):
		j.bad(key, d, "strangers can register names below it, so browsers refuse such a cookie", "write your own domain")
	case public != "" && !under(public, d):
		j.bad(key, d, "neither the host of server.public_url nor a parent of it, so no cookie would be set", "write a parent of "+public+", or remove it")
	}
}
