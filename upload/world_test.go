package upload_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
	"github.com/gatehouse-auth/gatehouse/upload"
	"github.com/gatehouse-auth/gatehouse/web"
)

const mib = 1 << 20

// world is an uploader at /upload with a gate before it that takes everybody at his word, stores that
// fail on command, and a server that people reach over TCP.
type world struct {
	t        *testing.T
	bucket   *storetest.MemoryBucket
	files    *storetest.MemoryFiles
	faulty   *storetest.FaultyUploads // in front of both, and of who is asking
	people   *storetest.Memory
	streams  *auth.Streams
	sessions map[string]auth.Session // by name
	memory   *upload.Memory
	limits   upload.Limits
	origins  []string
	presign  upload.Presign
	tls      bool
	uploader *upload.Uploader
	server   *httptest.Server
	base     context.Context //nolint:containedctx // of all requests, as a server has one
	stop     context.CancelCauseFunc
	used     atomic.Int64
	received atomic.Int64

	mu      sync.Mutex
	results map[string]int // as the meter was told
	records []web.Record
	left    []error
}

// newWorld makes a world; edits come before it starts to turn.
func newWorld(t *testing.T, edits ...func(*world)) *world {
	t.Helper()
	w := &world{
		t: t, bucket: storetest.NewMemoryBucket(t), files: storetest.NewMemoryFiles(t, nil), people: storetest.NewMemory(t),
		sessions: map[string]auth.Session{}, memory: upload.NewMemory(64 * mib), results: map[string]int{},
		limits: upload.Limits{Part: 2 * mib, MaxFileSize: 64 * mib},
	}
	w.faulty = &storetest.FaultyUploads{Bucket: w.bucket, Files: w.files, Shelf: w.files}
	w.faulty.Sessions = w.people
	w.streams = auth.NewStreams(w.people, time.Minute)
	for _, name := range []string{"alice", "bob", "root"} {
		w.signIn(name)
	}
	for _, edit := range edits {
		edit(w)
	}
	w.uploader = upload.New(upload.Parts{
		Bucket: w.faulty, Files: w.faulty, Shelf: w.faulty, Memory: w.memory, Limits: w.limits, Install: "test", Presign: w.presign,
		Who: upload.Asking{
			Session: func(ctx context.Context) (auth.Session, bool) {
				s, ok := ctx.Value(sessionKey{}).(auth.Session)
				return s, ok
			},
			Used: func(context.Context) { w.used.Add(1) },
			Find: w.faulty.Find,
		},
		Meter: upload.Meter{Received: func(n int64) { w.received.Add(n) }, Done: w.note, Left: w.remains},
	})
	next, err := w.uploader.Route("/upload", w.origins)
	if err != nil {
		t.Fatal(err)
	}
	w.base, w.stop = context.WithCancelCause(context.Background())
	w.server = httptest.NewUnstartedServer(web.Recorder{Observe: w.observe}.Wrap(w.gate(next)))
	w.server.Config.BaseContext = func(net.Listener) context.Context { return w.base }
	w.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	w.server.EnableHTTP2 = true
	w.server.Config.Protocols = new(http.Protocols)
	w.server.Config.Protocols.SetHTTP1(true)
	w.server.Config.Protocols.SetUnencryptedHTTP2(true)
	if w.tls {
		w.server.StartTLS()
	} else {
		w.server.Start()
	}
	t.Cleanup(w.close)
	return w
}

func (w *world) close() {
	w.server.CloseClientConnections()
	w.server.Close()
	w.stop(nil)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := w.uploader.Close(ctx); err != nil {
		w.t.Errorf("close: %v", err)
	}
	w.idle()
}

// idle fails the test if something of an upload is left behind.
func (w *world) idle() {
	w.t.Helper()
	if held, reserved := w.memory.InUse(); held != 0 || reserved != 0 {
		w.t.Errorf("%d bytes are held and %d reserved when nothing runs", held, reserved)
	}
	if puts, _ := w.bucket.Busy(); puts != 0 {
		w.t.Errorf("%d Puts are under way when nothing runs", puts)
	}
	kept := w.files.In(upload.Kept)
	if len(kept) != len(w.bucket.Keys()) {
		w.t.Errorf("%d rows are kept and %d objects are there: %v", len(kept), len(w.bucket.Keys()), w.bucket.Keys())
	}
	for _, f := range kept {
		got := w.bucket.Bytes(f.Key)
		if sum := sha256.Sum256(got); int64(len(got)) != f.Size || f.SHA256 != "" && hex.EncodeToString(sum[:]) != f.SHA256 {
			w.t.Errorf("the object of %+v has %d bytes with the digest %x", f, len(got), sum)
		}
	}
}

// nothing waits until nothing runs any more, and fails the test if a file is kept or a row is pending.
func (w *world) nothing() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := w.uploader.Close(ctx); err != nil {
		w.t.Errorf("wait: %v", err)
	}
	if keys := w.bucket.Keys(); len(keys) != 0 {
		w.t.Errorf("the bucket has %v, want nothing", keys)
	}
	for _, f := range w.files.All() {
		if f.State != upload.Doomed {
			w.t.Errorf("the row of %q is %s, want it doomed", f.Name, f.State)
		}
	}
	w.idle()
}

type sessionKey struct{}

// gate stands for the real one: X-User names who is signed in.
func (w *world) gate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		s, ok := w.sessions[r.Header.Get("X-User")]
		w.mu.Unlock()
		if !ok {
			next.ServeHTTP(rw, r)
			return
		}
		ctx, detach := w.streams.Attach(r.Context(), s, func(auth.Session) bool { return true })
		defer detach()
		next.ServeHTTP(rw, r.WithContext(context.WithValue(ctx, sessionKey{}, s)))
	})
}

func (w *world) signIn(name string) auth.Session {
	w.t.Helper()
	var roles []string
	if name == "root" {
		roles = []string{"auditor"}
	}
	u, err := w.people.AddUser(w.t.Context(), name+"@corp.test", name, roles)
	if err != nil {
		w.t.Fatal(err)
	}
	s := storetest.NewSession(u)
	if err := w.people.Create(w.t.Context(), s); err != nil {
		w.t.Fatal(err)
	}
	if s, err = w.people.Find(w.t.Context(), s.Key); err != nil {
		w.t.Fatal(err)
	}
	w.sessions[name] = s
	return s
}

// revoke ends a session everywhere, as a sign-out does.
func (w *world) revoke(name string) {
	w.t.Helper()
	s := w.sessions[name]
	if err := w.people.End(context.Background(), s.Key); err != nil {
		w.t.Error(err)
	}
	w.streams.Heard(s.Key)
}

func (w *world) observe(rec *web.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.records = append(w.records, *rec)
}

func (w *world) note(result string, _ int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.results[result]++
}

func (w *world) remains(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left = append(w.left, err)
}

// last is the record of the request that ended last, once there are so many.
func (w *world) last(after int) web.Record {
	w.t.Helper()
	var rec web.Record
	eventually(w.t, "a record of the request", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.records) <= after {
			return false
		}
		rec = w.records[len(w.records)-1]
		return true
	})
	return rec
}

func (w *world) ended() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.records)
}

// eventually waits for what must come, however slow the machine is.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// reply is an answer.
type reply struct {
	status int
	header http.Header
	body   string
	close  bool // the connection ends with it
}

// answered is what programs read in an answer: one file, or what became of several.
type answered struct {
	file
	Files  []file              `json:"files"`
	Fields map[string][]string `json:"fields"`
	Next   string              `json:"next"`
}

type file struct {
	ID       string `json:"id"`
	Owner    int64  `json:"owner"`
	Name     string `json:"name"`
	Size     int64  `json:"size"`
	SHA256   string `json:"sha256"`
	Declared string `json:"declared"`
	Sniffed  string `json:"sniffed"`
	URL      string `json:"url"`
	Error    string `json:"error"`
	Message  string `json:"message"`
	Status   int    `json:"status"`
}

func (r reply) read(t *testing.T) (a answered) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.body), &a); err != nil {
		t.Fatalf("the answer %q is no JSON: %v", r.body, err)
	}
	return a
}

// do sends a request as alice, after edit had its say.
func (w *world) do(method, path string, body io.Reader, edit ...func(*http.Request)) reply {
	w.t.Helper()
	res, err := w.try(method, path, body, edit...)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	return res
}

func (w *world) try(method, path string, body io.Reader, edit ...func(*http.Request)) (reply, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, w.server.URL+path, body)
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("X-User", "alice")
	for _, change := range edit {
		change(req)
	}
	client := *w.server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header, string(text), res.Close}, err
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func as(name string) func(*http.Request) { return header("X-User", name) }

// piece is a part of a form: a file if it has a file name.
type piece struct{ name, filename, body string }

// formOf writes a form as the standard library does.
func formOf(t *testing.T, pieces ...piece) (body *bytes.Buffer, kind func(*http.Request)) {
	t.Helper()
	body = new(bytes.Buffer)
	m := multipart.NewWriter(body)
	for _, p := range pieces {
		var part io.Writer
		var err error
		if p.filename == "" {
			part, err = m.CreateFormField(p.name)
		} else {
			part, err = m.CreateFormFile(p.name, p.filename)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(part, p.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	return body, header("Content-Type", m.FormDataContentType())
}

// random is text that no two pages of are the same.
func random(size int) string {
	b := make([]byte, size)
	src := rand.NewChaCha8([32]byte{byte(size), byte(size >> 8), byte(size >> 16)})
	_, _ = src.Read(b)
	return string(b)
}

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// wire is a connection on which a test writes what no client would.
type wire struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func (w *world) wire() *wire {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.server.Listener.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	if w.tls {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	return &wire{conn, w.t, bufio.NewReader(conn)}
}

// say writes; that the other side closed meanwhile is found by reading.
func (c *wire) say(format string, args ...any) error {
	_, err := fmt.Fprintf(c, format, args...)
	return err
}

// put begins an upload of a declared length.
func (c *wire) put(length int, more ...string) {
	c.t.Helper()
	head := "PUT /upload/a.bin HTTP/1.1\r\nHost: gw.test\r\nX-User: alice\r\nContent-Length: %d\r\n" + strings.Join(more, "")
	if err := c.say(head+"\r\n", length); err != nil {
		c.t.Fatal(err)
	}
}

// answer reads one answer.
func (c *wire) answer() (reply, error) {
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header, string(text), res.Close}, err
}

// want reads one answer of a status.
func (c *wire) want(status int) reply {
	c.t.Helper()
	res, err := c.answer()
	if err != nil || res.status != status {
		c.t.Fatalf("the answer is %+v, %v, want %d", res, err, status)
	}
	return res
}

var errFake = errors.New("a fault on command")
