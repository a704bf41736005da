package proxy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"
)

// line is one connection to an app. In the pool it holds no buffers: those belong to an exchange.
type line struct {
	net.Conn
	probe *probe    // of the socket, below TLS
	until time.Time // the deadline of the connection; zero: none
	since time.Time // in the pool since; zero: it never was there

	*talk // nil in the pool
}

// talk is what a line needs between a letter and the end of its answer.
type talk struct {
	flow   *flow
	from   *bufio.Reader
	text   []byte // of a head
	answer answer
	heard  bool // a byte came
	body   bool // the head is complete: from here on the app has all the time in the world
	live   bool // nothing waits for more bytes to come along with it
}

// readSize is how much is read ahead of a head. Bodies that are longer are read past this buffer.
const readSize = 8 << 10

var talks = sync.Pool{New: func() any { return &talk{from: bufio.NewReaderSize(nil, readSize)} }}

func newLine(conn net.Conn) (*line, error) {
	socket := conn
	if over, ok := conn.(*tls.Conn); ok {
		socket = over.NetConn()
	}
	below, ok := socket.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("%T is no socket", socket)
	}
	p, err := newProbe(below)
	return &line{Conn: conn, probe: p}, err
}

// due gives the app the time to answer. The deadline is moved only when it must be: it comes up to an
// eighth late, and costs nothing for most requests.
func (c *line) due(wait time.Duration) {
	if now := time.Now(); c.until.Before(now.Add(wait)) {
		c.until = now.Add(wait + wait/8)
		_ = c.SetDeadline(c.until) // fails on a closed connection only, where the write fails as well
	}
}

// errNotQuiet says that a byte or an end waited on an idle line, so that nothing was sent.
var errNotQuiet = errors.New("the app's connection is not idle any more")

// send sends a letter on a line on which nothing waits, or nothing at all.
func (c *line) send(letter []byte) error {
	if _, ok := c.Conn.(*tls.Conn); ok {
		if !c.quiet() {
			return errNotQuiet
		}
		_, err := c.Write(letter)
		return err
	}
	sent, err := c.probe.ask(letter)
	if err == nil && sent < len(letter) {
		_, err = c.Write(letter[sent:])
	}
	return err
}

// quiet reports whether neither a byte nor an end waits on a line over TLS. What TLS has decrypted and not
// yet handed on is seen by a read that may not wait; a record of which only a part came is not.
//
// On a fresh line the socket is left alone: the tickets that servers hand out behind the handshake
// (RFC 8446, section 4.6.1; OpenSSL does so unasked) may be there by now, and are TLS's to read. On an idle
// one they were read with the first answer.
func (c *line) quiet() bool {
	if fresh := c.since.IsZero(); !fresh && !c.probe.silent() {
		return false
	}
	_ = c.SetReadDeadline(time.Unix(1, 0))
	n, err := c.Conn.Read(make([]byte, 1))
	_ = c.SetReadDeadline(c.until)
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded)
}

// Read reads for the buffer of the exchange. Before it waits, the client gets what is due to it.
func (c *line) Read(p []byte) (int, error) {
	if c.body {
		if c.live {
			if err := c.flow.FlushError(); err != nil {
				return 0, err
			}
		}
		if err := c.flow.patient(c); err != nil {
			return 0, err
		}
	}
	n, err := c.Conn.Read(p)
	c.heard = c.heard || n > 0
	return n, err
}

// maxHeads bounds the heads of one answer, the informational ones before it included.
const maxHeads = maxHeaderBytes

// exchange sends a letter and reads the head of the answer. Informational answers go on to the client.
func (c *line) exchange(f *flow, m *letter) error {
	t := talks.Get().(*talk)
	t.flow, t.heard, t.body, t.live = f, false, false, false
	c.talk = t
	t.from.Reset(c)
	if err := f.engage(c); err != nil {
		return err
	}
	if err := c.send(m.buf); err != nil {
		return fmt.Errorf("send the request: %w", err)
	}
	for left := maxHeads; ; {
		head, err := t.head(&left)
		if err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		if err := t.answer.parse(head, f.r.Method); err != nil {
			return err
		}
		switch {
		case t.answer.status >= http.StatusOK:
			t.body = true
			return nil
		case t.answer.status == http.StatusSwitchingProtocols:
			return errors.New("the app switched protocols although no WebSocket was asked for")
		}
		t.answer.inform(f)
	}
}

// head reads a head, its last empty line included, within what is left of the limit.
func (t *talk) head(left *int) (string, error) {
	t.text = t.text[:0]
	for begun := true; ; {
		piece, err := t.from.ReadSlice('\n')
		t.text = append(t.text, piece...)
		if *left -= len(piece); *left < 0 {
			return "", errors.New("the head of the answer is too long")
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			begun = false
			continue
		case errors.Is(err, io.EOF):
			return "", io.ErrUnexpectedEOF
		case err != nil:
			return "", err
		case begun && (len(piece) == 1 || len(piece) == 2 && piece[0] == '\r'):
			return string(t.text), nil
		}
		begun = true
	}
}

// clean reports whether a line may carry another request: the answer was complete, and nothing came
// behind it. After a HEAD it may not: an app that answers HEAD as it answers GET sends its body a
// moment later, and the next client would get it.
func (c *line) clean(method string) bool {
	return !c.answer.close && c.from.Buffered() == 0 && method != http.MethodHead
}

// rest gives the buffers back and notes the time.
func (c *line) rest() {
	c.since = time.Now()
	c.letGo()
}

// hangUp closes a line.
func (c *line) hangUp() {
	_ = c.Close()
	c.letGo()
}

func (c *line) letGo() {
	t := c.talk
	c.talk = nil
	t.flow = nil
	t.from.Reset(nil)
	if cap(t.text) > readSize {
		t.text = nil
	}
	clear(t.answer.fields) // which keep the text of a whole head
	t.answer = answer{fields: t.answer.fields[:0]}
	talks.Put(t)
}
