package web_test

import (
	"errors"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/web"
)

// FuzzForwarded: no forwarded header panics; one from a peer that may not send it changes nothing; from
// one that may, what comes out can be used, or the request is refused with 400.
func FuzzForwarded(f *testing.F) {
	f.Add("192.0.2.7, 203.0.113.9", "10.0.0.2", "https", "app.test", "abc")
	f.Add("unknown", "[::1]:80", "wss,https", "app.test, inner", "")
	f.Add("a,,b", "fe80::1%eth0", "javascript", "a b", "\x00")
	f.Add(",", "::ffff:192.0.2.7", "HTTPS", "[::1]:443", strings.Repeat("x", 65))
	id := regexp.MustCompile(`^[A-Za-z0-9-]{0,64}$`)
	host := regexp.MustCompile(`^[A-Za-z0-9._:%\[\]-]+$`)
	ps := peers(f, web.TrustedPeer{From: "10.0.0.0/8", Headers: everything})
	f.Fuzz(func(t *testing.T, for1, for2, proto, forwardedHost, requestID string) {
		headers := []string{"X-Forwarded-For", for1, "X-Forwarded-For", for2, "X-Forwarded-Proto", proto, "X-Forwarded-Host", forwardedHost, "X-Request-Id", requestID}
		plain, _ := ps.Of(from("192.0.2.1:1"))
		if p, err := ps.Of(from("192.0.2.1:1", headers...)); err != nil || p != plain {
			t.Errorf("an untrusted peer was believed: %+v, %v", p, err)
		}
		p, err := ps.Of(from("10.0.0.1:1", headers...))
		var e *web.Error
		if err != nil && (!errors.As(err, &e) || e.Status != http.StatusBadRequest) {
			t.Errorf("error %v", err)
		}
		if err == nil && (p.Scheme != "http" && p.Scheme != "https" || !host.MatchString(p.Host)) {
			t.Errorf("scheme %q, host %q", p.Scheme, p.Host)
		}
		if !p.Client.IsValid() || p.Client.Zone() != "" || p.Client.Is4In6() || !id.MatchString(p.RequestID) {
			t.Errorf("peer %+v", p)
		}
		// What the nearest proxy saw counts, whatever it was handed.
		nearest := netip.MustParseAddr("203.0.113.9")
		if p, _ := ps.Of(from("10.0.0.1:1", append(headers, "X-Forwarded-For", "203.0.113.9")...)); p.Client != nearest {
			t.Errorf("client %v, want %v", p.Client, nearest)
		}
	})
}
