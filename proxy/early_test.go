package proxy

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// hinting is an app that sends early hints and thinks before it answers.
func hinting(t *testing.T, thinks time.Duration) string {
	t.Helper()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</x>")
		w.WriteHeader(http.StatusEarlyHints)
		time.Sleep(thinks)
		_, _ = io.WriteString(w, "hello")
	}))
	t.Cleanup(app.Close)
	return app.URL
}

func TestEarlyHints(t *testing.T) {
	for _, engine := range []string{EngineStdlib, EngineLean} {
		t.Run("PX-10/"+engine+"/to-an-old-client", func(t *testing.T) {
			c := newCarrier(t, Target{URL: hinting(t, 0), Engine: engine})
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", c.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(patience))
			_, _ = io.WriteString(conn, "GET / HTTP/1.0\r\nHost: app.test\r\n\r\n")
			if got := readOutcome(bufio.NewReader(conn), http.MethodGet); got.status != http.StatusOK || got.body != "hello" || len(got.early) > 0 {
				t.Errorf("got %+v", got)
			}
		})
		// A write deadline that passes over HTTP/2 resets even a stream on which nobody writes.
		t.Run("RULE-15/"+engine+"/over-http2", func(t *testing.T) {
			c := newCarrier(t, Target{URL: hinting(t, 500*time.Millisecond), Engine: engine, Stall: 100 * time.Millisecond})
			client := &http.Transport{Protocols: new(http.Protocols)}
			client.Protocols.SetUnencryptedHTTP2(true)
			defer client.CloseIdleConnections()
			r, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+c.addr+"/", nil)
			res, err := client.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if body, err := io.ReadAll(res.Body); err != nil || string(body) != "hello" || res.ProtoMajor != 2 {
				t.Errorf("got %s %q, %v", res.Proto, body, err)
			}
		})
	}
}

// What stands in the answer before the app says anything, as while a server drains, outlives its hints.
func TestLeanHintsTakeNothingAway(t *testing.T) {
	c, _ := leanTo(t, Target{}, inTurn(says("HTTP/1.1 103 Early Hints\r\nConnection: keep-alive\r\nPragma: no-cache\r\nX-Ours: 2\r\n\r\n"+hello)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		w.Header().Set("X-Ours", "1")
		c.ServeHTTP(w, r)
	}))
	defer server.Close()
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/", nil)
	res, err := server.Client().Transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	h := res.Header
	if !res.Close || len(h["X-Ours"]) != 1 || h.Get("X-Ours") != "1" || h.Get("Pragma") != "" || h.Get("Cache-Control") != "private" {
		t.Errorf("RULE-27: the answer has %v, close %t", h, res.Close)
	}
}
