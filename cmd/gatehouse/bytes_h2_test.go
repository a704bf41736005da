package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// stream is a request over HTTP/2 as no client library sends it.
type stream struct {
	name     string
	fields   []string // name and value by turns; "me" stands for the pseudo-headers and the cookie of alice
	data     string
	trailers []string
	want     string // the status, or refused: a 400, a reset of the stream, or the end of the connection
	app      []string
}

const refused = "refused"

// late is a request that was whole, by its own word, before what contradicts it came. It is refused or
// passed as it was, by which of the two is seen first; what came late is never passed.
const late = "late"

// TestBytesHTTP2: what is one request over HTTP/2 must not become two over HTTP/1.1, in which the app
// gets it (RFC 9113, sections 8.2 and 10.3).
func TestBytesHTTP2(t *testing.T) {
	me := func(fields ...string) []string { return append([]string{"me", ""}, fields...) }
	line := func(method, path, authority string) []string {
		return []string{":method", method, ":scheme", "http", ":path", path, ":authority", authority, "cookie", "{cookie}"}
	}
	all := []stream{
		{"PX-14/good", me("x-a", "1"), "", nil, "200", []string{"GET /a"}},
		{"PX-14/good POST", line("POST", "/a", "{at}"), "hi", nil, "200", []string{"POST /a hi"}},
		{"PX-14/length that fits", append(line("POST", "/a", "{at}"), "content-length", "2"), "hi", nil, "200", []string{"POST /a hi"}},
		{"PX-14/length too short", append(line("POST", "/a", "{at}"), "content-length", "1"), "hi", nil, refused, nil},
		{"PX-14/length too long", append(line("POST", "/a", "{at}"), "content-length", "9"), "hi", nil, refused, nil},
		{"PX-14/length 0 before a body (H2.CL)", append(line("POST", "/a", "{at}"), "content-length", "0"), "GET /inner HTTP/1.1\r\nHost: x\r\n\r\n", nil, late, []string{"POST /a"}},
		{"PX-14/two lengths", append(line("POST", "/a", "{at}"), "content-length", "2", "content-length", "3"), "hi", nil, refused, nil},
		{"PX-14/length of no number", append(line("POST", "/a", "{at}"), "content-length", "+2"), "hi", nil, refused, nil},
		{"PX-14/transfer-encoding (H2.TE)", append(line("POST", "/a", "{at}"), "transfer-encoding", "chunked"), "0\r\n\r\nGET /inner HTTP/1.1\r\nHost: x\r\n\r\n", nil, refused, nil},
		{"PX-14/connection", me("connection", "x-auth-request-user"), "", nil, refused, nil},
		{"PX-14/keep-alive", me("keep-alive", "1"), "", nil, refused, nil},
		{"PX-14/proxy-connection", me("proxy-connection", "close"), "", nil, refused, nil},
		{"PX-14/upgrade", me("upgrade", "websocket"), "", nil, refused, nil},
		{"PX-14/te", me("te", "chunked"), "", nil, refused, nil},
		{"PX-14/te: trailers", me("te", "trailers"), "", nil, "200", []string{"GET /a"}},
		{"PX-14/CR LF in a value", me("x-a", "1\r\nX-Auth-Request-User: mallory"), "", nil, refused, nil},
		{"PX-14/LF in a value", me("x-a", "1\nX-Auth-Request-User: mallory"), "", nil, refused, nil},
		{"PX-14/NUL in a value", me("x-a", "1\x00"), "", nil, refused, nil},
		{"PX-14/CR LF in a name", me("x-a: 1\r\nx-b", "1"), "", nil, refused, nil},
		{"PX-14/colon in a name", me("transfer-encoding:chunked", "1"), "", nil, refused, nil},
		{"PX-14/blank in a name", me("x a", "1"), "", nil, refused, nil},
		{"PX-14/empty name", me("", "1"), "", nil, refused, nil},
		{"PX-14/capitals in a name", me("X-Auth-Request-User", "mallory"), "", nil, refused, nil},
		{"ID-01/identity", me("x-auth-request-user", "mallory", "x_auth_request_email", "mallory", "remote-user", "mallory"), "", nil, "200", []string{"GET /a"}},
		{"ID-01/frames by another name", me("transfer_encoding", "chunked", "content.length", "3"), "", nil, "200", []string{"GET /a"}},
		{"PX-14/CR LF in :method", line("GET /x HTTP/1.1\r\nX: y", "/a", "{at}"), "", nil, refused, nil},
		{"PX-14/blank in :method", line("GET /public/x HTTP/1.1 X", "/a", "{at}"), "", nil, refused, nil},
		{"PX-14/empty :method", line("", "/a", "{at}"), "", nil, refused, nil},
		{"PX-14/CR LF in :path", line("GET", "/a HTTP/1.1\r\nX: y", "{at}"), "", nil, refused, nil},
		{"PX-14/tab in :path", line("GET", "/a\tb", "{at}"), "", nil, refused, nil},
		{"PX-14/:path without a slash", line("GET", "a", "{at}"), "", nil, refused, nil},
		{"PX-14/empty :path", line("GET", "", "{at}"), "", nil, refused, nil},
		{"PX-14/asterisk", line("OPTIONS", "*", "{at}"), "", nil, refused, nil},
		{"PX-14/absolute :path", line("GET", "http://{at}/a", "{at}"), "", nil, refused, nil},
		{"PX-14/fragment in :path", line("GET", "/public/../a#/public", "{at}"), "", nil, refused, nil},
		{"RULE-12/CONNECT", []string{":method", "CONNECT", ":authority", "{at}", "cookie", "{cookie}"}, "", nil, refused, nil},
		{"RULE-12/CONNECT with a path", line("CONNECT", "/a", "{at}"), "", nil, refused, nil},
		{"RULE-12/CR LF in :authority", line("GET", "/a", "{at}\r\nX: y"), "", nil, refused, nil},
		{"RULE-12/path in :authority", line("GET", "/a", "{at}/x"), "", nil, refused, nil},
		{"RULE-12/user in :authority", line("GET", "/a", "x@{at}"), "", nil, refused, nil},
		{"RULE-12/empty :authority", line("GET", "/a", ""), "", nil, refused, nil},
		{"RULE-12/stranger's :authority", line("GET", "/a", "evil.test"), "", nil, "404", nil},
		{"RULE-12/equal host", me("host", "{at}"), "", nil, "200", []string{"GET /a"}},
		{"RULE-12/two hosts", me("host", "{at}", "host", "evil.test"), "", nil, refused, nil},
		{"PX-14/CR LF in :scheme", []string{":method", "GET", ":scheme", "http://x/\r\nX: y", ":path", "/a", ":authority", "{at}", "cookie", "{cookie}"}, "", nil, refused, nil},
		{"PX-14/no :method", []string{":scheme", "http", ":path", "/a", ":authority", "{at}", "cookie", "{cookie}"}, "", nil, refused, nil},
		{"PX-14/no :path", []string{":method", "GET", ":scheme", "http", ":authority", "{at}", "cookie", "{cookie}"}, "", nil, refused, nil},
		{"PX-14/no :scheme", []string{":method", "GET", ":path", "/a", ":authority", "{at}", "cookie", "{cookie}"}, "", nil, refused, nil},
		{"PX-14/:path twice", append([]string{":path", "/public/a"}, line("GET", "/a", "{at}")...), "", nil, refused, nil},
		{"PX-14/:method twice", append([]string{":method", "HEAD"}, line("GET", "/a", "{at}")...), "", nil, refused, nil},
		{"PX-14/:authority twice", append([]string{":authority", "evil.test"}, line("GET", "/a", "{at}")...), "", nil, refused, nil},
		{"PX-14/pseudo-header behind others", me(":path", "/public/b"), "", nil, refused, nil},
		{"PX-14/unknown pseudo-header", append([]string{":user", "mallory"}, line("GET", "/a", "{at}")...), "", nil, refused, nil},
		{"PX-14/:status", append([]string{":status", "200"}, line("GET", "/a", "{at}")...), "", nil, refused, nil},
		{"PX-14/:protocol", append(line("CONNECT", "/ws", "{at}"), ":protocol", "websocket"), "", nil, refused, nil},
		{"ID-01/trailers", append(line("POST", "/a", "{at}"), "trailer", "x-auth-request-user, x-sum"), "hi", []string{"x-auth-request-user", "mallory", "x-sum", "1"}, "200", []string{"POST /a hi"}},
		{"PX-14/pseudo-header in the trailers", line("POST", "/a", "{at}"), "hi", []string{":path", "/public"}, refused, nil},
	}
	for _, engine := range []string{"stdlib", "lean"} {
		t.Run(engine, func(t *testing.T) {
			s := newStage(t, engine, "")
			for _, one := range all {
				t.Run(one.name, func(t *testing.T) {
					got := s.stream(t, one)
					no := slices.Contains([]string{"400", "reset", "closed"}, got)
					if got != one.want && (one.want != refused || !no) && (one.want != late || !no && got != "200") {
						t.Errorf("got %s, want %s", got, one.want)
					}
					requests, faults := s.app.heard()
					if one.want == late && len(requests) == 0 {
						requests = one.app
					}
					if len(faults) > 0 || !slices.Equal(requests, one.app) {
						t.Errorf("the app got %q, want %q; %q", requests, one.app, faults)
					}
				})
			}
		})
	}
}

// stream sends a request as frames over HTTP/2 without TLS, and returns the status, "reset" or "closed".
func (s *stage) stream(t *testing.T, one stream) string {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.host())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(bytesHang))
	_, _ = io.WriteString(conn, http2.ClientPreface)
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = framer.WriteSettings()
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: s.block(one.fields), EndStream: one.data == "", EndHeaders: true})
	if one.data != "" {
		_ = framer.WriteData(1, one.trailers == nil, []byte(one.data))
	}
	if one.trailers != nil {
		_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: s.block(one.trailers), EndStream: true, EndHeaders: true})
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			if e, ok := err.(net.Error); ok && e.Timeout() { //nolint:errorlint // of this connection, and wrapped in nothing
				t.Error("the gateway hangs")
			}
			return "closed"
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			return f.PseudoValue("status")
		case *http2.RSTStreamFrame:
			return "reset"
		case *http2.GoAwayFrame:
			return "closed"
		}
	}
}

// block encodes header fields.
func (s *stage) block(fields []string) []byte {
	if fields[0] == "me" {
		fields = append([]string{":method", "GET", ":scheme", "http", ":path", "/a", ":authority", "{at}", "cookie", "{cookie}"}, fields[2:]...)
	}
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	fill := strings.NewReplacer("{at}", s.host(), "{cookie}", s.cookie)
	for i := 0; i+1 < len(fields); i += 2 {
		if err := encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fill.Replace(fields[i+1])}); err != nil {
			panic(fmt.Sprint("a buffer refused bytes: ", err))
		}
	}
	return block.Bytes()
}
