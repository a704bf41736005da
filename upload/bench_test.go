//go:build unix

package upload_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
	"github.com/gatehouse-auth/gatehouse/upload"
)

// null is a bucket that takes a file page by page and keeps nothing.
type null struct{ upload.Bucket }

func (null) Put(ctx context.Context, key string, body upload.Body, _ upload.Meta) (upload.Object, error) {
	page, err := body.Pages.Take(ctx)
	if err != nil {
		return upload.Object{}, err
	}
	defer body.Pages.Give(page)
	o := upload.Object{Key: key}
	for {
		n, err := body.Read(page[:])
		o.Size += int64(n)
		if err == io.EOF { //nolint:errorlint // a Body's own
			return o, nil
		}
		if err != nil {
			return o, err
		}
	}
}

// BenchmarkIntake sends files over TCP to an uploader whose bucket keeps nothing, and to a bare loop of
// read and digest beside it: what is between them is what an upload costs beyond its bytes. The client
// and the kernel are in both. Compare the metric cpu-s/GiB.
func BenchmarkIntake(b *testing.B) {
	const size = 256 * mib
	for _, digest := range []upload.Digest{upload.SHA256, upload.NoDigest} {
		uploader := upload.New(upload.Parts{
			Bucket: null{}, Files: storetest.NewMemoryFiles(b, nil), Memory: upload.NewMemory(64 * mib), Install: "bench",
			Limits: upload.Limits{Digest: digest},
			Who: upload.Asking{
				Session: func(context.Context) (auth.Session, bool) { return auth.Session{ID: 1, User: auth.User{ID: 1}}, true },
				Find:    func(context.Context, auth.Key) (auth.Session, error) { return auth.Session{}, nil },
			},
		})
		next, err := uploader.Route("/upload", nil)
		if err != nil {
			b.Fatal(err)
		}
		bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			sum, buf := sha256.New(), make([]byte, mib)
			for {
				n, err := r.Body.Read(buf)
				if digest == upload.SHA256 {
					sum.Write(buf[:n])
				}
				if err != nil {
					break
				}
			}
			w.WriteHeader(http.StatusCreated)
		})
		raw := fmt.Sprintf("PUT /upload/a HTTP/1.1\r\nHost: gw.test\r\nContent-Length: %d\r\n\r\n", size)
		open, end := "--b\r\nContent-Disposition: form-data; name=f; filename=a\r\n\r\n", "\r\n--b--\r\n"
		form := fmt.Sprintf("POST /upload HTTP/1.1\r\nHost: gw.test\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n%s", size+len(open)+len(end), open)
		b.Run(string(digest)+"/bare", func(b *testing.B) { sendMany(b, bare, raw, "", size) })
		b.Run(string(digest)+"/raw", func(b *testing.B) { sendMany(b, next, raw, "", size) })
		b.Run(string(digest)+"/form", func(b *testing.B) { sendMany(b, next, form, end, size) })
	}
}

// sendMany sends a file b.N times on one connection.
func sendMany(b *testing.B, h http.Handler, head, tail string, size int) {
	server := httptest.NewServer(h)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	answers, block := bufio.NewReader(conn), make([]byte, mib)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	before := cpu(b)
	for b.Loop() {
		_, _ = io.WriteString(conn, head)
		for range size / mib {
			_, _ = conn.Write(block)
		}
		_, _ = io.WriteString(conn, tail)
		res, err := http.ReadResponse(answers, nil)
		if err != nil || res.StatusCode != http.StatusCreated {
			b.Fatal(res, err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
	b.ReportMetric((cpu(b)-before).Seconds()/float64(b.N)/float64(size)*(1<<30), "cpu-s/GiB")
}

// cpu is the time that this process has used of all processors.
func cpu(b *testing.B) time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
