package revocation

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

const account = "alice@corp.test"

// browser is somebody who is signed in.
type browser struct {
	s      *stage
	cookie string
}

// signIn goes the whole way: to the gateway, to the provider, and back.
func (s *stage) signIn(t *testing.T) browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, Transport: s.gates[0].client.Transport, Timeout: hung}
	chooser := visit(t, client, http.MethodGet, s.public+"/_gate/login?next=/_gate/me", nil)
	visit(t, client, http.MethodPost, chooser.String(), url.Values{"email": {account}})
	at, err := url.Parse(s.public)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range jar.Cookies(at) {
		if c.Name == "gate" {
			return browser{s, c.Name + "=" + c.Value}
		}
	}
	t.Fatal("the sign-in left no cookie")
	return browser{}
}

// visit opens an address as a browser does, and says where that led.
func visit(t *testing.T, client *http.Client, method, address string, form url.Values) *url.URL {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"} {
		req.Header.Set(name, value)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.Request.URL
}

// signOut signs out at the first gateway, and tries again until it is told that it is done: while
// Postgres restarts, it is not.
func (b browser) signOut(t *testing.T) {
	t.Helper()
	wait(t, "signed out", func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.s.gates[0].at+"/_gate/logout", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = strings.TrimPrefix(b.s.public, "http://")
		req.Header.Set("Cookie", b.cookie)
		req.Header.Set("Origin", b.s.public)
		resp, err := b.s.gates[0].client.Do(req)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode < http.StatusBadRequest
	})
}

// letIn asks one gateway.
func (b browser) letIn(t *testing.T, g *gate) bool {
	status, _ := get(t.Context(), g.client, g.at+"/_gate/me", strings.TrimPrefix(b.s.public, "http://"), b.cookie)
	return status == http.StatusOK
}

// warm asks each gateway twice, so that each keeps the session itself.
func (s *stage) warm(t *testing.T, b browser) {
	t.Helper()
	s.each(func(_ int, g *gate) {
		for range 2 {
			if !b.letIn(t, g) {
				t.Errorf("a live session is refused at %s", g.at)
			}
		}
	})
}

// refused asks every gateway until it refuses, and returns when the last one did, counted from now.
func (s *stage) refused(t *testing.T, b browser) time.Duration {
	t.Helper()
	ended, took := time.Now(), make([]time.Duration, len(s.gates))
	s.each(func(i int, g *gate) {
		for b.letIn(t, g) && time.Since(ended) < hung {
		}
		took[i] = time.Since(ended)
	})
	return slices.Max(took)
}

// watched is for how long a session must stay out, once it is ended while something fails.
const watched = 5 * time.Second

// lastLetIn goes on asking every gateway, and returns when the last answer came that let in. Refusals
// that take their time, because a store hangs, are none.
func (s *stage) lastLetIn(t *testing.T, b browser, ended time.Time) time.Duration {
	t.Helper()
	last := make([]time.Duration, len(s.gates))
	s.each(func(i int, g *gate) {
		for time.Since(ended) < watched {
			if b.letIn(t, g) {
				last[i] = time.Since(ended)
			}
			time.Sleep(time.Millisecond)
		}
	})
	return slices.Max(last)
}
