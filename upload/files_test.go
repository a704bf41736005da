package upload_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/store/storetest"
	"github.com/gatehouse-auth/gatehouse/upload"
)

// put keeps a file of somebody's and returns its address.
func (w *world) put(who, name, text string) string {
	w.t.Helper()
	res := w.do("PUT", "/upload/"+name, strings.NewReader(text), as(who))
	if res.status != 201 {
		w.t.Fatalf("PUT %s: %d %s", name, res.status, res.body)
	}
	return res.read(w.t).URL
}

// Each verb asks whose a file is. What is another's is answered like what never was.
func TestFilesAreTheirOwners(t *testing.T) {
	w := newWorld(t, func(w *world) { w.limits.SeeAll = []string{"auditor"} })
	mine := w.put("alice", "a.txt", "hers")
	for _, test := range []struct {
		who, method, path string
		status            int
	}{
		{"bob", "GET", mine, 404},
		{"bob", "HEAD", mine, 404},
		{"bob", "DELETE", mine, 404},
		{"bob", "POST", mine + "/delete", 404},
		{"bob", "GET", "/upload?all=1", 403},
		{"root", "GET", mine, 200},
		{"root", "HEAD", mine, 200},
		{"root", "GET", "/upload?all=1", 200},
		{"root", "DELETE", mine, 404}, // to see is not to delete
		{"nobody", "GET", mine, 401},
		{"nobody", "DELETE", mine, 401},
		{"nobody", "GET", "/upload", 401},
		{"nobody", "GET", "/upload/config", 401},
		{"alice", "GET", mine, 200},
		{"alice", "DELETE", mine, 204},
		{"alice", "DELETE", mine, 404},
		{"alice", "GET", mine, 404},
		{"alice", "GET", "/upload/01990000-0000-7000-8000-000000000001", 404},
	} {
		if res := w.do(test.method, test.path, nil, as(test.who)); res.status != test.status {
			t.Errorf("%s %s as %s: %d %s, want %d", test.method, test.path, test.who, res.status, res.body, test.status)
		}
	}
	theirs, none := w.do("GET", w.put("bob", "b.txt", "his"), nil), w.do("GET", "/upload/01990000-0000-7000-8000-000000000001", nil)
	if cut := func(r reply) string { before, _, _ := strings.Cut(r.body, `"id"`); return before }; cut(theirs) != cut(none) {
		t.Errorf("another's file: %s, and none at all: %s", theirs.body, none.body)
	}
}

func TestList(t *testing.T) {
	w := newWorld(t, func(w *world) { w.limits.SeeAll = []string{"auditor"} })
	var want []string
	for _, who := range []string{"alice", "bob", "alice", "alice", "bob", "alice", "alice"} {
		if url := w.put(who, "a.txt", "x"); who == "alice" {
			want = append([]string{url}, want...) // newest first
		}
	}
	var got []string
	path := "/upload?limit=2"
	for range 4 {
		list := w.do("GET", path, nil).read(t)
		for _, f := range list.Files {
			got = append(got, f.URL)
			if f.Owner != 0 {
				t.Errorf("a list of one's own names an owner: %+v", f)
			}
		}
		if list.Next == "" {
			break
		}
		path = "/upload?limit=2&before=" + list.Next
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the pages have %v, want %v", got, want)
	}
	if all := w.do("GET", "/upload?all=1", nil, as("root")).read(t); len(all.Files) != 7 || all.Files[0].Owner == 0 {
		t.Errorf("all are %+v, want seven with their owners", all.Files)
	}
	for _, query := range []string{"limit=0", "limit=-1", "limit=x", "limit=100000", "before=x", "before=%00"} {
		if res := w.do("GET", "/upload?"+query, nil); res.status != 400 {
			t.Errorf("?%s: %d, want 400", query, res.status)
		}
	}
	w.faulty.Fail(storetest.List, errFake)
	if res := w.do("GET", "/upload", nil); res.status != 503 {
		t.Errorf("while the table is away: %d, want 503", res.status)
	}
}

func TestConfig(t *testing.T) {
	w := newWorld(t, func(w *world) {
		w.limits = upload.Limits{MaxFileSize: 7 * mib, MaxFiles: 3, Allow: []string{"text/*"}, Quota: upload.Quota{Bytes: 100, Files: 10, Live: 2}}
	})
	w.put("alice", "a.txt", "hello")
	res := w.do("GET", "/upload/config", nil)
	var got struct {
		MaxFileSize int64    `json:"max_file_size"`
		MaxFiles    int      `json:"max_files"`
		Allow       []string `json:"allow"`
		Deny        []string `json:"deny"`
		Digest      string   `json:"digest"`
		Quota, Used struct{ Bytes, Files, Uploads int64 }
	}
	if err := json.Unmarshal([]byte(res.body), &got); err != nil {
		t.Fatal(err)
	}
	if got.MaxFileSize != 7*mib || got.MaxFiles != 3 || got.Allow[0] != "text/*" || got.Deny == nil || got.Digest != "sha256" || got.Quota.Uploads != 2 || got.Used.Bytes != 5 || got.Used.Files != 1 {
		t.Errorf("the limits are %s", res.body)
	}
	w = newWorld(t, func(w *world) { w.limits = upload.Limits{Parts: 3, Part: mib} })
	if res := w.do("GET", "/upload/config", nil); !strings.Contains(res.body, `"max_file_size":47185920,`) {
		t.Errorf("without a bound the limits are %s, want three parts of the 15 MiB that one user's share holds", res.body)
	}
}

// RULE-25: a file is saved, and never shown, run or framed on our own host.
func TestDownloadIsNoPage(t *testing.T) {
	w := newWorld(t)
	url := w.put("alice", "x.html", "<html><script>alert(1)</script>")
	res := w.do("GET", url, nil, header("Sec-Fetch-Dest", "document"))
	for name, want := range map[string]string{
		"Content-Type": "application/octet-stream", "X-Content-Type-Options": "nosniff", "Content-Disposition": "attachment", "Content-Security-Policy": "sandbox",
		"Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "private, no-cache", "Referrer-Policy": "no-referrer",
	} {
		if got := res.header.Get(name); !strings.Contains(got, want) {
			t.Errorf("RULE-25: %s is %q, want %q in it", name, got, want)
		}
	}
	for _, dest := range []string{"script", "worker", "sharedworker", "serviceworker", "style", "iframe", "frame", "object", "embed"} {
		if res := w.do("GET", url, nil, header("Sec-Fetch-Dest", dest)); res.status != 403 || strings.Contains(res.body, "alert") {
			t.Errorf("RULE-25: as a %s: %d %s, want 403", dest, res.status, res.body)
		}
	}
}

func TestRangesAndConditions(t *testing.T) {
	w := newWorld(t)
	text := random(3*mib + 5)
	url := w.put("alice", "a.bin", text)
	size := len(text)
	etag := w.do("HEAD", url, nil).header.Get("Etag")
	since := w.do("HEAD", url, nil).header.Get("Last-Modified")
	for name, test := range map[string]struct {
		headers []string
		status  int
		body    string
		ranged  string // Content-Range
	}{
		"all":                         {nil, 200, text, ""},
		"the first bytes":             {[]string{"Range", "bytes=0-99"}, 206, text[:100], "bytes 0-99/3145733"},
		"from the middle":             {[]string{"Range", "bytes=1048576-"}, 206, text[mib:], "bytes 1048576-3145732/3145733"},
		"the last bytes":              {[]string{"Range", "bytes=-7"}, 206, text[size-7:], "bytes 3145726-3145732/3145733"},
		"beyond the end":              {[]string{"Range", "bytes=99999999-"}, 416, "", "bytes */3145733"},
		"RULE-25/several ranges":      {[]string{"Range", "bytes=0-1,5-6"}, 200, text, ""},
		"no range":                    {[]string{"Range", "lines=1-2"}, 416, "", ""},
		"still the same":              {[]string{"If-None-Match", etag}, 304, "", ""},
		"not the same":                {[]string{"If-None-Match", `"other"`}, 200, text, ""},
		"not since":                   {[]string{"If-Modified-Since", since}, 304, "", ""},
		"a range if the same":         {[]string{"Range", "bytes=0-1", "If-Range", etag}, 206, text[:2], "bytes 0-1/3145733"},
		"a range if it were another":  {[]string{"Range", "bytes=0-1", "If-Range", `"other"`}, 200, text, ""},
		"only if it were another one": {[]string{"If-Match", `"other"`}, 412, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			res := w.do("GET", url, nil, func(r *http.Request) {
				for i := 0; i < len(test.headers); i += 2 {
					r.Header.Set(test.headers[i], test.headers[i+1])
				}
			})
			if res.status != test.status || res.body != test.body || res.header.Get("Content-Range") != test.ranged {
				t.Errorf("%d with %d bytes and Content-Range %q, want %d with %d and %q", res.status, len(res.body), res.header.Get("Content-Range"), test.status, len(test.body), test.ranged)
			}
		})
	}
	opened := w.faulty.Calls(storetest.Open)
	if res := w.do("HEAD", url, nil, header("Range", "bytes=0-1")); res.status != 200 || res.header.Get("Content-Length") != "3145733" || w.faulty.Calls(storetest.Open) != opened {
		t.Errorf("HEAD: %d %v, want the length of all and no question to the bucket", res.status, res.header)
	}
	empty := w.put("alice", "empty", "")
	if res := w.do("GET", empty, nil); res.status != 200 || res.body != "" {
		t.Errorf("an empty file: %d %q", res.status, res.body)
	}
}

// A download ends when its session does, and never looks whole then.
func TestDownloadIsRevoked(t *testing.T) {
	w := newWorld(t)
	url := w.put("alice", "a.bin", random(30*mib))
	c := w.wire()
	_ = c.say("GET %s HTTP/1.1\r\nHost: gw.test\r\nX-User: alice\r\n\r\n", url)
	if _, err := c.r.Peek(1); err != nil {
		t.Fatal(err)
	}
	ended := w.ended()
	w.revoke("alice")
	w.last(ended) // although nobody reads
	if res, err := c.answer(); err == nil {
		t.Errorf("a download of a session that is over came whole: %d bytes", len(res.body))
	}
}

// Deleting: the row first. If the bucket cannot be asked, the file is gone all the same, and the janitor
// has its row.
func TestDelete(t *testing.T) {
	w := newWorld(t)
	url := w.put("alice", "a.txt", "x")
	if res := w.do("DELETE", url, nil, header("Origin", "https://evil.test")); res.status != 403 {
		t.Errorf("DELETE from another site: %d, want 403", res.status)
	}
	w.faulty.Fail(storetest.Doom, errFake)
	if res := w.do("DELETE", url, nil); res.status != 503 || len(w.bucket.Keys()) != 1 {
		t.Errorf("DELETE while the table is away: %d, want 503 and the object left", res.status)
	}
	w.faulty.Heal(storetest.Doom)
	w.faulty.Fail(storetest.Delete, errFake)
	if res := w.do("DELETE", url, nil); res.status != 204 || len(w.do("GET", "/upload", nil).read(t).Files) != 0 {
		t.Errorf("DELETE while the bucket is away: %d, want 204 and it gone from the list", res.status)
	}
	if doomed := w.files.In(upload.Doomed); len(doomed) != 1 {
		t.Errorf("doomed are %+v, want one for the janitor", doomed)
	}
	w.bucketMinus(w.bucket.Keys()[0])
	w.faulty.Heal(storetest.Delete)
	url = w.put("alice", "b.txt", "x")
	res := w.do("POST", url+"/delete", nil, header("Accept", "text/html"))
	if res.status != 303 || res.header.Get("Location") != "/upload/" {
		t.Errorf("a form that deletes: %d %v, want 303 to the list", res.status, res.header)
	}
	w.nothing()
}

func TestPresigned(t *testing.T) {
	w := newWorld(t, func(w *world) {
		w.presign = func(_ context.Context, key, name string) (string, error) {
			if name == "broken" {
				return "", errors.New("no credentials")
			}
			return "https://bucket.test/" + key + "?signature=secret", nil
		}
	})
	res := w.do("GET", w.put("alice", "a.txt", "x"), nil)
	if res.status != 302 || !strings.HasPrefix(res.header.Get("Location"), "https://bucket.test/test/") || res.header.Get("Referrer-Policy") != "no-referrer" || res.header.Get("Cache-Control") != "no-store" {
		t.Errorf("GET: %d %v, want 302 to the bucket, kept by nobody", res.status, res.header)
	}
	if res := w.do("GET", w.put("alice", "broken", "x"), nil); res.status != 502 {
		t.Errorf("GET without an address: %d, want 502", res.status)
	}
	if res := w.do("GET", w.put("bob", "b.txt", "x"), nil, as("bob")); res.status != 302 {
		t.Errorf("GET as another user: %d", res.status)
	}
}

func TestPage(t *testing.T) {
	w := newWorld(t)
	w.put("alice", "a%22%3E%3Cscript%3E.txt", "x")
	res := w.do("GET", "/upload/", nil, header("Accept", "text/html"))
	if res.status != 200 || strings.Contains(res.body, "><script>.txt") || !strings.Contains(res.body, "multipart/form-data") {
		t.Errorf("the page: %d %s", res.status, res.body)
	}
	for _, name := range []string{"page.js", "page.css"} {
		if res := w.do("GET", "/upload/"+name, nil, header("Sec-Fetch-Dest", "script")); res.status != 200 || res.body == "" {
			t.Errorf("%s: %d", name, res.status)
		}
	}
}
