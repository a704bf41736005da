package auth_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// hostless are values without a host that browsers nevertheless resolve to another site (RD-01).
var hostless = map[string]string{
	"slashes": "//evil.test", "three": "///evil.test", "backslash": `/\evil.test`, "backslashes": `\\evil.test`,
	"tab": "/\t/evil.test", "space": "/ /evil.test", "tab-backslash": "/\t\\evil.test", "vt": "/\v/evil.test",
	"lf": "/\n/evil.test", "cr": "/\r\\evil.test", "tabs": "/\t\t/\t/evil.test", "dot": `/./\evil.test`,
	"dots": `/./../../\evil.test`, "scheme": "https:evil.test", "one-slash": "https:/evil.test",
	"script": "javascript:alert(1)", "script-host": "javascript://gw.test/%0aalert(1)", "data": "data:text/html,x", "empty": "",
	"nul": "/\x00/evil.test", "del": "/\x7f/evil.test", "space-first": " //evil.test", "no-slash": "evil.test",
	"triple-scheme": "http:///evil.test", "question": "http://?@evil.test", "login": "/_gate/login?next=/", "callback": "/_gate/callback",
}

// elsewhere are values whose host is another than it seems (RD-02).
var elsewhere = map[string]string{
	"prefix": "https://evilapp.test/", "suffix": "https://app.test.evil.test/", "sibling": "https://evilcorp.test/",
	"user": "https://app.test@evil.test/", "query": "https://evil.test/?rd=app.test", "fragment": "https://evil.test#.corp.test",
	"backslash": `https://evil.test\.corp.test/`, "nul": "https://app.test%00.evil.test/", "port": "https://app.test:444/",
	"other-port": "http://port.test:3838/", "ftp": "ftp://app.test/", "no-scheme": "app.test/x", "named-port": "http://[::1]:namedport",
	"bare-suffix": "https://corp.test/", "dot": "https://.corp.test/", "trailing-dot": "https://app.test./", "user-known": "https://user@app.test/",
	"password": "https://app.test:x@evil.test/", "no-port": "https://port.test/", "empty-host": "https:///x", "ideographic": "https://app.test。evil.test/",
	"backslash-user": `https://evil.test\@app.test/`, "double": "https://https://app.test/",
}

// good are addresses that arrive as they are.
var good = map[string]string{
	"RD-02/host": "https://app.test/x", "RD-02/upper": "https://APP.test/x", "RD-02/below": "https://a.b.corp.test/",
	"RD-02/port": "http://port.test:8080/x", "RD-02/default-port": "https://app.test:443/x", "RD-02/no-path": "https://app.test",
	"RD-02/public": "http://gw.test/x?y", "RD-02/query-only": "https://app.test?a=b", "RD-02/upper-scheme": "HTTPS://app.test/x",
	"RD-04/a": "/s?q=a%26b&x=1;y=2&rd=%2Fz", "RD-04/b": "/cb?next=https%3A%2F%2Fother.test%2Fx", "RD-04/plain-url": "/cb?next=https://other.test/x",
	"RD-04/query": `/s?re=\d+&l=%zz&|{}^`, "RD-04/path": "/a%2F..%2Fb/%E2%82%AC/;x/a|b/../c", "RD-04/fragment": "/a#/b", "RD-04/dots": "/../a",
}

func TestNext(t *testing.T) {
	w := newWorld(t)
	for name, value := range hostless {
		t.Run("RD-01/"+name, func(t *testing.T) { w.browser(t).arrives(value, "/") })
	}
	for name, value := range elsewhere {
		t.Run("RD-02/"+name, func(t *testing.T) { w.browser(t).arrives(value, "/") })
	}
	for name, value := range good {
		t.Run(name, func(t *testing.T) { w.browser(t).arrives(value, value) })
	}
}

// arrives logs in with a next parameter and checks where that leads.
func (b *browser) arrives(next, want string) {
	b.t.Helper()
	p := b.signIn(next, "alice@corp.test")
	is(b.t, "Location", p.to(), want)
	origin := originOf(p.to())
	u, err := url.Parse(origin)
	if err != nil || want == "/" && origin != "http://gw.test" {
		b.t.Fatalf("a browser takes %q to %q", p.to(), origin)
	}
	if strings.ContainsFunc(p.to(), func(r rune) bool { return r < ' ' }) || u.Host == "evil.test" {
		b.t.Errorf("Location %q", p.to())
	}
}

// Front proxies that cannot encode paste the original address as it is (vouch-proxy 09c7fb0).
func TestNextPasted(t *testing.T) {
	w := newWorld(t)
	for name, value := range good {
		if strings.Contains(name, "fragment") || strings.Contains(name, "upper-scheme") {
			continue // browsers send no fragment, and proxies paste their own $scheme
		}
		t.Run(name, func(t *testing.T) { w.browser(t).arrivesPasted(value, value) })
	}
	for name, value := range map[string]string{
		"slashes": "//evil.test", "backslash": `/%5Cevil.test`, "tab": "/%09/evil.test", "encoded-slash": "/%2Fevil.test",
		"space": "/%20/evil.test", "host": "https://evil.test/&next=https://app.test/", "percent": "/%zz",
	} {
		t.Run("RD-01/"+name, func(t *testing.T) { w.browser(t).arrivesPasted(value, "/") })
	}
}

func (b *browser) arrivesPasted(next, want string) {
	b.t.Helper()
	start := b.get(b.gate("/login?x=1&next=" + next))
	p := b.get(b.choose(start.to(), "alice@corp.test"))
	is(b.t, "Location", p.to(), want)
}

func TestNextLong(t *testing.T) {
	w := newWorld(t)
	t.Run("RD-04/c", func(t *testing.T) {
		// Much of it repeats, as in the links of a wiki: it fits the cookie once it is compressed.
		b := w.browser(t)
		b.arrives("/w?"+strings.Repeat("category%5B%5D=page%20of%20the%20wiki&", 160), "/w?"+strings.Repeat("category%5B%5D=page%20of%20the%20wiki&", 160))
	})
	t.Run("RD-04/c-dense", func(t *testing.T) {
		b := w.browser(t)
		dense := noise(6 << 10)
		start := b.get(b.gate("/login?next=" + url.QueryEscape("/w?"+dense)))
		for _, line := range start.Header.Values("Set-Cookie") {
			if len(line) > 4096 {
				t.Errorf("a Set-Cookie has %d bytes", len(line))
			}
		}
		p := b.get(b.choose(start.to(), "alice@corp.test"))
		is(t, "Location", p.to(), "/w")
	})
	t.Run("RD-04/c-path", func(t *testing.T) {
		b := w.browser(t)
		is(t, "Location", b.signIn("/"+noise(7<<10), "alice@corp.test").to(), "/")
	})
}

// noise is text that does not compress.
func noise(n int) string {
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(url.QueryEscape(newToken()))
	}
	return b.String()[:n]
}

func TestNextSetting(t *testing.T) {
	t.Run("RD-04/d", func(t *testing.T) {
		w := newWorld(t, func(w *world) { w.site.Public.Host, w.back = "auth.corp.test", []string{"corp.test"} })
		w.browser(t).arrives("https://corp.test/x", "https://corp.test/x")
	})
	t.Run("RD-02/bare-suffix-listed", func(t *testing.T) {
		w := newWorld(t, func(w *world) { w.back = []string{"corp.test"} })
		w.browser(t).arrivesPasted("https://evilcorp.test/", "/")
		w.browser(t).arrivesPasted("https://a.corp.test/", "/")
	})
	t.Run("RD-04/e", func(t *testing.T) {
		w := newWorld(t, func(w *world) { w.back = []string{".home"} })
		w.browser(t).arrives("https://app.home/x", "https://app.home/x")
	})
	t.Run("RD-02/https", func(t *testing.T) {
		// Behind https a plain address would only meet a cookie that is not sent there.
		site := auth.Site{Public: &url.URL{Scheme: "https", Host: "gw.test"}, Prefix: "/_gate"}
		next, err := auth.NewNext(site, []string{"app.test"})
		if err != nil {
			t.Fatal(err)
		}
		is(t, "http", next.Clean("http://app.test/x"), "/")
		is(t, "https", next.Clean("https://app.test/x"), "https://app.test/x")
	})
	t.Run("RD-02/entries", func(t *testing.T) {
		site := auth.Site{Public: &url.URL{Scheme: "https", Host: "gw.test"}, Prefix: "/_gate"}
		bad := []string{"", "https://app.test", "app.test/x", "*.test", "a b", "u@app.test", "app.test:x", "..", "app.test."}
		_, err := auth.NewNext(site, append(bad, "fine.test", "[::1]:8080", ".fine.test:8443"))
		if err == nil {
			t.Fatal("bad entries pass")
		}
		is(t, "faults", strings.Count(err.Error(), "is no host"), len(bad))
	})
}

// originOf resolves a Location against the public URL as browsers do (WHATWG URL): blanks at the ends
// go, tabs and line ends go everywhere, and in http addresses a backslash is a slash.
func originOf(location string) string {
	s := strings.Trim(location, "\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\v\f\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f ")
	s = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(s)
	scheme := "http"
	if name, rest, found := strings.Cut(s, ":"); found && !strings.ContainsAny(name, `/\?#`) && name != "" {
		if scheme = strings.ToLower(name); scheme != "http" && scheme != "https" {
			return scheme + ":"
		}
		// After the scheme of the base itself a relative address may follow; any number of slashes
		// in either direction otherwise begins the host.
		if scheme == "http" && !strings.HasPrefix(rest, "/") && !strings.HasPrefix(rest, `\`) {
			return "http://gw.test"
		}
		return scheme + "://" + authority(strings.TrimLeft(rest, `/\`))
	}
	if len(s) >= 2 && strings.ContainsRune(`/\`, rune(s[0])) && strings.ContainsRune(`/\`, rune(s[1])) {
		return scheme + "://" + authority(strings.TrimLeft(s, `/\`))
	}
	return "http://gw.test"
}

func authority(s string) string {
	if end := strings.IndexAny(s, `/\?#`); end >= 0 {
		s = s[:end]
	}
	return strings.ToLower(s[strings.LastIndex(s, "@")+1:])
}

func FuzzNext(f *testing.F) {
	for _, rows := range []map[string]string{hostless, elsewhere, good} {
		for _, value := range rows {
			f.Add(value)
		}
	}
	site := auth.Site{Public: &url.URL{Scheme: "http", Host: "gw.test"}, Prefix: "/_gate"}
	next, err := auth.NewNext(site, []string{"app.test", ".corp.test", "port.test:8080"})
	if err != nil {
		f.Fatal(err)
	}
	allowed := func(origin string) bool {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" {
			return false
		}
		host := u.Hostname()
		if u.Port() == "8080" {
			return host == "port.test"
		}
		own := map[string]string{"http": "80", "https": "443"}[u.Scheme]
		return (u.Port() == "" || u.Port() == own) && (host == "gw.test" || host == "app.test" || strings.HasSuffix(host, ".corp.test"))
	}
	f.Fuzz(func(t *testing.T, raw string) {
		clean := next.Clean(raw)
		if next.Clean(clean) != clean {
			t.Errorf("%q: cleaned twice it is %q", clean, next.Clean(clean))
		}
		if origin := originOf(clean); !allowed(origin) {
			t.Errorf("%q: a browser goes to %q", clean, origin)
		}
		for i := range len(clean) {
			if clean[i] <= ' ' || clean[i] >= 0x7f {
				t.Errorf("%q holds byte %#x", clean, clean[i])
			}
		}
		if clean != "/" && clean != raw && strings.IndexFunc(raw, func(r rune) bool { return r >= 0x80 }) < 0 {
			t.Errorf("%q became %q", raw, clean)
		}
	})
}
