package main

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// noNew is a classic BPF program for a socket that listens: it drops each packet that would begin a
// connection (SYN without ACK, RFC 9293, section 3.1) and lets handshakes under way come to their end.
// Whoever is dropped tries again a second later and is then refused, or led elsewhere by a balancer.
var noNew = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 13}, // the flags of the TCP header
	{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0x12},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0x02, Jt: 0, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
}

// deaf makes a listener take no new connection while it stays open. It reports whether that was done: some
// sandboxes do not let us.
func deaf(listener syscall.RawConn) (done bool) {
	err := listener.Control(func(fd uintptr) {
		program := unix.SockFprog{Len: uint16(len(noNew)), Filter: &noNew[0]}
		done = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program) == nil
	})
	return done && err == nil
}

// waiting is how many connections stand in a listener's queue.
func waiting(listener syscall.RawConn) (n uint32) {
	_ = listener.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = info.Unacked // of a socket that listens: the length of its queue (tcp(7), linux/tcp.c)
		}
	})
	return n
}
