package upload

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// drawn returns the answer with a page.
func drawn(method string, p filesPage) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	p.draw(w, httptest.NewRequest(method, "/upload", nil))
	return w
}

func TestPageShowsFilesAsText(t *testing.T) {
	w := drawn(http.MethodGet, filesPage{
		Base: "/upload", First: true, Next: "0198", Limits: Limits{MaxFileSize: 5 << 30, MaxFiles: 50},
		Files: []File{{ID: "0199", Name: `<script>alert("x")</script>'"&.html`, Size: 1536, Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}},
	})
	page := w.Body.String()
	for _, want := range []string{
		`<a href="/upload/0199">&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;&#39;&#34;&amp;.html</a>`, "1.5 KiB", `datetime="2026-01-02T03:04:05Z"`,
		`<form method="post" action="/upload/0199/delete">`, `href="/upload/?before=0198"`, "Up to 5.0 GiB a file, 50 files at once.",
		`<form id="send" method="post" enctype="multipart/form-data" action="/upload">`, `src="/upload/page.js"`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%s is not on the page", want)
		}
	}
	if n := strings.Count(page, "<script"); n != 1 {
		t.Errorf("%d scripts on the page, want one", n)
	}
	for _, inline := range []string{" style=", "<style", " onclick", "javascript:"} {
		if strings.Contains(page, inline) {
			t.Errorf("the page has%s, which its policy forbids", inline)
		}
	}
}

func TestPageKeepsTheManners(t *testing.T) {
	w := drawn(http.MethodHead, filesPage{Base: "/upload", First: true})
	if w.Code != http.StatusOK || w.Body.Len() != 0 {
		t.Errorf("HEAD: status %d, or a body", w.Code)
	}
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "Content-Security-Policy": pagePolicy, "Content-Type": "text/html; charset=utf-8",
		"Referrer-Policy": "same-origin", "Vary": "Accept", "X-Content-Type-Options": "nosniff",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if strings.Contains(pagePolicy, "unsafe") || strings.Contains(pagePolicy, "*") {
		t.Errorf("the policy is not strict: %s", pagePolicy)
	}
}

func TestPageWithoutFiles(t *testing.T) {
	page := drawn(http.MethodGet, filesPage{Base: "/files", First: true, Limits: Limits{MaxFiles: 1}.filled()}).Body.String()
	if !strings.Contains(page, "There are none yet.") || strings.Contains(page, "Older") || strings.Contains(page, "Up to") {
		t.Errorf("the first page without files:\n%s", page)
	}
	page = drawn(http.MethodGet, filesPage{Base: "/files"}).Body.String()
	if !strings.Contains(page, "There are no older ones.") || !strings.Contains(page, `<a href="/files/">Newest files</a>`) {
		t.Errorf("a page behind the last file:\n%s", page)
	}
}

func TestPageOfEverybodysFiles(t *testing.T) {
	page := drawn(http.MethodGet, filesPage{Base: "/upload", Next: "0198", First: true, All: true, Files: []File{{ID: "0199", Name: "a.txt"}}}).Body.String()
	if strings.Contains(page, "/0199/delete") || !strings.Contains(page, `href="/upload/?before=0198&amp;all=1"`) || !strings.Contains(page, "<h1>All files</h1>") {
		t.Errorf("the page with everybody's files:\n%s", page)
	}
	page = drawn(http.MethodGet, filesPage{Base: "/upload", All: true}).Body.String()
	if !strings.Contains(page, `<a href="/upload/?all=1">Newest files</a>`) {
		t.Errorf("a later page with everybody's files:\n%s", page)
	}
}

func TestPageAssets(t *testing.T) {
	for name, a := range pageAssets {
		w := httptest.NewRecorder()
		a.serve(w, httptest.NewRequest(http.MethodGet, "/upload/"+name, nil))
		kind := w.Header().Get("Content-Type")
		if w.Code != http.StatusOK || w.Body.String() != string(a.body) || !strings.HasSuffix(kind, "; charset=utf-8") {
			t.Errorf("%s: status %d, %s, %d bytes", name, w.Code, kind, w.Body.Len())
		}
		again := httptest.NewRequest(http.MethodGet, "/upload/"+name, nil)
		again.Header.Set("If-None-Match", w.Header().Get("ETag"))
		w = httptest.NewRecorder()
		a.serve(w, again)
		if w.Code != http.StatusNotModified {
			t.Errorf("%s, asked again: status %d, want 304", name, w.Code)
		}
	}
	if css := string(pageAssets["page.css"].body); !strings.Contains(css, "--brand") || !strings.Contains(css, "#queue") {
		t.Error("the style sheet lacks that of all pages, or its own")
	}
}

// TestPageIsSmall: 20 KB of our own in all.
func TestPageIsSmall(t *testing.T) {
	var sum int64
	err := fs.WalkDir(pageFiles, ".", func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	if err != nil || sum > 20_000 {
		t.Errorf("the page is %d bytes, %v", sum, err)
	}
}

func TestSizeText(t *testing.T) {
	for bytes, want := range map[int64]string{
		0: "0 bytes", 1023: "1023 bytes", 1024: "1.0 KiB", 1536: "1.5 KiB", 200 << 10: "200 KiB", 5 << 30: "5.0 GiB", 3 << 40: "3.0 TiB", 2000 << 40: "2000 TiB",
	} {
		if got := sizeText(bytes); got != want {
			t.Errorf("%d: got %s, want %s", bytes, got, want)
		}
	}
}
