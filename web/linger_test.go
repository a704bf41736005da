package web_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/web"
)

// UP-12 f: a client that sends its whole body before it looks for an answer reads the answer, and no
// reset, whatever the length of the body is said to be and whether a part of it was read.
func TestRefusalIsReadableWhileSending(t *testing.T) {
	const size = 16 << 20
	for name, head := range map[string]string{
		"of known length": fmt.Sprintf("Content-Length: %d\r\n\r\n", size),
		"chunked":         fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", size),
	} {
		for _, read := range []int64{0, 1 << 20} {
			t.Run(fmt.Sprintf("UP-12/f: %s, %d bytes read", name, read), func(t *testing.T) {
				server := httptest.NewServer(web.Recorder{}.Wrap(web.Handler(func(_ http.ResponseWriter, r *http.Request) error {
					_, _ = io.CopyN(io.Discard, r.Body, read)
					return web.Fail(http.StatusForbidden, "Not you.", nil)
				})))
				defer server.Close()
				conn, err := net.Dial("tcp", server.Listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
				_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: gw.test\r\n"+head)
				for range size >> 20 {
					if _, err := conn.Write(make([]byte, 1<<20)); err != nil {
						t.Fatalf("the connection broke while the client was sending: %v", err)
					}
					time.Sleep(50 * time.Millisecond) // the answer is long there, and so is the end of half a second's grace
				}
				res, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatalf("read the answer: %v", err)
				}
				defer res.Body.Close()
				text, err := io.ReadAll(res.Body)
				if err != nil || res.StatusCode != http.StatusForbidden || !strings.Contains(string(text), "Not you.") {
					t.Errorf("the answer is %d %s, %v, want all of a 403", res.StatusCode, text, err)
				}
			})
		}
	}
}
