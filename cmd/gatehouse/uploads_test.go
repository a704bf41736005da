package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
	"github.com/gatehouse-auth/gatehouse/upload"
)

// uploading gives the rig a route for uploads, and a bucket in a directory of its own.
func (r *rig) uploading() {
	r.t.Helper()
	r.edit("routes:\n", fmt.Sprintf("upload: {part_size: 5MiB, memory: 64MiB}\nroutes:\n  - {host: %q, path: /upload, upload: true}\n", r.host()))
}

// intoS3 puts the files into a server of S3 instead.
func (r *rig) intoS3(s *storetest.S3Server) {
	r.t.Helper()
	r.edit("upload: {", fmt.Sprintf("upload: {bucket: \"s3://%s/files\", endpoint: %q, path_style: true, region: %s, access_key: %s, secret_key: %s, ",
		storetest.S3Bucket, s.Endpoint, storetest.S3Region, storetest.S3AccessKey, storetest.S3SecretKey))
}

// sent is the answer to files that were sent, and the list of those that are there.
type sent struct {
	Files []sentFile
}

type sentFile struct {
	ID, Name, SHA256, Declared, Sniffed, URL, Error string
	Size                                            int64
	Status                                          int
}

// client sends what a browser's cookie allows.
type client struct {
	r      *rig
	cookie string
}

func (r *rig) client(email string) client {
	r.t.Helper()
	b := r.browser()
	b.signIn(r.public+"/", email)
	return client{r, b.cookie()}
}

func (c client) do(method, path string, body io.Reader, headers ...string) (*http.Response, []byte) {
	c.r.t.Helper()
	req, err := http.NewRequestWithContext(c.r.t.Context(), method, c.r.at+path, body)
	if err != nil {
		c.r.t.Fatal(err)
	}
	req.Host = c.r.host()
	req.Header.Set("Cookie", c.cookie)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		c.r.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.r.t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp, text
}

// post sends files as curl -F does.
func (c client) post(files map[string][]byte) (*http.Response, sent) {
	c.r.t.Helper()
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	for _, name := range sortedKeys(files) {
		part, err := w.CreateFormFile("file", name)
		if err == nil {
			_, err = part.Write(files[name])
		}
		if err != nil {
			c.r.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		c.r.t.Fatal(err)
	}
	resp, text := c.do(http.MethodPost, "/upload", &form, "Content-Type", w.FormDataContentType())
	var answer sent
	if err := json.Unmarshal(text, &answer); err != nil {
		c.r.t.Fatalf("%s: %s", resp.Status, text)
	}
	return resp, answer
}

func someBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// TestUploads sends, lists, fetches and deletes through the whole gateway, into each kind of bucket.
func TestUploads(t *testing.T) {
	for name, into := range map[string]func(*rig){
		"directory": func(*rig) {},
		"S3":        func(r *rig) { r.intoS3(storetest.S3(r.t)) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.uploading()
			into(r)
			r.start()
			if code, out := r.run("user", "add", "bob@corp.test"); code != exitOK {
				t.Fatal(out)
			}
			alice, bob := r.client("alice@corp.test"), r.client("bob@corp.test")
			large, small := someBytes(12<<20+7), []byte("hello, world\n")

			t.Run("UP-02/form and raw body", func(t *testing.T) {
				resp, answer := alice.post(map[string][]byte{"a.bin": large, "b.txt": small, "c": nil})
				if resp.StatusCode != http.StatusCreated || len(answer.Files) != 3 {
					t.Fatalf("%s: %+v", resp.Status, answer)
				}
				for i, want := range [][]byte{large, small, nil} {
					if f := answer.Files[i]; f.SHA256 != digest(want) || f.Size != int64(len(want)) {
						t.Errorf("file %d: %+v, want %d bytes with the digest %s", i, f, len(want), digest(want))
					}
				}
				resp, text := alice.do(http.MethodPut, "/upload/d%20%C3%A9.txt", bytes.NewReader(small), "Content-Type", "text/plain")
				if resp.StatusCode != http.StatusCreated || !strings.Contains(string(text), `"name":"d é.txt"`) {
					t.Errorf("PUT: %s: %s", resp.Status, text)
				}
			})
			var list sent
			_, text := alice.do(http.MethodGet, "/upload", nil, "Accept", "application/json")
			if err := json.Unmarshal(text, &list); err != nil || len(list.Files) != 4 {
				t.Fatalf("list: %v: %s", err, text)
			}
			i := slices.IndexFunc(list.Files, func(f sentFile) bool { return f.Name == "a.bin" })
			if i < 0 {
				t.Fatalf("a.bin is not in the list: %s", text)
			}
			at := "/upload/" + list.Files[i].ID

			t.Run("RULE-25/download", func(t *testing.T) {
				if resp, got := alice.do(http.MethodGet, at, nil); resp.StatusCode != http.StatusOK || !bytes.Equal(got, large) ||
					!strings.HasPrefix(resp.Header.Get("Content-Disposition"), "attachment") || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
					t.Errorf("GET: %s, %d bytes, %v", resp.Status, len(got), resp.Header)
				}
				if resp, got := alice.do(http.MethodGet, at, nil, "Range", "bytes=6000000-6000099"); resp.StatusCode != http.StatusPartialContent || !bytes.Equal(got, large[6000000:6000100]) {
					t.Errorf("a range: %s, %d bytes", resp.Status, len(got))
				}
			})
			t.Run("UP-12/others see nothing", func(t *testing.T) {
				for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodDelete} {
					if resp, _ := bob.do(method, at, nil); resp.StatusCode != http.StatusNotFound {
						t.Errorf("bob's %s: %s", method, resp.Status)
					}
				}
				if resp, text := (client{r, ""}).do(http.MethodPut, "/upload/x", bytes.NewReader(large)); resp.StatusCode != http.StatusUnauthorized {
					t.Errorf("UP-12/a nobody's PUT: %s: %s", resp.Status, text)
				}
				if resp, text := alice.do(http.MethodPut, "/upload/x", bytes.NewReader(small), "Origin", "https://evil.test"); resp.StatusCode != http.StatusForbidden {
					t.Errorf("UP-12/c from another site: %s: %s", resp.Status, text)
				}
			})
			t.Run("delete", func(t *testing.T) {
				if resp, _ := alice.do(http.MethodDelete, at, nil); resp.StatusCode != http.StatusNoContent {
					t.Errorf("DELETE: %s", resp.Status)
				}
				if resp, _ := alice.do(http.MethodGet, at, nil); resp.StatusCode != http.StatusNotFound {
					t.Errorf("GET of what was deleted: %s", resp.Status)
				}
			})
			t.Run("CF-04/check --connect tries the bucket", func(t *testing.T) {
				if _, out := r.run("check", "--connect"); !strings.Contains(out, "✓ upload.bucket") {
					t.Errorf("check: %s", out)
				}
			})
			t.Run("metrics", func(t *testing.T) {
				r.eventually("the uploads, and the bucket once somebody has looked at it", func() bool {
					_, text := r.get(r.admin + "/metrics")
					return strings.Contains(text, `gatehouse_uploads_total{result="kept"} 4`) && strings.Contains(text, `gatehouse_part_up{part="bucket"} 1`)
				})
			})
			r.wantSound(t, 0)
		})
	}
}

// wantSound asks uploads gc, once nothing is doomed any more, whether rows and bucket agree, and fails the
// test otherwise. Whatever is pending longer than stale counts as left by a crash.
func (r *rig) wantSound(t *testing.T, stale time.Duration) audit {
	t.Helper()
	cfg, err := Load(Source{File: r.config})
	if err != nil {
		t.Fatal(err)
	}
	db, err := openStore(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	b, err := openBucket(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	s := sweepAll(t, db, b, stale)
	t.Logf("the janitor gave up %d rows, removed %d objects or the nothing in their place, aborted %d unfinished uploads", s.Claimed, s.Removed, s.Aborted)
	found, err := newAuditor(db, b, r.install(t, db), stale).audit(t.Context(), func(string, int) {})
	if err != nil {
		t.Fatal(err)
	}
	if len(found.Abandoned)+found.Deleted+len(found.Unfinished)+len(found.Orphans)+len(found.Missing) > 0 || found.Objects != found.Rows {
		t.Errorf("rows and bucket do not agree: %+v", found)
	}
	return found
}

func (r *rig) install(t *testing.T, db *store.SQL) string {
	t.Helper()
	id, err := db.InstallID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// sweepAll has a janitor who waits for nothing but stale clear away everything: the first sweep removes,
// a later one removes again and drops the rows.
func sweepAll(t *testing.T, db *store.SQL, b bucket, stale time.Duration) (all upload.Swept) {
	t.Helper()
	install, err := db.InstallID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	j := upload.NewJanitor(upload.JanitorParts{Attic: b, Rows: db, Prefix: install + "/", Stale: max(stale, time.Nanosecond)})
	for range 4 {
		time.Sleep(stale)
		s, err := j.Sweep(t.Context())
		if err != nil {
			t.Fatalf("sweep: %v", err)
		}
		all.Claimed, all.Removed, all.Aborted = all.Claimed+s.Claimed, all.Removed+s.Removed, all.Aborted+s.Aborted
	}
	return all
}
