package main

import "testing"

// TestBytesOfChecks: the subject of a check is bytes, too. A front proxy is believed, and what it hands on
// of its client's request line is not: whatever could be read as two lines, two requests or another
// address gets no yes, and the answer stays one well framed answer.
func TestBytesOfChecks(t *testing.T) {
	s := newStage(t, "stdlib", `, trusted_proxies: [{from: 127.0.0.1, headers: [for, proto, host, uri, method]}]`)
	s.stop()
	s.edit("proxy: {", "forward_auth: [nginx, traefik, envoy]\nproxy: {")
	s.serve()
	nginx := func(url string) string {
		return get("/_gate/check/nginx", "X-Original-Method: GET\r\nX-Original-URL: "+url+"\r\n")
	}
	traefik := func(uri string) string {
		return get("/_gate/check/traefik", "X-Forwarded-Method: GET\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: {at}\r\nX-Forwarded-Uri: "+uri+"\r\n")
	}
	for _, a := range []attack{
		{"FA-05/good nginx", nginx("http://{at}/a"), []int{200, 401}, nil},
		{"FA-05/good traefik", traefik("/a"), []int{200, 401}, nil},
		{"FA-05/good envoy", get("/_gate/check/envoy/a", ""), []int{200, 401}, nil},
		{"FA-05/encoded CR LF", traefik("/a%0d%0aX-Auth-Request-User:%20mallory"), []int{400, 401}, nil},
		{"FA-05/encoded CR LF for nginx", nginx("http://{at}/a%0d%0aX:%20y"), []int{403, 401}, nil},
		{"FA-05/CR LF encoded twice", traefik("/a%250d%250aX"), []int{400, 401}, nil},
		{"FA-05/encoded CR LF in the query passes as it is", traefik("/a?x=%0d%0aX:%20y"), []int{200, 401}, nil},
		{"FA-05/raw CR", traefik("/a\rX"), []int{400}, nil},
		{"FA-05/raw NUL", traefik("/a\x00X"), []int{400}, nil},
		{"FA-05/raw LF makes another header", traefik("/a\nX-Auth-Request-Email: mallory"), []int{200, 401}, nil},
		{"FA-05/folded", traefik("/a\r\n /public"), []int{400, 401}, nil},
		{"FA-05/folded with a tab", traefik("/a\r\n\t/public"), []int{400, 401}, nil},
		{"FA-05/request line within", traefik("/a HTTP/1.1"), []int{400, 401}, nil},
		{"FA-05/request line within for nginx", nginx("http://{at}/a HTTP/1.1"), []int{403, 401}, nil},
		{"FA-05/tab within", traefik("/a\tb"), []int{400, 401}, nil},
		{"FA-05/absolute", traefik("http://evil.test/a"), []int{400, 401}, nil},
		{"FA-05/host with a CR LF", get("/_gate/check/traefik", "X-Forwarded-Method: GET\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: {at}%0d%0aX\r\nX-Forwarded-Uri: /a\r\n"), []int{400, 401}, nil},
		{"FA-05/body in chunks", "POST /_gate/check/traefik HTTP/1.1\r\n{me}\r\nTransfer-Encoding: chunked\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: {at}\r\nX-Forwarded-Uri: /a\r\n\r\n0\r\n\r\n", []int{200}, nil},
		{"FA-05/CL.TE", "GET /_gate/check/envoy/a HTTP/1.1\r\n{me}\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", []int{200}, nil},
		{"FA-05/CONNECT", "CONNECT /_gate/check/envoy/a HTTP/1.1\r\n{me}\r\n\r\n", []int{400, 401}, nil},
	} {
		t.Run(a.name, func(t *testing.T) { s.run(t, a) })
	}
}
