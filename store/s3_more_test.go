package store_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
	"github.com/gatehouse-auth/gatehouse/upload"
)

func TestS3SelfTest(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.S3(t), quick)
	if err := r.SelfTest(t.Context()); err != nil {
		t.Errorf("SelfTest: %v", err)
	}
	r.clean(t)
	if err := openDir(t, t.TempDir()).SelfTest(t.Context()); err != nil {
		t.Errorf("SelfTest of a directory: %v", err)
	}
	denied := storetest.Refuse(http.StatusForbidden, "AccessDenied")
	for _, c := range []struct {
		op   string
		says string
	}{
		{"PutObject", "put: "},
		{"GetObject", "open: "},
		{"DeleteObject", "delete: "},
		{"ListMultipartUploads", "delete: "},
		{"CreateMultipartUpload", "with an object of 5242881 bytes: put: "},
		{"UploadPart", "with an object of 5242881 bytes: put: "},
		{"CompleteMultipartUpload", "with an object of 5242881 bytes: put: "},
	} {
		t.Run(c.op, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, storetest.S3(t), quick)
			r.front.On(c.op, 0, -1, denied)
			if err := r.SelfTest(t.Context()); err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "mend the policy") {
				t.Errorf("SelfTest = %v; want one that says %q and what to mend", err, c.says)
			}
		})
	}
}

// TestS3Presign: RULE-25. The server itself hands out the object, as a download, to who has the address.
func TestS3Presign(t *testing.T) {
	t.Parallel()
	server := storetest.S3(t)
	public := storetest.Front(t, server)
	b := openS3(t, server, func(c *store.S3Config) { c.Prefix, c.PublicEndpoint = "p", public.Endpoint })
	r := rig{S3: b, server: server}
	if err := r.put(t.Context(), t, "i/page", small); err != nil {
		t.Fatal(err)
	}
	address, err := b.Presign(t.Context(), "i/page", `a "b"; ü.html`)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(address, public.Endpoint+"/") || strings.Contains(address, storetest.S3SecretKey) {
		t.Errorf("Presign = %s, want an address at %s", address, public.Endpoint)
	}
	status, h := get(t, address)
	if status != http.StatusOK || h.Get("Content-Type") != "application/octet-stream" || h.Get("Content-Disposition") != upload.Disposition(`a "b"; ü.html`) {
		t.Errorf("the address answers %d, %v", status, h)
	}
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	if got := parsed.Query().Get("X-Amz-Expires"); got != "60" {
		t.Errorf("it is good for %s seconds, want 60", got)
	}
	q := parsed.Query()
	q.Set("response-content-type", "text/html")
	parsed.RawQuery = q.Encode()
	if status, _ := get(t, parsed.String()); status != http.StatusForbidden {
		t.Errorf("with another content type it answers %d", status)
	}
}

func get(t *testing.T, address string) (int, http.Header) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header
}

// TestS3Care: encryption and storage class are asked for with every object, in one part or several.
func TestS3Care(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var asked []http.Header
	null := new(storetest.NullS3)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.URL.Query().Has("uploads") || r.Method == http.MethodPut && !r.URL.Query().Has("uploadId") {
			mu.Lock()
			asked = append(asked, r.Header.Clone())
			mu.Unlock()
		}
		null.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	r := rig{S3: openS3(t, &storetest.S3Server{Endpoint: server.URL}, func(c *store.S3Config) {
		c.SSE, c.KMSKey, c.StorageClass = "aws:kms", "key-7", "STANDARD_IA"
	})}
	for _, size := range []int64{small, large} {
		if err := r.put(t.Context(), t, "x", size); err != nil {
			t.Fatal(err)
		}
	}
	if len(asked) != 2 {
		t.Fatalf("%d objects were begun, want 2", len(asked))
	}
	for _, h := range asked {
		for name, want := range map[string]string{
			"X-Amz-Server-Side-Encryption": "aws:kms", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": "key-7", "X-Amz-Storage-Class": "STANDARD_IA",
			"Expect": "", "X-Amz-Trailer": "", "Content-Encoding": "",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
	}
}

func TestS3Config(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		config store.S3Config
		says   string
	}{
		{store.S3Config{}, "name of the bucket"},
		{store.S3Config{Bucket: "b", AccessKey: "x"}, "secret key"},
		{store.S3Config{Bucket: "b", SecretKey: "hush-hush"}, "access key"},
		{store.S3Config{Bucket: "b", SSE: "AES512"}, "AES512"},
		{store.S3Config{Bucket: "b", SSE: "AES256", KMSKey: "k"}, "KMS"},
		{store.S3Config{Bucket: "b", Checksum: "md5"}, "md5"},
		{store.S3Config{Bucket: "b", Slots: -1}, "negative"},
		{store.S3Config{Bucket: "b", CAFile: "/nonexistent/ca.pem"}, "ca.pem"},
	} {
		_, err := store.NewS3(t.Context(), c.config)
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hush-hush") {
			t.Errorf("NewS3(%+v) = %v, want one that says %q", c.config, err, c.says)
		}
	}
	b, err := store.NewS3(t.Context(), store.S3Config{Bucket: "b", Prefix: "/p/q/", AccessKey: "x", SecretKey: "y"})
	if err != nil || b.Name() != "s3://b/p/q" {
		t.Errorf("Name = %v, %v", b.Name(), err)
	}
}

// TestS3OpenStall: a download fails when the server goes silent in its middle, and not because it is
// the reader who takes his time.
func TestS3OpenStall(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.S3(t), func(c *store.S3Config) { c.Patience = 2 * time.Second })
	if err := r.put(t.Context(), t, "x", small); err != nil {
		t.Fatal(err)
	}
	f, _, err := r.Open(t.Context(), "x", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, f, 10); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2500 * time.Millisecond) // longer than the patience
	if n, err := io.Copy(io.Discard, f); err != nil || n != small-10 {
		t.Errorf("a slow reader got %d bytes more, %v", n, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	r.front.On("GetObject", 0, 1, func(w http.ResponseWriter, req *http.Request, _ http.Handler) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte("half"))
		_ = http.NewResponseController(w).Flush()
		<-req.Context().Done()
	})
	f, _, err = r.Open(t.Context(), "x", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, f); n != 4 || !errors.Is(err, upload.ErrUnavailable) {
		t.Errorf("from a silent server came %d bytes, %v", n, err)
	}
	_ = f.Close()
	before := r.front.Seen("GetObject")
	r.front.On("GetObject", 0, -1, storetest.Hang)
	if _, _, err := r.Open(t.Context(), "x", 0, -1); !errors.Is(err, upload.ErrUnavailable) {
		t.Errorf("Open of a silent server = %v, want ErrUnavailable", err)
	}
	if n := r.front.Seen("GetObject") - before; n > 3 {
		t.Errorf("a silent server was asked %d times, while somebody waited", n)
	}
}

// TestS3Silence: a server that says nothing at all is not asked to clean up as well, while whoever sends
// still waits for his answer (UP-11).
func TestS3Silence(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int64{"UP-11 one part": small, "UP-11 begin": large} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, storetest.S3(t), func(c *store.S3Config) { c.Patience = time.Second })
			r.front.On("", 0, -1, storetest.Hang)
			if err := r.put(t.Context(), t, "x", size); !errors.Is(err, upload.ErrUnavailable) {
				t.Errorf("Put = %v, want ErrUnavailable", err)
			}
			if n := r.front.Seen("DeleteObject"); n > 0 {
				t.Errorf("it was asked %d times to delete", n)
			}
		})
	}
}

// TestS3Observe: every attempt is told of, with a name out of a fixed set.
func TestS3Observe(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[[3]string]int{}
	r := newRig(t, storetest.S3(t), func(c *store.S3Config) {
		c.Observe = func(tier, op, result string, d time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			seen[[3]string{tier, op, result}]++
			if d <= 0 {
				t.Errorf("%s took %v", op, d)
			}
		}
	})
	r.front.On("PutObject", 0, 2, storetest.Refuse(http.StatusServiceUnavailable, "SlowDown"))
	if err := r.put(t.Context(), t, "x", small); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Stat(t.Context(), "none"); !errors.Is(err, upload.ErrNoObject) {
		t.Fatal(err)
	}
	want := map[[3]string]int{{"s3", "PutObject", "error"}: 2, {"s3", "PutObject", "ok"}: 1, {"s3", "HeadObject", "none"}: 1}
	mu.Lock()
	defer mu.Unlock()
	for key, n := range want {
		if seen[key] != n {
			t.Errorf("%v was told of %d times, want %d; all: %v", key, seen[key], n, seen)
		}
	}
}
