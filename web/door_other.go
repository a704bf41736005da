//go:build !linux

package web

import "net"

// tune does nothing where the kernel cannot be told how much to take of what is not yet sent.
func tune(net.Conn) {}
