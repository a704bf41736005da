package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
)

// recorder is an app that takes nothing but strict requests (bytes_strict_test.go), and keeps what it
// took and what it could not take. It holds the invariant of every test of bytes: whatever a client
// sends, an app gets whole requests that were allowed, and hears of nobody but who is signed in.
type recorder struct {
	listener net.Listener
	vouched  func(name, value string) bool // whether we may say that of alice; name is flattened

	mu     sync.Mutex
	took   []message
	faults []string
}

// newRecorder starts the app.
func newRecorder(t testing.TB, vouched func(name, value string) bool) *recorder {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &recorder{listener: listener, vouched: vouched}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { defer conn.Close(); a.serve(conn) })
		}
	})
	// The gateway was stopped by then, and with it every connection to here.
	t.Cleanup(func() { _ = listener.Close(); all.Wait() })
	return a
}

func (a *recorder) serve(conn net.Conn) {
	from := strict{bufio.NewReader(conn), conn}
	for {
		m, err := from.request()
		if errors.Is(err, io.EOF) {
			return
		}
		a.keep(m, err)
		if err != nil {
			return
		}
		switch {
		case strings.HasPrefix(m.first, "GET /ws "):
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			_, _ = io.Copy(io.Discard, from.from)
			return
		case strings.Contains(m.first, " /hints "):
			_, err = io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		case strings.HasPrefix(m.first, "HEAD "):
			_, err = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
		default:
			_, err = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
		if err != nil {
			return
		}
	}
}

// keep notes a request, or what was wrong with it. One that broke off is no fault: it was never
// complete, so that no app acts on it, but what there is of it is judged.
func (a *recorder) keep(m message, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !gone(err) {
		a.faults = append(a.faults, fmt.Sprintf("not well framed: %v in %+v", err, m))
		return
	}
	if fault := a.judge(m); fault != "" && len(m.fields) > 0 {
		a.faults = append(a.faults, fmt.Sprintf("%s: %+v", fault, m))
	}
	if err == nil {
		a.took = append(a.took, m)
	}
}

// judge looks for an identity that we did not give, and for one that is missing.
func (a *recorder) judge(m message) string {
	_, target, _ := strings.Cut(m.first, " ")
	public := strings.HasPrefix(target, "/public")
	seen := map[string]bool{}
	for _, f := range append(slices.Clone(m.fields), m.trailers...) {
		name := flattened(f.name)
		switch {
		case name == "cookie" && strings.Contains(f.value, "gate="):
			return "our cookie went to the app"
		case frames[name] && strings.ContainsAny(f.name, "_."):
			return "the app may take for a frame " + f.name
		case !claiming(name):
			continue
		case seen[name]:
			return "the app hears twice of " + f.name
		case public && strings.HasPrefix(name, "x-auth-"), !a.vouched(name, f.value):
			return "the app believes a client's " + f.name
		}
		seen[name] = true
	}
	if !public && !seen["x-auth-request-email"] {
		return "a protected page without an identity"
	}
	return ""
}

// flattened is a name as the laxest app reads it, in which a dash, a dot and an underscore are one.
func flattened(name string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			return c
		}
		return '-'
	}, strings.ToLower(name))
}

// frames are the names that say where a message ends.
var frames = map[string]bool{"transfer-encoding": true, "content-length": true, "trailer": true, "connection": true, "te": true, "host": true}

// claiming tells the names by which an app is told who is asking, and from where.
func claiming(flat string) bool {
	switch flat {
	case "x-real-ip", "forwarded", "x-user", "x-email":
		return true
	}
	for _, family := range []string{"x-auth-", "x-forwarded-", "remote-", "x-remote-", "x-original-"} {
		if strings.HasPrefix(flat, family) {
			return true
		}
	}
	return false
}

// heard is what came since the last call: each request as method, target and body, and the faults.
func (a *recorder) heard() (requests, faults []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range a.took {
		line := strings.TrimSuffix(m.first, " HTTP/1.1")
		if m.body != "" {
			line += " " + m.body
		}
		requests = append(requests, line)
	}
	faults = a.faults
	a.took, a.faults = nil, nil
	return requests, faults
}
