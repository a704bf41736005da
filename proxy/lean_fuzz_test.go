package proxy

import (
	"bufio"
	"encoding/pem"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// FuzzLeanResponse has an app answer with anything, in two pieces, and then a second client ask for
// something else. Nobody gets a byte of the other's answer, nobody waits for ever, and no answer is made
// of what net/http would not take for one.
func FuzzLeanResponse(f *testing.F) {
	for _, one := range []string{
		hello, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + hello, "garbage\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort",
		hello + hello, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + hello, "HTTP/1.0 200 OK\r\n\r\nhello", "",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 304 Not Modified\r\n\r\npoison",
	} {
		f.Add(one, uint16(20), true)
		f.Add(one, uint16(0), false)
	}
	const probe = "HTTP/1.1 200 OK\r\nX-Probe: 1\r\nContent-Length: 5\r\n\r\nclean"
	var answer script
	app := newScripted(f, listenLocal(f), func(head string) script {
		if strings.HasPrefix(head, "GET /probe ") {
			return says(probe)
		}
		return answer
	})
	c := newCarrier(f, Target{URL: "http://" + app.listener.Addr().String(), Engine: EngineLean, Header: 100 * time.Millisecond})
	f.Fuzz(func(t *testing.T, text string, cut uint16, whole bool) {
		at := int(cut) % (len(text) + 1)
		answer = script{pieces: []string{text[:at], text[at:]}, hangUp: true}
		if whole {
			answer.pieces = []string{text}
		}
		got := c.put(t, http.MethodGet, "/anything")
		if got.fault == "" && !got.broken && got.status < http.StatusBadRequest {
			want := readOutcome(bufio.NewReader(strings.NewReader(text)), http.MethodGet)
			if want.fault != "" || want.broken || want.status != got.status || want.body != got.body {
				t.Errorf("of %q was made %+v, net/http reads %+v", text, got, want)
			}
		}
		// What comes only while the next request is on its way cannot be told from its answer, by nobody:
		// HTTP/1.1 has no names for answers. What came before it must be seen.
		app.settled(t)
		if got := c.put(t, http.MethodGet, "/probe"); got.status != http.StatusOK || got.body != "clean" || got.header.Get("X-Probe") != "1" {
			t.Errorf("after %q the next client got %+v", text, got)
		}
	})
}

// FuzzLeanHead holds the parser against http.ReadResponse: what it takes, that one takes for the same;
// what it refuses and that one takes is in the table of what is refused.
func FuzzLeanHead(f *testing.F) {
	for _, one := range []string{
		hello, "HTTP/1.0 404\r\nX: y\r\n z\r\n\r\n", "HTTP/1.1 200 OK\nA:b\n\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close, x\r\n\r\n", "HTTP/1.1 204 \r\n\r\n", "\r\n\r\n",
		"HTTP/1.1 -00 x\r\n\r\n", "HTTP/1.1 +99\r\n\r\n", "HTTP/1.1 200\r\nTrailer: Host\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 204\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 204\r\nContent-Length: 6\r\n\r\n",
	} {
		f.Add(one, false)
		f.Add(one, true)
	}
	f.Fuzz(func(t *testing.T, text string, isHead bool) {
		method := http.MethodGet
		if isHead {
			method = http.MethodHead
		}
		left := maxHeads
		talk := &talk{from: bufio.NewReaderSize(strings.NewReader(text), readSize)}
		head, err := talk.head(&left)
		if err != nil {
			return
		}
		var a answer
		err = a.parse(head, method)
		res, otherErr := http.ReadResponse(bufio.NewReader(strings.NewReader(head)), &http.Request{Method: method})
		switch {
		case err != nil && otherErr == nil:
			if !slices.ContainsFunc(refused, func(one refusal) bool { return one.is(head) }) {
				t.Errorf("%q is refused: %v", head, err)
			}
			return
		case err == nil && otherErr != nil:
			t.Fatalf("%q is taken: %v", head, otherErr)
		case err != nil:
			return
		}
		_ = res.Body.Close()
		bodiless := a.status == http.StatusNoContent || a.status == http.StatusNotModified // closed if it is framed all the same
		framed := method == http.MethodGet && a.status >= 200 && !bodiless
		if a.status != res.StatusCode || framed && a.chunked != (len(res.TransferEncoding) > 0) {
			t.Errorf("%q: status %d, chunked %v; net/http has %d, %q", head, a.status, a.chunked, res.StatusCode, res.TransferEncoding)
		}
		if bodied := res.Body != http.NoBody && res.ContentLength != 0; bodied != (a.chunked || a.length != 0) {
			t.Errorf("%q: length %d, chunked %v; net/http has %d", head, a.length, a.chunked, res.ContentLength)
		}
		if a.close != res.Close && (res.Close || !bodiless) {
			t.Errorf("%q: close %v; net/http has %v", head, a.close, res.Close)
		}
		h := http.Header{}
		a.pour(h)
		for _, name := range []string{"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade"} {
			res.Header.Del(name)
		}
		for name, values := range h {
			if !slices.Equal(trimmed(values), trimmed(res.Header[name])) {
				t.Errorf("%q: %s is %q; net/http has %q", head, name, values, res.Header[name])
			}
		}
		if len(h) < len(res.Header) && !strings.Contains(strings.ToLower(head), "connection:") {
			t.Errorf("%q: net/http has %v, here are %v", head, slices.Sorted(maps.Keys(res.Header)), slices.Sorted(maps.Keys(h)))
		}
	})
}

// trimmed is a list of values as they are written: without blanks around them.
func trimmed(values []string) (out []string) {
	for _, one := range values {
		out = append(out, strings.TrimFunc(one, func(r rune) bool { return r == ' ' || r == '\t' }))
	}
	return out
}
