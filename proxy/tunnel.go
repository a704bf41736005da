package proxy

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
)

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

// Close ends the connection. If that is because the session is over, and no frame is under way, it
// says so first: 1008, policy violation (RFC 6455, section 7.4.1).
func (t *tunnel) Close() error {
	if errors.Is(context.Cause(t.flow.r.Context()), auth.ErrRevoked) && t.mu.TryLock() {
		defer t.mu.Unlock()
		if t.frames.between() && t.SetWriteDeadline(time.Now().Add(time.Second)) == nil {
			const text = "signed out"
			frame := append([]byte{0x88, 2 + byte(len(text)), 1008 >> 8, 1008 & 0xff}, text...)
			_, _ = t.Conn.Write(frame) // whether it arrives or not, the connection ends here
		}
	}
	return t.Conn.Close()
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
