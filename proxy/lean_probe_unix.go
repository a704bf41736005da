//go:build unix

package proxy

import (
	"errors"
	"syscall"
)

// canProbe says that a connection can be looked at without waiting.
const canProbe = true

// probe looks at a socket without waiting, and may write to it in the same breath. It reads where one might
// peek: a byte that is there condemns the connection, so nobody misses it.
//
// That look is the read which net.Conn makes before it waits, and which nearly always finds nothing when a
// request has just been sent. So the rule to look first costs no system call.
type probe struct {
	raw  syscall.RawConn
	step func(fd uintptr) bool // made once, for a closure a request would be an allocation
	look

	one [1]byte
}

// look is one use of a probe.
type look struct {
	letter []byte // to be sent if the line is quiet; nil: only look
	quiet  bool   // neither a byte, nor the end, nor a reset was there
	sent   int    // of the letter
	err    error  // of sending
}

func newProbe(c syscall.Conn) (*probe, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	p := &probe{raw: raw}
	p.step = p.first
	return p, nil
}

// first is called with the socket, and again when something has come. It reports true when it is done.
// An answer that comes between the two is not missed: what makes the socket readable after the first call
// began ends the wait.
func (p *probe) first(fd uintptr) bool {
	if p.quiet {
		return true
	}
	_, err := syscall.Read(int(fd), p.one[:])
	p.quiet = errors.Is(err, syscall.EAGAIN)
	if !p.quiet || p.letter == nil {
		return true
	}
	p.sent, p.err = syscall.Write(int(fd), p.letter)
	p.sent = max(p.sent, 0)
	return p.err != nil || p.sent < len(p.letter)
}

// silent reports whether a connection holds neither a byte nor an end. The deadline for reading must not
// have passed.
func (p *probe) silent() bool {
	p.look = look{}
	return p.raw.Read(p.step) == nil && p.quiet
}

// ask sends a letter on a connection that is silent, and waits for the answer to begin. It returns how
// much was sent; what is left over, for the socket had no room, is the caller's to send. Where the
// connection is not silent nothing is sent.
func (p *probe) ask(letter []byte) (sent int, err error) {
	p.look = look{letter: letter}
	err = p.raw.Read(p.step)
	p.letter = nil
	switch {
	case err != nil:
		return p.sent, err
	case !p.quiet:
		return 0, errNotQuiet
	case p.err != nil && !errors.Is(p.err, syscall.EAGAIN):
		return p.sent, p.err
	}
	return p.sent, nil
}
