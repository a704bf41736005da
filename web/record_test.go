package web_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/web"
)

func TestOneLineARequest(t *testing.T) {
	g := start(t, func(w http.ResponseWriter, r *http.Request) error {
		rec := web.RecordOf(r.Context())
		rec.Who = web.Who{User: "ada@corp.test", Session: 7}
		rec.Whereto = web.Whereto{Route: "app.test/x", Upstream: "http://127.0.0.1:3000", Latency: 1500 * time.Microsecond}
		rec.Outcome.Verdict, rec.Outcome.Event, rec.Outcome.Cause = "allow", "login", errors.New("why")
		w.WriteHeader(http.StatusBadGateway)
		_, err := io.WriteString(w, "12345")
		return err
	})
	resp, _ := g.get(t, "/x%2Fy/../z?code=secret")
	g.record(t)
	entry := g.entry(t)
	for key, want := range map[string]any{
		"level": "WARN", "msg": "request", "client": "127.0.0.1", "method": "GET", "host": resp.Host,
		"path": "/x%2Fy/../z", "proto": "HTTP/1.1", "user": "ada@corp.test", "session": 7.0, "route": "app.test/x",
		"upstream": "http://127.0.0.1:3000", "upstream_ms": 1.5, "status": 502.0, "bytes": 5.0, "verdict": "allow", "event": "login", "error": "why",
	} {
		if entry[key] != want {
			t.Errorf("%s = %v, want %v", key, entry[key], want)
		}
	}
	if id, _ := entry["id"].(string); !regexp.MustCompile(`^[0-9a-v]{16}$`).MatchString(id) {
		t.Errorf("id = %q", id)
	}
	if ms, _ := entry["ms"].(float64); ms <= 0 {
		t.Errorf("ms = %v", entry["ms"])
	}
}

func TestWhatIsNotKnownIsLeftOut(t *testing.T) {
	g := start(t, func(http.ResponseWriter, *http.Request) error { return nil })
	g.get(t, "/")
	if rec := g.record(t); rec.Outcome.Status != http.StatusOK {
		t.Errorf("status %d, want the 200 that net/http sends", rec.Outcome.Status)
	}
	entry := g.entry(t)
	for _, key := range []string{"user", "session", "route", "upstream", "upstream_ms", "verdict", "event", "error"} {
		if v, there := entry[key]; there {
			t.Errorf("%s = %v", key, v)
		}
	}
}

func TestLevels(t *testing.T) {
	for name, c := range map[string]struct {
		handler web.Handler
		level   string
	}{
		"fine":         {func(http.ResponseWriter, *http.Request) error { return nil }, "INFO"},
		"refused":      {func(http.ResponseWriter, *http.Request) error { return web.Fail(403, "No.", errors.New("x")) }, "INFO"},
		"our bug":      {func(http.ResponseWriter, *http.Request) error { return errors.New("x") }, "ERROR"},
		"a panic":      {func(http.ResponseWriter, *http.Request) error { panic("x") }, "ERROR"},
		"a store away": {func(http.ResponseWriter, *http.Request) error { return web.Unavailable(errors.New("x")) }, "WARN"},
		"the app's fault": {func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(http.StatusInternalServerError)
			return nil
		}, "WARN"},
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, c.handler)
			g.get(t, "/")
			g.record(t)
			if got := g.entry(t)["level"]; got != c.level {
				t.Errorf("level %v, want %v", got, c.level)
			}
		})
	}
}

func TestPanicIsAPageWithAnID(t *testing.T) {
	for name, value := range map[string]any{"text": "secret state", "error": errors.New("secret state"), "an Error": web.Fail(404, "secret state", nil)} {
		t.Run(name, func(t *testing.T) {
			g := start(t, func(http.ResponseWriter, *http.Request) error { panic(value) })
			resp, body := g.get(t, "/", "Accept", "text/html")
			rec := g.record(t)
			if resp.StatusCode != http.StatusInternalServerError || !strings.Contains(body, rec.ID) || strings.Contains(body, "secret") {
				t.Errorf("got %d %s", resp.StatusCode, body)
			}
			entry := g.entry(t)
			if text, _ := entry["error"].(string); !strings.HasPrefix(text, "panic: ") {
				t.Errorf("error = %q", text)
			}
			if stack, _ := entry["stack"].(string); !strings.Contains(stack, "record_test.go") {
				t.Errorf("stack = %q", stack)
			}
		})
	}
}

// After a part of the answer, a panic can only break the connection; it is logged as loudly.
func TestPanicInTheMiddleOfAnAnswer(t *testing.T) {
	for name, value := range map[string]any{"ERROR": "a bug", "INFO": http.ErrAbortHandler} {
		t.Run(name, func(t *testing.T) {
			g := start(t, func(w http.ResponseWriter, _ *http.Request) error {
				_, _ = io.WriteString(w, "half")
				_ = http.NewResponseController(w).Flush()
				panic(value)
			})
			c := g.dial(t, "GET / HTTP/1.1\r\nHost: gw.test\r\n\r\n")
			got, err := io.ReadAll(c)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(string(got), "4\r\nhalf\r\n") {
				t.Errorf("got %q, want half a chunked body and nothing after it", got)
			}
			g.record(t)
			if entry := g.entry(t); entry["level"] != name || entry["status"] != 200.0 {
				t.Errorf("logged %v", entry)
			}
		})
	}
}

func TestAbortBeforeAnyAnswerIsNoSuccess(t *testing.T) {
	g := start(t, func(http.ResponseWriter, *http.Request) error { panic(http.ErrAbortHandler) })
	c := g.dial(t, "GET / HTTP/1.1\r\nHost: gw.test\r\n\r\n")
	if got, err := io.ReadAll(c); err != nil || len(got) > 0 {
		t.Errorf("got %q, %v", got, err)
	}
	if rec := g.record(t); rec.Outcome.Status != 500 {
		t.Errorf("recorded %d", rec.Outcome.Status)
	}
}

func TestIDsSortAsTheyWereMade(t *testing.T) {
	g := start(t, func(http.ResponseWriter, *http.Request) error { return nil })
	last, seen := "", map[string]bool{}
	for range 5 {
		g.get(t, "/")
		id := g.record(t).ID
		if id <= last || seen[id] {
			t.Errorf("%s after %s", id, last)
		}
		last, seen[id] = id, true
		time.Sleep(2 * time.Millisecond) // ids of one millisecond are in no order
	}
}

func TestPathStandsWithoutItsQuery(t *testing.T) {
	for line, want := range map[string]string{
		"GET /a%2Fb//c?x=secret": "/a%2Fb//c",
		"GET /?":                 "/",
		"GET http://u:secret@gw.test/abs?x=secret": "/abs",
		"GET http://gw.test":                       "",
		"CONNECT gw.test:443":                      "",
	} {
		g := start(t, func(http.ResponseWriter, *http.Request) error { return nil })
		c := g.dial(t, line+" HTTP/1.1\r\nHost: gw.test\r\nConnection: close\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
		if rec := g.record(t); rec.Request.Path != want {
			t.Errorf("%s: path %q, want %q", line, rec.Request.Path, want)
		}
		if strings.Contains(g.log.String(), "secret") {
			t.Errorf("%s: %s", line, g.log)
		}
	}
}

func TestOutsideARecorder(t *testing.T) {
	if rec := web.RecordOf(t.Context()); rec == nil || rec.ID != "" {
		t.Errorf("record %+v", rec)
	}
	if p := web.PeerOf(t.Context()); p.Trusted || p.May(web.ClaimFor) {
		t.Errorf("peer %+v", p)
	}
}

// The zero Recorder logs nothing, trusts nobody, and works.
func TestZeroRecorder(t *testing.T) {
	w := httptest.NewRecorder()
	web.Recorder{}.Wrap(web.Handler(func(http.ResponseWriter, *http.Request) error {
		return web.Fail(404, "x", nil)
	})).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody))
	if w.Code != 404 {
		t.Errorf("got %d", w.Code)
	}
}

func TestInformationalAnswersPass(t *testing.T) {
	g := start(t, func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Link", "</x.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		return web.Fail(404, "x", nil) // still possible: nothing final was sent
	})
	var hints []int
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
		hints = append(hints, code)
		return nil
	}})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, g.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := g.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if len(hints) != 1 || hints[0] != 103 || resp.StatusCode != http.StatusNotFound {
		t.Errorf("got %v, then %d", hints, resp.StatusCode)
	}
	if rec := g.record(t); rec.Outcome.Status != 404 {
		t.Errorf("recorded %d", rec.Outcome.Status)
	}
}

func TestWriterKeepsItsAbilities(t *testing.T) {
	g := start(t, func(w http.ResponseWriter, r *http.Request) error {
		c := http.NewResponseController(w)
		if err := errors.Join(c.SetReadDeadline(time.Now().Add(patience)), c.SetWriteDeadline(time.Now().Add(patience)), c.EnableFullDuplex()); err != nil {
			t.Error(err)
		}
		flusher, ok := w.(http.Flusher)
		if !ok {
			t.Error("no http.Flusher")
			return nil
		}
		flusher.Flush() // sends the header
		if from, ok := w.(io.ReaderFrom); !ok {
			t.Error("no io.ReaderFrom")
		} else if n, err := from.ReadFrom(strings.NewReader("12345")); n != 5 || err != nil {
			t.Errorf("ReadFrom: %d, %v", n, err)
		}
		return c.Flush()
	})
	if _, body := g.get(t, "/"); body != "12345" {
		t.Errorf("got %q", body)
	}
	if rec := g.record(t); rec.Outcome.Bytes != 5 || rec.Outcome.Status != 200 {
		t.Errorf("recorded %+v", rec.Outcome)
	}
}

// taker is a writer that notes whether the copy was left to it, as net/http's does for sendfile.
type taker struct {
	*httptest.ResponseRecorder
	took bool
}

func (w *taker) ReadFrom(src io.Reader) (int64, error) {
	w.took = true
	return io.Copy(w.ResponseRecorder, src)
}

func TestCopyIsLeftToTheWriterBelow(t *testing.T) {
	w := &taker{ResponseRecorder: httptest.NewRecorder()}
	web.Recorder{}.Wrap(web.Handler(func(w http.ResponseWriter, _ *http.Request) error {
		_, err := io.Copy(w, struct{ io.Reader }{strings.NewReader("abc")}) // without WriterTo, which would win
		return err
	})).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody))
	if !w.took || w.Body.String() != "abc" {
		t.Errorf("took %v, %q", w.took, w.Body)
	}
}

func TestHTTP2CannotBeHijackedAndSaysSo(t *testing.T) {
	g := idle(t, web.Handler(func(w http.ResponseWriter, _ *http.Request) error {
		if _, _, err := http.NewResponseController(w).Hijack(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("hijack: %v", err)
		}
		return web.Fail(404, "x", nil) // nothing was sent by the attempt
	}))
	g.EnableHTTP2 = true
	g.StartTLS()
	resp, _ := g.get(t, "/p?q=secret")
	rec := g.record(t)
	if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusNotFound || rec.Request.Path != "/p" || rec.Request.Proto != "HTTP/2.0" {
		t.Errorf("got HTTP/%d %d, recorded %+v", resp.ProtoMajor, resp.StatusCode, rec.Request)
	}
}

// An upgraded connection is recorded as 101 with the bytes that the client got, a half-close passes,
// and httputil.ReverseProxy works through the writer.
func TestUpgradedConnectionIsCounted(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		said, _ := io.ReadAll(c) // until the client's half-close
		_, _ = c.Write([]byte(strings.ToUpper(string(said)) + strings.Repeat("!", 1<<20)))
	}))
	defer app.Close()
	target, err := url.Parse(app.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	g := idle(t, proxy)
	g.Start()
	c := g.dial(t, "GET / HTTP/1.1\r\nHost: gw.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %d", resp.StatusCode)
	}
	_, _ = io.WriteString(c, "hello")
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(in)
	if err != nil || len(got) != 5+1<<20 || string(got[:5]) != "HELLO" {
		t.Fatalf("got %d bytes, %v", len(got), err)
	}
	if rec := g.record(t); rec.Outcome.Status != 101 || rec.Outcome.Bytes < int64(len(got)) {
		t.Errorf("recorded %+v", rec.Outcome)
	}
}

// A connection that is taken over keeps what connections can do.
func TestHijackedConnection(t *testing.T) {
	g := start(t, func(w http.ResponseWriter, _ *http.Request) error {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		from, ok := c.(io.ReaderFrom)
		if !ok {
			t.Error("no io.ReaderFrom")
			return nil
		}
		_, _ = from.ReadFrom(strings.NewReader("abc"))
		_, _ = io.WriteString(c, "de")
		return c.(interface{ CloseWrite() error }).CloseWrite()
	})
	c := g.dial(t, "GET / HTTP/1.1\r\nHost: gw.test\r\n\r\n")
	if got, err := io.ReadAll(c); string(got) != "abcde" || err != nil && !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %q, %v", got, err)
	}
	if rec := g.record(t); rec.Outcome.Bytes != 5 || rec.Outcome.Status != 101 {
		t.Errorf("recorded %+v", rec.Outcome)
	}
}
