package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// tally counts what clients saw, by kind, and keeps what must not be.
type tally struct {
	mu     sync.Mutex
	seen   map[string]int
	failed []string
}

func newTally() *tally { return &tally{seen: map[string]int{}} }

func (c *tally) add(kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[kind]++
}

func (c *tally) fail(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = append(c.failed, fmt.Sprintf(format, args...))
}

func (c *tally) count(kind string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[kind]
}

// report prints the figures and fails the test if a request failed.
func (c *tally) report(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	var figures []string
	for kind, n := range c.seen {
		figures = append(figures, fmt.Sprintf("%s %d", kind, n))
	}
	sort.Strings(figures)
	t.Logf("%s; failed %d", strings.Join(figures, ", "), len(c.failed))
	for i, text := range c.failed {
		if i == 10 {
			t.Errorf("and %d more", len(c.failed)-i)
			break
		}
		t.Error(text)
	}
}

// lasting is a connection that is kept alive, with a client that never sends a request twice.
type lasting struct {
	conn net.Conn
	from *bufio.Reader
	head string // lines of every request
}

func (r *rig) lasting(cookie string) (*lasting, error) {
	conn, err := new(net.Dialer).DialContext(r.t.Context(), "tcp", r.host())
	if err != nil {
		return nil, err
	}
	return &lasting{conn, bufio.NewReader(conn), "Host: " + r.host() + "\r\nCookie: " + cookie + "\r\n"}, nil
}

// gone reports whether the connection was closed while nothing was asked on it, which is no failure.
func (l *lasting) gone() bool {
	_ = l.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := l.from.Peek(1)
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// ask sends a request and reads its answer. It reports whether the answer asks for a new connection.
func (l *lasting) ask(method, path, body string) (last bool, err error) {
	_ = l.conn.SetDeadline(time.Now().Add(time.Minute)) // only not to hang
	if _, err := fmt.Fprintf(l.conn, "%s %s HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s", method, path, l.head, len(body), body); err != nil {
		return false, err
	}
	resp, err := http.ReadResponse(l.from, nil)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || !strings.HasPrefix(string(text), method+" "+path)) {
		err = fmt.Errorf("%s: %q", resp.Status, text)
	}
	return resp.Close, err
}

// drainLoad is everybody who is there when a gateway is told to stop.
type drainLoad struct {
	*rig
	*tally
	cookies []string // of sessions, for one may not have everything under way
	all     sync.WaitGroup
	stopped chan struct{} // closed when the gateway was told to stop
}

func (d *drainLoad) cookie(i int) string { return d.cookies[i%len(d.cookies)] }

// keeper asks every three to five seconds, a POST each third time, until it is told to go.
func (d *drainLoad) keeper(i int) {
	l, err := d.lasting(d.cookie(i))
	if err != nil {
		d.fail("connection %d: %v", i, err)
		return
	}
	defer l.conn.Close()
	d.add("keep-alive connections")
	for n := i; ; n++ {
		method, body := http.MethodGet, ""
		if n%3 == 0 {
			method, body = http.MethodPost, "a body"
		}
		last, err := l.ask(method, fmt.Sprintf("/k%d", i), body)
		if err != nil {
			d.fail("connection %d: %s: %v", i, method, err)
			return
		}
		d.add("requests on them")
		if last {
			d.add("connections told to close")
			return
		}
		time.Sleep(3*time.Second + rand.N(2*time.Second))
		if l.gone() {
			d.add("connections closed while idle")
			return
		}
	}
}

// silent asks once and waits for the end of its connection.
func (d *drainLoad) silent(i int) {
	l, err := d.lasting(d.cookie(i))
	if err != nil {
		d.fail("connection %d: %v", i, err)
		return
	}
	defer l.conn.Close()
	if _, err := l.ask(http.MethodGet, "/silent", ""); err != nil {
		d.fail("connection %d: %v", i, err)
		return
	}
	d.add("keep-alive connections")
	_ = l.conn.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := l.from.ReadByte(); !errors.Is(err, io.EOF) {
		d.fail("an idle connection ended with %v", err)
		return
	}
	d.add("connections closed while idle")
}

// socket is a WebSocket that talks now and then until it is closed.
func (d *drainLoad) socket(i int) {
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "ws://"+d.host()+"/socket", &websocket.DialOptions{HTTPHeader: http.Header{"Cookie": {d.cookie(i)}}})
	if err != nil {
		d.fail("WebSocket %d: %v", i, err)
		return
	}
	defer func() { _ = c.CloseNow() }()
	d.add("WebSockets")
	if err := c.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
		d.fail("WebSocket %d: %v", i, err)
	}
	for err == nil {
		_, _, err = c.Read(ctx)
	}
	if websocket.CloseStatus(err) != websocket.StatusGoingAway {
		d.fail("WebSocket %d ended with %v, want close 1001", i, err)
		return
	}
	d.add("WebSockets closed with 1001")
}

// upload sends a file that ends a while after the gateway was told to stop.
func (d *drainLoad) upload(i int) {
	p := client{d.rig, d.cookie(i)}.slowPut(fmt.Sprintf("f%d", i))
	d.add("uploads")
	<-d.stopped
	time.Sleep(time.Duration(i%7) * time.Second)
	close(p.on)
	if got := <-p.done; got != "201 Created" {
		d.fail("upload %d ended with %q", i, got)
		return
	}
	d.add("uploads kept")
}

// multiplexed sends one request after the other over HTTP/2 until no connection can be had any more.
func (d *drainLoad) multiplexed(i int) {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	d.add("HTTP/2 clients")
	for {
		req, err := http.NewRequestWithContext(d.t.Context(), http.MethodPost, d.public+"/m", strings.NewReader("a body"))
		if err != nil {
			d.fail("%v", err)
			return
		}
		req.Header.Set("Cookie", d.cookie(i))
		resp, err := tr.RoundTrip(req)
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			d.add("HTTP/2 clients led elsewhere")
			return
		}
		if err != nil {
			d.fail("HTTP/2 client %d: %v", i, err)
			return
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			d.fail("HTTP/2 client %d: %s, %v", i, resp.Status, err)
			return
		}
		d.add("requests over HTTP/2")
		time.Sleep(200 * time.Millisecond)
	}
}

// SD-01, RULE-27: a gateway with 1,000 connections kept alive, 100 WebSockets and ten uploads is told to
// stop. No request fails, everybody hears that it is over, and what lasts beyond the grace leaves nothing.
func TestDrainUnderLoad(t *testing.T) {
	r := newRig(t)
	r.uploading()
	r.edit("memory: 64MiB", "memory: 1GiB") // so that one user's eleven are under way at once
	r.edit("drain_delay: 100ms, drain_timeout: 5s", "drain_delay: 8s, drain_timeout: 10s")
	r.edit("log: {format: json}", "log: {format: json, level: warn}\nlimits: {connections: 4000, client_connections: 4000, requests: 4000, streams: 4000, session_requests: 0}")
	r.answer(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/socket" {
			echo(w, req)
			return
		}
		talkBack(w, req)
	})
	p := r.plain()
	d := &drainLoad{rig: r, tally: newTally(), stopped: make(chan struct{})}
	for range 8 {
		d.cookies = append(d.cookies, r.client("alice@corp.test").cookie)
	}
	spawn := func(n int, kind func(int)) {
		for i := range n {
			d.all.Go(func() { kind(i) })
			time.Sleep(4 * time.Millisecond) // a thousand at once would be another test
		}
	}
	spawn(10, d.upload)
	endless := client{r, d.cookies[0]}.slowPut("endless")
	r.underWay(11)
	spawn(100, d.socket)
	spawn(900, d.keeper)
	spawn(100, d.silent)
	spawn(10, d.multiplexed)
	r.eventually("everybody is there", func() bool {
		return d.count("keep-alive connections") == 1000 && d.count("WebSockets") == 100 && d.count("requests over HTTP/2") > 20
	})
	began := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	close(d.stopped)
	r.eventually("SD-01/not ready", func() bool { status, _ := r.get(r.admin + "/readyz"); return status == http.StatusServiceUnavailable })
	<-p.done
	if code := p.cmd.ProcessState.ExitCode(); code != exitOK {
		t.Errorf("exit %d:\n%.4000s", code, r.log)
	}
	t.Logf("stopped after %s", time.Since(began).Round(100*time.Millisecond))
	d.all.Wait()
	close(endless.on)
	if got := <-endless.done; strings.HasPrefix(got, "2") {
		t.Errorf("the upload without an end ended with %q", got)
	}
	d.report(t)
	// Whose turn did not come within drain_delay, on a machine that has too much to do, was idle all the time.
	if told, idle := d.count("connections told to close"), d.count("connections closed while idle"); told+idle != 1000 || told < 700 {
		t.Errorf("%d connections were told to close, and %d closed while idle", told, idle)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	r.underWay(0)
	r.wantSound(t, 0)
}

// plain starts the program as it is released, without the race detector: a thousand clients are enough for
// a small machine.
func (r *rig) plain() process {
	r.t.Helper()
	binary := filepath.Join(r.dir, "gatehouse")
	if out, err := exec.CommandContext(r.t.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		r.t.Fatalf("go build: %v: %s", err, out)
	}
	for _, args := range [][]string{{"migrate"}, {"user", "add", "alice@corp.test"}} {
		if code, out := r.run(args...); code != exitOK {
			r.t.Fatalf("%v: exit %d: %s", args, code, out)
		}
	}
	return r.process(binary)
}

// talkBack is an app that echoes the messages of a WebSocket.
func talkBack(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer func() { _ = c.CloseNow() }()
	for {
		kind, text, err := c.Read(r.Context())
		if err != nil || c.Write(r.Context(), kind, text) != nil {
			return
		}
	}
}
