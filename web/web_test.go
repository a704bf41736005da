package web_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse-auth/gatehouse/web"
)

// patience bounds waits for what comes at once unless something hangs.
const patience = 10 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gate is a running server with a Recorder around one handler.
type gate struct {
	*httptest.Server
	log     *lines
	flush   func() // of what waits to be written to it
	records chan web.Record
}

// lines is a log that a test can read while the server writes it.
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

// idle makes a gate that does not serve yet, for tests that set up its server first.
func idle(t *testing.T, h http.Handler, peers ...web.TrustedPeer) *gate {
	t.Helper()
	g := &gate{log: new(lines), records: make(chan web.Record, 64)}
	log, err := web.NewLog(g.log, "debug", "json")
	if err != nil {
		t.Fatal(err)
	}
	g.flush = log.Flush
	trusted, err := web.NewPeers(peers)
	if err != nil {
		t.Fatal(err)
	}
	rec := web.Recorder{Log: log, Peers: trusted, Observe: func(r *web.Record) { g.records <- *r }}
	g.Server = httptest.NewUnstartedServer(rec.Wrap(h))
	t.Cleanup(g.Close)
	return g
}

func start(t *testing.T, h web.Handler, peers ...web.TrustedPeer) *gate {
	t.Helper()
	g := idle(t, h, peers...)
	g.Start()
	return g
}

// record waits for the end of a request.
func (g *gate) record(t *testing.T) web.Record {
	t.Helper()
	select {
	case rec := <-g.records:
		g.flush()
		return rec
	case <-time.After(patience):
		t.Fatal("no request ended")
		return web.Record{}
	}
}

// entry is the one log line of the one request that ended.
func (g *gate) entry(t *testing.T) map[string]any {
	t.Helper()
	text := strings.TrimSuffix(g.log.String(), "\n")
	if text == "" || strings.Contains(text, "\n") {
		t.Fatalf("want one log line, got %q", text)
	}
	var entry map[string]any
	if err := json.Unmarshal([]byte(text), &entry); err != nil {
		t.Fatal(err)
	}
	return entry
}

// reply is the head of an answer whose body has been read.
type reply struct {
	StatusCode, ProtoMajor int
	Header                 http.Header
	ContentLength          int64
	Close                  bool
	Host                   string // that was asked
}

// get asks for a path with some headers, as name and value in turn.
func (g *gate) get(t *testing.T, path string, headers ...string) (reply, string) {
	t.Helper()
	return g.ask(t, http.MethodGet, path, headers...)
}

func (g *gate) ask(t *testing.T, method, path string, headers ...string) (reply, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, g.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	c := *g.Client()
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	head := reply{resp.StatusCode, resp.ProtoMajor, resp.Header, resp.ContentLength, resp.Close, r.URL.Host}
	return head, string(body)
}

// dial opens a raw connection, for what net/http's client would not send.
func (g *gate) dial(t *testing.T, request string) *net.TCPConn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", g.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		t.Fatalf("dialed a %T", c)
	}
	return tcp
}

// fields reads a JSON answer.
func fields(t *testing.T, body string) map[string]any {
	t.Helper()
	var all map[string]any
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		t.Fatalf("%v in %q", err, body)
	}
	return all
}
