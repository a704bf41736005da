package main

import (
	"strings"
	"testing"
)

// Where a body ends is told by one length or by chunks (RFC 9112, section 6). Whatever says so twice or
// oddly was once read differently by two servers in a row, which is what request smuggling is made of.

// TestBytesTransferEncoding: beside a Content-Length of the body's five bytes, "0", CRLF and CRLF, every
// spelling of chunked that some server took for chunked and another did not.
func TestBytesTransferEncoding(t *testing.T) {
	var all []attack
	for _, one := range []struct {
		name, line string
		want       []int
		body       string // that the app gets, where the request is allowed
	}{
		// These are chunked, without doubt. Chunks win over the length, which does not go on, and the
		// connection ends (section 6.1).
		{"tab before the value", "Transfer-Encoding:\tchunked", []int{200}, ""},
		{"space behind the value", "Transfer-Encoding: chunked ", []int{200}, ""},
		{"capitals", "Transfer-Encoding: CHUNKED", []int{200}, ""},
		{"name in odd case", "tRANSFER-eNCODING: chunked", []int{200}, ""},
		{"folded value", "Transfer-Encoding:\r\n chunked", []int{200}, ""},
		{"bare LF before it", "X-A: a\nTransfer-Encoding: chunked", []int{200}, ""},
		// No coding that we know, or several: refused.
		{"space before the colon", "Transfer-Encoding : chunked", []int{400}, ""},
		{"tab before the colon", "Transfer-Encoding\t: chunked", []int{400}, ""},
		{"chunked twice", "Transfer-Encoding: chunked, chunked", []int{501}, ""},
		{"two lines", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", []int{501}, ""},
		{"two lines, identity", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", []int{501}, ""},
		{"identity first", "Transfer-Encoding: identity, chunked", []int{501}, ""},
		{"identity", "Transfer-Encoding: identity", []int{501}, ""},
		{"gzip", "Transfer-Encoding: gzip, chunked", []int{501}, ""},
		{"comma behind", "Transfer-Encoding: chunked,", []int{501}, ""},
		{"comma before", "Transfer-Encoding: ,chunked", []int{501}, ""},
		{"parameter", "Transfer-Encoding: chunked;q=1", []int{501}, ""},
		{"quoted", `Transfer-Encoding: "chunked"`, []int{501}, ""},
		{"colon twice", "Transfer-Encoding:: chunked", []int{501}, ""},
		{"empty", "Transfer-Encoding:", []int{501}, ""},
		{"cow", "Transfer-Encoding: cow", []int{501}, ""},
		{"no-break space", "Transfer-Encoding: \xa0chunked", []int{501}, ""},
		{"high byte behind", "Transfer-Encoding: chunked\xff", []int{501}, ""},
		{"folded behind", "Transfer-Encoding: chunked\r\n x", []int{501}, ""},
		{"vertical tab", "Transfer-Encoding: \x0bchunked", []int{400}, ""},
		{"form feed", "Transfer-Encoding: chunked\x0c", []int{400}, ""},
		{"NUL", "Transfer-Encoding: chunked\x00", []int{400}, ""},
		{"bare CR before it", "X-A: a\rTransfer-Encoding: chunked", []int{400}, ""},
		{"bare CR behind it", "Transfer-Encoding: chunked\rx", []int{400}, ""},
		{"NUL in the name", "Transfer\x00-Encoding: chunked", []int{400}, ""},
		{"quote in the name", `"Transfer-Encoding": chunked`, []int{400}, ""},
		// Something else, in which no server should see the header: the length counts, the bytes pass.
		{"part of a folded value", "X-A: a\r\n Transfer-Encoding: chunked", []int{200, 401}, " 0\r\n\r\n"},
		{"underscore", "Transfer_Encoding: chunked", []int{200, 401}, " 0\r\n\r\n"},
		{"letter more", "Transfer-Encodings: chunked", []int{200, 401}, " 0\r\n\r\n"},
	} {
		a := attack{name: "PX-14/te " + one.name, send: post("/a", "Content-Length: 5\r\n"+one.line, "0\r\n\r\n"), want: one.want}
		if one.want[0] == 200 {
			a.app = []string{"POST /a" + one.body}
		}
		all = append(all, a)
	}
	all = append(all,
		attack{"PX-14/CL.TE", post("/a", "Content-Length: 6\r\nTransfer-Encoding: chunked", "0\r\n\r\nG"), []int{200}, []string{"POST /a"}},
		attack{"PX-14/TE.CL", post("/a", "Content-Length: 3\r\nTransfer-Encoding: chunked", "8\r\nSMUGGLED\r\n0\r\n\r\n"), []int{200}, []string{"POST /a SMUGGLED"}},
		attack{"PX-14/TE first", post("/a", "Transfer-Encoding: chunked\r\nContent-Length: 3", "8\r\nSMUGGLED\r\n0\r\n\r\n"), []int{200}, []string{"POST /a SMUGGLED"}},
		// What is said before the answer takes nothing from it: the connection ends all the same.
		attack{"PX-14/CL.TE before an early hint", post("/hints", "Content-Length: 6\r\nTransfer-Encoding: chunked", "0\r\n\r\nG"), []int{103, 200}, []string{"POST /hints"}},
		attack{"PX-14/CL.TE and Expect", post("/a", "Expect: 100-continue\r\nContent-Length: 6\r\nTransfer-Encoding: chunked", "0\r\n\r\nG"), []int{100, 200}, []string{"POST /a"}},
		attack{"PX-14/HTTP/1.0 before an early hint", "GET /hints HTTP/1.0\r\n{me}\r\nConnection: keep-alive\r\n\r\n", []int{200}, []string{"GET /hints"}},
		attack{"PX-14/CL.TE of nobody", "POST /a HTTP/1.1\r\n{host}\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", []int{401}, nil},
		attack{"PX-14/TE over HTTP/1.0", "POST /a HTTP/1.0\r\n{me}\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", []int{200}, []string{"POST /a 0\r\n\r\n"}},
		attack{"PX-14/TE over HTTP/1.0, kept alive", "POST /a HTTP/1.0\r\n{me}\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", []int{200}, []string{"POST /a 0\r\n\r\n"}},
	)
	runAll(t, all)
}

// TestBytesContentLength: a length is digits, once.
func TestBytesContentLength(t *testing.T) {
	var all []attack
	for _, one := range []struct {
		name, line string
		want       []int
	}{
		{"spaces around", "Content-Length:   5  ", []int{200, 401}},
		{"zeros before", "Content-Length: 0005", []int{200, 401}},
		{"twice the same", "Content-Length: 5\r\nContent-Length: 5", []int{200, 401}},
		{"folded", "Content-Length:\r\n 5", []int{200, 401}},
		{"two values", "Content-Length: 5, 5", []int{400}},
		{"minus", "Content-Length: -5", []int{400}},
		{"minus nothing", "Content-Length: -0", []int{400}},
		{"hexadecimal", "Content-Length: 0x5", []int{400}},
		{"space within", "Content-Length: 5 0", []int{400}},
		{"folded within", "Content-Length: 5\r\n 0", []int{400}},
		{"underscore within", "Content-Length: 1_0", []int{400}},
		{"exponent", "Content-Length: 5e0", []int{400}},
		{"point", "Content-Length: 5.0", []int{400}},
		{"semicolon", "Content-Length: 5;", []int{400}},
		{"quoted", `Content-Length: "5"`, []int{400}},
		{"empty", "Content-Length:", []int{400}},
		{"other digits", "Content-Length: \u0665", []int{400}},
		{"over 63 bits", "Content-Length: 9223372036854775808", []int{400}},
		{"over 64 bits", "Content-Length: 18446744073709551621", []int{400}},
		{"NUL", "Content-Length: 5\x00", []int{400}},
		{"space before the colon", "Content-Length : 5", []int{400}},
		{"empty and good", "Content-Length:\r\nContent-Length: 5", []int{400}},
	} {
		a := attack{name: "PX-14/cl " + one.name, send: post("/a", one.line, "hello"), want: one.want}
		if one.want[0] == 200 {
			a.app = []string{"POST /a hello"}
		}
		all = append(all, a)
	}
	const inner = "GET /inner HTTP/1.1\r\nHost: x\r\n\r\n"
	for _, method := range []string{"GET", "DELETE", "OPTIONS"} {
		all = append(all, attack{"PX-14/0.CL " + method, method + " /a HTTP/1.1\r\n{me}\r\nContent-Length: 32\r\n\r\n" + inner, []int{200, 401}, []string{method + " /a " + inner}})
	}
	all = append(all,
		attack{"PX-14/0.CL HEAD", "HEAD /a HTTP/1.1\r\n{me}\r\nContent-Length: 32\r\n\r\n" + inner, []int{200, 401}, []string{"HEAD /a " + inner}},
		attack{"PX-14/chunked GET", get("/a", "Transfer-Encoding: chunked\r\n") + "2\r\nhi\r\n0\r\n\r\n", []int{200}, []string{"GET /a hi"}},
		attack{"PX-14/GET of length 0", get("/a", "Content-Length: 0\r\n"), []int{200, 401}, []string{"GET /a"}},
		attack{"PX-14/length for another header", post("/a", "Content_Length: 5", "hello"), []int{200, 401}, []string{"POST /a"}},
		attack{"PX-14/POST without a length", post("/a", "X-A: 1", ""), []int{200, 401}, []string{"POST /a"}},
	)
	runAll(t, all)
}

// TestBytesChunks: the grammar of chunks (RFC 9112, section 7.1). Of extensions and of trailers that
// were not announced nothing goes on.
func TestBytesChunks(t *testing.T) {
	var all []attack
	for _, one := range []struct {
		name, body string
		want       []int
	}{
		{"zeros before", "0005\r\nhello\r\n000\r\n\r\n", []int{200}},
		{"space behind the size", "5 \r\nhello\r\n0\r\n\r\n", []int{200}},
		{"quoted extension", "5;a=\"x;y\"\r\nhello\r\n0;b\r\n\r\n", []int{200}},
		{"trailer that nobody announced", "5\r\nhello\r\n0\r\nX-Auth-Request-User: mallory\r\nContent-Length: 9\r\n\r\n", []int{200}},
		{"space before the size", " 5\r\nhello\r\n0\r\n\r\n", []int{400}},
		{"plus", "+5\r\nhello\r\n0\r\n\r\n", []int{400}},
		{"minus", "-5\r\nhello\r\n0\r\n\r\n", []int{400}},
		{"underscore", "0_5\r\nhello\r\n0\r\n\r\n", []int{400}},
		{"no size", "\r\nhello\r\n0\r\n\r\n", []int{400}},
		{"extension without a size", ";a\r\nhello\r\n0\r\n\r\n", []int{400}},
		{"size over 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n", []int{400}},
		{"size ends in bare LF", "5\nhello\r\n0\r\n\r\n", []int{400}},
		{"bare LF in an extension", "5;a\nhello\r\n0\r\n\r\n", []int{400}},
		{"bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n", []int{400}},
		{"bare CR in the size", "5\rX\r\nhello\r\n0\r\n\r\n", []int{400}},
		{"long extension", "5;" + strings.Repeat("a", 8<<10) + "\r\nhello\r\n0\r\n\r\n", []int{400}},
		{"no end", "5\r\nhello0\r\n\r\n", []int{400}},
		{"wrong end", "5\r\nhelloXX0\r\n\r\n", []int{400}},
		{"ends in bare LF", "5\r\nhello\n0\r\n\r\n", []int{400}},
		{"ends in LF CR", "5\r\nhello\n\r0\r\n\r\n", []int{400}},
		{"trailer without a colon", "5\r\nhello\r\n0\r\nX\r\n\r\n", []int{400}},
		{"trailer with a blank in its name", "5\r\nhello\r\n0\r\nX-Auth-Request-User : mallory\r\n\r\n", []int{200}},
	} {
		a := attack{name: "PX-14/chunk " + one.name, send: post("/a", "Transfer-Encoding: chunked", one.body), want: one.want}
		if one.want[0] == 200 {
			a.app = []string{"POST /a hello"}
		}
		all = append(all, a)
	}
	const end = "5\r\nhello\r\n0\r\n"
	for _, one := range []struct { // the connection ends in any case, since there may have been a length as well
		name, announced, trailer string
		want                     []int
		app                      []string
	}{
		{"identity", "X-Auth-Request-User, X_Auth_Request_Email, Remote-User", "X-Auth-Request-User: mallory\r\nX_Auth_Request_Email: mallory\r\nRemote-User: mallory", []int{200}, []string{"POST /a hello"}},
		{"forwarded", "X-Forwarded-For, X-Real-Ip, Forwarded", "X-Forwarded-For: mallory\r\nX-Real-Ip: mallory\r\nForwarded: for=mallory", []int{200}, []string{"POST /a hello"}},
		{"length", "Content-Length", "Content-Length: 9", []int{400}, nil},
		{"encoding", "Transfer-Encoding", "Transfer-Encoding: chunked", []int{400}, nil},
		{"trailer", "Trailer", "Trailer: x", []int{400}, nil},
		{"host", "Host", "Host: mallory", []int{200}, []string{"POST /a hello"}},
		{"cookie", "Cookie", "Cookie: gate=mallory", []int{200}, []string{"POST /a hello"}},
		{"folded", "X-Sum", "X-Sum: 1\r\n X-Auth-Request-User: mallory", []int{200}, []string{"POST /a hello"}},
	} {
		all = append(all, attack{"ID-01/trailer " + one.name, post("/a", "Transfer-Encoding: chunked\r\nTrailer: "+one.announced, end+one.trailer+"\r\n\r\n"), one.want, one.app})
	}
	runAll(t, all)
}
