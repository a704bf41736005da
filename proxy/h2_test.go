package proxy_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2stream sends a signed-in request over unencrypted HTTP/2 and returns its answer while both bodies
// are open.
func (w *world) h2stream(t *testing.T, path string, body io.Reader, lines ...string) *http.Response {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Transport{Protocols: protocols}
	t.Cleanup(client.CloseIdleConnections)
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	req := must(http.NewRequestWithContext(t.Context(), method, "http://"+w.addr+path, body))
	req.Host = "app.test"
	cookie, _ := w.signIn(w.alice)
	req.Header.Set("Cookie", cookie)
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		if value == "" {
			req.Header.Del(name)
			continue
		}
		req.Header.Set(name, value)
	}
	res, err := client.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// h2 is h2stream for an answer that ends by itself.
func (w *world) h2(t *testing.T, path string, body io.Reader, lines ...string) *answer {
	t.Helper()
	res := w.h2stream(t, path, body, lines...)
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	return &answer{res, string(all), err}
}

// h2raw sends one signed-in request as frames, with fields that no client library would send, and
// returns the status or "reset".
func (w *world) h2raw(t *testing.T, method string, fields ...string) string {
	t.Helper()
	conn := w.dial()
	defer conn.Close()
	_, _ = io.WriteString(conn, http2.ClientPreface)
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = framer.WriteSettings()
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: w.block(method, fields...), EndStream: true, EndHeaders: true})
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return fmt.Sprint(err)
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			return f.PseudoValue("status")
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return "reset"
		}
	}
}

// block is the head of a signed-in request as HTTP/2 sends it.
func (w *world) block(method string, fields ...string) []byte {
	cookie, _ := w.signIn(w.alice)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	path := "/"
	if len(fields) > 1 && fields[0] == ":path" {
		path, fields = fields[1], fields[2:]
	}
	all := append([]string{":method", method, ":scheme", "http", ":authority", "app.test", ":path", path, "cookie", cookie}, fields...)
	for i := 0; i < len(all); i += 2 {
		_ = encoder.WriteField(hpack.HeaderField{Name: all[i], Value: all[i+1]})
	}
	return block.Bytes()
}
