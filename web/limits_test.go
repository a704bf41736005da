package web_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/web"
)

func TestHeadLimits(t *testing.T) {
	limits := web.Limits{Target: 16 << 10, Head: 32 << 10}
	cookies := strings.Repeat("Cookie: name=0123456789012345678901234567890123456789\r\n", 200)
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "X-%d: 1\r\n", i)
		}
		return b.String()
	}
	for _, c := range []struct {
		name, target, head string
		want               int
	}{
		{"PX-13/cookie of 15 kB", "/", "Cookie: a=" + strings.Repeat("x", 15_000) + "\r\n", 204},
		{"PX-13/200 cookies", "/", cookies, 204},
		{"PX-13/one header of 60 kB", "/", "X-Long: " + strings.Repeat("x", 60_000) + "\r\n", 431},
		{"PX-13/2,000 headers", "/", many(2000), 204},
		{"PX-13/4,000 headers", "/", many(4000), 431},
		{"PX-13/URL within the limit", "/" + strings.Repeat("x", 16_000), "", 204},
		{"PX-13/URL over the limit", "/" + strings.Repeat("x", 17_000), "", 414},
		{"PX-13/query over the limit", "/?" + strings.Repeat("x", 17_000), "", 414},
		{"PX-13/beyond the room", "/", "X-Long: " + strings.Repeat("x", 250_000) + "\r\n", 431},
	} {
		t.Run(c.name, func(t *testing.T) {
			reached := false
			g := idle(t, limits.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				reached = true
				w.WriteHeader(http.StatusNoContent)
			})))
			g.Config.MaxHeaderBytes = limits.MaxHeaderBytes()
			g.Start()
			conn := g.dial(t, "GET "+c.target+" HTTP/1.1\r\nHost: gw.test\r\nConnection: close\r\n"+c.head+"\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != c.want || reached != (c.want == 204) {
				t.Errorf("got %d, reached %v, %v", resp.StatusCode, reached, err)
			}
			if c.want != 204 && !strings.Contains(string(body), "oo ") { // "Too Large", "too long"
				t.Errorf("not readable: %q", body)
			}
		})
	}
}

// In HTTP/2 a server announces its limit, and a client may keep to it by itself.
func TestHeadLimitsOverHTTP2(t *testing.T) {
	limits := web.Limits{Target: 16 << 10, Head: 32 << 10}
	g := idle(t, limits.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })))
	g.Config.MaxHeaderBytes = limits.MaxHeaderBytes()
	g.EnableHTTP2 = true
	g.StartTLS()
	if resp, _ := g.get(t, "/", "Cookie", strings.Repeat("x", 15_000)); resp.StatusCode != http.StatusNoContent {
		t.Errorf("PX-13: 15 kB got %d", resp.StatusCode)
	}
	resp, body := g.get(t, "/", "X-Long", strings.Repeat("x", 60_000))
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge || resp.ProtoMajor != 2 || fields(t, body)["message"] == "" {
		t.Errorf("PX-13: 60 kB got %d %s", resp.StatusCode, body)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Long", strings.Repeat("x", 300_000))
	// Go's client, too, keeps to the limit that the server announced.
	beyond, err := g.Client().Do(r)
	if err == nil {
		_ = beyond.Body.Close()
		t.Errorf("PX-13: 300 kB got %d", beyond.StatusCode)
	} else if errors.Is(err, io.EOF) {
		t.Errorf("PX-13: the connection just broke: %v", err)
	}
}
