package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse-auth/gatehouse/web"
)

const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 90 * time.Second
	// untakenTimeout is how long an HTTP/2 connection may take nothing of what is due to it.
	untakenTimeout = 2 * time.Minute
	// streamWindow is how much of a body an HTTP/2 client may send ahead of who reads it.
	streamWindow = 1 << 20
	// connWindow is how much of all bodies on one connection.
	connWindow = 4 * streamWindow
	// streamsAtOnce is how many requests an HTTP/2 client may have under way on one connection: front
	// proxies ask about all of their clients on one.
	streamsAtOnce = 250
	// frameSize is the largest HTTP/2 frame that is taken: the least that a server may say, and what
	// browsers send in any case (RFC 9113, section 4.2). net/http would take 1 MiB, and makes room for
	// a frame when its head has come: nine bytes on each of a thousand connections cost a gigabyte.
	frameSize = 16 << 10
)

// errGoingAway is the cause of every request's context once the process stops.
var errGoingAway = errors.New("gatehouse is stopping")

// server is one listener, and what it takes to stop it without losing a request.
type server struct {
	http     *http.Server
	listener net.Listener
	socket   net.Listener   // listener itself, or what stands under it
	closing  atomic.Bool    // it accepts no more connections, so that what Serve says is no fault
	busy     sync.WaitGroup // handlers under way, those of hijacked connections included
	underWay atomic.Int64   // handlers that will end by themselves
	ended    atomic.Int64   // when the last of them did, in Unix nanoseconds
	end      context.CancelCauseFunc
	streams  context.Context //nolint:containedctx // of what never ends by itself, beside the request's own
	endThem  context.CancelCauseFunc
}

// listen binds an address: host:port, or unix:/path. The TLS config is nil for plain HTTP. The room is
// nil where any number of connections may come.
//
// There is no ReadTimeout and no WriteTimeout: they would cut long uploads and event streams. Rolling
// deadlines for each route stand in their place (package proxy).
func listen(ctx context.Context, address string, secure *tls.Config, handler http.Handler, room *web.Room, log *slog.Logger) (*server, error) {
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
		if err := removeStaleSocket(ctx, path); err != nil {
			return nil, err
		}
	}
	socket, err := new(net.ListenConfig).Listen(ctx, network, address)
	if err != nil {
		return nil, err
	}
	listener := socket
	base, end := context.WithCancelCause(context.WithoutCancel(ctx))
	s := &server{listener: listener, socket: socket, end: end}
	s.streams, s.endThem = context.WithCancelCause(base)
	s.http = &http.Server{
		Handler:           s.count(handler),
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headLimits.MaxHeaderBytes(),
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		TLSConfig:         secure.Clone(), // net/http writes into it; nil stays nil
		Protocols:         new(http.Protocols),
		// net/http would answer "OPTIONS *" by itself, past the log and the rules.
		DisableGeneralOptionsHandler: true,
		// Deadlines are a stream's; this one is for a connection that takes no byte at all.
		// Several uploads on one connection do not hold one another up: one that waits for room fills
		// its own window and not the connection's.
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: streamsAtOnce, MaxReadFrameSize: frameSize,
			WriteByteTimeout: untakenTimeout, MaxReceiveBufferPerStream: streamWindow, MaxReceiveBufferPerConnection: connWindow,
		},
	}
	if room != nil {
		s.listener = room.Door(listener, secure)
		s.http.ConnState, s.http.ConnContext = room.State, room.Context
	}
	s.http.Protocols.SetHTTP1(true)
	s.http.Protocols.SetHTTP2(secure != nil)
	s.http.Protocols.SetUnencryptedHTTP2(secure == nil) // gRPC behind a proxy that ends TLS
	return s, nil
}

// removeStaleSocket takes away the socket that a killed process left behind, and nothing else.
func removeStaleSocket(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("%s exists and is not a socket", path)
	}
	dialer := net.Dialer{Timeout: time.Second}
	if conn, err := dialer.DialContext(ctx, "unix", path); err == nil {
		conn.Close()
		return fmt.Errorf("%s is in use by another process", path)
	}
	return os.Remove(path)
}

// count keeps the number of handlers under way, and when the last of them ended. WebSockets and event streams
// may never end, so they do not count among those that are waited for: they end when the others have.
func (s *server) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.busy.Add(1)
		defer s.busy.Done()
		if web.OpensStream(r) {
			ctx, end := context.WithCancelCause(r.Context())
			defer end(nil)
			defer context.AfterFunc(s.streams, func() { end(context.Cause(s.streams)) })()
			next.ServeHTTP(w, r.WithContext(ctx))
			return
		}
		s.underWay.Add(1)
		defer func() { s.ended.Store(time.Now().UnixNano()); s.underWay.Add(-1) }()
		next.ServeHTTP(w, r)
	})
}

// serve answers requests until the server is drained or closed.
func (s *server) serve() error {
	var err error
	if s.http.TLSConfig != nil {
		err = s.http.ServeTLS(s.listener, "", "")
	} else {
		err = s.http.Serve(s.listener)
	}
	if errors.Is(err, http.ErrServerClosed) || s.closing.Load() {
		return nil
	}
	return err
}
