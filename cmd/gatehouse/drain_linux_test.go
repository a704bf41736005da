package main

import (
	"net"
	"testing"
	"time"
)

// SD-01: a listener is closed once those in its queue were taken, and not before.
func TestCloseWhenEmpty(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 3 {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	closed := make(chan struct{})
	go func() { defer close(closed); closeWhenEmpty(l) }()
	for i := range 3 {
		time.Sleep(10 * time.Millisecond)
		conn, err := l.Accept()
		if err != nil {
			t.Fatalf("number %d of those that waited: %v", i+1, err)
		}
		conn.Close()
	}
	<-closed
	if conn, err := l.Accept(); err == nil {
		conn.Close()
		t.Error("it is open still")
	}
}
