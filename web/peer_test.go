package web_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/web"
)

var everything = []string{"for", "proto", "host", "uri", "method", "id"}

func peers(t testing.TB, list ...web.TrustedPeer) *web.Peers {
	t.Helper()
	ps, err := web.NewPeers(list)
	if err != nil {
		t.Fatal(err)
	}
	return ps
}

// from makes a request of a peer; headers are name and value in turn, one line each.
func from(remote string, headers ...string) *http.Request {
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "http://gw.test/x", http.NoBody)
	r.RemoteAddr = remote
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func TestClientAddress(t *testing.T) {
	ps := peers(t, web.TrustedPeer{From: "127.0.0.1", Headers: everything}, web.TrustedPeer{From: "10.0.0.0/8", Headers: []string{"for"}},
		web.TrustedPeer{From: "10.9.0.0/16", Headers: []string{"proto"}}, web.TrustedPeer{From: "fe80::/10", Headers: []string{"for"}})
	const proxy = "127.0.0.1:999"
	for _, c := range []struct {
		name, remote string
		lines        []string
		want         string
	}{
		{"FA-06/a/right-most untrusted", proxy, []string{"192.0.2.7, 203.0.113.9"}, "203.0.113.9"},
		{"FA-06/a/past trusted proxies", proxy, []string{"192.0.2.7, 203.0.113.9, 10.1.2.3,10.4.5.6"}, "203.0.113.9"},
		{"FA-06/a/over several lines", proxy, []string{"192.0.2.7", "203.0.113.9", "10.1.2.3"}, "203.0.113.9"},
		{"FA-06/a/all trusted", proxy, []string{"10.1.1.1, 10.2.2.2"}, "10.1.1.1"},
		{"FA-06/a/stops at a proxy that may not say for", proxy, []string{"192.0.2.7, 10.9.0.1"}, "10.9.0.1"},
		{"FA-06/a/none", proxy, nil, "127.0.0.1"},
		{"FA-06/b/untrusted", "198.51.100.1:999", []string{"192.0.2.7"}, "198.51.100.1"},
		{"FA-06/b/trusted with something else", "10.9.0.1:999", []string{"192.0.2.7"}, "10.9.0.1"},
		{"FA-06/c/unknown", proxy, []string{"unknown"}, "127.0.0.1"},
		{"FA-06/c/unknown hides what is before it", proxy, []string{"192.0.2.7, unknown"}, "127.0.0.1"},
		{"FA-06/c/unknown before a client", proxy, []string{"unknown, 203.0.113.9"}, "203.0.113.9"},
		{"FA-06/c/obfuscated", proxy, []string{"192.0.2.7, _hidden, 10.1.1.1"}, "10.1.1.1"},
		{"FA-06/c/IPv6 with port", proxy, []string{"[::1]:80"}, "::1"},
		{"FA-06/c/IPv6 in brackets", proxy, []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"FA-06/c/IPv4 with port", proxy, []string{"192.0.2.7:4711"}, "192.0.2.7"},
		{"FA-06/c/zone", proxy, []string{"2001:db8::5, fe80::1%eth0"}, "2001:db8::5"},
		{"FA-06/c/letters between commas", proxy, []string{"a,,b"}, "127.0.0.1"},
		{"FA-06/c/empty elements", proxy, []string{" , 203.0.113.9,, ,"}, "203.0.113.9"},
		{"FA-06/c/empty", proxy, []string{""}, "127.0.0.1"},
		{"FA-06/c/control bytes", proxy, []string{"192.0.2.7\x00, 203.0.113.9\t"}, "203.0.113.9"},
		{"FA-06/c/too long a number", proxy, []string{"192.0.2.7, 256.1.1.1"}, "127.0.0.1"},
		{"RULE-12/IPv4 in IPv6 is the IPv4 client", proxy, []string{"::ffff:203.0.113.9, ::ffff:10.1.1.1"}, "203.0.113.9"},
		{"RULE-12/IPv4 in IPv6 is the IPv4 peer", "[::ffff:10.1.1.1]:999", []string{"203.0.113.9"}, "203.0.113.9"},
		{"RULE-12/the peer's zone is dropped", "[fe80::2%eth0]:999", nil, "fe80::2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := from(c.remote)
			r.Header["X-Forwarded-For"] = c.lines
			p, err := ps.Of(r)
			if err != nil || p.Client != netip.MustParseAddr(c.want) {
				t.Errorf("client %v (%v), want %s", p.Client, err, c.want)
			}
		})
	}
}

// unixGate serves on a unix socket.
func unixGate(t *testing.T, list ...web.TrustedPeer) (*gate, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	g := idle(t, web.Handler(func(http.ResponseWriter, *http.Request) error { return nil }), list...)
	_ = g.Listener.Close()
	g.Listener = l
	g.Start()
	return g, path
}

// A unix socket shows no address, so its clients are trusted by the word alone. A client may bind its
// own end to a file of any name, also to one that reads like a trusted address.
func TestUnixPeers(t *testing.T) {
	t.Chdir(t.TempDir())
	tcp := web.TrustedPeer{From: "10.0.0.0/8", Headers: everything}
	for _, c := range []struct {
		name, bind string
		list       []web.TrustedPeer
		want       string
	}{
		{"FA-06/d/not trusted", "", []web.TrustedPeer{tcp}, "invalid IP"},
		{"FA-06/d/bound to an address", "10.0.0.1:80", []web.TrustedPeer{tcp}, "invalid IP"},
		{"RULE-12/trusted by the word", "", []web.TrustedPeer{{From: "unix", Headers: []string{"for"}}}, "203.0.113.9"},
		{"RULE-12/trusted without for", "", []web.TrustedPeer{{From: "unix", Headers: []string{"proto"}}}, "invalid IP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, path := unixGate(t, c.list...)
			var d net.Dialer
			if c.bind != "" {
				d.LocalAddr = &net.UnixAddr{Net: "unix", Name: c.bind}
			}
			conn, err := d.DialContext(t.Context(), "unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: gw.test\r\nX-Forwarded-For: 203.0.113.9\r\nConnection: close\r\n\r\n")
			got, err := io.ReadAll(conn)
			if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 200 ") {
				t.Errorf("got %q, %v", got, err)
			}
			if rec := g.record(t); rec.Request.Client.String() != c.want {
				t.Errorf("client %v, want %s", rec.Request.Client, c.want)
			}
		})
	}
}

func TestClaimedSchemeAndHost(t *testing.T) {
	ps := peers(t, web.TrustedPeer{From: "127.0.0.1", Headers: everything})
	const proto, host = "X-Forwarded-Proto", "X-Forwarded-Host"
	for _, c := range []struct {
		name    string
		headers []string
		want    string // scheme and host; empty: 400
	}{
		{"FA-04/none", nil, "http gw.test"},
		{"FA-04/https", []string{proto, "https"}, "https gw.test"},
		{"FA-04/upper case", []string{proto, "HTTPS"}, "https gw.test"},
		{"FA-04/list that differs", []string{proto, "https,http"}, ""},
		{"FA-04/list that agrees", []string{proto, "https, HTTPS"}, "https gw.test"},
		{"FA-04/lines that differ", []string{proto, "https", proto, "http"}, ""},
		{"FA-04/wss", []string{proto, "wss"}, "https gw.test"},
		{"FA-04/ws", []string{proto, "ws"}, "http gw.test"},
		{"FA-04/javascript", []string{proto, "javascript"}, ""},
		{"FA-04/empty", []string{proto, ""}, "http gw.test"},
		{"FA-04/host", []string{host, "app.test"}, "http app.test"},
		{"FA-04/host list", []string{host, "app.test, inner"}, ""},
		{"FA-04/host lines", []string{host, "app.test", host, "evil.test"}, ""},
		{"FA-04/host lines that agree", []string{host, "app.test", host, "APP.test"}, "http APP.test"},
		{"FA-04/host with port", []string{host, "app.test:443"}, "http app.test:443"},
		{"FA-04/host with a space", []string{host, "a b"}, ""},
		{"FA-04/host with a path", []string{host, "app.test/x"}, ""},
		{"FA-04/host with a user", []string{host, "app.test@evil.test"}, ""},
		{"FA-04/host with a backslash", []string{host, `app.test\evil`}, ""},
		{"FA-04/host beyond ASCII", []string{host, "äpp.test"}, ""},
		{"FA-04/IPv6 host", []string{host, "[2001:db8::1]:8080"}, "http [2001:db8::1]:8080"},
		{"FA-04/Forwarded is not read", []string{"Forwarded", "proto=https;host=evil.test;for=192.0.2.7"}, "http gw.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := ps.Of(from("127.0.0.1:999", c.headers...))
			var e *web.Error
			if c.want == "" {
				if !errors.As(err, &e) || e.Status != http.StatusBadRequest {
					t.Errorf("got %s %s and %v, want a 400", p.Scheme, p.Host, err)
				}
				return
			}
			if got := p.Scheme + " " + p.Host; err != nil || got != c.want {
				t.Errorf("got %s (%v), want %s", got, err, c.want)
			}
		})
	}
}

func TestConflictingClaimsAreAnswered400(t *testing.T) {
	g := start(t, func(http.ResponseWriter, *http.Request) error {
		t.Error("the handler ran")
		return nil
	}, web.TrustedPeer{From: "127.0.0.1", Headers: everything})
	resp, body := g.get(t, "/", "X-Forwarded-Host", "app.test", "X-Forwarded-Host", "evil.test")
	rec := g.record(t)
	if resp.StatusCode != http.StatusBadRequest || fields(t, body)["id"] != rec.ID || rec.Outcome.Status != 400 || rec.Request.Client.String() != "127.0.0.1" {
		t.Errorf("got %d %s, recorded %+v", resp.StatusCode, body, rec)
	}
}

// A header counts only from a peer that may set this very header; others' are not even judged.
func TestOnlyAllowedClaimsCount(t *testing.T) {
	junk := []string{
		"X-Forwarded-For", "192.0.2.7", "X-Forwarded-Proto", "javascript", "X-Forwarded-Host", "a b", "X-Request-Id", "theirs",
		"X_Forwarded_For", "192.0.2.8", "X-Real-Ip", "192.0.2.9", "X-Forwarded-Ssl", "on",
	}
	for _, word := range append(everything, "nothing") {
		t.Run("RULE-29/"+word, func(t *testing.T) {
			list := []web.TrustedPeer{{From: "127.0.0.1", Headers: []string{word}}}
			if word == "nothing" {
				list = nil
			}
			p, err := peers(t, list...).Of(from("127.0.0.1:1", junk...))
			if (err != nil) != (word == "proto" || word == "host") {
				t.Errorf("error %v", err)
			}
			if (p.Client.String() == "192.0.2.7") != (word == "for") || (p.RequestID == "theirs") != (word == "id") {
				t.Errorf("believed %+v", p)
			}
			if p.Scheme != "http" || p.Host != "gw.test" || p.Trusted != (list != nil) {
				t.Errorf("believed %+v", p)
			}
			if p.May(web.ClaimURI) != (word == "uri") || p.May(web.ClaimMethod) != (word == "method") || p.May(web.ClaimURI|web.ClaimMethod) || p.May(0) {
				t.Errorf("may %+v", p)
			}
		})
	}
}

func TestRequestIDs(t *testing.T) {
	for name, c := range map[string]struct {
		sent  []string
		taken bool
	}{
		"RULE-29/good":       {[]string{"Ab9-" + strings.Repeat("x", 60)}, true},
		"RULE-29/too long":   {[]string{strings.Repeat("x", 65)}, false},
		"RULE-29/empty":      {[]string{""}, false},
		"RULE-29/two":        {[]string{"a", "b"}, false},
		"RULE-29/markup":     {[]string{"<script>"}, false},
		"RULE-29/underscore": {[]string{"a_b"}, false},
		"RULE-29/not ASCII":  {[]string{"ä"}, false},
		"RULE-29/control":    {[]string{"a\tb"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, trusted := range []bool{true, false} {
				var list []web.TrustedPeer
				if trusted {
					list = []web.TrustedPeer{{From: "192.0.2.1", Headers: everything}}
				}
				var got string
				h := web.Recorder{Peers: peers(t, list...)}.Wrap(web.Handler(func(_ http.ResponseWriter, r *http.Request) error {
					got = web.RecordOf(r.Context()).ID
					return nil
				}))
				r := from("192.0.2.1:1")
				r.Header["X-Request-Id"] = c.sent
				h.ServeHTTP(httptest.NewRecorder(), r)
				if (got == c.sent[0]) != (c.taken && trusted) || got == "" {
					t.Errorf("trusted %v: id %q", trusted, got)
				}
			}
		})
	}
}

func TestSchemeFollowsTheConnection(t *testing.T) {
	r := from("192.0.2.1:1", "X-Forwarded-Proto", "http")
	r.TLS = new(tls.ConnectionState)
	if p, err := peers(t).Of(r); err != nil || p.Scheme != "https" {
		t.Errorf("got %+v, %v", p, err)
	}
}

func TestNewPeersRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		from    string
		headers []string
		want    string
	}{
		"RULE-12/all of IPv4":            {"0.0.0.0/0", everything, "every address"},
		"RULE-12/all of IPv6":            {"::/0", everything, "every address"},
		"RULE-12/all of IPv4 in IPv6":    {"::ffff:0:0/96", everything, "every address"},
		"RULE-12/more than IPv4 in IPv6": {"::ffff:0:0/90", everything, "every address"},
		"RULE-12/zone":                   {"fe80::1%eth0", everything, "neither"},
		"RULE-12/a path":                 {"/run/gw.sock", everything, "neither"},
		"CF-01/no prefix":                {"10.0.0.0/33", everything, "neither"},
		"CF-01/empty":                    {"", everything, "neither"},
		"CF-01/bits behind the length":   {"10.1.2.3/8", everything, "write 10.0.0.0/8"},
		"CF-01/no headers":               {"10.0.0.0/8", nil, "names no headers"},
		"CF-01/unknown word":             {"10.0.0.0/8", []string{"for", "X-Forwarded-For"}, `unknown header word "X-Forwarded-For"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := web.NewPeers([]web.TrustedPeer{{From: c.from, Headers: c.headers}})
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `"`+c.from+`"`) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestNewPeersReportsEveryFaultAtOnce(t *testing.T) {
	list := []web.TrustedPeer{{From: "x"}}
	for _, from := range []string{"0.0.0.0/0", "unix", "unix", "10.0.0.1", "::ffff:10.0.0.1/128"} {
		list = append(list, web.TrustedPeer{From: from, Headers: everything})
	}
	_, err := web.NewPeers(list)
	if got := strings.Count(err.Error(), "\n") + 1; got != 4 || strings.Count(err.Error(), "listed twice") != 2 {
		t.Errorf("want 4 faults at once, got %v", err)
	}
}

func TestIPv4PrefixWrittenAsIPv6(t *testing.T) {
	ps := peers(t, web.TrustedPeer{From: "::ffff:10.0.0.0/104", Headers: everything})
	if p, err := ps.Of(from("10.1.2.3:1")); err != nil || !p.Trusted {
		t.Errorf("got %+v, %v", p, err)
	}
}

func TestPeerReachesTheHandler(t *testing.T) {
	var p web.Peer
	g := start(t, func(_ http.ResponseWriter, r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		p = web.PeerOf(ctx)
		return nil
	}, web.TrustedPeer{From: "127.0.0.0/8", Headers: everything})
	g.get(t, "/", "X-Forwarded-For", "203.0.113.9", "X-Forwarded-Host", "app.test", "X-Request-Id", "abc")
	rec := g.record(t)
	if p.Client.String() != "203.0.113.9" || p.Host != "app.test" || rec.ID != "abc" || rec.Request.Host != "app.test" || rec.Request.Client != p.Client {
		t.Errorf("peer %+v, record %+v", p, rec)
	}
}
