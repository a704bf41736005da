package web

import (
	"net"
	"syscall"
)

const (
	// tcpNotSentLowat is TCP_NOTSENT_LOWAT of linux/tcp.h, which package syscall lacks.
	tcpNotSentLowat = 25
	// unsent is how much of an answer the kernel takes for a connection beyond what is on its way. Left
	// to itself it takes four megabytes, and four hundred clients that read nothing use up what it has
	// for the connections of the whole machine, the database's included. What is on its way is not
	// counted, so a fast client far away is as fast as ever.
	unsent = 128 << 10
)

// tune bounds what the kernel keeps for a connection. It is not set on the listener, where it would be
// inherited, for Go's listeners speak MPTCP and those do not hand it down. Where it cannot be set, a
// connection costs more and works as well.
func tune(conn net.Conn) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat, unsent)
		})
	}
}
