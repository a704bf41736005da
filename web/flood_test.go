package web_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/gatehouse-auth/gatehouse/web"
)

// flooded is a house that speaks HTTP/2 without TLS, and an attacker's connection to it.
func flooded(t *testing.T, address string) (h *house, frames *http2.Framer, out *bufio.Writer) {
	t.Helper()
	h = emptyHouse(t, 4, 4, nil)
	h.Config.Protocols = new(http.Protocols)
	h.Config.Protocols.SetUnencryptedHTTP2(true)
	h.Config.Handler = web.NewLoad(web.LoadLimits{Requests: 4000, Streams: 1}).Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
	}))
	h.Start()
	conn := h.from(t, address, http2.ClientPreface)
	out = bufio.NewWriter(conn)
	frames = http2.NewFramer(out, conn)
	if err := frames.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	return h, frames, out
}

// Frames that ask for nothing are work all the same, for as long as they come.
func TestFramesThatAskForNothingEndTheConnection(t *testing.T) {
	h, frames, out := flooded(t, "127.0.0.1")
	var err error
	for n := 0; err == nil && n < 1<<20; n++ {
		err = frames.WriteWindowUpdate(0, 1)
	}
	if _ = out.Flush(); err == nil || h.sheds("flood") != 1 {
		t.Errorf("%v; counted %v", err, h.shed)
	}
}

// CVE-2023-44487: each request costs its client nine bytes to break off.
func TestRequestsThatAreBrokenOffEndTheConnection(t *testing.T) {
	for address, ends := range map[string]bool{"127.0.0.1": true, "127.0.0.9": false} { // the latter is a proxy's
		h, frames, out := flooded(t, address)
		var head bytes.Buffer
		pack := hpack.NewEncoder(&head)
		var err error
		for n := uint32(0); err == nil && n < 3000; n++ {
			head.Reset()
			for _, f := range []string{":method=GET", ":scheme=http", ":path=/", ":authority=gw.test"} {
				name, value, _ := strings.Cut(f, "=")
				_ = pack.WriteField(hpack.HeaderField{Name: name, Value: value})
			}
			if err = frames.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*n + 1, BlockFragment: head.Bytes(), EndHeaders: true, EndStream: true}); err == nil {
				err = frames.WriteRSTStream(2*n+1, http2.ErrCodeCancel)
			}
			if n%100 == 0 {
				_ = out.Flush()
			}
		}
		_ = out.Flush()
		if ends {
			eventually(t, "the flood is ended", func() bool { return h.sheds("flood") > 0 })
		} else if h.sheds("flood") > 0 {
			t.Errorf("a proxy's connection was ended: %v", err)
		}
	}
}
