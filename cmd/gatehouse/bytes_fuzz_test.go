package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// forged is a cookie that we never made.
const forged = "gate=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// FuzzServer sends any bytes to a whole gateway, of alice and of somebody with a forged cookie, and holds
// the invariant of all tests of bytes (bytes_rig_test.go). Of nobody nothing comes to a page that is not
// public; nothing panics; and the connection ends soon after its client has said its last.
func FuzzServer(f *testing.F) {
	s := newStage(f, "lean", "")
	f.Add([]byte(get("/a", "")), true)
	f.Add([]byte(post("/a", "Content-Length: 2", "hi")+get("/public/b", "")), false)
	f.Fuzz(func(t *testing.T, text []byte, signedIn bool) {
		cookie := forged
		if signedIn {
			cookie = s.cookie
		}
		said := s.say(t, s.fill(string(text), cookie))
		requests, faults := s.app.heard()
		if len(faults) > 0 {
			t.Errorf("the app: %s", strings.Join(faults, "\n"))
		}
		for _, one := range requests {
			if _, target, _ := strings.Cut(one, " "); !signedIn && !strings.HasPrefix(target, "/public") {
				t.Errorf("nobody got through with %q", one)
			}
		}
		// Of a HEAD the answer's length says nothing about its body, and HTTP/2 has frames.
		if !bytes.Contains(text, []byte("HEAD")) && !bytes.HasPrefix(text, []byte("PRI")) {
			framed(t, said)
		}
		if log := s.log.take(); strings.Contains(log, "panic") {
			t.Errorf("a panic: %s", log)
		}
	})
}

// quiet is how long a gateway that says nothing is taken for one that waits. Where it was only slow the
// end of the connection cancels a request, which makes an attempt weaker, and no failure of it.
const quiet = 5 * time.Millisecond

// say sends bytes over one connection, waits until nothing more is answered, ends its own side, and
// returns all that came until the other side ended, too.
func (s *stage) say(t *testing.T, text string) []byte {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.host())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetLinger(0) // thousands of connections a second would leave no port
	_ = conn.SetDeadline(time.Now().Add(bytesHang))
	if _, err := io.WriteString(conn, text); err != nil && !gone(err) {
		t.Fatal(err)
	}
	var said bytes.Buffer
	for before := -1; before < said.Len(); {
		before = said.Len()
		_ = conn.SetReadDeadline(time.Now().Add(quiet))
		_, _ = io.CopyN(&said, conn, 64<<10)
	}
	_ = conn.(*net.TCPConn).CloseWrite()
	_ = conn.SetReadDeadline(time.Now().Add(bytesHang))
	if _, err := io.Copy(&said, conn); err != nil && !gone(err) {
		t.Errorf("%q: the gateway hangs on: %v", text, err)
	}
	return said.Bytes()
}

// framed reads a row of answers, of which the last may have been cut off with the connection.
func framed(t *testing.T, said []byte) {
	t.Helper()
	from := strict{from: bufio.NewReader(bytes.NewReader(said))}
	for {
		m, status, err := from.answer("GET")
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || status == 101 {
			return
		}
		if err != nil {
			t.Fatalf("the answer %+v is not well framed: %v", m, err)
		}
	}
}

// take returns what was logged since the last call.
func (l *lines) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.buf.String()
	l.buf.Reset()
	return text
}
