package proxy_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/proxy"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
	"github.com/gatehouse-auth/gatehouse/web"
)

// hang is how long a test waits for what should happen at once.
const hang = 10 * time.Second

// names are the identity headers of the tests: the default ones, and one with another name.
var names = []proxy.IdentityHeader{
	{Header: "X-Auth-Request-User", Value: "user"},
	{Header: "X-Auth-Request-Email", Value: "email"},
	{Header: "X-Auth-Request-Groups", Value: "groups"},
	{Header: "X-Auth-Email", Value: "email"},
	{Header: "X-Auth-Name", Value: "name"},
}

// world is a gateway with everything around it: a store, a user who is signed in, a server.
type world struct {
	t       *testing.T
	store   *storetest.Memory
	faulty  *storetest.Faulty
	keys    *auth.Keyring
	gate    *auth.Gate
	streams *auth.Streams
	proxy   *proxy.Proxy
	latest  atomic.Pointer[proxy.Table]
	server  *http.Server
	addr    string
	alice   auth.User
	ttl     time.Duration

	mu      sync.Mutex
	records []web.Record
}

// setup is what differs between worlds. Zero values have defaults.
type setup struct {
	routes   []proxy.Route
	peers    []web.TrustedPeer
	ttl      time.Duration
	returns  []string
	public   string
	identity []proxy.IdentityHeader
	name     string // alice's display name
	running  *web.Turns[int64]
	checks   []string // dialects of front proxies that may ask; nil: none
}

func newWorld(t *testing.T, s setup) *world {
	t.Helper()
	w := &world{t: t, store: storetest.NewMemory(t), ttl: s.ttl}
	if w.ttl == 0 {
		w.ttl = time.Hour
	}
	if s.public == "" {
		s.public = "http://gw.test"
	}
	if s.identity == nil {
		s.identity = names
	}
	w.faulty = &storetest.Faulty{Users: w.store, Sessions: w.store}
	w.keys = must(auth.NewKeyring([][]byte{[]byte("0123456789abcdef0123456789ABCDEF-tests")}))
	w.alice = must(w.store.AddUser(t.Context(), "alice@corp.test", s.name, []string{"staff", "ops"}))
	site := auth.Site{Public: must(url.Parse(s.public)), Prefix: "/_gate"}
	life := auth.Lifetime{TTL: w.ttl, Max: 12 * time.Hour}
	cookies := auth.NewCookies(site, "", life.Max)
	w.gate = auth.NewGate(w.keys, cookies, w.faulty, life)
	w.streams = auth.NewStreams(w.faulty, time.Minute)
	table := must(proxy.NewTable(s.routes))
	w.latest.Store(table)
	w.proxy = proxy.New(proxy.Parts{
		Gate: w.gate, Streams: w.streams, Cookies: cookies, Site: site,
		Identity: must(proxy.NewIdentity(s.identity)), Table: table, Latest: &w.latest, Running: s.running, ReturnHosts: s.returns,
		Own: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { fmt.Fprintf(rw, "own %s", r.RequestURI) }),
	})
	w.serve(s)
	return w
}

// limits are those of every request, and of whatever is asked about.
var limits = web.Limits{Target: 8 << 10, Head: 32 << 10}

// handler is the gateway with checks beside the apps, as serve.go puts them together.
func (w *world) handler(s setup) http.Handler {
	recorder := web.Recorder{Peers: must(web.NewPeers(s.peers)), Observe: func(rec *web.Record) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.records = append(w.records, *rec)
	}}
	rest := recorder.Wrap(limits.Wrap(web.Handler(w.proxy.Serve)))
	checks := must(proxy.NewChecks(w.proxy, limits, s.checks))
	recorder.Peers = recorder.Peers.Silent()
	answer := recorder.Wrap(web.Handler(checks.Serve))
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if checks.Asked(r) {
			answer.ServeHTTP(rw, r)
			return
		}
		rest.ServeHTTP(rw, r)
	})
}

func (w *world) serve(s setup) {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	w.server = &http.Server{
		Handler:   w.handler(s),
		Protocols: protocols, ReadHeaderTimeout: hang, MaxHeaderBytes: limits.MaxHeaderBytes(),
	}
	listener := listen(w.t)
	w.addr = listener.Addr().String()
	done := make(chan struct{})
	go func() { defer close(done); _ = w.server.Serve(listener) }()
	w.t.Cleanup(func() {
		_ = w.server.Close()
		<-done
		w.gate.Close()
	})
}

// signIn makes a session of a user and returns the line that a browser would send.
func (w *world) signIn(u auth.User) (cookie string, key auth.Key) {
	w.t.Helper()
	token := w.keys.Mint()
	s := storetest.NewSession(u)
	s.Key, s.ExpiresAt = token.Key(), s.CreatedAt.Add(w.ttl)
	if err := w.store.Create(w.t.Context(), s); err != nil {
		w.t.Fatal(err)
	}
	return "gate=" + string(token), token.Key()
}

// authed is a Cookie line of alice, with one of the app's own cookies beside it.
func (w *world) authed() string {
	cookie, _ := w.signIn(w.alice)
	return "Cookie: app=1; " + cookie + "; theme=dark"
}

// nav are the headers of a person going somewhere.
const nav = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document"

// xhr are the headers of a script.
const xhr = "Accept: application/json\r\nSec-Fetch-Mode: cors"

// ask sends a request with exactly these lines and returns the answer with its whole body.
func (w *world) ask(method, target string, lines ...string) *answer {
	w.t.Helper()
	host := "Host: app.test"
	if len(lines) > 0 && strings.HasPrefix(lines[0], "Host:") {
		host, lines = lines[0], lines[1:]
	}
	raw := method + " " + target + " HTTP/1.1\r\n" + host + "\r\nConnection: close\r\n"
	for _, line := range lines {
		raw += line + "\r\n"
	}
	return w.raw(method, raw+"\r\n")
}

// answer is a response whose body was read.
type answer struct {
	*http.Response
	body string
	err  error // of reading the body
}

// raw sends bytes and reads one answer.
func (w *world) raw(method, request string) *answer {
	w.t.Helper()
	conn := w.dial()
	if _, err := io.WriteString(conn, request); err != nil {
		w.t.Fatal(err)
	}
	return w.read(method, bufio.NewReader(conn))
}

func (w *world) read(method string, from *bufio.Reader) *answer {
	w.t.Helper()
	res, err := http.ReadResponse(from, &http.Request{Method: method})
	if err != nil {
		w.t.Fatalf("read the answer: %v", err)
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	return &answer{res, string(body), err}
}

func (w *world) dial() net.Conn {
	w.t.Helper()
	conn, err := new(net.Dialer).DialContext(w.t.Context(), "tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(hang))
	w.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// record waits for the record of the latest request.
func (w *world) record(n int) web.Record {
	w.t.Helper()
	for end := time.Now().Add(hang); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		w.mu.Lock()
		if len(w.records) >= n {
			defer w.mu.Unlock()
			return w.records[n-1]
		}
		w.mu.Unlock()
	}
	w.t.Fatalf("no record of request %d", n)
	return web.Record{}
}

// app is an upstream that records the exact bytes of what it gets.
type app struct {
	t       *testing.T
	addr    string
	respond func(conn net.Conn, head string)

	mu    sync.Mutex
	heads []string
	all   bytes.Buffer
	shut  int // connections whose other end closed
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// newApp starts an upstream. respond writes the answer to each request once its head has come; nil
// answers 200 after the body.
func newApp(t *testing.T, respond func(conn net.Conn, head string)) *app {
	t.Helper()
	a := &app{t: t, respond: respond}
	listener := listen(t)
	a.addr = listener.Addr().String()
	var conns sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	conns.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			conns.Go(func() { defer conn.Close(); a.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for _, conn := range open {
			_ = conn.Close()
		}
		mu.Unlock()
		conns.Wait()
	})
	return a
}

func (a *app) serve(conn net.Conn) {
	from := bufio.NewReader(io.TeeReader(conn, lockedWriter{a}))
	for {
		head := ""
		for !strings.HasSuffix(head, "\r\n\r\n") {
			line, err := from.ReadString('\n')
			if err != nil {
				a.mu.Lock()
				a.shut++
				a.mu.Unlock()
				return
			}
			head += line
		}
		a.mu.Lock()
		a.heads = append(a.heads, head)
		a.mu.Unlock()
		if a.respond != nil {
			a.respond(buffered{conn, from}, head)
			continue
		}
		req, err := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader(head), from)))
		if err == nil {
			_, err = io.Copy(io.Discard, req.Body)
		}
		if err != nil {
			return
		}
		answer, body, _ := strings.Cut(ok, "\r\n\r\n")
		last := req.ContentLength != 0 // what the parser read ahead is lost to the next turn
		if last {
			answer += "\r\nConnection: close" // or a request that cannot be sent twice may meet the end
		}
		if req.Method == http.MethodHead {
			body = ""
		}
		_, _ = io.WriteString(conn, answer+"\r\n\r\n"+body)
		if last {
			return
		}
	}
}

// buffered reads what the head's reader read ahead first.
type buffered struct {
	net.Conn
	from *bufio.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.from.Read(p) }

type lockedWriter struct{ a *app }

func (l lockedWriter) Write(p []byte) (int, error) {
	l.a.mu.Lock()
	defer l.a.mu.Unlock()
	return l.a.all.Write(p)
}

// heard is every head that the app got.
func (a *app) heard() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.heads...)
}

// last is the latest head, or empty.
func (a *app) last() string {
	if heads := a.heard(); len(heads) > 0 {
		return heads[len(heads)-1]
	}
	return ""
}

// bytes is all that the app got.
func (a *app) bytes() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all.String()
}

// closed waits until n connections of the app were closed by the gateway.
func (a *app) closed(n int) bool {
	return eventually(func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.shut >= n
	})
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	return must(new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0"))
}

func eventually(is func() bool) bool {
	for end := time.Now().Add(hang); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if is() {
			return true
		}
	}
	return false
}

// upstream is the app as the gateway reaches it.
func (a *app) upstream(t proxy.Target) *proxy.Upstream {
	if t.URL == "" {
		t.URL = "http://" + a.addr
	}
	return newUpstream(a.t, t)
}

// engines runs a test with each of the engines that carry requests.
func engines(t *testing.T, test func(*testing.T)) {
	t.Helper()
	for _, name := range []string{proxy.EngineStdlib, proxy.EngineLean} {
		t.Run(name, test)
	}
}

// newUpstream makes an upstream with the engine of the test that asks.
func newUpstream(t *testing.T, target proxy.Target) *proxy.Upstream {
	t.Helper()
	if target.Engine == "" && strings.Contains(t.Name()+"/", "/"+proxy.EngineLean+"/") {
		target.Engine = proxy.EngineLean
	}
	u := must(proxy.NewUpstream(target))
	t.Cleanup(u.Close)
	return u
}

// routes are those of most tests: everything asks for sign-in, /public/ does not.
func routes(next http.Handler) []proxy.Route {
	return []proxy.Route{
		{Name: "app", Host: "app.test", Path: "/", Next: next},
		{Name: "public", Host: "app.test", Path: "/public", Methods: []string{"GET"}, Access: proxy.Public, Next: next},
	}
}

func plainWorld(t *testing.T) (*world, *app) {
	t.Helper()
	up := newApp(t, nil)
	return newWorld(t, setup{routes: routes(up.upstream(proxy.Target{}))}), up
}

// lines returns the values of a header in a raw head, whatever the case of its name.
func values(head, name string) (found []string) {
	for line := range strings.SplitSeq(head, "\r\n") {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(key, name) {
			found = append(found, strings.TrimSpace(value))
		}
	}
	return found
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// denied checks that a request was refused and that the app saw nothing of it.
func denied(t *testing.T, res *answer, up *app) {
	t.Helper()
	switch {
	case res.StatusCode == http.StatusSeeOther && strings.HasPrefix(res.Header.Get("Location"), "http://gw.test/_gate/login"):
	case res.StatusCode >= http.StatusBadRequest && res.StatusCode <= 405:
	default:
		t.Errorf("got %s %s, want a refusal", res.Status, res.Header.Get("Location"))
	}
	if got := up.bytes(); got != "" {
		t.Errorf("the app got %q", got)
	}
}
