package main

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// peers are the servers that this program can be itself, when it is started with their name. Each
// prints its address and serves until it is ended.
var peers = map[string]func(args []string) error{
	"null": func([]string) error {
		listener, err := listen()
		if err != nil {
			return err
		}
		server := &http.Server{Handler: new(storetest.NullS3), ReadHeaderTimeout: 10 * time.Second}
		return server.Serve(listener)
	},
	"sink": func([]string) error { return accept(sink) },
	"relay": func(args []string) error {
		return accept(func(in net.Conn) error { return relay(in, args[0], io.Discard) })
	},
	"relay-sha256": func(args []string) error {
		return accept(func(in net.Conn) error { return relay(in, args[0], sha256.New()) })
	},
}

func listen() (net.Listener, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it listens until the process ends
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintln(os.Stdout, listener.Addr())
	return listener, err
}

// accept serves connections, each of which is one file: it is closed by us once the file has arrived.
func accept(serve func(net.Conn) error) error {
	listener, err := listen()
	if err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			if err := serve(conn); err != nil {
				fmt.Fprintln(os.Stderr, "relay:", err)
			}
		}()
	}
}

// piece is how much is read at once: more costs more, for it leaves the processor's cache.
const piece = 256 << 10

func sink(conn net.Conn) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{conn}, make([]byte, piece))
	return err
}

// relay is the floor: what must be done with each byte, and nothing else. The kernel could copy from
// socket to socket by itself, but then nobody would have seen the bytes.
func relay(in net.Conn, target string, digest io.Writer) error {
	out, err := net.Dial("tcp", target) //nolint:gosec,noctx // to a server of our own; it ends with its connection
	if err != nil {
		return err
	}
	defer out.Close()
	buf := make([]byte, piece)
	for {
		n, err := in.Read(buf)
		if n > 0 {
			if _, err := digest.Write(buf[:n]); err != nil {
				return err
			}
			if _, err := out.Write(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// block is the content of all files, over and over.
var block = func() []byte {
	b := make([]byte, mib)
	rand.Read(b)
	return b
}()

// random is a file of a size.
func random(size int64) io.Reader { return io.LimitReader(new(repeated), size) }

type repeated struct{ at int }

func (r *repeated) Read(p []byte) (int, error) {
	n := copy(p, block[r.at:])
	r.at = (r.at + n) % len(block)
	return n, nil
}
