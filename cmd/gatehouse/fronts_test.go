package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

// What everybody may expect of an app behind a front proxy that asks Gatehouse, for each proxy with
// the configuration that `gatehouse snippet` prints.
func TestFronts(t *testing.T) {
	for _, kind := range realFronts {
		t.Run(kind.name, func(t *testing.T) {
			f := newFront(t, kind)
			alice := f.person()
			f.signsIn(t, alice)
			f.strangers(t)
			f.identity(t, alice)
			f.absoluteForm(t)
			f.otherHosts(t, alice)
			f.socket(t, alice)
			f.large(t, alice)
			f.signsOut(t, alice)
			f.outage(t) // the last: Postgres does not come back
		})
	}
}

// signsIn: the browser comes back to the address it asked for, byte for byte, on the app's host.
func (f *frontRig) signsIn(t *testing.T, b *browser) {
	t.Run("RD-04/back to the deep link", func(t *testing.T) {
		for i, link := range []string{
			"/deep/a%2Fb/link?q=a%26b&x=1;y=2&rd=%2Fz&m=%zz",
			"/cb?next=https%3A%2F%2Fother.test%2Fx",
			"/s?long=" + strings.Repeat("x", 6<<10),
		} {
			someone := b
			if i > 0 {
				someone = f.person()
			}
			resp, body := someone.signIn(f.url(wiki, link), "alice@corp.test")
			if want := "GET " + link + " user=alice@corp.test\n"; body != want {
				t.Fatalf("%s at %.60s: the app saw %.200q, want %.200q", resp.Status, resp.Request.URL, body, want)
			}
			if resp.Request.URL.Host != wiki+":"+f.port {
				t.Errorf("ended at %s", resp.Request.URL.Host)
			}
		}
	})
}

// strangers: a call gets 401 JSON and no redirect, a POST never becomes a GET, public is public.
func (f *frontRig) strangers(t *testing.T) {
	b := f.person()
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, c := range []struct {
		name, method, path string
		headers            map[string]string
		status             int
		kind               string // of the body; empty: whatever
	}{
		{"FA-02/an API call gets 401 JSON", "GET", "/seen", map[string]string{"Accept": "application/json"}, 401, "application/json"},
		{"a script's call gets 401 JSON", "GET", "/seen", map[string]string{"Accept": "*/*", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, 401, "application/json"},
		{"PX-03/a POST is not redirected", "POST", "/seen", map[string]string{"Accept": "application/json"}, 401, "application/json"},
		{"PX-03/a form's POST is not redirected", "POST", "/seen", map[string]string{"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 401, ""},
		{"a prefetch is not redirected", "GET", "/seen", map[string]string{"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Purpose": "prefetch"}, 401, ""},
		{"a navigation is", "GET", "/seen", map[string]string{"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 302, ""},
		{"an old browser's too", "GET", "/seen", map[string]string{"Accept": "text/html,*/*"}, 302, ""},
		{"SK-01/dot segments lead nowhere", "GET", "/public/%2e%2e/seen", nil, 0, ""},
		{"the check is internal", "GET", "/_gate/check/nginx", nil, 404, ""},
		{"the check is internal, all of it", "GET", "/_gate/check/envoy/x", nil, 404, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.got()
			resp, body := b.do(c.method, f.url(wiki, c.path), url.Values{"a": {"b"}}, c.headers)
			if c.status != 0 && resp.StatusCode != c.status || resp.StatusCode < 300 {
				t.Errorf("%s, want %d: %s", resp.Status, c.status, body)
			}
			if c.status == http.StatusUnauthorized && resp.Header.Get("Location") != "" {
				t.Errorf("401 with Location %s", resp.Header.Get("Location"))
			}
			if !strings.HasPrefix(resp.Header.Get("Content-Type"), c.kind) || c.kind != "" && !strings.Contains(body, `"login"`) {
				t.Errorf("%s: %s, want %s with the address to sign in", resp.Header.Get("Content-Type"), body, c.kind)
			}
			if h := f.got(); h != nil {
				t.Errorf("the app got it: %v", h)
			}
		})
	}
	t.Run("FA-02/public is public", func(t *testing.T) {
		resp, body := b.do("GET", f.url(wiki, "/public/a?x=1"), nil, map[string]string{"X-Auth-Request-Email": "admin@corp.test"})
		if resp.StatusCode != http.StatusOK || body != "GET /public/a?x=1 user=\n" {
			t.Errorf("ID-01: %s %s", resp.Status, body)
		}
	})
}

// identity: ours arrives, and a client's does not, in no spelling; nor does our cookie.
func (f *frontRig) identity(t *testing.T, b *browser) {
	cookie := f.session(b)
	for _, c := range []struct{ name, lines string }{
		{"plain", ""},
		{"same name", "X-Auth-Request-Email: admin@corp.test\r\n"},
		{"lower case", "x-auth-request-email: admin@corp.test\r\n"},
		{"underscores", "X_Auth_Request_Email: admin@corp.test\r\n"},
		{"mixed", "X-Auth_Request-Email: admin@corp.test\r\nx-auth-request_groups: admin\r\n"},
		{"twice and empty", "X-Auth-Request-Email: admin@corp.test\r\nX-Auth-Request-Email:\r\nX-Auth-Request-Groups: admin\r\n"},
		{"one that she has not", "X-Auth-Request-Name: Admin\r\nX-Auth-Request-Picture: x\r\n"},
		{"dropped on the way", "Connection: close, X-Auth-Request-Email\r\n"},
		{"another address", "X-Original-URL: " + f.url(wiki, "/public/a") + "\r\nX-Forwarded-Uri: /public/a\r\nX-Forwarded-Method: OPTIONS\r\nX-Forwarded-For: 192.0.2.7\r\n"},
	} {
		t.Run("ID-01/"+c.name, func(t *testing.T) {
			f.got()
			_, resp := f.raw(t, "GET /seen HTTP/1.1\r\nHost: "+wiki+":"+f.port+"\r\nCookie: a=b; "+cookie+"; c=d\r\n"+c.lines+"\r\n")
			h := f.got()
			if resp.StatusCode >= 400 && resp.StatusCode < 500 && h == nil && c.lines != "" {
				return // refused is as good
			}
			if resp.StatusCode != http.StatusOK || h == nil {
				t.Fatalf("%s", resp.Status)
			}
			for name, values := range h {
				if folded := strings.ToLower(strings.ReplaceAll(name, "_", "-")); strings.HasPrefix(folded, "x-auth-request-") {
					if text := strings.Join(values, "|"); strings.ContainsAny(name, "_") || strings.Contains(strings.ToLower(text), "admin") || len(values) != 1 {
						t.Errorf("the app got %s: %q", name, values)
					}
				}
			}
			if h.Get("X-Auth-Request-Email") != "alice@corp.test" || h.Get("X-Auth-Request-Groups") != "staff" {
				t.Errorf("ours did not arrive: %v", h)
			}
			if got := strings.Join(h["Cookie"], "|"); got != "a=b; c=d" {
				t.Errorf("CK-04: the app got the cookies %q", got)
			}
			if forwarded := h.Get("X-Forwarded-For"); strings.Contains(forwarded, "192.0.2.7") {
				t.Errorf("FA-06: the app got the client's X-Forwarded-For: %s", forwarded)
			}
		})
	}
	t.Run("CK-04/no other cookie", func(t *testing.T) {
		f.got()
		_, resp := f.raw(t, "GET /seen HTTP/1.1\r\nHost: "+wiki+":"+f.port+"\r\nCookie: "+cookie+"\r\n\r\n")
		if h := f.got(); resp.StatusCode != http.StatusOK || strings.Contains(fmt.Sprint(h), "gate=") {
			t.Errorf("%s: the app got %v", resp.Status, h)
		}
	})
}

// absoluteForm: the host in the target and that of the Host line are one, or the request is refused.
func (f *frontRig) absoluteForm(t *testing.T) {
	t.Run("RULE-18/two hosts in one request", func(t *testing.T) {
		for _, text := range []string{
			"GET " + f.url(wiki, "/seen") + " HTTP/1.1\r\nHost: " + openHost + ":" + f.port + "\r\n\r\n",
			"GET /seen HTTP/1.1\r\nHost: " + openHost + ":" + f.port + "\r\nHost: " + wiki + ":" + f.port + "\r\n\r\n",
			"GET /seen HTTP/1.1\r\nHost: " + wiki + ":" + f.port + "\r\nX-Forwarded-Host: " + openHost + ":" + f.port + "\r\n\r\n",
		} {
			f.got()
			_, resp := f.raw(t, text)
			if h := f.got(); h != nil {
				t.Errorf("%q: %s, and the app got it: %v", text, resp.Status, h)
			}
		}
	})
}

// otherHosts: one sign-in holds for both apps, and each has its own rules.
func (f *frontRig) otherHosts(t *testing.T, b *browser) {
	t.Run("two apps under one cookie domain", func(t *testing.T) {
		if resp, body := b.navigate(f.url(grafana, "/shared/x")); body != "GET /shared/x user=alice@corp.test\n" {
			t.Errorf("%s: %s", resp.Status, body)
		}
		if resp, body := b.navigate(f.url(grafana, "/")); resp.StatusCode != http.StatusForbidden || strings.Contains(body, "user=") {
			t.Errorf("only for admins: %s %s", resp.Status, body)
		}
		if resp, body := b.do("GET", f.url(grafana, "/"), nil, map[string]string{"Accept": "application/json"}); resp.StatusCode != http.StatusForbidden || !strings.Contains(body, `"error"`) {
			t.Errorf("only for admins: %s %s", resp.Status, body)
		}
		if resp, _ := b.do("POST", f.url(wiki, "/read/x"), url.Values{}, nil); resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("FA-02: a method that the route does not list: %s", resp.Status)
		}
		if resp, body := b.navigate(f.url("auth.corp.test", "/_gate/me")); resp.StatusCode != http.StatusOK || !strings.Contains(body, "alice@corp.test") {
			t.Errorf("the public host: %s %s", resp.Status, body)
		}
	})
}

const handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// socket: a WebSocket passes for those who are signed in, from pages of its own origin.
func (f *frontRig) socket(t *testing.T, b *browser) {
	head := "GET /socket HTTP/1.1\r\nHost: " + wiki + ":" + f.port + "\r\n" + handshake
	t.Run("PX-04/a WebSocket passes", func(t *testing.T) {
		conn, resp := f.raw(t, head+"Origin: "+f.url(wiki, "")+"\r\nCookie: "+f.session(b)+"\r\n\r\n")
		if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("X-User") != "alice@corp.test" {
			t.Fatalf("%s %v", resp.Status, resp.Header)
		}
		if _, err := conn.Write([]byte("hello, socket")); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 13)
		if _, err := io.ReadFull(resp.rest, got); err != nil || string(got) != "HELLO, SOCKET" {
			t.Errorf("%q %v", got, err)
		}
	})
	t.Run("PX-04/not for strangers", func(t *testing.T) {
		if _, resp := f.raw(t, head+"Origin: "+f.url(wiki, "")+"\r\n\r\n"); resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("Location") != "" {
			t.Errorf("%s", resp.Status)
		}
	})
	t.Run("PX-04/not from a page of another site", func(t *testing.T) {
		if _, resp := f.raw(t, head+"Origin: https://evil.test\r\nCookie: "+f.session(b)+"\r\n\r\n"); resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s", resp.Status)
		}
	})
}

// largeSize is how many bytes go up and down: with GATEHOUSE_LARGE set, which `make e2e-large` does, a
// whole GiB.
func largeSize() int64 {
	if os.Getenv("GATEHOUSE_LARGE") != "" {
		return 1 << 30
	}
	return 64 << 20
}

// large: a body that no buffer holds passes both ways, and nobody waits for its end before the app
// has its beginning.
func (f *frontRig) large(t *testing.T, b *browser) {
	t.Run(fmt.Sprintf("%d MiB up and down", largeSize()>>20), func(t *testing.T) {
		body := &countedReader{left: largeSize()}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url(wiki, "/large"), body)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = largeSize()
		began := time.Now()
		resp, err := b.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		n, err := io.Copy(io.Discard, resp.Body)
		if err != nil || n != largeSize() || resp.Header.Get("X-Received") != fmt.Sprint(largeSize()) {
			t.Errorf("%s: up %s, down %d of %d: %v", resp.Status, resp.Header.Get("X-Received"), n, largeSize(), err)
		}
		t.Logf("%d MiB up and down in %s", n>>20, time.Since(began).Round(time.Millisecond))
	})
}

func (f *frontRig) signsOut(t *testing.T, b *browser) {
	t.Run("LO-01/sign-out ends access", func(t *testing.T) {
		cookie := f.session(b)
		resp, body := b.do(http.MethodPost, f.url(wiki, "/_gate/logout"), url.Values{}, map[string]string{"Accept": "text/html", "Origin": f.url(wiki, "")})
		if resp.StatusCode != http.StatusOK || !strings.Contains(body, "signed out") {
			t.Fatalf("logout: %s %s", resp.Status, body)
		}
		for _, host := range []string{wiki, grafana} {
			f.got()
			if _, resp := f.raw(t, "GET /seen HTTP/1.1\r\nHost: "+host+":"+f.port+"\r\nCookie: "+cookie+"\r\n\r\n"); resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("the old cookie at %s: %s", host, resp.Status)
			}
			if h := f.got(); h != nil {
				t.Errorf("the app got it: %v", h)
			}
		}
	})
}

// outage: who cannot be looked up is not sent to sign in and not let in, whether the store is gone or
// Gatehouse itself; what is public is still served while Gatehouse runs.
func (f *frontRig) outage(t *testing.T) {
	b := f.person()
	if _, body := b.signIn(f.url(wiki, "/"), "alice@corp.test"); !strings.Contains(body, "alice@corp.test") {
		t.Fatalf("sign in: %s", body)
	}
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	unknown := func(t *testing.T) {
		t.Helper()
		f.got()
		for _, accept := range []string{"text/html", "application/json"} {
			resp, _ := b.do("GET", f.url(wiki, "/seen"), nil, map[string]string{"Accept": accept})
			if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || resp.Header.Get("Set-Cookie") != "" {
				t.Errorf("%s (Retry-After %q), want 503 and no cleared cookie", resp.Status, resp.Header.Get("Retry-After"))
			}
		}
		if h := f.got(); h != nil {
			t.Errorf("the app got it: %v", h)
		}
	}
	t.Run("ST-01/store down", func(t *testing.T) {
		f.pg.Stop()
		// Until its lease lapses the process answers by itself for whom it knows, as it should.
		f.eventually("the lease lapsed", func() bool {
			resp, _ := b.do("GET", f.url(wiki, "/seen"), nil, map[string]string{"Accept": "text/html"})
			f.got()
			return resp.StatusCode != http.StatusOK
		})
		unknown(t)
		if resp, body := b.do("GET", f.url(wiki, "/public/a"), nil, nil); resp.StatusCode != http.StatusOK {
			t.Errorf("public: %s %s", resp.Status, body)
		}
	})
	t.Run("ST-01/Gatehouse down", func(t *testing.T) {
		f.stop()
		unknown(t)
	})
}

// bufferedAnswer is the head of an answer, and what follows it.
type bufferedAnswer struct {
	*http.Response
	rest *bufio.Reader
}

func readAnswer(t *testing.T, conn net.Conn) *bufferedAnswer {
	t.Helper()
	rest := bufio.NewReader(conn)
	resp, err := http.ReadResponse(rest, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Cleanup(func() { resp.Body.Close() })
	}
	return &bufferedAnswer{resp, rest}
}

// countedReader is as many bytes as are left.
type countedReader struct{ left int64 }

func (r *countedReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), r.left)
	r.left -= n
	return int(n), nil
}

// swapLarge takes a body and sends as many bytes back.
func swapLarge(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("X-Received", fmt.Sprint(n))
	w.Header().Set("Content-Length", fmt.Sprint(n))
	_, _ = io.Copy(w, &countedReader{n}) // who does not read it learns so by the count
}
