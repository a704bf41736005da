package proxy_test

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/gatehouse-auth/gatehouse/proxy"
)

// grpcApp speaks what gRPC needs of HTTP/2, over h2c: trailers that nobody announced, trailers only,
// and both directions at once.
func grpcApp(t *testing.T) string {
	mux := http.NewServeMux()
	mux.HandleFunc("/unary", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("X-Te", r.Header.Get("Te"))
		_, _ = w.Write(body)
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		w.Header().Set(http.TrailerPrefix+"Grpc-Message", "fine")
	})
	mux.HandleFunc("/error", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", "5")
		w.Header().Set("Grpc-Message", "no such thing")
	})
	mux.HandleFunc("/sized", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "2")
		_, _ = io.WriteString(w, "ok")
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
	})
	// echo answers each line with itself.
	echo := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		for from := bufio.NewReader(r.Body); ; {
			line, err := from.ReadString('\n')
			if err != nil {
				break
			}
			_, _ = io.WriteString(w, line)
			_ = http.NewResponseController(w).Flush()
		}
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
	}
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/call", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc+proto")
		echo(w, r)
	})
	mux.HandleFunc("/flood", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		for err := error(nil); err == nil; {
			_, err = io.WriteString(w, strings.Repeat("one\n", 16<<10))
		}
	})
	server := httptest.NewUnstartedServer(mux)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return "h2c://" + strings.TrimPrefix(server.URL, "http://")
}

func TestGRPC(t *testing.T) {
	up := newUpstream(t, proxy.Target{URL: grpcApp(t)})
	t.Cleanup(up.Close)
	w := newWorld(t, setup{routes: routes(up)})
	const te = "Te: trailers"
	t.Run("PX-08/a", func(t *testing.T) {
		res := w.h2(t, "/unary", strings.NewReader("ping"), te)
		if res.body != "ping" || res.Header.Get("X-Te") != "trailers" || res.Trailer.Get("Grpc-Status") != "0" || res.Trailer.Get("Grpc-Message") != "fine" {
			t.Errorf("got %q, %v, trailers %v", res.body, res.Header, res.Trailer)
		}
	})
	t.Run("PX-08/b", func(t *testing.T) {
		res := w.h2(t, "/error", strings.NewReader("ping"), te)
		if res.Header.Get("Grpc-Status") != "5" || res.Header.Get("Grpc-Message") != "no such thing" {
			t.Errorf("got %v, trailers %v", res.Header, res.Trailer)
		}
	})
	t.Run("PX-08/c", func(t *testing.T) {
		res := w.ask("GET", "/sized", w.authed(), te)
		if res.body != "ok" || res.Trailer.Get("Grpc-Status") != "0" {
			t.Errorf("got %q, trailers %v", res.body, res.Trailer)
		}
	})
	t.Run("PX-08/d", func(t *testing.T) {
		out, in := io.Pipe()
		lines := make(chan string, 1)
		go func() {
			for _, line := range []string{"one\n", "two\n"} {
				_, _ = io.WriteString(in, line)
				lines <- line // the next one is sent only once this one came back
			}
			_ = in.Close()
		}()
		res := w.h2stream(t, "/echo", out, te)
		defer res.Body.Close()
		for from, n := bufio.NewReader(res.Body), 0; n < 2; n++ {
			want := <-lines
			if got, err := from.ReadString('\n'); got != want {
				t.Fatalf("got %q, %v; want %q", got, err, want)
			}
		}
		if _, _ = io.ReadAll(res.Body); res.Trailer.Get("Grpc-Status") != "0" {
			t.Errorf("trailers %v", res.Trailer)
		}
	})
	t.Run("PX-08/e", func(t *testing.T) {
		res := w.h2(t, "/unary", strings.NewReader("ping"), te, "Content-Type: application/grpc", "Cookie: ")
		if res.StatusCode != http.StatusUnauthorized || res.Header.Get("Location") != "" {
			t.Errorf("got %s", res.Status)
		}
	})
}

// RULE-12 over HTTP/2: net/http hands on what contradicts itself.
func TestContradictionsOverHTTP2(t *testing.T) { engines(t, testContradictionsOverHTTP2) }

func testContradictionsOverHTTP2(t *testing.T) {
	w, up := plainWorld(t)
	t.Run("RULE-12/h2-host", func(t *testing.T) {
		raw := w.h2raw(t, "GET", "host", "evil.test")
		if raw != "400" {
			t.Errorf("got %s", raw)
		}
	})
	t.Run("RULE-12/h2-method", func(t *testing.T) {
		if raw := w.h2raw(t, "GE(T"); raw != "400" && raw != "reset" {
			t.Errorf("got %s", raw)
		}
	})
	t.Run("RULE-12/h2-length", func(t *testing.T) {
		if raw := w.h2raw(t, "POST", "content-length", "5"); raw != "400" && raw != "reset" {
			t.Errorf("got %s", raw)
		}
	})
	t.Run("RULE-12/h2-blank", func(t *testing.T) {
		for _, path := range []string{"/admin HTTP/1.1", "/a b", "/x?a b"} {
			if raw := w.h2raw(t, "GET", ":path", path); raw != "400" && raw != "reset" {
				t.Errorf("%q: got %s", path, raw)
			}
		}
	})
	t.Run("RULE-12/h2-good", func(t *testing.T) {
		if raw := w.h2raw(t, "GET"); raw != "200" {
			t.Errorf("got %s", raw)
		}
	})
	if n := len(up.heard()); n != 1 {
		t.Errorf("the app got %d requests, want the good one", n)
	}
}

// A client that makes no room for an answer, however small, has its stream reset.
func TestUntakenOverHTTP2(t *testing.T) { engines(t, testUntakenOverHTTP2) }

func testUntakenOverHTTP2(t *testing.T) {
	up := newApp(t, nil).upstream(proxy.Target{Stall: 300 * time.Millisecond})
	w := newWorld(t, setup{routes: routes(up)})
	t.Run("PX-09/untaken", func(t *testing.T) {
		conn := w.dial()
		defer conn.Close()
		_, _ = io.WriteString(conn, http2.ClientPreface)
		framer := http2.NewFramer(conn, conn)
		_ = framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: w.block(http.MethodGet), EndStream: true, EndHeaders: true})
		for {
			frame, err := framer.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			if _, reset := frame.(*http2.RSTStreamFrame); reset {
				return
			}
		}
	})
}
