package store_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
	"github.com/gatehouse-auth/gatehouse/upload"
)

// rig is a bucket on a real server, with a front that fails on command.
type rig struct {
	*store.S3
	front  *storetest.S3Front
	server *storetest.S3Server
}

// quick waits less for a silent server than is good in the field, and long enough for a busy machine.
func quick(c *store.S3Config) { c.Patience = 4 * time.Second }

func newRig(t *testing.T, server *storetest.S3Server, edit ...func(*store.S3Config)) rig {
	t.Helper()
	front := storetest.Front(t, server)
	edit = append(slices.Clone(edit), func(c *store.S3Config) { c.Endpoint = front.Endpoint })
	return rig{S3: openS3(t, server, edit...), front: front, server: server}
}

// file is size bytes, the same for the same size.
func file(size int64) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(size), byte(size >> 8), byte(size >> 16)}).Read(b)
	return b
}

// put puts size bytes, which may have more parts than one.
func (r rig) put(ctx context.Context, t testing.TB, key string, size int64) error {
	t.Helper()
	return r.putBody(ctx, t, key, strings.NewReader(string(file(size))), size)
}

func (r rig) putBody(ctx context.Context, t testing.TB, key string, body io.Reader, size int64) error {
	t.Helper()
	lease, err := upload.NewMemory(4*s3Part).Admit(t.Context(), 1, s3Part)
	if err != nil {
		t.Error(err)
		return err
	}
	o, err := r.Put(ctx, key, upload.Body{Reader: body, Bound: size, Part: s3Part, Pages: lease}, upload.Meta{ID: "x"})
	if err == nil && o.Size != size {
		t.Errorf("Put tells of %d bytes, want %d", o.Size, size)
	}
	if closed := lease.Close(); closed != nil {
		t.Errorf("Put kept pages: %v", closed)
	}
	return err
}

// holds demands that the server itself has a file of size bytes, unchanged.
func (r rig) holds(t testing.TB, key string, size int64) {
	t.Helper()
	if got := r.server.Content(t, key); sha256.Sum256(got) != sha256.Sum256(file(size)) {
		t.Errorf("the server holds %d bytes that are not those that were put", len(got))
	}
}

func (r rig) clean(t testing.TB) {
	t.Helper()
	if left := r.server.Left(t); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

const (
	small = 100_000        // one part
	large = 3*s3Part + 100 // four
)

// TestS3Recovers: what is over soon costs time, and the bytes are what they were.
func TestS3Recovers(t *testing.T) {
	t.Parallel()
	server := storetest.S3(t)
	slowDown := storetest.Refuse(http.StatusServiceUnavailable, "SlowDown")
	for i, c := range []struct {
		name    string
		op      string
		skip, n int
		fault   storetest.Fault
		size    int64
	}{
		{"UP-11 a part gets 503 twice", "UploadPart", 2, 2, slowDown, large},
		{"UP-11 PutObject gets 503 twice", "PutObject", 0, 2, slowDown, small},
		{"UP-02 a small file gets 500", "PutObject", 0, 1, storetest.Refuse(500, "InternalError"), 1},
		{"UP-02 an empty file gets 500", "PutObject", 0, 1, storetest.Refuse(500, "InternalError"), 0},
		{"UP-11 a reset in a part", "UploadPart", 1, 2, storetest.Reset, large},
		{"UP-11 a reset in PutObject", "PutObject", 0, 2, storetest.Reset, small},
		{"UP-11 a part is not answered", "UploadPart", 1, 1, storetest.Hang, large},
		{"UP-11 a part stalls, less than the patience", "UploadPart", 0, 1, storetest.Stall(500 * time.Millisecond), large},
		{"UP-11 a part stalls for longer", "UploadPart", 0, 1, storetest.Stall(5 * time.Second), large},
		{"UP-11 the answer to a part is lost", "UploadPart", 1, 1, storetest.Lose, large},
		{"UP-11 Complete gets 503 twice", "CompleteMultipartUpload", 0, 2, slowDown, large},
		{"UP-11 Complete says 200 and means an error, once", "CompleteMultipartUpload", 0, 1, storetest.ErrorIn200, large},
		{"RULE-26 the answer to Complete is lost", "CompleteMultipartUpload", 0, 1, storetest.Lose, large},
		{"RULE-26 every answer to Complete is lost", "CompleteMultipartUpload", 0, -1, storetest.Lose, large},
		{"RULE-26 the answer to PutObject is lost", "PutObject", 0, 1, storetest.Lose, small},
		{"RULE-26 every answer to PutObject is lost", "PutObject", 0, -1, storetest.Lose, small},
		{"RULE-26 every answer for an empty file is lost", "PutObject", 0, -1, storetest.Lose, 0},
		{"UP-09 d a byte is flipped in a part", "UploadPart", 1, 1, storetest.Flip, large},
		{"UP-09 d a byte is flipped in PutObject", "PutObject", 0, 1, storetest.Flip, small},
		{"UP-09 a no trailers, no aws-chunked", "", 0, -1, storetest.WithoutTrailers, large},
		{"UP-09 a an old server without checksums", "", 0, -1, storetest.WithoutChecksums, large},
		{"UP-09 a a small file on an old server", "", 0, -1, storetest.WithoutChecksums, small},
		{"UP-09 c PutObject demands a checksum", "PutObject", 0, -1, storetest.WithChecksums, small},
		{"UP-09 c UploadPart demands a checksum", "UploadPart", 0, -1, storetest.WithChecksums, large},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, server, quick)
			r.front.On(c.op, c.skip, c.n, c.fault)
			key := fmt.Sprintf("recovers/%d", i)
			if err := r.put(t.Context(), t, key, c.size); err != nil {
				t.Fatalf("Put: %v", err)
			}
			r.holds(t, key, c.size)
			if begun := r.front.Seen("CreateMultipartUpload"); c.size == small && begun != 0 {
				t.Errorf("%d uploads by parts were begun for a file of one part", begun)
			}
		})
	}
	t.Cleanup(func() {
		for _, left := range server.Left(t) {
			if strings.HasPrefix(left, "unfinished") {
				t.Errorf("left behind: %s", left)
			}
		}
	})
}

// TestS3Fails: what is not over soon is an error of the right kind, and nothing is left.
func TestS3Fails(t *testing.T) {
	t.Parallel()
	broken := storetest.Refuse(http.StatusInternalServerError, "InternalError")
	denied := storetest.Refuse(http.StatusForbidden, "AccessDenied")
	for _, c := range []struct {
		name  string
		op    string
		skip  int
		fault storetest.Fault
		size  int64
		soon  bool   // upload.ErrUnavailable: 503 and not 502
		says  string // what the private cause must name
	}{
		{"UP-11 permanent 500, small", "PutObject", 0, broken, small, true, ""},
		{"UP-11 permanent 500, begin", "CreateMultipartUpload", 0, broken, large, true, ""},
		{"UP-11 permanent 500, part", "UploadPart", 2, broken, large, true, "send part"},
		{"UP-11 permanent 500, complete", "CompleteMultipartUpload", 0, broken, large, true, ""},
		{"UP-11 hang", "PutObject", 0, storetest.Hang, small, true, ""},
		{"UP-11 hang, part", "UploadPart", 0, storetest.Hang, large, true, ""},
		{"UP-11 Complete says 200 and means an error", "CompleteMultipartUpload", 0, storetest.ErrorIn200, large, true, "complete"},
		{"UP-09 d every byte is flipped", "UploadPart", 0, storetest.Flip, large, false, "send part"},
		{"UP-11 access denied", "PutObject", 0, denied, small, false, "mend the policy"},
		{"UP-11 access denied, part", "UploadPart", 1, denied, large, false, "mend the policy"},
		{"UP-11 clock skew", "PutObject", 0, storetest.Refuse(http.StatusForbidden, "RequestTimeTooSkewed"), small, false, "set the clock"},
		{"UP-11 wrong region", "PutObject", 0, storetest.Refuse(http.StatusMovedPermanently, "PermanentRedirect"), small, false, "mend region or endpoint"},
		{"UP-11 a wrong secret", "PutObject", 0, storetest.Refuse(http.StatusForbidden, "SignatureDoesNotMatch"), small, false, "secret key"},
		{"UP-11 an unknown key", "PutObject", 0, storetest.Refuse(http.StatusNotFound, "XAdminUserNotFound"), small, false, "mend the credentials"},
		{"UP-11 an unknown key, begin", "CreateMultipartUpload", 0, storetest.Refuse(http.StatusNotFound, "XAdminUserNotFound"), large, false, "mend the credentials"},
		{"UP-11 an endless answer", "UploadPart", 0, babble(http.StatusForbidden), large, false, "UploadPart: 403 Odd (request r-1): wordy"},
		{"UP-11 an endless answer, again and again", "PutObject", 0, babble(http.StatusInternalServerError), small, true, "PutObject, tried 5 times: 500 Odd"},
		{"UP-11 a proxy's page", "PutObject", 0, proxyPage, small, true, "PutObject, tried 5 times: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, storetest.S3(t), quick)
			r.front.On(c.op, c.skip, -1, c.fault)
			err := r.put(t.Context(), t, "fails", c.size)
			if err == nil || errors.Is(err, upload.ErrUnavailable) != c.soon || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Put = %v; want one that may be over soon: %v, and that says %q", err, c.soon, c.says)
			}
			if errors.Is(err, upload.ErrNoObject) {
				t.Errorf("Put = %v: nobody asked for an object", err)
			}
			secretless(t, err)
			if len(err.Error()) > 1000 {
				t.Errorf("Put = %v: too long for a line of a log", err)
			}
			r.clean(t)
		})
	}
}

// babble answers with a code that nobody knows, and says more than anybody wants to read.
func babble(status int) storetest.Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Amz-Request-Id", "r-1")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `<Error><Code>Odd</Code><Message>%s</Message></Error>`, strings.Repeat("wordy ", 100_000))
	}
}

// proxyPage is what a proxy before the server answers: no XML of S3's.
func proxyPage(w http.ResponseWriter, r *http.Request, _ http.Handler) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.WriteHeader(http.StatusBadGateway)
	_, _ = fmt.Fprintf(w, "<html><title>502</title>%s", strings.Repeat("wordy ", 100_000))
}

func secretless(t testing.TB, err error) {
	t.Helper()
	if err != nil && strings.Contains(err.Error(), storetest.S3SecretKey) {
		t.Errorf("the secret key is in an error: %v", err)
	}
}

// TestS3NoBucket: each operation says what is to be mended.
func TestS3NoBucket(t *testing.T) {
	t.Parallel()
	server := storetest.S3(t)
	r := newRig(t, server, func(c *store.S3Config) { c.Bucket = "nobody-made-it" })
	for _, size := range []int64{small, large} {
		err := r.put(t.Context(), t, "x", size)
		if err == nil || errors.Is(err, upload.ErrUnavailable) || !strings.Contains(err.Error(), "no such bucket") || !strings.Contains(err.Error(), "s3://nobody-made-it") {
			t.Errorf("UP-11: Put of %d bytes = %v", size, err)
		}
	}
	wrong := newRig(t, server, func(c *store.S3Config) { c.SecretKey = "not-the-secret" })
	if err := wrong.put(t.Context(), t, "x", small); err == nil || !strings.Contains(err.Error(), "secret key is not that of the access key") || strings.Contains(err.Error(), "not-the-secret") {
		t.Errorf("UP-11: Put with a wrong secret = %v", err)
	}
	server.Stop()
	away := openS3(t, server, quick)
	if _, err := away.Stat(t.Context(), "x"); !errors.Is(err, upload.ErrUnavailable) {
		t.Errorf("UP-11: Stat while the server is down = %v, want ErrUnavailable", err)
	}
}

// TestS3Lies: a server that keeps less than it was sent, and says 200, is caught.
func TestS3Lies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, op string
		size     int64
	}{
		{"UP-02 of a small file", "PutObject", small},
		{"UP-02 of a part", "UploadPart", large},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			// gofakes3 compares nothing, so it believes whatever is left.
			r := newRig(t, storetest.FakeS3(t, nil), quick)
			r.front.On(c.op, 0, 1, storetest.Shorten)
			err := r.put(t.Context(), t, "lies", c.size)
			if err == nil || errors.Is(err, upload.ErrUnavailable) || !strings.Contains(err.Error(), "does not hold what it was sent") {
				t.Errorf("Put = %v", err)
			}
			r.clean(t)
		})
	}
}

// TestS3ClientGoes: the client of UP-01 goes at 25 of 40 MB, or just when the upload was begun, and
// the server does not want to abort at first.
func TestS3ClientGoes(t *testing.T) {
	t.Parallel()
	gone := errors.New("connection reset by peer")
	for _, at := range []int64{s3Part + 1, 25_000_000} {
		t.Run(fmt.Sprintf("UP-01 at %d", at), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, storetest.S3(t))
			r.front.On("AbortMultipartUpload", 0, 2, storetest.Refuse(http.StatusInternalServerError, "InternalError"))
			ctx, cancel := context.WithCancelCause(t.Context())
			var end time.Time
			body := io.MultiReader(strings.NewReader(string(file(at))), readerFunc(func([]byte) (int, error) {
				end = time.Now()
				cancel(gone) // as net/http does when the connection breaks
				return 0, gone
			}))
			err := r.putBody(ctx, t, "goes", body, 40_000_000)
			if !errors.Is(err, gone) {
				t.Errorf("Put = %v", err)
			}
			if took := time.Since(end); took > 5*time.Second {
				t.Errorf("the abort came through after %v", took)
			}
			if n := r.front.Seen("AbortMultipartUpload"); n < 3 {
				t.Errorf("%d aborts were sent, want a third after two that failed", n)
			}
			r.clean(t)
		})
	}
	t.Run("UP-01 the abort never succeeds", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, storetest.S3(t), quick)
		r.front.On("AbortMultipartUpload", 0, -1, storetest.Refuse(http.StatusInternalServerError, "InternalError"))
		body := io.MultiReader(strings.NewReader(string(file(2*s3Part))), readerFunc(func([]byte) (int, error) { return 0, gone }))
		err := r.putBody(t.Context(), t, "stays", body, large)
		var id string
		for u, err := range openS3(t, r.server).Unfinished(t.Context(), "stays") {
			if err != nil {
				t.Fatal(err)
			}
			id = u.ID
		}
		if id == "" || !errors.Is(err, gone) || !strings.Contains(err.Error(), id) || !strings.Contains(err.Error(), "left behind") {
			t.Errorf("Put = %v; want the body's error, and the id %q of what stays", err, id)
		}
	})
	t.Run("UP-01 while S3 begins the upload", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, storetest.S3(t))
		ctx, cancel := context.WithCancelCause(t.Context())
		r.front.On("CreateMultipartUpload", 0, 1, func(w http.ResponseWriter, req *http.Request, next http.Handler) {
			cancel(gone)
			next.ServeHTTP(w, req)
		})
		if err := r.put(ctx, t, "begins", large); !errors.Is(err, gone) {
			t.Errorf("Put = %v", err)
		}
		r.clean(t)
	})
	t.Run("UP-01 an answer about a begun upload is lost", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, storetest.S3(t), quick)
		r.front.On("CreateMultipartUpload", 0, -1, storetest.Lose)
		if err := r.put(t.Context(), t, "lost", large); !errors.Is(err, upload.ErrUnavailable) {
			t.Errorf("Put = %v", err)
		}
		r.clean(t)
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestS3MaxParts: the part after the last is never asked for (UP-06).
func TestS3MaxParts(t *testing.T) {
	t.Parallel()
	r := newRig(t, storetest.S3(t), func(c *store.S3Config) { c.MaxParts = 3 })
	if err := r.put(t.Context(), t, "exactly", 3*s3Part); err != nil {
		t.Errorf("UP-06: exactly at the limit: %v", err)
	}
	r.holds(t, "exactly", 3*s3Part)
	before := r.front.Seen("UploadPart")
	if err := r.put(t.Context(), t, "beyond", 3*s3Part+1); err == nil || !strings.Contains(err.Error(), "more parts than the server takes") {
		t.Errorf("UP-06: a byte beyond the limit: %v", err)
	}
	if n := r.front.Seen("UploadPart") - before; n > 3 {
		t.Errorf("UP-06: %d parts were sent", n)
	}
	if left := r.server.Left(t); !slices.Equal(left, []string{"exactly"}) {
		t.Errorf("left behind: %q", left)
	}
}

// TestS3Slow: twenty uploads while the server takes little share it, none fails, and the memory is
// what was reserved (UP-11). Slow clients take no slot (UPLOAD.md).
func TestS3Slow(t *testing.T) {
	t.Parallel()
	t.Run("UP-11 a slow server", func(t *testing.T) {
		t.Parallel()
		server := storetest.FakeS3(t, nil)
		r := newRig(t, server, func(c *store.S3Config) { c.Slots, c.Patience = 4, 5*time.Second })
		r.front.On("PutObject", 0, -1, storetest.Slowly(4<<20))
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				if err := r.put(t.Context(), t, fmt.Sprint(i), 1<<20); err != nil {
					t.Errorf("Put: %v", err)
				}
			})
		}
		wg.Wait()
		for i := range 20 {
			r.holds(t, fmt.Sprint(i), 1<<20)
		}
	})
	t.Run("slow clients beside a fast one", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, storetest.FakeS3(t, nil), func(c *store.S3Config) { c.Slots = 1 })
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range 20 {
			slow := io.MultiReader(strings.NewReader("begins"), readerFunc(func([]byte) (int, error) {
				<-ctx.Done()
				return 0, ctx.Err()
			}))
			wg.Go(func() { _ = r.putBody(t.Context(), t, fmt.Sprint("slow", i), slow, large) })
		}
		if err := r.put(t.Context(), t, "fast", large); err != nil {
			t.Errorf("Put: %v", err)
		}
		cancel()
		wg.Wait()
		r.holds(t, "fast", large)
	})
}

// TestS3Credentials: without any, and with a metadata service that does not answer, nothing waits at
// the start, and the first request says what is missing.
func TestS3Credentials(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", "/nonexistent")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://"+silent.Addr().String())
	server := storetest.S3(t)
	start := time.Now()
	b := openS3(t, server, quick, func(c *store.S3Config) { c.AccessKey, c.SecretKey = "", "" })
	if took := time.Since(start); took > time.Second {
		t.Errorf("NewS3 took %v", took)
	}
	if _, err := b.Stat(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "there are no credentials") {
		t.Errorf("Stat = %v", err)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("it took %v to say that there are no credentials", took)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", storetest.S3AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", storetest.S3SecretKey)
	b = openS3(t, server, func(c *store.S3Config) { c.AccessKey, c.SecretKey = "", "" })
	if _, err := b.Stat(t.Context(), "x"); !errors.Is(err, upload.ErrNoObject) {
		t.Errorf("Stat with credentials of the environment = %v", err)
	}
}
