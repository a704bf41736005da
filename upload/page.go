package upload

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"time"

	"github.com/gatehouse-auth/gatehouse/web"
)

var (
	//go:embed page
	pageFiles embed.FS

	pageLayout = template.Must(template.New("page.html").Funcs(template.FuncMap{"size": sizeText}).ParseFS(pageFiles, "page/page.html"))

	// pageAssets are what the page loads, by the last element of their path.
	pageAssets = map[string]asset{
		"page.js":  newAsset("text/javascript; charset=utf-8", pageFile("page/page.js")),
		"page.css": newAsset("text/css; charset=utf-8", web.Style(), pageFile("page/page.css")),
	}
)

// pagePolicy lets the page run our own script and send its forms to us, and nothing else: no script
// that stands in the page itself, so that a file's name can never become one.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// filesPage is what a person sees of an upload route: a form, and the files that are there.
type filesPage struct {
	Base   string // the route's path
	Files  []File // newest first
	Next   string // the id before which more begin; empty: there are no more
	First  bool   // there are none newer than these
	All    bool   // they are everybody's, to be read only
	Limits Limits
}

// Largest is the most bytes that a file may have, as far as anyone set it.
func (p filesPage) Largest() int64 {
	if most := p.Limits.bound(-1); most < unbounded {
		return most
	}
	return 0
}

// draw answers with the page.
func (p filesPage) draw(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	if err := pageLayout.Execute(&body, p); err != nil {
		panic(err) // the template and the types that fill it are fixed; a test draws everything
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	// Not no-referrer, with which the forms would say "Origin: null" and be refused (web/page.go).
	h.Set("Referrer-Policy", "same-origin")
	h.Add("Vary", "Accept")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodHead {
		// The writer notes a failure in the record; there is nobody left to tell.
		_, _ = w.Write(body.Bytes())
	}
}

// asset is a file that the page loads.
type asset struct {
	kind, tag string
	body      []byte
}

func newAsset(kind string, texts ...string) asset {
	var body bytes.Buffer
	for _, text := range texts {
		body.WriteString(text)
	}
	sum := sha256.Sum256(body.Bytes())
	return asset{kind, `"` + hex.EncodeToString(sum[:8]) + `"`, body.Bytes()}
}

func pageFile(name string) string {
	text, err := pageFiles.ReadFile(name)
	if err != nil {
		panic(err) // embedded
	}
	return string(text)
}

// serve answers with the asset. Browsers keep it and ask each time whether it is still the same: after
// an update nobody runs an old script on a new page.
func (a asset) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "private, no-cache")
	h.Set("Content-Type", a.kind)
	h.Set("ETag", a.tag)
	h.Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.body))
}

// sizeText is a number of bytes for people, as page.js writes it too.
func sizeText(bytes int64) string {
	if bytes < 1024 {
		return fmt.Sprintf("%d bytes", bytes)
	}
	n, units := float64(bytes)/1024, []string{"KiB", "MiB", "GiB", "TiB"}
	for n >= 1024 && len(units) > 1 {
		n, units = n/1024, units[1:]
	}
	digits := 0
	if n < 100 {
		digits = 1
	}
	return fmt.Sprintf("%.*f %s", digits, n, units[0])
}
