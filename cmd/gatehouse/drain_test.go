package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// slow is an app that answers /slow after a while, streams /events for ever, and tunnels /ws.
func slow(wait time.Duration) http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(wait)
		fmt.Fprint(w, "whole")
	})
	m.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for r.Context().Err() == nil {
			fmt.Fprint(w, "data: tick\n\n")
			w.(http.Flusher).Flush()
			time.Sleep(20 * time.Millisecond)
		}
	})
	m.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(buf, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
		_ = buf.Flush()
		_, _ = buf.ReadByte() // until the other end closes
	})
	return m
}

// SD-01: readiness turns first, connections are still accepted for drain_delay, what runs comes to its
// end within drain_timeout, and what does not is cut; the exit code is 0.
func TestDrain(t *testing.T) {
	r := newRig(t)
	r.answer(slow(2 * time.Second).ServeHTTP)
	r.edit("drain_delay: 100ms, drain_timeout: 5s", "drain_delay: 1s, drain_timeout: 4s")
	r.edit("routes:\n", fmt.Sprintf("routes:\n  - {host: %q, path: /slow, public: true, upstream: %q}\n  - {host: %q, path: /events, public: true, upstream: %q}\n  - {host: %q, path: /ws, public: true, upstream: %q}\n",
		r.host(), r.app.URL, r.host(), r.app.URL, r.host(), r.app.URL))
	r.start()

	events, err := http.Get(r.public + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	socket := r.upgrade("/ws")
	defer socket.Close()
	whole := make(chan string, 1)
	go func() {
		resp, err := http.Get(r.public + "/slow")
		if err != nil {
			whole <- err.Error()
			return
		}
		defer resp.Body.Close()
		if !resp.Close {
			t.Error("RULE-27: an answer that began while draining does not ask for a new connection")
		}
		text, _ := io.ReadAll(resp.Body)
		whole <- string(text)
	}()
	time.Sleep(200 * time.Millisecond) // the request is under way

	r.cancel()
	r.cancel = nil
	r.eventually("SD-01/not ready", func() bool { status, _ := r.get(r.admin + "/readyz"); return status == http.StatusServiceUnavailable })
	resp, err := http.Get(r.public + "/slow")
	if err != nil {
		t.Fatalf("SD-01: a connection during drain_delay was refused: %v", err)
	}
	if resp.StatusCode != http.StatusOK || !resp.Close {
		t.Errorf("SD-01, RULE-27: during drain_delay: %s, asks for a new connection: %v", resp.Status, resp.Close)
	}
	resp.Body.Close()
	if got := <-whole; got != "whole" {
		t.Errorf("SD-01: the request in flight got %q", got)
	}
	_ = socket.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.Copy(io.Discard, socket); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("SD-01: the WebSocket is still open")
	}
	if code := r.exit(); code != exitOK {
		t.Errorf("SD-01: exit %d:\n%s", code, r.log)
	}
	if !strings.Contains(r.log.String(), "was cut") {
		t.Errorf("SD-01: the event stream was cut, and the log does not say so:\n%s", r.log)
	}
	if _, err := net.DialTimeout("tcp", r.host(), time.Second); err == nil {
		t.Error("SD-01: the port is still open")
	}
}

// SD-01: what never ends by itself is not waited for.
func TestDrainDoesNotWaitForStreams(t *testing.T) {
	r := newRig(t)
	r.answer(slow(0).ServeHTTP)
	r.edit("drain_delay: 100ms, drain_timeout: 5s", "drain_delay: 100ms, drain_timeout: 1h")
	r.edit(fmt.Sprintf("upstream: %q}", r.app.URL), fmt.Sprintf("upstream: %q, public: true}", r.app.URL))
	r.start()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.public+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	events, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	socket := r.upgrade("/ws")
	defer socket.Close()
	if _, err := io.ReadFull(events.Body, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	r.cancel()
	r.cancel = nil
	if code := r.exit(); code != exitOK {
		t.Errorf("exit %d:\n%s", code, r.log)
	}
	if _, err := io.Copy(io.Discard, events.Body); err == nil {
		t.Error("the event stream that was cut looks whole")
	}
	if strings.Contains(r.log.String(), "was cut") {
		t.Errorf("streams were waited for:\n%s", r.log)
	}
}

// SD-01, RULE-27: an answer that began before the drain asked for no new connection, so that its client may
// send the next request right behind it. The connection is there for that one, however late it is.
func TestDrainLastCall(t *testing.T) {
	began, on := make(chan struct{}), make(chan struct{})
	s, err := listen(t.Context(), "127.0.0.1:0", nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/long" {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			close(began)
			<-on
		}
		fmt.Fprintf(w, "%s %s", r.Method, r.URL.Path)
	}), nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	served, drained := make(chan error, 1), make(chan bool, 1)
	go func() { served <- s.serve() }()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.socket.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	l := &lasting{conn, bufio.NewReader(conn), "Host: localhost\r\n"}
	answered := make(chan error, 1)
	go func() {
		_, err := l.ask(http.MethodGet, "/long", "")
		if err == nil {
			_, err = l.ask(http.MethodPost, "/next", "a body")
		}
		answered <- err
	}()
	<-began
	go func() { drained <- s.drain(0, time.Minute) }()
	if err := <-served; err != nil { // the listener is closed
		t.Error(err)
	}
	close(on)
	if err := <-answered; err != nil {
		t.Errorf("the request behind the long answer: %v", err)
	}
	if <-drained {
		t.Error("something was cut")
	}
}

// SD-01, RULE-16: a process that drains hears of sign-outs still, so that what runs for a session that is
// over does not go on until drain_timeout. The sign-out comes when all that was heard before is too old.
func TestDrainHears(t *testing.T) {
	t.Parallel() // it waits for seconds
	r := newRig(t)
	r.answer(slow(0).ServeHTTP)
	r.edit("drain_timeout: 5s", "drain_timeout: 25s")
	r.start()
	_, cookie := signInTo(t, r)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.public+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Cookie", cookie)
	events, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	r.cancel()
	r.cancel = nil
	time.Sleep(4 * time.Second)
	if code, out := r.run("session", "end-all", "--yes"); code != exitOK {
		t.Fatalf("session end-all: exit %d: %s", code, out)
	}
	ended := time.Now()
	if _, err := io.Copy(io.Discard, events.Body); err == nil {
		t.Error("a stream that was cut looks whole")
	}
	if took := time.Since(ended); took > 10*time.Second {
		t.Errorf("the stream went on for %s", took.Round(time.Second))
	}
	if code := r.exit(); code != exitOK {
		t.Errorf("exit %d:\n%s", code, r.log)
	}
}

// SD-01: whoever cannot wait for drain_delay sends a second signal, and the process ends at once. Only
// a process of its own can show that.
func TestSecondSignal(t *testing.T) {
	r := newRig(t)
	r.edit("drain_delay: 100ms", "drain_delay: 10m")
	cmd := exec.CommandContext(t.Context(), "gatehouse", "serve", "--config", r.config) // TestMain puts it on the path
	cmd.Stderr = r.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // how it ended is asked below
	}()
	readiness := func(want int) func() bool {
		return func() bool { status, _ := r.get(r.admin + "/readyz"); return status == want }
	}
	signal := func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	r.eventually("ready", readiness(http.StatusOK))
	signal()
	r.eventually("not ready", readiness(http.StatusServiceUnavailable))
	signal()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatalf("SD-01: still there after the second signal:\n%s", r.log)
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGTERM {
		t.Errorf("SD-01: the process ended by %v, want the signal", cmd.ProcessState)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

// upgrade opens a tunnel and reads the head of the answer.
func (r *rig) upgrade(path string) net.Conn {
	r.t.Helper()
	conn, err := new(net.Dialer).DialContext(r.t.Context(), "tcp", r.host())
	if err != nil {
		r.t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path, r.host())
	head, err := bufio.NewReaderSize(conn, 16).ReadString('\n')
	if err != nil || !strings.Contains(head, "101") {
		r.t.Fatalf("upgrade: %q %v", head, err)
	}
	return conn
}
