package auth_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/auth/standin"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
	"github.com/gatehouse-auth/gatehouse/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const idp = "http://idp.test"

// world is everything that a login takes: a gateway at its public host, a provider, apps at every
// other host, and stores. One listener serves them all, and tells them apart by host.
type world struct {
	t        *testing.T
	site     auth.Site
	keys     *auth.Keyring
	users    *storetest.Memory
	store    *storetest.Faulty
	provider *standin.Standin
	life     auth.Lifetime
	domain   string
	back     []string // hosts to return to
	config   auth.ProviderConfig
	peers    *web.Peers // nil: nobody may claim anything

	server  *httptest.Server
	client  *auth.Provider
	mu      sync.Mutex
	records []web.Record
}

// newWorld makes a world; edits come before it starts to turn.
func newWorld(t *testing.T, edits ...func(*world)) *world {
	t.Helper()
	memory := storetest.NewMemory(t)
	w := &world{
		t: t, site: auth.Site{Public: &url.URL{Scheme: "http", Host: "gw.test"}, Prefix: "/_gate"},
		keys: newKeys(t), users: memory, store: &storetest.Faulty{Users: memory, Sessions: memory},
		provider: newProvider(idp),
		life:     auth.Lifetime{TTL: time.Hour, Max: 12 * time.Hour},
		back:     []string{"app.test", ".corp.test", "port.test:8080"},
		config:   auth.ProviderConfig{Issuer: idp, ClientID: "gatehouse", ClientSecret: "s3cret-of-the-client"},
	}
	w.addUser("alice@corp.test")
	for _, edit := range edits {
		edit(w)
	}
	w.start()
	return w
}

func newKeys(t *testing.T) *auth.Keyring {
	t.Helper()
	secret := make([]byte, 32)
	rand.Read(secret)
	keys, err := auth.NewKeyring([][]byte{secret})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func (w *world) addUser(email string) auth.User {
	w.t.Helper()
	u, err := w.users.AddUser(w.t.Context(), email, "", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

func (w *world) start() {
	w.server = httptest.NewUnstartedServer(nil)
	w.server.Config.ErrorLog = log.New(io.Discard, "", 0) // broken connections are wanted here
	w.server.Config.Handler = w.handler()
	if w.site.Secure() {
		w.server.StartTLS()
	} else {
		w.server.Start()
	}
	w.t.Cleanup(w.server.Close)
}

// handler is the wiring that serve.go does, as far as auth needs it.
func (w *world) handler() http.Handler {
	cookies := auth.NewCookies(w.site, w.domain, w.life.Max)
	gate := auth.NewGate(w.keys, cookies, w.store, w.life)
	w.t.Cleanup(gate.Close)
	next, err := auth.NewNext(w.site, w.back)
	if err != nil {
		w.t.Fatal(err)
	}
	w.config.Redirect = w.site.Callback()
	if w.config.Transport == nil {
		w.config.Transport = w.transport(w.t)
	}
	w.client = auth.NewProvider(w.config)
	w.t.Cleanup(w.client.Close)
	login := auth.NewLogin(auth.LoginParts{
		Site: w.site, Keys: w.keys, Cookies: cookies, Gate: gate, Users: w.store, Sessions: w.store,
		Provider: w.client, Next: next, Life: w.life,
	})
	logout, err := auth.NewLogout(w.site, cookies, gate)
	if err != nil {
		w.t.Fatal(err)
	}
	own := http.NewServeMux()
	own.Handle("/_gate/login", web.Handler(login.Start))
	own.Handle("/_gate/callback", web.Handler(login.Callback))
	own.Handle("POST /_gate/logout", web.Handler(logout.End))
	own.Handle("/_gate/logout", web.Handler(logout.Page))
	own.Handle("/_gate/me", web.Handler(logout.Me))
	compat := auth.NewCompat(login, logout)
	own.Handle("/_gate/start", web.Handler(compat.Start))
	own.Handle("/_gate/sign_in", web.Handler(compat.SignIn))
	own.Handle("/_gate/sign_out", web.Handler(compat.SignOut))
	own.Handle("/_gate/userinfo", web.Handler(compat.UserInfo))
	own.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "app "+r.RequestURI) })
	recorded := web.Recorder{Observe: w.observe, Peers: w.peers}.Wrap(own)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Host == "idp.test" {
			w.provider.ServeHTTP(rw, r)
			return
		}
		recorded.ServeHTTP(rw, r)
	})
}

func (w *world) observe(rec *web.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.records = append(w.records, *rec)
}

// last is the record of the last request to the gateway.
func (w *world) last() web.Record {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.records) == 0 {
		return web.Record{}
	}
	return w.records[len(w.records)-1]
}

// asked counts the requests for a host that is not the provider's.
func (w *world) asked(host string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, rec := range w.records {
		if rec.Request.Host == host {
			n++
		}
	}
	return n
}

// transport reaches this world, whatever the host.
func (w *world) transport(t *testing.T) *http.Transport {
	tr := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, w.server.Listener.Addr().String())
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // our own server, under made-up names
	}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// browser keeps cookies and goes where it is sent, but only on command.
type browser struct {
	*world
	t    *testing.T
	jar  *cookiejar.Jar
	http *http.Client
}

func (w *world) browser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{world: w, t: t, jar: jar, http: &http.Client{
		Jar: jar, Transport: w.transport(t), Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// page is an answer that was read.
type page struct {
	*http.Response
	text string
	at   string // the address that was asked
}

// to is where the answer sends the browser; empty: nowhere.
func (p page) to() string { return p.Header.Get("Location") }

// next is to as an absolute address.
func (p page) next() string {
	u, err := p.Request.URL.Parse(p.to())
	if err != nil {
		return p.to()
	}
	return u.String()
}

func (b *browser) do(method, address, body string, edits ...func(http.Header)) page {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, address, err)
	}
	navigation(req.Header)
	if body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, edit := range edits {
		edit(req.Header)
	}
	resp, err := b.http.Do(req)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, address, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, address, err)
	}
	p := page{resp, string(text), address}
	if req.URL.Host != "idp.test" && strings.HasPrefix(req.URL.Path, "/_gate/") && resp.Header.Get("Cache-Control") != "no-store" {
		b.t.Errorf("LO-02: %s %s: Cache-Control is %q", method, address, resp.Header.Get("Cache-Control"))
	}
	return p
}

func (b *browser) get(address string, edits ...func(http.Header)) page {
	b.t.Helper()
	return b.do(http.MethodGet, address, "", edits...)
}

// navigation is what a browser sends for a link that was clicked.
func navigation(h http.Header) {
	h.Set("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
	h.Set("Sec-Fetch-Mode", "navigate")
	h.Set("Sec-Fetch-Dest", "document")
	h.Set("User-Agent", "Mozilla/5.0 (test)")
}

// with sets one header; an empty value removes it.
func with(name, value string) func(http.Header) {
	return func(h http.Header) {
		h.Set(name, value)
		if value == "" {
			h.Del(name)
		}
	}
}

// gate is an address of the gateway.
func (w *world) gate(path string) string { return w.site.Public.String() + "/_gate" + path }

// begin starts a login and returns the address of the chooser.
func (b *browser) begin(next string) string {
	b.t.Helper()
	p := b.get(b.gate("/login?next=" + url.QueryEscape(next)))
	if p.StatusCode != http.StatusSeeOther || !strings.HasPrefix(p.to(), idp) {
		b.t.Fatalf("login for %q: %d to %q, want the provider\n%s", next, p.StatusCode, p.to(), p.text)
	}
	return p.to()
}

// choose picks an account and returns the address of the callback.
func (b *browser) choose(chooser, email string) string {
	b.t.Helper()
	p := b.do(http.MethodPost, chooser, url.Values{"email": {email}, "name": {"N."}}.Encode())
	if p.StatusCode != http.StatusSeeOther {
		b.t.Fatalf("choose %q: %d\n%s", email, p.StatusCode, p.text)
	}
	return p.to()
}

// back goes through a login up to the answer of the callback.
func (b *browser) login(next, email string) page {
	b.t.Helper()
	return b.get(b.choose(b.begin(next), email))
}

// signIn is login for somebody who is let in.
func (b *browser) signIn(next, email string) page {
	b.t.Helper()
	p := b.login(next, email)
	if p.StatusCode != http.StatusSeeOther {
		b.t.Fatalf("%s is not let in: %d\n%s", email, p.StatusCode, p.text)
	}
	return p
}

// who is the e-mail of whoever is signed in; empty: nobody.
func (b *browser) who() string {
	b.t.Helper()
	p := b.get(b.gate("/me"), with("Accept", "application/json"))
	if p.StatusCode == http.StatusUnauthorized {
		return ""
	}
	_, after, _ := strings.Cut(p.text, `"email":"`)
	email, _, _ := strings.Cut(after, `"`)
	if p.StatusCode != http.StatusOK || email == "" {
		b.t.Fatalf("me: %d\n%s", p.StatusCode, p.text)
	}
	return email
}

// cookies are those that the browser would send to the public host, by name.
func (b *browser) cookies() map[string]string {
	all := map[string]string{}
	for _, c := range b.jar.Cookies(b.site.Public) {
		all[c.Name] = c.Value
	}
	return all
}

// attempts counts the cookies of logins under way.
func (b *browser) attempts() (n int) {
	for name := range b.cookies() {
		if strings.Contains(name, "gate-attempt-") {
			n++
		}
	}
	return n
}

// plant gives the browser a cookie for the public host.
func (b *browser) plant(name, value string) {
	b.jar.SetCookies(b.site.Public, []*http.Cookie{{Name: name, Value: value, Path: "/", Secure: b.site.Secure()}})
}

func is[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

func newProvider(issuer string) *standin.Standin {
	return standin.New(issuer, []standin.Account{{Email: "alice@corp.test", Name: "Alice"}})
}
