package upload_test

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/store/storetest"
	"github.com/gatehouse-auth/gatehouse/upload"
)

// UP-12: what the head of a request tells is judged before the first byte of its body: a client that
// waits for leave to send it (100-continue) never gets that.
func TestRefusedBeforeTheBody(t *testing.T) {
	form := "Content-Type: multipart/form-data; boundary=b\r\n"
	for name, test := range map[string]struct {
		edit   func(*world)
		head   string
		status int
	}{
		"UP-12/a: nobody is signed in": {nil, "PUT /upload/a HTTP/1.1\r\nX-User: nobody\r\nContent-Length: 1000000000\r\n", 401},
		"UP-12/b: a file over the maximum": {
			func(w *world) { w.limits.MaxFileSize = 1000 }, "PUT /upload/a HTTP/1.1\r\nX-User: alice\r\nContent-Length: 1001\r\n", 413,
		},
		"UP-12/b: a request over the maximum": {
			func(w *world) { w.limits.MaxRequestSize = 1000 }, "POST /upload HTTP/1.1\r\nX-User: alice\r\n" + form + "Content-Length: 1001\r\n", 413,
		},
		"UP-12/c: a form of another site": {
			nil, "POST /upload HTTP/1.1\r\nX-User: alice\r\nOrigin: https://evil.test\r\n" + form + "Content-Length: 100\r\n", 403,
		},
		"UP-12/c: a page of another site": {
			nil, "PUT /upload/a HTTP/1.1\r\nX-User: alice\r\nSec-Fetch-Site: cross-site\r\nContent-Length: 100\r\n", 403,
		},
		"UP-12/c: a sister site": {
			nil, "POST /upload HTTP/1.1\r\nX-User: alice\r\nSec-Fetch-Site: same-site\r\n" + form + "Content-Length: 100\r\n", 403,
		},
		"UP-04/a form without a boundary": {nil, "POST /upload HTTP/1.1\r\nX-User: alice\r\nContent-Type: multipart/form-data\r\nContent-Length: 100\r\n", 400},
		"UP-04/JSON":                      {nil, "POST /upload HTTP/1.1\r\nX-User: alice\r\nContent-Type: application/json\r\nContent-Length: 100\r\n", 415},
		"UP-04/another multipart":         {nil, "POST /upload HTTP/1.1\r\nX-User: alice\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Length: 100\r\n", 415},
		"a digest that is none":           {nil, "PUT /upload/a HTTP/1.1\r\nX-User: alice\r\nX-Content-Sha256: 00\r\nContent-Length: 100\r\n", 400},
		"a part of a file":                {nil, "PUT /upload/a HTTP/1.1\r\nX-User: alice\r\nContent-Range: bytes 0-99/200\r\nContent-Length: 100\r\n", 400},
		"a coded file":                    {nil, "PUT /upload/a HTTP/1.1\r\nX-User: alice\r\nContent-Encoding: gzip\r\nContent-Length: 100\r\n", 415},
		"RULE-24/bytes of the quota": {
			func(w *world) { w.limits.Quota.Bytes = 99 }, "PUT /upload/a HTTP/1.1\r\nX-User: alice\r\nContent-Length: 100\r\n", 413,
		},
		"RULE-24/bytes of the quota, a form": {
			func(w *world) { w.limits.Quota.Bytes = 99 }, "POST /upload HTTP/1.1\r\nX-User: alice\r\n" + form + "Content-Length: 100000\r\n", 413,
		},
		"a quota that cannot be asked": {
			func(w *world) { w.limits.Quota.Bytes = 99; w.faulty.Fail(storetest.Usage, errFake) }, "PUT /upload/a HTTP/1.1\r\nX-User: alice\r\nContent-Length: 1\r\n", 503,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if test.edit != nil {
				w = newWorld(t, test.edit)
			}
			c := w.wire()
			_ = c.say("%sHost: gw.test\r\nExpect: 100-continue\r\n\r\n", test.head)
			res := c.want(test.status) // and not 100
			if !strings.Contains(res.body, `"message"`) || !res.close {
				t.Errorf("the answer is %v %s, want JSON, and a connection that closes", res.header, res.body)
			}
			if busy := test.status == 503; busy != (res.header.Get("Retry-After") != "") {
				t.Errorf("Retry-After is %q", res.header.Get("Retry-After"))
			}
			if w.received.Load() != 0 {
				t.Errorf("%d bytes were read", w.received.Load())
			}
			if n := w.faulty.Calls(storetest.Begin) + w.faulty.Calls(storetest.Put); n != 0 {
				t.Errorf("a refused request began a row or a Put (%d calls)", n)
			}
		})
	}
}

// RULE-23: when the memory is used up, a client waits for a while before it has sent anything, and is
// then told to come again.
func TestRefusedForWantOfMemory(t *testing.T) {
	t.Parallel() // it waits for seconds
	w := newWorld(t, func(w *world) { w.memory = upload.NewMemory(4 * mib) })
	hold, err := w.memory.Admit(t.Context(), 99, 3*mib)
	if err != nil {
		t.Fatal(err)
	}
	c := w.wire()
	c.put(1, "Expect: 100-continue\r\n")
	if res := c.want(503); res.header.Get("Retry-After") == "" || w.last(0).Outcome.Event != "upload_busy" {
		t.Errorf("the answer is %v %s", res.header, res.body)
	}
	if err := hold.Close(); err != nil {
		t.Error(err)
	}
	w.nothing()
}

// UP-12 f: a client that sends all before it looks for an answer can read that answer, however much it
// has to send. This is how browsers do it.
func TestAnswerIsReadableWhileSending(t *testing.T) {
	for name, test := range map[string]struct {
		edit   func(*world)
		user   string
		status int
	}{
		"UP-12/f: nobody is signed in": {nil, "nobody", 401},
		"UP-05/declared too large":     {func(w *world) { w.limits.MaxFileSize = 1000 }, "alice", 413},
		"UP-11/the bucket is down":     {func(w *world) { w.faulty.Fail(storetest.Put, upload.ErrUnavailable) }, "alice", 503},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if test.edit != nil {
				w = newWorld(t, test.edit)
			}
			c := w.wire()
			const size = 48 * mib // more than all buffers between us
			_ = c.say("PUT /upload/a HTTP/1.1\r\nHost: gw.test\r\nX-User: %s\r\nContent-Length: %d\r\n\r\n", test.user, size)
			block := make([]byte, mib)
			for range size / mib {
				if _, err := c.Write(block); err != nil {
					t.Fatalf("the connection broke while the client was sending: %v", err)
				}
				time.Sleep(5 * time.Millisecond) // the answer is long there
			}
			c.want(test.status)
			if _, err := io.ReadAll(c.r); err != nil {
				t.Errorf("after the answer the connection ends with %v, want an orderly end", err)
			}
			w.nothing()
		})
	}
}

// UP-05, UP-12 e: without a declared length a limit is met on the way.
func TestLimitsOnTheWay(t *testing.T) {
	unknown := func(r *http.Request) { r.ContentLength = -1 }
	for name, test := range map[string]struct {
		edit   func(*world)
		send   func(*world) reply
		status int
	}{
		"UP-12/e: a file over the maximum": {
			func(w *world) { w.limits.MaxFileSize = 3 * mib },
			func(w *world) reply {
				return w.do("PUT", "/upload/a", io.MultiReader(strings.NewReader(random(3*mib+1))), unknown)
			}, 413,
		},
		"UP-05/a request over the maximum": {
			func(w *world) { w.limits.MaxRequestSize = 3 * mib },
			func(w *world) reply {
				body, kind := formOf(w.t, piece{"f", "a", random(mib)}, piece{"f", "b", random(3 * mib)})
				return w.do("POST", "/upload", io.MultiReader(body), kind, unknown)
			}, 413,
		},
		"UP-05/60 files of at most 50": {
			nil,
			func(w *world) reply {
				var pieces []piece
				for i := range 60 {
					pieces = append(pieces, piece{"f", "a" + strconv.Itoa(i), "x"})
				}
				body, kind := formOf(w.t, pieces...)
				return w.do("POST", "/upload", body, kind)
			}, 413,
		},
		"UP-05/a field of 2 MiB": {
			nil,
			func(w *world) reply {
				body, kind := formOf(w.t, piece{"f", "a", "x"}, piece{"note", "", random(2 * mib)})
				return w.do("POST", "/upload", body, kind)
			}, 413,
		},
		"UP-06/more parts than the bucket takes": {
			func(w *world) {
				w.limits.Parts, w.limits.Part, w.limits.MaxFileSize = 3, mib, 0
				w.memory = upload.NewMemory(8 * mib)
			},
			func(w *world) reply {
				return w.do("PUT", "/upload/a", io.MultiReader(strings.NewReader(random(3*mib+1))), unknown)
			}, 413,
		},
		"RULE-24/the quota is met on the way": {
			func(w *world) { w.limits.Quota.Bytes = 5 * mib },
			func(w *world) reply {
				return w.do("PUT", "/upload/a", io.MultiReader(strings.NewReader(random(5*mib+1))), unknown)
			}, 413,
		},
		"UP-04/no closing boundary": {
			nil,
			func(w *world) reply {
				return w.do("POST", "/upload", strings.NewReader("--b\r\nContent-Disposition: form-data; name=f; filename=a\r\n\r\nabc\r\n"), header("Content-Type", "multipart/form-data; boundary=b"))
			}, 400,
		},
		"UP-04/broken behind a file that was kept": {
			nil,
			func(w *world) reply {
				body := "--b\r\nContent-Disposition: form-data; name=f; filename=a\r\n\r\nabc\r\n--b\r\nnonsense\r\n\r\n\r\n--b--\r\n"
				return w.do("POST", "/upload", strings.NewReader(body), header("Content-Type", "multipart/form-data; boundary=b"))
			}, 400,
		},
		"UP-04/an empty form": {
			nil, func(w *world) reply {
				return w.do("POST", "/upload", nil, header("Content-Type", "multipart/form-data; boundary=b"))
			}, 400,
		},
		"UP-04/an empty form of unknown length": {
			nil, func(w *world) reply {
				return w.do("POST", "/upload", io.MultiReader(strings.NewReader("")), unknown, header("Content-Type", "multipart/form-data; boundary=b"))
			}, 400,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if test.edit != nil {
				w = newWorld(t, test.edit)
			}
			res := test.send(w)
			if res.status != test.status || !strings.Contains(res.body, `"message"`) {
				t.Errorf("the answer is %d %s, want %d and why", res.status, res.body, test.status)
			}
			w.nothing()
		})
	}
	t.Run("UP-06/as many parts as the bucket takes", func(t *testing.T) {
		w := newWorld(t, func(w *world) {
			w.limits.Parts, w.limits.Part, w.limits.MaxFileSize = 3, mib, 9*mib
		})
		res := w.do("PUT", "/upload/a", io.MultiReader(strings.NewReader(random(9*mib))), unknown)
		if _, parts := w.bucket.Busy(); res.status != 201 || parts > 4 { // the last is empty: its end was not known before
			t.Errorf("%d in %d parts, want 201 in three, of which none is short", res.status, parts)
		}
	})
}

// RULE-24: what is reserved and what is kept, together, are within the quota. A form reserves what is
// left of it, not all of it for each file.
func TestQuota(t *testing.T) {
	w := newWorld(t, func(w *world) { w.limits.Quota = upload.Quota{Bytes: 30, Files: 4, Live: 1} })
	body, kind := formOf(t, piece{"f", "a", "0123456789"}, piece{"f", "b", "0123456789"}, piece{"f", "c", "0123456789"})
	if res := w.do("POST", "/upload", body, kind); res.status != 201 {
		t.Fatalf("a form that just fits: %d %s", res.status, res.body)
	}
	if res := w.do("PUT", "/upload/d", strings.NewReader("x")); res.status != 413 || w.last(1).Outcome.Event != "quota" {
		t.Errorf("one byte more: %d %s", res.status, res.body)
	}
	if res := w.do("PUT", "/upload/d", strings.NewReader("")); res.status != 201 {
		t.Errorf("a fourth file without bytes: %d %s", res.status, res.body)
	}
	if res := w.do("PUT", "/upload/e", strings.NewReader("")); res.status != 413 || !strings.Contains(res.body, "as many files") {
		t.Errorf("a fifth file: %d %s", res.status, res.body)
	}
	w.do("DELETE", w.do("GET", "/upload", nil).read(t).Files[0].URL, nil)
	release := w.faulty.Block(storetest.Put)
	c := w.wire()
	c.put(0)
	eventually(t, "the upload to begin", func() bool { return w.faulty.Calls(storetest.Put) == 5 })
	if res := w.do("PUT", "/upload/f", strings.NewReader("")); res.status != 429 || res.header.Get("Retry-After") == "" {
		t.Errorf("a second upload at once: %d %s, want 429", res.status, res.body)
	}
	release()
	c.want(201)
}

func TestMethods(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		method, path string
		status       int
	}{
		{"PUT", "/upload", 405},
		{"PUT", "/upload/", 405},
		{"POST", "/upload/a.txt", 405},
		{"PATCH", "/upload", 405},
		{"DELETE", "/upload", 405},
		{"DELETE", "/upload/a.txt", 405},
		{"GET", "/uploads", 404},
		{"GET", "/upload/nothing", 404},
		{"OPTIONS", "/upload", 204},
		{"POST", "/upload/", 415},
	} {
		if res := w.do(test.method, test.path, nil); res.status != test.status || test.status == 405 != (res.header.Get("Allow") != "") {
			t.Errorf("%s %s: %d %v, want %d", test.method, test.path, res.status, res.header, test.status)
		}
	}
}

// Pages of listed origins may send files, and only they.
func TestOrigins(t *testing.T) {
	w := newWorld(t, func(w *world) { w.origins = []string{"https://app.test"} })
	for origin, status := range map[string]int{"https://app.test": 201, "https://app.test:8443": 403, "http://app.test": 403, "null": 403} {
		res := w.do("PUT", "/upload/a", strings.NewReader("x"), header("Origin", origin), header("Sec-Fetch-Site", "cross-site"))
		if res.status != status || (res.header.Get("Access-Control-Allow-Origin") == origin) != (status == 201) {
			t.Errorf("from %s: %d %v, want %d", origin, res.status, res.header, status)
		}
	}
	res := w.do("OPTIONS", "/upload", nil, header("Origin", "https://app.test"), header("Access-Control-Request-Method", "PUT"))
	if !strings.Contains(res.header.Get("Access-Control-Allow-Methods"), "PUT") || res.header.Get("Vary") == "" {
		t.Errorf("the preflight: %d %v", res.status, res.header)
	}
	if _, err := w.uploader.Route("/x", []string{"app.test"}); err == nil {
		t.Error("an origin without a scheme was let in")
	}
}
