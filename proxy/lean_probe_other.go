//go:build !unix

package proxy

import (
	"errors"
	"syscall"
)

// canProbe says that no connection can be looked at here without waiting. The standard library's
// engine carries everything then: it has a goroutine read on each idle connection.
const canProbe = false

type probe struct{}

func newProbe(syscall.Conn) (*probe, error) { return nil, errors.ErrUnsupported }

func (*probe) silent() bool { return false }

func (*probe) ask([]byte) (sent int, err error) { return 0, errors.ErrUnsupported }
