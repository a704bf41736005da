package proxy

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// lastWord bounds what is still said on a connection, or on a stream, that we end.
const lastWord = time.Second

// tunnel is the client's end of a WebSocket. It first yields what was read behind the handshake, and
// it follows the frames that go to the client, so that the end of a session can be told by a close
// frame where one is about to begin.
type tunnel struct {
	net.Conn
	flow   *flow
	early  []byte // read already, not yet handed on
	mu     sync.Mutex
	frames frames
}

// Read yields bytes of the client.
func (t *tunnel) Read(p []byte) (int, error) {
	if len(t.early) > 0 {
		n := copy(p, t.early)
		t.early = t.early[n:]
		return n, nil
	}
	n, err := t.Conn.Read(p)
	t.flow.used()
	return n, err
}

// Write sends bytes to the client, which has the stall time to make room for them. A client that is
// merely quiet has all the time in the world.
func (t *tunnel) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.SetWriteDeadline(time.Now().Add(t.flow.stall)); err != nil {
		return 0, err
	}
	// Behind the deadline: cut sets one that has passed once the context has ended, and the one above
	// must not come after it.
	if err := t.flow.r.Context().Err(); err != nil {
		return 0, err
	}
	n, err := t.Conn.Write(p)
	t.frames.follow(p[:n])
	t.flow.used()
	return n, err
}

// cut makes a write that waits for the client fail, so that the tunnel can close.
func (t *tunnel) cut() {
	if t.mu.TryLock() {
		t.mu.Unlock()
		return // nothing is waiting, and what comes next is the close frame
	}
	_ = t.Conn.SetWriteDeadline(time.Unix(1, 0))
}

// CloseWrite ends the direction to the client and leaves the other one open (PX-06). Since an app
// that has said its last cannot answer a client any more, that one is over soon, too: an app that died
// looks the same, and its clients may never close.
func (t *tunnel) CloseWrite() error {
	_ = t.SetReadDeadline(time.Now().Add(t.flow.stall))
	if half, ok := t.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return t.Conn.Close()
}

// Close ends the connection. If it is we who end it, and no frame is under way, it says so first. A
// connection that is closed with bytes of its client unread sends a reset, which overtakes what was said
// (RFC 9112, section 9.6), so what the client still sends is taken for a moment.
func (t *tunnel) Close() error {
	if frame := closeFrame(t.flow.r.Context()); frame != nil && t.mu.TryLock() {
		if t.frames.between() && t.SetWriteDeadline(time.Now().Add(lastWord)) == nil {
			t.part(frame)
		}
		t.mu.Unlock()
	}
	return t.Conn.Close()
}

// part says the last and waits for the client to hang up.
func (t *tunnel) part(frame []byte) {
	_, err := t.Conn.Write(frame)
	half, ok := t.Conn.(interface{ CloseWrite() error })
	if err != nil || !ok || half.CloseWrite() != nil || t.SetReadDeadline(time.Now().Add(lastWord)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, t.Conn) // whether the client is done or not, the connection ends here
}

// closeFrame is the close frame of a tunnel that we end (RFC 6455, section 7.4.1): 1008, policy violation,
// where the session is over, and 1001, going away, where the process stops. It is nil where the client or
// the app has ended it.
func closeFrame(ctx context.Context) []byte {
	switch cause := ours(ctx); {
	case cause == nil:
		return nil
	case errors.Is(cause, auth.ErrRevoked):
		return []byte("\x88\x0c\x03\xf0signed out")
	}
	return []byte("\x88\x0c\x03\xe9going away")
}

// appEnd is the app's end of a WebSocket: an app, too, is told why it ends.
type appEnd struct {
	io.ReadWriteCloser                 // of http.Transport
	ctx                context.Context //nolint:containedctx // whose end is that of the tunnel
	mu                 sync.Mutex
	frames             frames
}

// Write sends bytes of the client to the app.
func (a *appEnd) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n, err := a.ReadWriteCloser.Write(p)
	a.frames.follow(p[:n])
	return n, err
}

// CloseWrite passes on that the client has said its last.
func (a *appEnd) CloseWrite() error {
	if half, ok := a.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return a.ReadWriteCloser.Close()
}

// Close ends the connection, with the frame of farewell where one may begin. ReverseProxy closes twice.
func (a *appEnd) Close() error {
	if frame := closeFrame(a.ctx); frame != nil && a.mu.TryLock() {
		if a.frames.between() {
			// An app that does not read must not hold up the end.
			limit := time.AfterFunc(lastWord, func() { _ = a.ReadWriteCloser.Close() })
			_, _ = a.ReadWriteCloser.Write(masked(frame))
			limit.Stop()
		}
		a.mu.Unlock()
	}
	return a.ReadWriteCloser.Close()
}

// masked is a short frame as a client sends it (RFC 6455, section 5.3). The mask keeps a page from choosing
// the bytes on the wire, and these are not a page's: a mask of zeros leaves them as they are.
func masked(frame []byte) []byte {
	return append([]byte{frame[0], frame[1] | 0x80, 0, 0, 0, 0}, frame[2:]...)
}

// frames follows the boundaries of WebSocket frames in a stream (RFC 6455, section 5.2).
type frames struct {
	head []byte // of the frame that begins, as far as it came
	left uint64 // of the payload
}

// follow takes note of bytes that were sent.
func (f *frames) follow(p []byte) {
	for len(p) > 0 {
		if f.left > 0 {
			n := min(f.left, uint64(len(p)))
			f.left -= n
			p = p[n:]
			continue
		}
		f.head = append(f.head, p[0])
		p = p[1:]
		if length, ok := payload(f.head); ok {
			f.left, f.head = length, f.head[:0]
		}
	}
}

// between reports whether the next byte would begin a frame.
func (f *frames) between() bool { return f.left == 0 && len(f.head) == 0 }

// payload is the length that a frame's head tells, once the head is complete.
func payload(head []byte) (length uint64, ok bool) {
	if len(head) < 2 {
		return 0, false
	}
	size := 2
	switch head[1] & 0x7f {
	case 126:
		size = 4
	case 127:
		size = 10
	}
	if head[1]&0x80 != 0 {
		size += 4 // a mask, which servers should not use
	}
	if len(head) < size {
		return 0, false
	}
	switch head[1] & 0x7f {
	case 126:
		return uint64(binary.BigEndian.Uint16(head[2:4])), true
	case 127:
		return binary.BigEndian.Uint64(head[2:10]), true
	}
	return uint64(head[1] & 0x7f), true
}
