package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// endBound is how soon what runs must end, with what a machine adds that has too much to do.
const endBound = 3*time.Second + 5*time.Second

// streamRig is three replicas on one Postgres, one Redis and one S3, before an app of long answers. The
// third one carries by the lean engine.
type streamRig struct {
	base     *rig
	replicas []*rig
	pg       *storetest.PostgresServer
	red      *storetest.RedisServer
	s3       *storetest.S3Server
	app      *endings
}

// endings counts how the app saw its requests end.
type endings struct {
	mu   sync.Mutex
	seen map[string]int
}

func (e *endings) add(what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen[what]++
}

func (e *endings) count(what string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.seen[what]
}

// ServeHTTP answers by what the path asks for, and never by itself comes to an end.
func (e *endings) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind := r.URL.Path
	flush := func() { _ = http.NewResponseController(w).Flush() }
	switch kind {
	case "/ws":
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		_ = c.Write(r.Context(), websocket.MessageText, []byte("hello"))
		_, _, err = c.Read(r.Context())
		e.add(fmt.Sprintf("ws %d", websocket.CloseStatus(err)))
	case "/events", "/quiet":
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: one\n\n")
		flush()
		for kind == "/events" && r.Context().Err() == nil {
			_, _ = io.WriteString(w, "data: more\n\n")
			flush()
			time.Sleep(50 * time.Millisecond)
		}
		<-r.Context().Done()
	case "/download", "/stuck":
		w.Header().Set("Content-Length", "1000000000000")
		for block, err := make([]byte, 64<<10), error(nil); err == nil; {
			_, err = w.Write(block)
		}
		e.add(kind)
	case "/call":
		_ = http.NewResponseController(w).EnableFullDuplex() // or net/http would wait for the end of the body first
		w.Header().Set("Content-Type", "application/grpc")
		flush()
		_, _ = io.Copy(io.Discard, r.Body)
	case "/body":
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			e.add("whole body")
		}
		e.add("body")
	default:
		echo(w, r)
	}
}

// newStreamRig starts everything. Sessions may last as long as given, without an idle end before it.
func newStreamRig(t *testing.T, session string) *streamRig {
	s := &streamRig{base: newRig(t), pg: storetest.Postgres(t), red: storetest.Redis(t), s3: storetest.S3(t), app: &endings{seen: map[string]int{}}}
	r := s.base
	r.answer(s.app.ServeHTTP)
	r.shared(s.pg.URL, s.red.URL)
	r.uploading()
	r.edit("memory: 64MiB", "memory: 1GiB")
	r.intoS3(s.s3)
	r.edit("log: {format: json}", "log: {format: json}\nsession: {"+session+"}")
	r.start()
	s.replicas = []*rig{r, r.replica()}
	r.edit("log: {format: json}", "log: {format: json}\nproxy: {engine: lean}") // which counts at the next start
	s.replicas = append(s.replicas, r.replica())
	return s
}

// running is one piece of work. The channel tells how its client saw it end: "" if it broke off as it must.
type running struct {
	name  string
	ended chan string
}

// open starts one stream of each kind at each replica and returns when all of them run.
func (s *streamRig) open(ctx context.Context, t *testing.T, cookie string) (all []running) {
	t.Helper()
	for i, r := range s.replicas {
		for _, path := range []string{"/events", "/quiet", "/download", "/events"} {
			all = append(all, r.fetch(ctx, t, fmt.Sprintf("%s at %d", path, i), path, cookie))
		}
		all = append(all,
			r.openSocket(ctx, t, fmt.Sprintf("WebSocket at %d", i), cookie),
			r.call(ctx, t, fmt.Sprintf("gRPC at %d", i), cookie),
			r.send(ctx, t, fmt.Sprintf("body at %d", i), http.MethodPost, "/body", cookie),
			r.send(ctx, t, fmt.Sprintf("upload at %d", i), http.MethodPut, "/upload/f", cookie),
		)
	}
	s.base.underWay(len(s.replicas))
	return all
}

// fetch reads an answer without an end.
func (r *rig) fetch(ctx context.Context, t *testing.T, name, path, cookie string) running {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.at+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = r.host()
	req.Header.Set("Cookie", cookie)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v, %v", name, resp, err)
	}
	st := running{name, make(chan string, 1)}
	go func() {
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err == nil {
			st.ended <- "it looks whole"
			return
		}
		st.ended <- broken(ctx)
	}()
	return st
}

// call opens a call of gRPC, as far as that is HTTP/2: it ends with a status in its trailers.
func (r *rig) call(ctx context.Context, t *testing.T, name, cookie string) running {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	out, in := io.Pipe()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.at+"/call", out)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = r.host()
	req.Header = http.Header{"Cookie": {cookie}, "Content-Type": {"application/grpc"}, "Te": {"trailers"}}
	resp, err := transport.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v, %v", name, resp, err)
	}
	st := running{name, make(chan string, 1)}
	go func() {
		defer transport.CloseIdleConnections()
		defer in.Close()
		defer resp.Body.Close()
		_, err := io.Copy(io.Discard, resp.Body)
		if status := resp.Trailer.Get("Grpc-Status"); err != nil || status != "16" {
			st.ended <- fmt.Sprintf("%v, Grpc-Status %q, want 16", err, status)
			return
		}
		st.ended <- ""
	}()
	return st
}

// stick opens a download at each replica of which nobody reads anything.
func (s *streamRig) stick(ctx context.Context, t *testing.T, cookie string) {
	t.Helper()
	for _, r := range s.replicas {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.at+"/stuck", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = r.host()
		req.Header.Set("Cookie", cookie)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("/stuck: %v, %v", resp, err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
	}
}

// broken is how a stream ended that did not come to its end: by the test's patience, or as it must.
func broken(ctx context.Context) string {
	if ctx.Err() != nil {
		return "it went on"
	}
	return ""
}

func (r *rig) openSocket(ctx context.Context, t *testing.T, name, cookie string) running {
	t.Helper()
	c, _, err := websocket.Dial(ctx, strings.Replace(r.at, "http", "ws", 1)+"/ws", &websocket.DialOptions{Host: r.host(), HTTPHeader: http.Header{"Cookie": {cookie}}})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if _, _, err := c.Read(ctx); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	st := running{name, make(chan string, 1)}
	go func() {
		defer func() { _ = c.CloseNow() }()
		_, _, err := c.Read(ctx)
		if websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
			st.ended <- fmt.Sprintf("%v, want close 1008", err)
			return
		}
		st.ended <- ""
	}()
	return st
}

// send begins a body and holds the rest of it back.
func (r *rig) send(ctx context.Context, t *testing.T, name, method, path, cookie string) running {
	t.Helper()
	out, in := io.Pipe()
	req, err := http.NewRequestWithContext(ctx, method, r.at+path, out)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = r.host()
	req.Header.Set("Cookie", cookie)
	go func() { _, _ = in.Write(someBytes(6 << 20)) }()
	st := running{name, make(chan string, 1)}
	go func() {
		defer in.Close()
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			st.ended <- broken(ctx)
			return
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			st.ended <- resp.Status
			return
		}
		st.ended <- ""
	}()
	return st
}

// over waits until all streams are, and tells of those that did not end as they must.
func (s *streamRig) over(t *testing.T, all []running) {
	t.Helper()
	began := time.Now()
	for _, one := range all {
		if how := <-one.ended; how != "" {
			t.Errorf("%s: %s", one.name, how)
		}
	}
	if took := time.Since(began); took > endBound {
		t.Errorf("the last ended after %s", took)
	}
	t.Logf("%d streams ended within %s", len(all), time.Since(began).Round(time.Millisecond))
	s.base.underWay(0)
	s.base.eventually("no upload in the bucket", func() bool { return len(s.s3.Left(t)) == 0 })
}

// Revocation ends what is running: RULE-16, PX-06, UP-12. Every kind of stream, on three replicas, by both
// engines, for every way in which a session ends.
func TestStreamsEndEverywhere(t *testing.T) {
	s := newStreamRig(t, "ttl: 1h")
	byHand := func(t *testing.T, statement string) {
		db, err := sql.Open("pgx", s.pg.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	command := func(t *testing.T, args ...string) {
		if code, out := s.base.run(args...); code != exitOK {
			t.Fatalf("%v: exit %d: %s", args, code, out)
		}
	}
	for _, end := range []struct {
		name      string
		end, back func(t *testing.T, b *browser)
	}{
		{"LO-01/logout", func(t *testing.T, b *browser) {
			if resp, _ := b.do(http.MethodPost, s.base.public+"/_gate/logout", url.Values{}, map[string]string{"Origin": s.base.public, "Accept": "text/html"}); resp.StatusCode != http.StatusOK {
				t.Fatalf("logout: %s", resp.Status)
			}
		}, nil},
		{
			"RULE-08/user disable",
			func(t *testing.T, _ *browser) { command(t, "user", "disable", "alice@corp.test") },
			func(t *testing.T, _ *browser) { command(t, "user", "enable", "alice@corp.test") },
		},
		{
			"RULE-02/disabled by hand",
			func(t *testing.T, _ *browser) { byHand(t, "UPDATE users SET disabled = true") },
			func(t *testing.T, _ *browser) { byHand(t, "UPDATE users SET disabled = false") },
		},
		{"RULE-01/deleted by hand", func(t *testing.T, _ *browser) { byHand(t, "DELETE FROM sessions") }, nil},
		{"ST-01/logout with Redis down", func(t *testing.T, _ *browser) { command(t, "session", "end-all", "--yes") }, nil},
	} {
		t.Run(end.name, func(t *testing.T) {
			b, cookie := signInTo(t, s.base)
			if strings.Contains(end.name, "Redis down") {
				s.red.Stop()
				defer s.red.Start()
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			all := s.open(ctx, t, cookie)
			s.stick(ctx, t, cookie)
			sockets, stuck := s.app.count("ws 1008"), s.app.count("/stuck")
			end.end(t, b)
			s.over(t, all)
			s.base.eventually("the app's WebSockets were told", func() bool { return s.app.count("ws 1008") == sockets+len(s.replicas) })
			s.base.eventually("what nobody reads is over", func() bool { return s.app.count("/stuck") == stuck+len(s.replicas) })
			if n := s.app.count("whole body"); n > 0 {
				t.Errorf("the app took %d bodies that were cut for whole ones", n)
			}
			if end.back != nil {
				end.back(t, b)
			}
		})
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

// PX-06/b: at the absolute end of a session everything ends, however busy it is.
func TestStreamsEndWithTheLifetime(t *testing.T) {
	t.Parallel() // it waits for half a minute
	s := newStreamRig(t, "ttl: 30s, max_lifetime: 30s")
	_, cookie := signInTo(t, s.base)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	all := s.open(ctx, t, cookie)
	for _, one := range all {
		if how := <-one.ended; how != "" {
			t.Errorf("%s: %s", one.name, how)
		}
	}
	s.base.underWay(0)
}

// RULE-05: what runs goes on through a short outage of the database, and ends in a long one, although
// nothing is heard: after session.max_unverified, twice that where Redis was believed for as long.
func TestStreamsOutage(t *testing.T) {
	t.Parallel() // it waits for half a minute
	s := newStreamRig(t, "ttl: 1h, max_unverified: 8s")
	_, cookie := signInTo(t, s.base)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var all []running
	for i, r := range s.replicas {
		all = append(all, r.fetch(ctx, t, fmt.Sprintf("/quiet at %d", i), "/quiet", cookie))
		all = append(all, r.openSocket(ctx, t, fmt.Sprintf("WebSocket at %d", i), cookie))
	}
	s.pg.Freeze()
	time.Sleep(4 * time.Second)
	s.pg.Thaw()
	s.base.eventually("the database is heard again", func() bool {
		status, body := s.base.get(s.base.admin + "/readyz")
		return status == http.StatusOK && strings.Contains(body, `"degraded":[]`)
	})
	for _, one := range all {
		select {
		case how := <-one.ended:
			t.Errorf("%s ended in a short outage: %q", one.name, how)
		default:
		}
	}
	s.pg.Freeze()
	defer s.pg.Thaw()
	for _, one := range all {
		if how := <-one.ended; how != "" {
			t.Errorf("%s: %s", one.name, how)
		}
	}
}
