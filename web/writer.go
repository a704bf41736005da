package web

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
)

// writer notes what is sent. It keeps every ability of the writer under it: http.ResponseController
// reaches deadlines and full duplex through Unwrap, and the three plain interfaces that older code
// asserts (flush, hijack, read from) are answered here, because each of them sends something.
type writer struct {
	http.ResponseWriter
	status int          // of the final answer; 101 once the connection is hijacked; zero: nothing sent
	bytes  atomic.Int64 // of the body; a hijacked connection adds to it from its own goroutines
	failed bool         // a write failed: the client is gone, or the connection is broken

	leaving func() bool // of the Recorder
	last    bool        // nothing on this connection may be read as a request behind this one
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader notes the first final status. Informational ones (103 Early Hints, 100 Continue) pass
// through and are no answer yet; 101 is one.
func (w *writer) WriteHeader(status int) {
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.begin(status)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(p []byte) (int, error) {
	w.begun()
	n, err := w.ResponseWriter.Write(p)
	w.sent(int64(n), err)
	return n, err
}

// ReadFrom keeps the kernel's copy (sendfile, splice) for whoever uses io.Copy.
func (w *writer) ReadFrom(src io.Reader) (int64, error) {
	w.begun()
	n, err := io.Copy(w.ResponseWriter, src)
	w.sent(n, nil) // err may be the source's, which says nothing of the client
	return n, err
}

// Flush is FlushError for those who assert http.Flusher.
func (w *writer) Flush() { _ = w.FlushError() }

// FlushError sends what is buffered, and the header if nothing was sent before.
func (w *writer) FlushError() error {
	w.begun()
	err := http.NewResponseController(w.ResponseWriter).Flush()
	w.sent(0, err)
	return err
}

// Hijack hands the connection over. Whoever takes it writes the 101 himself, so it is noted here, and
// the bytes are counted where they pass.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, buf, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, fmt.Errorf("hijack: %w", err)
	}
	if w.status == 0 {
		w.status = http.StatusSwitchingProtocols
	}
	return &hijacked{Conn: c, bytes: &w.bytes}, buf, nil
}

func (w *writer) begun() {
	if w.status == 0 {
		w.begin(http.StatusOK)
	}
}

// begin notes the status. Now, and not when the request came, is the time to know whether the connection
// will be there for another one: an app may have thought for long. Nor does anything stay in the header that
// was put there before an informational answer (httputil clears it behind each).
func (w *writer) begin(status int) {
	w.status = status
	if w.last || w.leaving != nil && w.leaving() {
		w.Header().Set("Connection", "close") // over HTTP/2 net/http makes GOAWAY of it
	}
}

func (w *writer) sent(n int64, err error) {
	w.bytes.Add(n)
	w.failed = w.failed || err != nil
}

// hijacked counts what is written to a connection that was taken over.
type hijacked struct {
	net.Conn
	bytes *atomic.Int64
}

func (c *hijacked) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.bytes.Add(int64(n))
	return n, err
}

// ReadFrom and WriteTo hand the copy to the connection under it, which can splice.
func (c *hijacked) ReadFrom(src io.Reader) (int64, error) {
	n, err := io.Copy(c.Conn, src)
	c.bytes.Add(n)
	return n, err
}

func (c *hijacked) WriteTo(dst io.Writer) (int64, error) { return io.Copy(dst, c.Conn) }

// CloseWrite passes a half-close on: a client that has said all it has to say still listens.
func (c *hijacked) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return http.ErrNotSupported
	}
	return half.CloseWrite()
}

// Reset ends the connection so that nobody takes it for an orderly end: by a reset (SO_LINGER), and over TLS
// without its close_notify, which would be one. It fails, and does nothing, where there is no such end.
func (c *hijacked) Reset() error {
	conn := c.Conn
	if secure, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = secure.NetConn()
	}
	tcp, ok := conn.(interface{ SetLinger(sec int) error })
	if !ok {
		return http.ErrNotSupported
	}
	if err := tcp.SetLinger(0); err != nil {
		return err
	}
	return conn.Close()
}
