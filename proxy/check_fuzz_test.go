package proxy

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
	"github.com/gatehouse-auth/gatehouse/web"
)

// booth is a gateway that answers checks in this process, without a connection.
type booth struct {
	http.Handler
	cookie string // of somebody who is signed in
}

func newBooth(t testing.TB) booth {
	return newBoothBefore(t, web.Recorder{}, func(s auth.Sessions) auth.Sessions { return s })
}

// newBoothBefore puts a recorder before a booth, and something before its sessions.
func newBoothBefore(t testing.TB, recorder web.Recorder, before func(auth.Sessions) auth.Sessions) booth {
	t.Helper()
	need := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	keys, err := auth.NewKeyring([][]byte{[]byte("0123456789abcdef0123456789ABCDEF-tests")})
	need(err)
	table, err := NewTable([]Route{{Host: "app.test", Path: "/", Next: nowhere}, {Host: "app.test", Path: "/public", Methods: []string{"GET"}, Access: Public, Next: nowhere}})
	need(err)
	identity, err := NewIdentity([]IdentityHeader{{"X-Auth-Email", "email"}, {"X-Auth-Groups", "groups"}})
	need(err)
	peers, err := web.NewPeers([]web.TrustedPeer{{From: "127.0.0.1", Headers: []string{"for", "proto", "host", "uri", "method"}}})
	need(err)
	memory := storetest.NewMemory(t)
	user, err := memory.AddUser(t.Context(), "alice@corp.test", "", []string{"staff"})
	need(err)
	token := keys.Mint()
	session := storetest.NewSession(user)
	session.Key = token.Key()
	need(memory.Create(t.Context(), session))
	site := auth.Site{Public: &url.URL{Scheme: "http", Host: "gw.test"}, Prefix: "/_gate"}
	life := auth.Lifetime{TTL: time.Hour, Max: 12 * time.Hour}
	cookies := auth.NewCookies(site, "", life.Max)
	gate := auth.NewGate(keys, cookies, before(memory), life)
	t.Cleanup(gate.Close)
	p := New(Parts{Gate: gate, Cookies: cookies, Site: site, Identity: identity, Table: table, Own: http.NotFoundHandler()})
	checks, err := NewChecks(p, web.Limits{Target: 8 << 10, Head: 32 << 10}, Dialects())
	need(err)
	recorder.Peers = peers.Silent()
	return booth{recorder.Wrap(web.Handler(checks.Serve)), "gate=" + string(token)}
}

// question is a check as net/http hands it on.
func question(kind, method, proto, host, target string) *http.Request {
	r := &http.Request{
		Method: http.MethodGet, RequestURI: "/_gate/check/" + kind, Host: "auth.internal", URL: new(url.URL),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RemoteAddr: "127.0.0.1:9", Header: http.Header{}, Body: http.NoBody,
	}
	switch kind {
	case "envoy":
		r.Method, r.RequestURI, r.Host = method, r.RequestURI+target, host
	case "nginx":
		r.Header["X-Original-Url"], r.Header["X-Original-Method"] = []string{proto + "://" + host + target}, []string{method}
	default:
		r.Header["X-Forwarded-Method"], r.Header["X-Forwarded-Proto"] = []string{method}, []string{proto}
		r.Header["X-Forwarded-Host"], r.Header["X-Forwarded-Uri"] = []string{host}, []string{target}
	}
	if kind == Compat {
		r.RequestURI = "/_gate/auth"
	}
	return r
}

// RULE-12 in checks over HTTP/2: net/http hands on what contradicts itself, and Envoy's subject is the
// check's own method and host.
func TestContradictoryChecks(t *testing.T) {
	gate := newBooth(t)
	for name, edit := range map[string]func(*http.Request){
		"RULE-12/host":   func(r *http.Request) { r.Header.Set("Host", "evil.test") },
		"RULE-12/length": func(r *http.Request) { r.Header.Set("Content-Length", "5") },
		"RULE-12/method": func(r *http.Request) { r.Method = "GE(T" },
	} {
		t.Run(name, func(t *testing.T) {
			for _, kind := range []string{"envoy", "traefik"} {
				r := question(kind, http.MethodGet, "http", "app.test", "/public/a")
				good := httptest.NewRecorder()
				gate.ServeHTTP(good, r)
				r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
				edit(r)
				bad := httptest.NewRecorder()
				gate.ServeHTTP(bad, r)
				if good.Code != http.StatusOK || bad.Code != http.StatusBadRequest {
					t.Errorf("%s: got %d and, contradicting itself, %d; want 200 and 400", kind, good.Code, bad.Code)
				}
			}
		})
	}
}

// FuzzSubject looks for a subject that is allowed without a session although it is not clearly one of
// the public route, for an answer that a front proxy could not take, and for a way out to elsewhere.
// With steps, chosen by the fuzzer, an app reads the path in its own way (see FuzzAsk).
func FuzzSubject(f *testing.F) {
	for i, target := range []string{
		"/public/a", "/public/../admin", "/public/%2e%2e/admin", "/public/..;/admin", "//public/x", "http://x/public/", "/_gate/login", "/_gate/..%2fadmin",
		"/private?x=/public/", "/public/x#y", "?/public", "", "/public/%00", "/PUBLIC/x",
	} {
		f.Add(uint8(i), "GET", "https", "app.test", target, "", "dpmbs")
		f.Add(uint8(i+3), "POST", "wss", "APP.test.:80", target, target, "sdbpmd")
		f.Add(uint8(i+5), "OPTIONS", "https,http", "app.test, evil.test", target, "/public/a", "")
	}
	gate := newBooth(f)
	f.Fuzz(func(t *testing.T, which uint8, method, proto, host, target, second, steps string) {
		kind := dialects[int(which)%len(dialects)].name
		r := question(kind, method, proto, host, target)
		if second != "" && r.Header["X-Forwarded-Uri"] != nil {
			r.Header["X-Forwarded-Uri"] = append(r.Header["X-Forwarded-Uri"], second)
		}
		r.Header.Set("Accept", "text/html")
		w := httptest.NewRecorder()
		gate.ServeHTTP(w, r)
		h := w.Header()
		for _, name := range []string{"Location", loginHeader} {
			if to := h.Get(name); to != "" && !strings.HasPrefix(to, "http://gw.test/_gate/login?next=http%3A%2F%2Fapp.test%2F") {
				t.Errorf("%s leads to %q", name, to)
			}
		}
		if h.Get("Set-Cookie")+h.Get("X-Auth-Email")+h.Get("X-Auth-Request-Email") != "" {
			t.Errorf("nobody got %v", h)
		}
		switch {
		case w.Code == http.StatusOK || w.Code == http.StatusAccepted:
			vouched(t, kind, method, host, target, second, steps)
		case w.Code == http.StatusUnauthorized || w.Code == http.StatusForbidden:
		case kind == "nginx" || kind == Compat || w.Code >= http.StatusInternalServerError || w.Code < http.StatusFound:
			t.Errorf("%s got %d", kind, w.Code)
		}
	})
}

// vouched checks that a subject was allowed for a reason.
func vouched(t *testing.T, kind, method, host, target, second, steps string) {
	t.Helper()
	name := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(host), ":80"), ".")
	path, _, _ := strings.Cut(target, "?")
	read := naive(path, steps)
	public := name == "app.test" && (method == "GET" || method == "HEAD") && (read == "/public" || strings.HasPrefix(read, "/public/"))
	own := (name == "app.test" || name == "gw.test") && (read == "/_gate" || strings.HasPrefix(read, "/_gate/"))
	if !public && !own {
		t.Errorf("%s: %q %q%q is allowed, and %q reads it as %q", kind, method, host, target, steps, read)
	}
	if second != "" && second != target && kind != "nginx" && kind != "envoy" {
		t.Errorf("%s: %q and %q are both the subject", kind, target, second)
	}
}

// sink is a client that takes an answer and forgets it.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
func (s *sink) WriteHeader(status int)      { s.status = status }

// snapshots answers from memory at once, as the process tier does: with the snapshot that it has, and a
// place for what is built from it.
type snapshots struct {
	auth.Sessions
	last auth.Session
}

func (s *snapshots) Find(ctx context.Context, k auth.Key) (auth.Session, error) {
	if s.last.Key == k {
		return s.last, nil
	}
	found, err := s.Sessions.Find(ctx, k)
	found.Kept = new(auth.Kept)
	s.last = found
	return found, err
}

// busyBooth is a booth as it is run: with log and metrics, before a process tier.
func busyBooth(t testing.TB) booth {
	t.Helper()
	log, err := web.NewLog(io.Discard, "info", "json")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(log.Flush)
	metrics := web.NewMetrics(web.Build{})
	return newBoothBefore(t, web.Recorder{Log: log, Observe: metrics.Request}, func(s auth.Sessions) auth.Sessions { return &snapshots{Sessions: s} })
}

// asked is what nginx asks about a page that somebody wants who is signed in.
func (b booth) asked(kind, target string) *http.Request {
	r := question(kind, "GET", "https", "app.test", target)
	r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	r.Header.Set("Connection", "close")
	r.Header.Set("X-Forwarded-For", "192.0.2.7")
	r.Header.Set("Cookie", "theme=dark; "+b.cookie)
	return r
}

// BenchmarkCheck is the work of a check in this process, without its connection: of
// somebody who is signed in, and of nobody on a public route.
func BenchmarkCheck(b *testing.B) {
	gate := busyBooth(b)
	for _, kind := range []string{"nginx", "traefik", "envoy"} {
		for name, target := range map[string]string{"session": "/x/y?z=1", "public": "/public/app.css"} {
			b.Run(kind+"/"+name, func(b *testing.B) {
				r := gate.asked(kind, target)
				w := &sink{header: http.Header{}}
				b.ReportAllocs()
				for b.Loop() {
					clear(w.header)
					gate.ServeHTTP(w, r)
				}
				if w.status != http.StatusOK || (name == "session") != (w.header.Get("X-Auth-Email") == "alice@corp.test") {
					b.Fatalf("got %d %v", w.status, w.header)
				}
			})
		}
	}
}
