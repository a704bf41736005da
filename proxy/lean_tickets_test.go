package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// tardy is an app's end of a connection that holds the last record of its handshake, the ticket, back until
// the client has finished: as OpenSSL does, where Go sends it ahead.
type tardy struct {
	net.Conn
	held []byte
	told chan<- struct{} // hears when the ticket was sent; nil: it was
}

func (c *tardy) Write(p []byte) (int, error) {
	last := 0
	for at := 0; at+5 <= len(p); at += 5 + int(binary.BigEndian.Uint16(p[at+3:])) {
		last = at
	}
	if c.told == nil || last == 0 || c.held != nil {
		return c.Conn.Write(p)
	}
	c.held = bytes.Clone(p[last:])
	_, err := c.Conn.Write(p[:last])
	return len(p), err
}

func (c *tardy) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.held != nil && c.told != nil {
		_, _ = c.Conn.Write(c.held)
		c.told <- struct{}{}
		c.told = nil
	}
	return n, err
}

type tardyListener struct {
	net.Listener
	told chan<- struct{}
}

func (l tardyListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &tardy{Conn: conn, told: l.told}, nil
}

// A ticket that waits on a fresh connection over TLS is no answer, and no reason to give the app up.
func TestLeanTickets(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }))
	told := make(chan struct{}, 2)
	server.Listener = tardyListener{server.Listener, told}
	server.StartTLS()
	defer server.Close()
	c := newCarrier(t, Target{URL: server.URL, Engine: EngineLean})
	tr := c.up.transport.Clone()
	trusting := server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	tr.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: trusting, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	dial := secure(func(ctx context.Context) (net.Conn, error) {
		return tr.DialContext(ctx, "tcp", server.Listener.Addr().String())
	}, tr, "example.com")
	c.up.lean.dialer = func(ctx context.Context) (net.Conn, error) {
		conn, err := dial(ctx)
		<-told
		return conn, err
	}
	for range 2 {
		if got := c.put(t, http.MethodGet, "/"); got.status != http.StatusAccepted {
			t.Errorf("RULE-13: got %+v", got)
		}
	}
	if size := c.up.lean.pool.size(); size != 1 {
		t.Errorf("%d connections are kept", size)
	}
}
