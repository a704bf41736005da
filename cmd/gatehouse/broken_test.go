package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// PX-10: in a whole gateway, too, an answer that breaks off looks broken to a client of HTTP/1.0, for which
// the end of the connection is the end of the answer: nginx would keep half an answer for a whole one.
func TestBrokenOffInAWholeGateway(t *testing.T) {
	for name, secure := range map[string]bool{"PX-10/plain": false, "PX-10/TLS": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.answer(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprint(w, "begin")
				_ = http.NewResponseController(w).Flush()
				if r.URL.Path == "/breaks" {
					panic(http.ErrAbortHandler)
				}
			})
			r.edit(fmt.Sprintf("upstream: %q}", r.app.URL), fmt.Sprintf("upstream: %q, public: true}", r.app.URL))
			dial := func() (net.Conn, error) { return net.Dial("tcp", r.host()) }
			if secure {
				(&frontRig{rig: r}).certificates(r.dir)
				r.edit("server: {", fmt.Sprintf("server: {tls: {cert_file: \"%[1]s/%[2]s.crt\", key_file: \"%[1]s/%[2]s.key\"}, ", r.dir, wiki))
				dial = func() (net.Conn, error) {
					return tls.Dial("tcp", r.host(), &tls.Config{InsecureSkipVerify: true})
				}
			}
			r.start()
			get := func(path string) (string, error) {
				conn, err := dial()
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(bytesHang))
				fmt.Fprintf(conn, "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n", path, r.host())
				text, err := io.ReadAll(conn)
				return string(text), err
			}
			if text, err := get("/whole"); err != nil || !strings.HasSuffix(text, "begin") {
				t.Errorf("a whole answer: %q, %v", text, err)
			}
			if text, err := get("/breaks"); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("half an answer looks whole: %q", text)
			}
		})
	}
}
