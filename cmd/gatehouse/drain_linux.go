package main

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// waiting is how many connections stand in a listener's queue. Linux tells it of a socket that listens in
// the place of what is not acknowledged (tcp_get_info in net/ipv4/tcp.c).
func waiting(listener syscall.RawConn) (n uint32) {
	_ = listener.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = info.Unacked
		}
	})
	return n
}
