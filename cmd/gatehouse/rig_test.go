package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth/standin"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// rig is a whole Gatehouse as `serve` runs it, with a provider, an app behind it, and a
// configuration file that a test may rewrite while it runs.
type rig struct {
	t      testing.TB
	dir    string
	config string
	public string // http://localhost:PORT
	at     string // where this replica itself is reached
	admin  string // http://127.0.0.1:PORT
	idp    *standin.Standin
	issuer string
	app    *httptest.Server
	log    *lines

	handler *atomic.Value // of the app: a http.HandlerFunc
	cancel  context.CancelFunc
	done    chan int
}

// lines is a log that may be read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// newRig makes the parts; start runs them. The store is SQLite unless the configuration says more.
func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), log: new(lines)}
	r.config = filepath.Join(r.dir, "config.yaml")
	r.public = "http://localhost:" + freePort(t)
	r.at, r.admin = r.public, "http://127.0.0.1:"+freePort(t)
	r.handler = new(atomic.Value)
	r.answer(echo)
	r.app = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.handler.Load().(http.HandlerFunc)(w, req)
	}))
	t.Cleanup(r.app.Close)
	provider := httptest.NewUnstartedServer(nil)
	r.idp = standin.New("http://"+provider.Listener.Addr().String(), []standin.Account{{Email: "alice@corp.test", Name: "Alice"}, {Email: "bob@corp.test", Name: "Bob"}})
	provider.Config.Handler = r.idp
	provider.Start()
	t.Cleanup(provider.Close)
	r.issuer = provider.URL
	r.configure()
	return r
}

// answer makes the app answer with h from now on.
func (r *rig) answer(h http.HandlerFunc) { r.handler.Store(h) }

// echo shows an app's view of a request.
func echo(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s %s user=%s\n", r.Method, r.RequestURI, r.Header.Get("X-Auth-Request-Email"))
}

func freePort(t testing.TB) string { return strconv.Itoa(storetest.FreePort(t)) }

func (r *rig) host() string { return strings.TrimPrefix(r.public, "http://") }

// configure writes the configuration that tests begin with.
func (r *rig) configure() {
	r.t.Helper()
	secret := filepath.Join(r.dir, "secret")
	if err := os.WriteFile(secret, []byte("client-s3cret\n"), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.write(fmt.Sprintf(`server: {listen: %q, public_url: %q, drain_delay: 100ms, drain_timeout: 5s}
admin: {listen: %q}
login: {issuer: %q, client_id: gatehouse, client_secret_file: %q}
log: {format: json}
store: {dir: %q}
routes:
  - {host: %q, upstream: %q}
`, r.host(), r.public, strings.TrimPrefix(r.admin, "http://"), r.issuer, secret, filepath.Join(r.dir, "data"), r.host(), r.app.URL))
}

func (r *rig) write(text string) {
	r.t.Helper()
	if err := os.WriteFile(r.config, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// edit replaces a part of the configuration file.
func (r *rig) edit(from, to string) {
	r.t.Helper()
	text, err := os.ReadFile(r.config)
	if err != nil || !strings.Contains(string(text), from) {
		r.t.Fatalf("configuration has no %q (%v)", from, err)
	}
	r.write(strings.ReplaceAll(string(text), from, to))
}

// run is one command of the program, to its end.
func (r *rig) run(args ...string) (code int, out string) {
	r.t.Helper()
	var buf lines
	code = run(r.t.Context(), append(args, "--config", r.config), strings.NewReader(""), &buf, &buf)
	return code, buf.String()
}

// start adds alice, serves, and waits until requests are answered.
func (r *rig) start() {
	r.t.Helper()
	if code, out := r.run("migrate"); code != exitOK {
		r.t.Fatalf("migrate: exit %d: %s", code, out)
	}
	if code, out := r.run("user", "add", "alice@corp.test", "--role", "staff"); code != exitOK {
		r.t.Fatalf("user add: exit %d: %s", code, out)
	}
	r.serve()
}

// serve runs the gateway until the test is over.
func (r *rig) serve() {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	r.cancel, r.done = cancel, make(chan int, 1)
	go func() {
		r.done <- run(ctx, []string{"serve", "--config", r.config}, strings.NewReader(""), io.Discard, r.log)
	}()
	r.t.Cleanup(r.stop)
	r.eventually("ready", func() bool {
		resp, err := http.Get(r.admin + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// stop asks for an end and waits for it. A second call does nothing.
func (r *rig) stop() {
	r.t.Helper()
	if r.cancel == nil {
		return
	}
	r.cancel()
	r.cancel = nil
	if code := r.exit(); code != exitOK {
		r.t.Errorf("serve ended with %d:\n%s", code, r.log)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func (r *rig) exit() int {
	r.t.Helper()
	select {
	case code := <-r.done:
		return code
	case <-time.After(30 * time.Second):
		r.t.Fatalf("serve did not end:\n%s", r.log)
		return -1
	}
}

// eventually waits for what must come true; the limit only keeps a broken test from hanging.
func (r *rig) eventually(what string, is func() bool) {
	r.t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("never came true: %s\n%s", what, r.log)
		}
	}
}

// get asks the admin listener or the gateway, and returns status and body.
func (r *rig) get(address string) (int, string) {
	r.t.Helper()
	resp, err := http.Get(address)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}

// browser is a client that follows redirects, keeps cookies, and asks for pages.
type browser struct {
	r      *rig
	client *http.Client
}

func (r *rig) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	r.t.Cleanup(transport.CloseIdleConnections)
	return &browser{r, &http.Client{Jar: jar, Transport: transport, Timeout: 20 * time.Second}}
}

// navigate opens an address as if it were typed.
func (b *browser) navigate(address string) (*http.Response, string) {
	b.r.t.Helper()
	return b.do(http.MethodGet, address, nil, map[string]string{"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"})
}

func (b *browser) do(method, address string, form url.Values, headers map[string]string) (*http.Response, string) {
	b.r.t.Helper()
	req, err := http.NewRequestWithContext(b.r.t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		b.r.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	resp, err := b.client.Do(req)
	if err != nil {
		b.r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.r.t.Fatal(err)
	}
	return resp, string(body)
}

// signIn opens an address, picks an account at the provider, and returns where that leads.
func (b *browser) signIn(address, email string) (*http.Response, string) {
	b.r.t.Helper()
	chooser, _ := b.navigate(address)
	if !strings.HasSuffix(chooser.Request.URL.Path, "/authorize") {
		b.r.t.Fatalf("not at the provider but at %s (%s)", chooser.Request.URL.Path, chooser.Status)
	}
	return b.do(http.MethodPost, chooser.Request.URL.String(), url.Values{"email": {email}},
		map[string]string{"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"})
}

// cookie is the session cookie as a header.
func (b *browser) cookie() string {
	at, _ := url.Parse(b.r.public)
	for _, c := range b.client.Jar.Cookies(at) {
		if c.Name == "gate" {
			return c.Name + "=" + c.Value
		}
	}
	return ""
}

// shared puts the stores that replicas share under a rig that has not started yet.
func (r *rig) shared(database, redis string) {
	r.t.Helper()
	keys := filepath.Join(r.dir, "keys")
	if err := os.WriteFile(keys, []byte(newKeyLine(r.t, 1)), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.edit("store: {dir:", fmt.Sprintf("secret: {keys_file: %q}\nstore: {database: %q, redis: %q, dir:", keys, database, redis))
}

// replica starts another gateway with the same configuration on other ports. Browsers know it by the
// same public URL, so its address is only for requests that name the host by themselves.
func (r *rig) replica() *rig {
	r.t.Helper()
	other := *r
	other.dir, other.log, other.cancel, other.done = r.t.TempDir(), new(lines), nil, nil
	other.config = filepath.Join(other.dir, "config.yaml")
	text, err := os.ReadFile(r.config)
	if err != nil {
		r.t.Fatal(err)
	}
	listen, admin := "127.0.0.1:"+freePort(r.t), "127.0.0.1:"+freePort(r.t)
	other.write(strings.NewReplacer(
		fmt.Sprintf("listen: %q, public_url", r.host()), fmt.Sprintf("listen: %q, public_url", listen),
		strings.TrimPrefix(r.admin, "http://"), admin,
	).Replace(string(text)))
	other.admin = "http://" + admin
	other.serve()
	other.at = "http://" + listen
	return &other
}

// ask sends a GET with a session cookie to this very replica and returns the answer without its body.
func (r *rig) ask(cookie, path string) *http.Response {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.at+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Host = r.host()
	req.Header.Set("Cookie", cookie)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		r.t.Fatal(err)
	}
	return resp
}

func newKeyLine(t testing.TB, seed byte) string {
	t.Helper()
	raw := make([]byte, 32)
	for i := range raw {
		raw[i] = seed + byte(i*7)
	}
	return base64.StdEncoding.EncodeToString(raw) + "\n"
}
