package upload_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gatehouse-auth/gatehouse/store/storetest"
	"github.com/gatehouse-auth/gatehouse/upload"
)

// What is sent is what is kept, over each way that there is to send it (UP-02: sizes at every edge of
// pages and parts).
func TestFilesArriveWhole(t *testing.T) {
	unknown := func(r *http.Request) { r.ContentLength = -1 }
	for _, size := range []int{0, 1, 511, 512, 513, mib - 1, mib, mib + 1, 2*mib - 1, 2 * mib, 2*mib + 1, 4 * mib, 4*mib + 1, 5*mib + 7} {
		text := random(size)
		for name, send := range map[string]func(*world) reply{
			"PUT": func(w *world) reply { return w.do("PUT", "/upload/a.bin", strings.NewReader(text)) },
			"PUT of unknown length": func(w *world) reply {
				return w.do("PUT", "/upload/a.bin", io.MultiReader(strings.NewReader(text)), unknown)
			},
			"POST": func(w *world) reply { return w.do("POST", "/upload?name=a.bin", strings.NewReader(text)) },
			"form": func(w *world) reply {
				body, kind := formOf(t, piece{"file", "a.bin", text})
				return w.do("POST", "/upload", body, kind)
			},
			"form of unknown length": func(w *world) reply {
				body, kind := formOf(t, piece{"file", "a.bin", text})
				return w.do("POST", "/upload", io.MultiReader(body), kind, unknown)
			},
		} {
			t.Run("UP-02/"+name+" of "+strconv.Itoa(size), func(t *testing.T) {
				w := newWorld(t)
				res := send(w)
				got := res.read(t)
				if len(got.Files) == 1 {
					got.file = got.Files[0]
				}
				if res.status != 201 || got.Size != int64(size) || got.SHA256 != sumOf(text) || got.Name != "a.bin" {
					t.Fatalf("the answer is %d %s, want 201 and what was sent", res.status, res.body)
				}
				kept := w.files.In(upload.Kept)
				if len(kept) != 1 || kept[0].ID != got.ID || string(w.bucket.Bytes(kept[0].Key)) != text {
					t.Errorf("kept is %+v, want the one that was sent", kept)
				}
				if down := w.do("GET", got.URL, nil); down.status != 200 || down.body != text {
					t.Errorf("GET %s: %d with %d bytes", got.URL, down.status, len(down.body))
				}
				if w.received.Load() < int64(size) || size > 0 && w.used.Load() == 0 {
					t.Errorf("%d bytes were counted, and the session was used %d times", w.received.Load(), w.used.Load())
				}
			})
		}
	}
}

// UP-02: hundreds of small files at once, while the bucket fails now and then: what is told is there, and
// nothing else is.
func TestManySmallFiles(t *testing.T) {
	w := newWorld(t)
	var puts, told atomic.Int64
	w.faulty.Bucket = &lying{w.bucket, func(_ upload.Body, o upload.Object, err error) (upload.Object, error) {
		if err == nil && puts.Add(1)%7 == 0 {
			err = errors.Join(w.bucket.Delete(context.Background(), o.Key), upload.ErrUnavailable)
		}
		return o, err
	}}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 15 {
				res, err := w.try("PUT", "/upload/small", strings.NewReader("x"))
				switch {
				case err != nil || res.status != 201 && res.status != 503:
					t.Errorf("PUT: %v, %v", res, err)
				case res.status == 201:
					told.Add(1)
				}
			}
		})
	}
	all.Wait()
	if kept := len(w.files.In(upload.Kept)); int64(kept) != told.Load() || kept != 300-300/7 {
		t.Errorf("%d were told, and %d are kept", told.Load(), kept)
	}
}

// A connection of HTTP/1.1 goes on to its next upload: 2,000 small files are not 2,000 handshakes.
func TestConnectionIsKept(t *testing.T) {
	w := newWorld(t)
	c := w.wire()
	for i := range 3 {
		c.put(3)
		_ = c.say("abc")
		if res := c.want(201); res.close || res.header.Get("Location") == "" {
			t.Errorf("answer %d has the headers %v", i, res.header)
		}
	}
	for range 3 {
		form := "--b\r\nContent-Disposition: form-data; name=f; filename=a.txt\r\n\r\nabc\r\n--b--\r\nand an epilogue"
		_ = c.say("POST /upload HTTP/1.1\r\nHost: gw.test\r\nX-User: alice\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n%s", len(form), form)
		if res := c.want(201); res.close {
			t.Errorf("a form's answer has the headers %v", res.header)
		}
	}
}

func TestHTTP2(t *testing.T) {
	w := newWorld(t)
	text := random(5 * mib)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	w.server.Client().Transport = transport
	res := w.do("PUT", "/upload/a.bin", strings.NewReader(text))
	if got := res.read(t); res.status != 201 || got.SHA256 != sumOf(text) {
		t.Errorf("PUT over HTTP/2: %d %s", res.status, res.body)
	}
	if rec := w.last(0); rec.Request.Proto != "HTTP/2.0" {
		t.Errorf("it went over %s", rec.Request.Proto)
	}
	// UP-12 f: who is refused early can read why, although most of the body was never taken.
	if res := w.do("PUT", "/upload/a.bin", io.LimitReader(zeros{}, 1<<30), header("Sec-Fetch-Site", "cross-site")); res.status != 403 {
		t.Errorf("PUT of a gibibyte from another site over HTTP/2: %d %s", res.status, res.body)
	}
	if n := w.received.Load(); n != 5*mib {
		t.Errorf("%d bytes were received, want those of the first alone", n)
	}
}

// zeros is a client that has as much as is asked for.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestFormOfSeveralFiles(t *testing.T) {
	t.Run("UP-07/fields before, between and after, names twice", func(t *testing.T) {
		w := newWorld(t)
		body, kind := formOf(t, piece{"note", "", "first"}, piece{"f", "same.txt", "one"}, piece{"note", "", "second"},
			piece{"f", "same.txt", "two"}, piece{"f", "c.txt", ""}, piece{"key", "", "../mine"})
		res := w.do("POST", "/upload", body, kind)
		got := res.read(t)
		if res.status != 201 || len(got.Files) != 3 {
			t.Fatalf("the answer is %d %s, want 201 and three files", res.status, res.body)
		}
		for i, text := range []string{"one", "two", ""} {
			if got.Files[i].SHA256 != sumOf(text) {
				t.Errorf("file %d of the answer is %+v, want that of %q: the order is that of the form", i, got.Files[i], text)
			}
		}
		if got.Files[0].ID == got.Files[1].ID {
			t.Error("two files of one name have one id")
		}
		if len(got.Fields["note"]) != 2 || got.Fields["key"][0] != "../mine" {
			t.Errorf("the fields are %v: they mean nothing here, but must not be swallowed", got.Fields)
		}
	})
	t.Run("UP-07/the bucket fails for the second", func(t *testing.T) {
		w := newWorld(t)
		w.bucket.OnPart(func(int) { // what is set in the midst of one Put is for the next
			if _, parts := w.bucket.Busy(); parts == 0 {
				w.faulty.FailAfter(storetest.Put, errFake) // kept, but reported failed
			} else {
				w.faulty.Heal(storetest.Put)
			}
		})
		body, kind := formOf(t, piece{"f", "a.txt", "one"}, piece{"f", "b.txt", "two"}, piece{"f", "c.txt", "three"})
		res := w.do("POST", "/upload", body, kind)
		got := res.read(t)
		if res.status != 207 || len(got.Files) != 3 || got.Files[1].Status != 502 || got.Files[1].Name != "b.txt" || got.Files[2].SHA256 != sumOf("three") {
			t.Fatalf("the answer is %d %s, want 207 with the second failed", res.status, res.body)
		}
		if rec := w.last(0); !errors.Is(rec.Outcome.Cause, errFake) {
			t.Errorf("the cause is %v, want the bucket's fault: somebody has to look at it", rec.Outcome.Cause)
		}
		w.bucketMinus(w.files.In(upload.Doomed)[0].Key)
	})
	t.Run("one is refused", func(t *testing.T) {
		w := newWorld(t, func(w *world) { w.limits.Deny = []string{"text/html"} })
		body, kind := formOf(t, piece{"f", "a.html", "<html>"}, piece{"f", "b.txt", "two"})
		res := w.do("POST", "/upload", body, kind)
		if rec := w.last(0); res.status != 207 || rec.Outcome.Cause != nil {
			t.Errorf("it ended with %d and the cause %v, want 207 and none: the client knows", res.status, rec.Outcome.Cause)
		}
	})
	t.Run("UP-07/all fail", func(t *testing.T) {
		w := newWorld(t)
		w.faulty.Fail(storetest.Put, upload.ErrUnavailable)
		body, kind := formOf(t, piece{"f", "a.txt", "one"}, piece{"f", "b.txt", "two"})
		res := w.do("POST", "/upload", body, kind)
		got := res.read(t)
		if res.status != 503 || res.header.Get("Retry-After") == "" || len(got.Files) != 2 || got.Error == "" || got.Message == "" {
			t.Errorf("the answer is %d %v %s, want 503 as of one file", res.status, res.header, res.body)
		}
		w.nothing()
	})
	t.Run("an input without a choice is no file", func(t *testing.T) {
		w := newWorld(t)
		form := "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"\"\r\nContent-Type: application/octet-stream\r\n\r\n\r\n"
		res := w.do("POST", "/upload", strings.NewReader(form+"--b--\r\n"), header("Content-Type", "multipart/form-data; boundary=b"))
		if res.status != 400 {
			t.Errorf("a form without a file: %d %s, want 400", res.status, res.body)
		}
		res = w.do("POST", "/upload", strings.NewReader(form+strings.Replace(form, `filename=""`, `filename="x"`, 1)+"--b--\r\n"), header("Content-Type", "multipart/form-data; boundary=b"))
		if res.status != 201 || len(res.read(t).Files) != 1 {
			t.Errorf("a form with an empty file beside an input without a choice: %d %s, want 201 and one file", res.status, res.body)
		}
	})
}

// bucketMinus removes what a faulty bucket kept although it said that it had not, as the janitor would.
func (w *world) bucketMinus(key string) {
	w.t.Helper()
	if err := w.bucket.Delete(w.t.Context(), key); err != nil {
		w.t.Fatal(err)
	}
}

func TestFormWithoutScript(t *testing.T) {
	html := header("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	w := newWorld(t, func(w *world) { w.limits.MaxFileSize = 10 })
	body, kind := formOf(t, piece{"f", "a.txt", "one"})
	if res := w.do("POST", "/upload", body, kind, html); res.status != 303 || res.header.Get("Location") != "/upload/" {
		t.Errorf("a form that a browser sends: %d %v, want 303 to the list", res.status, res.header)
	}
	body, kind = formOf(t, piece{"f", "a.txt", "one"}, piece{"f", "<b>.txt", strings.Repeat("x", 11)})
	res := w.do("POST", "/upload", body, kind, html)
	if res.status != 207 || !strings.Contains(res.body, "larger than is allowed") || strings.Contains(res.body, "<b>") {
		t.Errorf("a form of which one file fails: %d %s, want a page that says which", res.status, res.body)
	}
	body, kind = formOf(t, piece{"f", "a.txt", strings.Repeat("x", 11)})
	if res := w.do("POST", "/upload", body, kind, html); res.status != 413 || !strings.Contains(res.header.Get("Content-Type"), "text/html") {
		t.Errorf("a form of which all fail: %d %v, want the page of a 413", res.status, res.header)
	}
}

func TestDigests(t *testing.T) {
	wrong := strings.Repeat("0", 64)
	for name, test := range map[string]struct {
		digest string
		status int
	}{
		"right":              {sumOf("abc"), 201},
		"right, upper-case":  {strings.ToUpper(sumOf("abc")), 201},
		"UP-09 e: wrong":     {wrong, 422},
		"no digest":          {"abc", 400},
		"of another file":    {sumOf("abd"), 422},
		"an empty one":       {"", 201},
		"with a space in it": {strings.Repeat("0", 63) + " ", 400},
	} {
		for _, digests := range []upload.Digest{upload.SHA256, upload.NoDigest} {
			t.Run(name+", digest: "+string(digests), func(t *testing.T) {
				w := newWorld(t, func(w *world) { w.limits.Digest = digests })
				if res := w.do("PUT", "/upload/a.txt", strings.NewReader("abc"), header("X-Content-Sha256", test.digest)); res.status != test.status {
					t.Errorf("PUT: %d %s, want %d", res.status, res.body, test.status)
				}
				body, kind := formOf(t, piece{"sha256", "", test.digest}, piece{"f", "a.txt", "abc"})
				want := test.status
				if test.digest == "" {
					want = 400 // a field that is there and empty is a mistake
				}
				if res := w.do("POST", "/upload", body, kind); res.status != want {
					t.Errorf("form: %d %s, want %d", res.status, res.body, want)
				}
				if test.status != 201 {
					w.nothing()
				}
			})
		}
	}
	for name, test := range map[string]struct {
		pieces []piece
		status int
	}{
		"UP-07/late, of one file":          {[]piece{{"f", "a", "abc"}, {"sha256", "", sumOf("abc")}}, 201},
		"UP-07/late and wrong":             {[]piece{{"f", "a", "abc"}, {"sha256", "", wrong}}, 422},
		"UP-07/late, of two files":         {[]piece{{"f", "a", "abc"}, {"f", "b", "abd"}, {"sha256", "", sumOf("abd")}}, 400},
		"UP-07/two before one file":        {[]piece{{"sha256", "", wrong}, {"sha256", "", sumOf("abc")}, {"f", "a", "abc"}}, 400},
		"UP-07/each before its file":       {[]piece{{"sha256", "", sumOf("abc")}, {"f", "a", "abc"}, {"sha256", "", sumOf("abd")}, {"f", "b", "abd"}}, 201},
		"UP-07/one of a form of no files":  {[]piece{{"sha256", "", sumOf("abc")}}, 400},
		"UP-07/wrong for one of two files": {[]piece{{"sha256", "", wrong}, {"f", "a", "abc"}, {"f", "b", "abd"}}, 207},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			body, kind := formOf(t, test.pieces...)
			if res := w.do("POST", "/upload", body, kind); res.status != test.status {
				t.Errorf("%d %s, want %d", res.status, res.body, test.status)
			}
			if test.status >= 400 {
				w.nothing()
			}
		})
	}
	t.Run("none is made", func(t *testing.T) {
		w := newWorld(t, func(w *world) { w.limits.Digest = upload.NoDigest })
		if got := w.do("PUT", "/upload/a.txt", strings.NewReader("abc")).read(t); got.SHA256 != "" || got.Size != 3 {
			t.Errorf("the answer is %+v, want no digest", got)
		}
	})
}

// UP-03: whatever the name is, the key has none of it (the bucket of these tests fails the test if it
// has), and the name comes back cleaned.
func TestKeysHaveNoText(t *testing.T) {
	for _, name := range []string{"..%2F..%2Fetc%2Fpasswd", "..", ".", "a%0d%0aX:%20y", "%00", "=%3FUTF-8%3FB%3F", "%E6%97%A5%E6%9C%AC%20+&%23%25.txt", "x.html", strings.Repeat("n", 300)} {
		t.Run("UP-03/"+name, func(t *testing.T) {
			w := newWorld(t)
			res := w.do("PUT", "/upload/"+name, strings.NewReader("<script>alert(1)</script>"), header("Content-Type", "text/html"))
			if res.status != 201 {
				t.Fatalf("PUT: %d %s, want 201", res.status, res.body)
			}
			got := res.read(t)
			if down := w.do("GET", got.URL, nil); strings.Contains(down.header.Get("Content-Type"), "html") {
				t.Errorf("it is handed out as %s", down.header.Get("Content-Type"))
			}
		})
	}
}

func TestTypes(t *testing.T) {
	w := newWorld(t, func(w *world) { w.limits.Deny = []string{"text/html"} })
	if res := w.do("PUT", "/upload/a.png", bytes.NewReader([]byte("<html><script>")), header("Content-Type", "image/png")); res.status != 415 {
		t.Errorf("a page that says it is an image: %d %s, want 415", res.status, res.body)
	}
	if w.faulty.Calls(storetest.Begin)+w.faulty.Calls(storetest.Put) != 0 {
		t.Error("a file of a refused type reached the table or the bucket")
	}
}
