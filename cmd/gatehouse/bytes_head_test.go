package main

import (
	"strings"
	"testing"
)

// TestBytesRequestLine: method, target and version (RFC 9112, section 3). A target is a path; all its
// other forms name a host a second time, or ask for a tunnel.
func TestBytesRequestLine(t *testing.T) {
	with := func(line string) string { return line + "\r\n{me}\r\n\r\n" }
	runAll(t, []attack{
		{"PX-14/good", with("GET /a HTTP/1.1"), []int{200, 401}, []string{"GET /a"}},
		{"PX-14/pipeline", get("/a", "") + "GET /b HTTP/1.1\r\n{host}\r\n\r\n" + get("/c", "") + get("/public/d", ""), []int{200, 401, 200, 200, 401}, []string{"GET /a", "GET /c", "GET /public/d"}},
		{"PX-14/pipeline with bodies", post("/a", "Content-Length: 2", "hi") + post("/b", "Content-Length: 3", "you"), []int{200, 200, 401}, []string{"POST /a hi", "POST /b you"}},
		{"PX-14/pipeline of a refused body", "POST /x HTTP/1.1\r\n{host}\r\nContent-Length: 22\r\n\r\nGET /inner HTTP/1.1\r\n\r\n" + get("/a", ""), []int{401}, nil},
		{"PX-14/pipeline behind a fault", with("GET /a b HTTP/1.1") + get("/b", ""), []int{400}, nil},
		{"RULE-12/absolute form of another host", with("GET http://evil.test/a HTTP/1.1"), []int{400, 401}, nil},
		{"RULE-12/absolute form with a user", with("GET http://u@{at}/a HTTP/1.1"), []int{400, 401}, nil},
		{"RULE-12/absolute form, https", with("GET https://{at}/a HTTP/1.1"), []int{400, 401}, nil},
		{"RULE-12/absolute form without a path", with("GET http://{at} HTTP/1.1"), []int{400, 401}, nil},
		{"RULE-12/scheme without a host", with("GET http:/a HTTP/1.1"), []int{400, 401}, nil},
		{"RULE-12/asterisk", with("GET * HTTP/1.1"), []int{400, 401}, nil},
		{"RULE-12/asterisk for OPTIONS", with("OPTIONS * HTTP/1.1"), []int{400, 401}, nil},
		{"RULE-12/authority form", with("GET {at} HTTP/1.1"), []int{400, 401}, nil},
		{"RULE-12/CONNECT", with("CONNECT {at} HTTP/1.1"), []int{400, 401}, nil},
		{"RULE-12/CONNECT to a path", with("CONNECT /a HTTP/1.1"), []int{400, 401}, nil},
		{"RULE-12/CONNECT to a public path", with("CONNECT /public/a HTTP/1.1"), []int{400, 401}, nil},
		{"RULE-12/relative", with("GET a HTTP/1.1"), []int{400}, nil},
		{"RULE-12/query only", with("GET ?a HTTP/1.1"), []int{400}, nil},
		{"RULE-12/backslash", with(`GET \a HTTP/1.1`), []int{400}, nil},
		{"PX-14/no target", with("GET HTTP/1.1"), []int{400}, nil},
		{"PX-14/two blanks before the target", with("GET  /a HTTP/1.1"), []int{400}, nil},
		{"PX-14/two blanks behind the target", with("GET /a  HTTP/1.1"), []int{400}, nil},
		{"PX-14/tab for a blank", with("GET\t/a\tHTTP/1.1"), []int{400}, nil},
		{"PX-14/tab in the target", with("GET /a\tb HTTP/1.1"), []int{400}, nil},
		{"PX-14/NUL in the target", with("GET /a\x00b HTTP/1.1"), []int{400}, nil},
		{"PX-14/bare CR in the target", with("GET /a\rX HTTP/1.1"), []int{400}, nil},
		{"PX-14/vertical tab behind", with("GET /a HTTP/1.1\x0b"), []int{400}, nil},
		{"PX-14/blank behind", with("GET /a HTTP/1.1 "), []int{400}, nil},
		{"PX-14/blank before", with(" GET /a HTTP/1.1"), []int{400}, nil},
		{"PX-14/empty line before", "\r\n" + get("/a", ""), []int{400}, nil},
		{"PX-14/HTTP/0.9", "GET /a\r\n", []int{400}, nil},
		{"PX-14/HTTP/0.9 with lines", with("GET /a"), []int{400}, nil},
		{"PX-14/HTTP/1.0", with("GET /a HTTP/1.0"), []int{200}, []string{"GET /a"}},
		{"PX-14/HTTP/1.0 kept alive", "GET /a HTTP/1.0\r\n{me}\r\nConnection: keep-alive\r\n\r\n", []int{200}, []string{"GET /a"}},
		{"PX-14/HTTP/1.0 of nobody", "GET /a HTTP/1.0\r\n{host}\r\nConnection: keep-alive\r\n\r\n", []int{401}, nil},
		{"PX-14/HTTP/1.0 without a host", "GET /a HTTP/1.0\r\n\r\n", []int{400}, nil},
		{"PX-14/HTTP/1.2", with("GET /a HTTP/1.2"), []int{200, 401}, []string{"GET /a"}},
		{"PX-14/HTTP/2.0", with("GET /a HTTP/2.0"), []int{505}, nil},
		{"PX-14/HTTP/9.9", with("GET /a HTTP/9.9"), []int{505}, nil},
		{"PX-14/HTTP/1.10", with("GET /a HTTP/1.10"), []int{400}, nil},
		{"PX-14/HTTP/1", with("GET /a HTTP/1"), []int{400}, nil},
		{"PX-14/http/1.1", with("GET /a http/1.1"), []int{400}, nil},
		{"PX-14/ICAP", with("GET /a ICAP/1.1"), []int{400}, nil},
		{"PX-14/method in small letters is another", with("get /public/a HTTP/1.1"), []int{200, 401}, []string{"get /public/a"}},
		{"PX-14/unknown method", with("M-SEARCH /a HTTP/1.1"), []int{200, 401}, []string{"M-SEARCH /a"}},
		{"PX-14/TRACE", with("TRACE /a HTTP/1.1"), []int{200, 401}, []string{"TRACE /a"}},
		{"PX-14/method of no token", with("G{T /a HTTP/1.1"), []int{400}, nil},
		{"PX-14/method with a high byte", with("G\xc3\x89T /a HTTP/1.1"), []int{400}, nil},
		{"PX-14/empty method", with(" /a HTTP/1.1"), []int{400}, nil},
		{"SK-01/fragment", with("GET /public/../a#/public HTTP/1.1"), []int{400, 401}, nil},
		{"SK-03/long target", with("GET /" + strings.Repeat("a", 15<<10) + " HTTP/1.1"), []int{200, 401}, []string{"GET /" + strings.Repeat("a", 15<<10)}},
		{"PX-13/longer target", with("GET /" + strings.Repeat("a", 17<<10) + " HTTP/1.1"), []int{414, 401}, nil},
		{"PX-13/line without an end", "GET /" + strings.Repeat("a", 300<<10), []int{431}, nil},
	})
}

// TestBytesHeaderLines: names, values, and which host.
func TestBytesHeaderLines(t *testing.T) {
	runAll(t, []attack{
		{"PX-14/bare LF ends every line", strings.ReplaceAll(get("/a", ""), "\r\n", "\n"), []int{200, 401}, []string{"GET /a"}},
		{"PX-14/bare LF before the body", "POST /a HTTP/1.1\r\n{me}\r\nContent-Length: 2\r\n\nhi", []int{200, 401}, []string{"POST /a hi"}},
		{"PX-14/bare CR ends the head", "GET /a HTTP/1.1\r\n{me}\r\r\n\r\n", []int{400}, nil},
		{"PX-14/no colon", get("/a", "X-A\r\n"), []int{400}, nil},
		{"PX-14/empty name", get("/a", ": x\r\n"), []int{400}, nil},
		{"PX-14/blank in a name", get("/a", "X A: x\r\n"), []int{400}, nil},
		{"PX-14/at sign in a name", get("/a", "X@A: x\r\n"), []int{400}, nil},
		{"PX-14/high byte in a name", get("/a", "X-\xc3\xa9: x\r\n"), []int{400}, nil},
		{"PX-14/control byte in a name", get("/a", "X-\x01: x\r\n"), []int{400}, nil},
		{"PX-14/control byte in a value", get("/a", "X-A: \x01\r\n"), []int{400}, nil},
		{"PX-14/DEL in a value", get("/a", "X-A: \x7f\r\n"), []int{400}, nil},
		{"PX-14/high bytes in a value", get("/a", "X-A: \xff\xfe\r\n"), []int{200, 401}, []string{"GET /a"}},
		{"PX-14/first line folded", "GET /a HTTP/1.1\r\n X-A: 1\r\n{me}\r\n\r\n", []int{400}, nil},
		{"ID-01/no header of its own in a folded value", get("/a", "X-A: 1\r\n X-Auth-Request-User: mallory\r\n"), []int{200, 401}, []string{"GET /a"}},
		{"ID-01/folded with a tab", get("/a", "X-Auth-Request-User:\r\n\tmallory\r\n"), []int{200, 401}, []string{"GET /a"}},
		{"ID-01/behind a bare LF", get("/a", "X-A: 1\nX-Auth-Request-User: mallory\r\n"), []int{200, 401}, []string{"GET /a"}},
		{"ID-01/behind a bare CR", get("/a", "X-A: 1\rX-Auth-Request-User: mallory\r\n"), []int{400}, nil},
		{"ID-01/tab before the colon", get("/a", "X-Auth-Request-User\t: mallory\r\n"), []int{400}, nil},
		{"ID-01/NUL behind the name", get("/a", "X-Auth-Request-User\x00: mallory\r\n"), []int{400}, nil},
		{"ID-01/every spelling", get("/a", "x_auth_request_user: mallory\r\nX.Auth.Request.Email: mallory\r\nX-AUTH_REQUEST-GROUPS: root\r\nREMOTE_USER: mallory\r\nX~Auth~Request~User: mallory\r\nX|Real|Ip: mallory\r\n"), []int{200, 401}, []string{"GET /a"}},
		{"ID-02/on a public page", "GET /public/a HTTP/1.1\r\n{host}\r\nX-Auth-Request-User: mallory\r\nx_auth_request_email: mallory\r\n\r\n", []int{200, 401}, []string{"GET /public/a"}},
		{"ID-01/frames by another name", post("/a", "Content-Length: 2\r\nTransfer_Encoding: chunked\r\nContent.Length: 9\r\nX-A: 1", "hi"), []int{200, 401}, []string{"POST /a hi"}},
		{"RULE-12/hosts that are equal", get("/a", "{host}\r\n"), []int{400}, nil},
		{"RULE-12/second host", get("/a", "Host: evil.test\r\n"), []int{400}, nil},
		{"RULE-12/no host", "GET /a HTTP/1.1\r\nX-A: 1\r\n\r\n", []int{400}, nil},
		{"RULE-12/host with a path", "GET /a HTTP/1.1\r\nHost: {at}/x\r\n\r\n", []int{400}, nil},
		{"RULE-12/host with a user", "GET /a HTTP/1.1\r\nHost: x@{at}\r\n\r\n", []int{400}, nil},
		{"RULE-12/host with a query", "GET /a HTTP/1.1\r\nHost: {at}?x\r\n\r\n", []int{400}, nil},
		{"RULE-12/host with a blank before its colon", "GET /a HTTP/1.1\r\nHost : {at}\r\n\r\n", []int{400}, nil},
		{"RULE-12/host folded", "GET /a HTTP/1.1\r\nHost: {at}\r\n x\r\n\r\n", []int{400}, nil},
		{"RULE-12/host with a NUL", "GET /a HTTP/1.1\r\nHost: {at}\x00\r\n\r\n", []int{400}, nil},
		{"RULE-12/host of a stranger", "GET /a HTTP/1.1\r\nHost: evil.test\r\n\r\n", []int{404, 401}, nil},
		{"RULE-12/host by another name", get("/a", "X-Forwarded-Host: evil.test\r\nX-Host: evil.test\r\nForwarded: host=evil.test\r\n"), []int{200, 401}, []string{"GET /a"}},
		{"PX-14/Connection names identity", get("/a", "Connection: X-Auth-Request-User, X-Auth-Request-Email, X-Forwarded-For\r\n"), []int{200, 401}, []string{"GET /a"}},
		{"PX-14/Connection names Host", get("/a", "Connection: Host\r\n"), []int{200, 401}, []string{"GET /a"}},
		{"PX-14/Connection names Cookie", get("/a", "Connection: Cookie\r\n"), []int{200, 401}, []string{"GET /a"}},
		{"PX-14/Connection names Content-Length", post("/a", "Connection: Content-Length\r\nContent-Length: 2", "hi"), []int{200, 401}, []string{"POST /a hi"}},
		{"PX-14/Connection names Transfer-Encoding", post("/a", "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked", "2\r\nhi\r\n0\r\n\r\n"), []int{200}, []string{"POST /a hi"}},
		{"PX-14/Connection: close", get("/a", "Connection: close\r\n"), []int{200}, []string{"GET /a"}},
		{"PX-14/Proxy-Connection", get("/a", "Proxy-Connection: close\r\nKeep-Alive: x\r\n"), []int{200, 401}, []string{"GET /a"}},
	})
}

// TestBytesExpectAndUpgrade: what asks for a talk in several steps, or in another language. No bytes
// behind it are ever taken for part of it unless the app agreed to a WebSocket.
func TestBytesExpectAndUpgrade(t *testing.T) {
	const socket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
	runAll(t, []attack{
		{"PX-09/expect", post("/a", "Expect: 100-continue\r\nContent-Length: 2", "hi"), []int{100, 200, 401}, []string{"POST /a hi"}},
		{"PX-09/expect in another case", post("/a", "Expect: 100-CONTINUE\r\nContent-Length: 2", "hi"), []int{100, 200, 401}, []string{"POST /a hi"}},
		{"PX-09/expect of nobody", "POST /a HTTP/1.1\r\n{host}\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi", []int{401}, nil},
		{"PX-09/expect something else", post("/a", "Expect: a cake\r\nContent-Length: 2", "hi"), []int{417}, nil},
		{"PX-09/expect without a body", get("/a", "Expect: 100-continue\r\n"), []int{200, 401}, []string{"GET /a"}},
		{"PX-09/expect folded", post("/a", "Expect:\r\n 100-continue\r\nContent-Length: 2", "hi"), []int{100, 200, 401}, []string{"POST /a hi"}},
		{"PX-04/h2c", get("/a", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"), []int{200, 401}, []string{"GET /a"}},
		{"PX-04/h2c with a body", post("/a", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: 2", "hi"), []int{200, 401}, []string{"POST /a hi"}},
		{"PX-04/h2c and the preface behind", get("/a", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n") + "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{200, 400}, []string{"GET /a"}},
		{"PX-04/other protocol", get("/a", "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n"), []int{200, 401}, []string{"GET /a"}},
		{"PX-04/several protocols", get("/a", "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n"), []int{200, 401}, []string{"GET /a"}},
		{"PX-04/upgrade not in Connection", get("/a", "Upgrade: websocket\r\n"), []int{200, 401}, []string{"GET /a"}},
		{"PX-04/the app declines", get("/a", socket), []int{200, 401}, []string{"GET /a"}},
		{"PX-04/the app declines a wrong version", get("/a", strings.Replace(socket, "13", "777", 1)), []int{200, 401}, []string{"GET /a"}},
		{"PX-04/nobody", "GET /ws HTTP/1.1\r\n{host}\r\n" + socket + "\r\n", []int{401, 401}, nil},
		{"PX-04/POST", post("/a", socket+"Content-Length: 2", "hi"), []int{200, 401}, []string{"POST /a hi"}},
		{"PX-04/GET with a body", get("/a", socket+"Content-Length: 2\r\n") + "hi", []int{200, 401}, []string{"GET /a hi"}},
		{"PX-04/HTTP/1.0", "GET /ws HTTP/1.0\r\n{me}\r\n" + socket + "\r\n", []int{502}, []string{"GET /ws"}},
		{"PX-04/agreed, with bytes behind", get("/ws", socket), []int{101}, []string{"GET /ws"}},
	})
}
