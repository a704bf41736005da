package auth

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	// maxTokens is how many cookies of our name are looked at in one request (RULE-07).
	maxTokens = 4
	// maxEnded is how many of them are ended by one sign-out.
	maxEnded = 16
)

// Cookies writes and reads the session cookie. Its name and its Secure attribute follow the public
// URL alone, never the request: __Host-gate over https, __Secure-gate with a domain, gate over plain
// http. The prefixes make browsers refuse a cookie that a neighbour plants (RFC 6265bis, 4.1.3).
type Cookies struct {
	site   Site
	name   string
	domain string
	secure bool
	maxAge time.Duration
}

// NewCookies makes the cookies of a site. The domain is empty for a host-only cookie; maxAge is the
// absolute lifetime of a session.
func NewCookies(site Site, domain string, maxAge time.Duration) Cookies {
	c := Cookies{site: site, name: "gate", domain: domain, secure: site.Secure(), maxAge: maxAge}
	switch {
	case c.secure && domain == "":
		c.name = "__Host-gate"
	case c.secure:
		c.name = "__Secure-gate"
	}
	return c
}

// Set gives the browser a token.
func (c Cookies) Set(w http.ResponseWriter, t Token) {
	cookie := c.cookie(string(t))
	cookie.MaxAge = int(c.maxAge / time.Second)
	http.SetCookie(w, cookie)
}

// Clear takes the token from the browser, with the attributes it was set with: browsers match a
// cookie by name, domain and path.
func (c Cookies) Clear(w http.ResponseWriter) {
	cookie := c.cookie("")
	cookie.MaxAge = -1
	http.SetCookie(w, cookie)
}

func (c Cookies) cookie(value string) *http.Cookie {
	return &http.Cookie{
		Name: c.name, Value: value, Domain: c.domain, Path: "/",
		Secure: c.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}

// tokens appends to found the values of the cookies with our name, in the order sent, each once, until it
// is at its capacity. It reads the header itself: http.Request.Cookies would parse and allocate all the
// others.
func (c Cookies) tokens(h http.Header, found []string) []string {
	for _, line := range h["Cookie"] {
		for more := true; more; {
			var part string
			part, line, more = strings.Cut(line, ";")
			name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
			if strings.TrimSpace(name) != c.name || slices.Contains(found, value) {
				continue
			}
			if found = append(found, value); len(found) == cap(found) {
				return found
			}
		}
	}
	return found
}

// reaches reports whether browsers send the cookie to an absolute address.
func (c Cookies) reaches(address string) bool {
	u, err := url.Parse(address)
	if err != nil || c.secure && u.Scheme != "https" {
		return false
	}
	host := strings.ToLower(u.Hostname())
	if c.domain == "" {
		return host == strings.ToLower(c.site.Public.Hostname())
	}
	return host == c.domain || strings.HasSuffix(host, "."+c.domain)
}

// pairs yields name and value of each cookie in the request, in order.
func pairs(h http.Header) func(yield func(name, value string) bool) {
	return func(yield func(name, value string) bool) {
		for _, line := range h["Cookie"] {
			for part := range strings.SplitSeq(line, ";") {
				name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
				if !yield(strings.TrimSpace(name), value) {
					return
				}
			}
		}
	}
}

// Mine reports whether a cookie name is one of Gatehouse's, in any of its spellings: the session
// cookie's, or a login attempt's. Such cookies never reach an app, and an app's Set-Cookie with such
// a name is dropped (RULE-14).
func Mine(name string) bool {
	base := strings.TrimPrefix(strings.TrimPrefix(name, "__Host-"), "__Secure-")
	return base == "gate" || strings.HasPrefix(base, attemptName)
}

// Strip removes Gatehouse's cookies from a request's headers and leaves the bytes of all the others
// as they were sent.
func Strip(h http.Header) {
	lines := h["Cookie"]
	if len(lines) == 0 {
		return
	}
	kept := make([]string, 0, len(lines))
	for _, line := range lines {
		if rest := strip(line); rest != "" {
			kept = append(kept, rest)
		}
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
		return
	}
	h["Cookie"] = kept
}

// Others are a request's cookies without Gatehouse's, as one line.
func Others(h http.Header) string {
	all := ""
	for _, line := range h["Cookie"] {
		switch rest := strip(line); {
		case all == "":
			all = rest
		case rest != "":
			all += "; " + rest
		}
	}
	return all
}

// strip removes our cookies from one line. Nearly always they stand at one end of it or are alone, and
// what is left is a part of what was there.
func strip(line string) string {
	kept, runs := "", 0
	run := func(from, to int) {
		if runs++; runs == 1 {
			kept = line[from:to]
		} else {
			kept += ";" + line[from:to]
		}
	}
	from, at := 0, 0 // of the run of others' cookies, and of the cookie that is looked at
	for at <= len(line) {
		end := strings.IndexByte(line[at:], ';')
		if end < 0 {
			end = len(line) - at
		}
		end += at
		// Blanks around a name do not hide it: net/http and others read on without them.
		name, _, _ := strings.Cut(line[at:end], "=")
		if Mine(strings.TrimSpace(name)) {
			if at > from {
				run(from, at-1)
			}
			from = end + 1
		}
		at = end + 1
	}
	if from <= len(line) {
		run(from, len(line))
	}
	return strings.Trim(kept, " \t")
}

// attemptName begins the name of every login-attempt cookie; the attempt's id follows.
const attemptName = "gate-attempt-"
