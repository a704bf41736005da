package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// S3Front stands before a server and lets requests fail on command, before the server sees them, on
// the way, or on the way back. It passes on the rest unchanged, with the Host that was signed.
type S3Front struct {
	Endpoint string

	mu    sync.Mutex
	rules []*rule
	seen  []string
	over  chan struct{} // closed when the test ends: nobody hangs longer
}

// Fault deals with one request instead of next, or with its help.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

type rule struct {
	op    string // empty: any
	skip  int    // so many go through first
	left  int    // so many are met after that; below zero: all
	fault Fault
}

// Front puts one before s.
func Front(t testing.TB, s *S3Server) *S3Front {
	t.Helper()
	target, err := url.Parse(s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	f := &S3Front{over: make(chan struct{})}
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}
	proxy := &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host },
		Transport:    transport,
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.serve(w, r, proxy) }))
	f.Endpoint = front.URL
	t.Cleanup(func() {
		close(f.over)
		front.CloseClientConnections()
		front.Close()
		transport.CloseIdleConnections()
	})
	return f
}

// On lets fault meet the next n requests of an operation (below zero: all of them; an empty op: of any)
// after skip more. What an earlier call said of them comes first.
func (f *S3Front) On(op string, skip, n int, fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, &rule{op: op, skip: skip, left: n, fault: fault})
}

// Seen counts the requests of an operation that have come.
func (f *S3Front) Seen(op string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, have := range f.seen {
		if have == op {
			n++
		}
	}
	return n
}

func (f *S3Front) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	// Whoever hangs lets go at the end of the test.
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() {
		select {
		case <-f.over:
			cancel()
		case <-ctx.Done():
		}
	}()
	if fault := f.pick(operation(r)); fault != nil {
		fault(w, r.WithContext(ctx), next)
		return
	}
	next.ServeHTTP(w, r)
}

func (f *S3Front) pick(op string) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = append(f.seen, op)
	for _, rule := range f.rules {
		switch {
		case rule.op != "" && rule.op != op, rule.left == 0:
		case rule.skip > 0:
			rule.skip--
		default:
			rule.left--
			return rule.fault
		}
	}
	return nil
}

// operation names a request as the protocol does.
func operation(r *http.Request) string {
	q := r.URL.Query()
	_, key, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case q.Has("uploads") && r.Method == http.MethodPost:
		return "CreateMultipartUpload"
	case q.Has("uploads"):
		return "ListMultipartUploads"
	case q.Has("uploadId"):
		return map[string]string{
			http.MethodPut: "UploadPart", http.MethodPost: "CompleteMultipartUpload", http.MethodDelete: "AbortMultipartUpload",
			http.MethodGet: "ListParts",
		}[r.Method]
	case key == "":
		return "ListObjectsV2"
	}
	return map[string]string{
		http.MethodPut: "PutObject", http.MethodGet: "GetObject", http.MethodHead: "HeadObject", http.MethodDelete: "DeleteObject",
	}[r.Method]
}

// Refuse answers with a status and a code of S3's, after reading the request.
func Refuse(status int, code string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>on command</Message></Error>`, code)
	}
}

// Hang reads the request and never answers.
func Hang(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}

// Stall is as slow as told, and then does its work.
func Stall(d time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		select {
		case <-time.After(d):
		case <-r.Context().Done():
		}
		next.ServeHTTP(w, r)
	}
}

// Reset breaks the connection in the middle of a request's body.
func Reset(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	_, _ = io.CopyN(io.Discard, r.Body, r.ContentLength/2)
	hangUp(w)
}

// Lose lets the server do its work, and loses the answer.
func Lose(w http.ResponseWriter, r *http.Request, next http.Handler) {
	next.ServeHTTP(httptest.NewRecorder(), r)
	hangUp(w)
}

// hangUp resets the connection.
func hangUp(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// Flip changes one byte of the body on the way.
func Flip(w http.ResponseWriter, r *http.Request, next http.Handler) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	body[len(body)/2] ^= 0x40
	r.Body = io.NopCloser(bytes.NewReader(body))
	next.ServeHTTP(w, r)
}

// Shorten drops the second half of a body, and hides that from a server that checks nothing. The
// answer is the server's: 200.
func Shorten(w http.ResponseWriter, r *http.Request, next http.Handler) {
	r.ContentLength /= 2
	r.Header.Set("Content-Length", fmt.Sprint(r.ContentLength))
	r.Body = io.NopCloser(io.LimitReader(r.Body, r.ContentLength))
	next.ServeHTTP(w, r)
}

// ErrorIn200 says 200 and means an error, as S3 may where it answers before it is done.
func ErrorIn200(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	Refuse(http.StatusOK, "InternalError")(w, r, nil)
}

// WithoutTrailers is a server that does not know bodies in pieces with something behind them.
func WithoutTrailers(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if r.Header.Get("X-Amz-Trailer") != "" || strings.Contains(r.Header.Get("Content-Encoding"), "aws-chunked") || len(r.TransferEncoding) > 0 {
		Refuse(http.StatusNotImplemented, "NotImplemented")(w, r, nil)
		return
	}
	next.ServeHTTP(w, r)
}

// WithoutChecksums is a server that refuses headers about checksums because it does not know them.
func WithoutChecksums(w http.ResponseWriter, r *http.Request, next http.Handler) {
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Amz-Checksum") || strings.HasPrefix(name, "X-Amz-Sdk-Checksum") {
			Refuse(http.StatusNotImplemented, "NotImplemented")(w, r, nil)
			return
		}
	}
	next.ServeHTTP(w, r)
}

// WithChecksums is a server that takes no bytes without a checksum, as buckets with Object Lock do.
func WithChecksums(w http.ResponseWriter, r *http.Request, next http.Handler) {
	names := []string{"Content-Md5", "X-Amz-Checksum-Crc32c", "X-Amz-Checksum-Sha256"}
	if !slices.ContainsFunc(names, func(name string) bool { return r.Header.Get(name) != "" }) {
		Refuse(http.StatusBadRequest, "InvalidRequest")(w, r, nil)
		return
	}
	next.ServeHTTP(w, r)
}

// Slowly takes at most so many bytes a second, shared by all requests that it meets.
func Slowly(perSecond int) Fault {
	const step = 16 << 10
	turn := time.NewTicker(time.Second * step / time.Duration(perSecond))
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		body := r.Body
		r.Body = readFunc(func(p []byte) (int, error) {
			select {
			case <-turn.C:
			case <-r.Context().Done():
				return 0, errors.New("the test is over")
			}
			return body.Read(p[:min(len(p), step)])
		})
		next.ServeHTTP(w, r)
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func (f readFunc) Close() error { return nil }
