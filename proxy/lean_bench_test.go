package proxy

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"
)

// BenchmarkCarry is one GET through net/http's server, an engine, and to an app that costs next to
// nothing, and back: bare is httputil.ReverseProxy with the settings that anybody would give it.
func BenchmarkCarry(b *testing.B) {
	app := listenLocal(b)
	defer app.Close()
	go answerAll(app)
	for _, engine := range []string{"bare", EngineStdlib, EngineLean} {
		b.Run(engine, func(b *testing.B) {
			c := newCarrier(b, Target{URL: "http://" + app.Addr().String(), Engine: engine, Idle: time.Minute}.known())
			if engine == "bare" {
				bare := bareProxy(app.Addr().String())
				defer bare.Transport.(*http.Transport).CloseIdleConnections()
				c.server.Handler = bare
			}
			conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", c.addr)
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			from := bufio.NewReader(conn)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := io.WriteString(conn, benchRequest); err != nil {
					b.Fatal(err)
				}
				for line := ""; line != "hello\n"; {
					if line, err = from.ReadString('\n'); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

const benchRequest = "GET /some/page?q=1 HTTP/1.1\r\nHost: app.test\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: text/html\r\n" +
	"Accept-Language: en\r\nAccept-Encoding: gzip\r\nCookie: a=1; gate=x; b=2\r\n\r\n"

// known is a target of an engine that there is.
func (t Target) known() Target {
	if t.Engine == "bare" {
		t.Engine = EngineStdlib
	}
	return t
}

func bareProxy(address string) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: address})
			r.Out.Host = r.In.Host
		},
		Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: idleConns, ReadBufferSize: bufferSize, WriteBufferSize: bufferSize},
	}
}

// answerAll is an app of which only the system calls cost anything.
func answerAll(listener net.Listener) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Length: 6\r\n\r\nhello\n"
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			buf := make([]byte, 8<<10)
			for {
				if _, err := conn.Read(buf); err != nil { // a request comes in one piece
					return
				}
				if _, err := io.WriteString(conn, answer); err != nil {
					return
				}
			}
		}()
	}
}
