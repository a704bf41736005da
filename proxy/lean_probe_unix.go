//go:build unix

package proxy

import (
	"errors"
	"syscall"
)

// canProbe says that a connection can be looked at without waiting.
const canProbe = true

// probe looks at a socket without waiting. It reads where one might peek: a byte that is there condemns
// the connection, so nobody misses it.
type probe struct {
	raw   syscall.RawConn
	look  func(fd uintptr) bool // made once, for a closure a request would be an allocation
	quiet bool
}

func newProbe(c syscall.Conn) (*probe, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	p := &probe{raw: raw}
	var one [1]byte
	p.look = func(fd uintptr) bool {
		_, err := syscall.Read(int(fd), one[:])
		p.quiet = errors.Is(err, syscall.EAGAIN) // neither a byte, nor the end, nor a reset
		return true
	}
	return p, nil
}

// silent reports whether a connection holds neither a byte nor an end. The deadline for reading must not
// have passed.
func (p *probe) silent() bool {
	p.quiet = false
	return p.raw.Read(p.look) == nil && p.quiet
}
