package web

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Page is one answer for people; a client that wants JSON gets the same as JSON.
type Page struct {
	Status  int // zero: 200
	Title   string
	Text    []string // paragraphs
	Facts   []Fact
	Links   []Link
	Buttons []Button
}

// Fact is a row of the page's table.
type Fact struct{ Name, Value string }

// Button is a form with nothing but a button, sent by POST. Where the action leads to another origin,
// that origin is allowed in the page's policy. An answer to it that redirects must stay on the page's
// or the action's origin: Chromium holds redirects after a form to the policy too.
type Button struct {
	Name   string
	Action string
	Fields []Field
}

// Field is a hidden value that a Button sends along.
type Field struct{ Name, Value string }

var (
	//go:embed page/page.css
	style string
	//go:embed page/page.html
	markup string

	layout = template.Must(template.New("page").Parse(markup))

	// styleSource allows exactly our one <style> element, by its content.
	styleSource = func() string {
		sum := sha256.Sum256([]byte(style))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}()
)

// Style is the style sheet of our pages, for those that are drawn elsewhere.
func Style() string { return style }

// Draw answers with a page, or with the same as JSON if the client would rather have that. Nothing
// may have been sent before.
func Draw(w http.ResponseWriter, r *http.Request, p Page) {
	if p.Status == 0 {
		p.Status = http.StatusOK
	}
	id := ""
	if p.Status >= http.StatusBadRequest {
		id = RecordOf(r.Context()).ID
	}
	prepare(w, r)
	h := w.Header()
	h.Add("Vary", "Accept")
	h.Set("Content-Security-Policy", p.policy())
	h.Set("Referrer-Policy", p.referrer())
	kind, encode := "application/json", p.json
	if WantsHTML(r) {
		kind, encode = "text/html; charset=utf-8", p.html
	}
	body := encode(id)
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		// The writer notes a failure in the record; there is nobody left to tell.
		_, _ = w.Write(body)
	}
}

// policy lets the page do what it does and nothing else: no script, no frame around it, no source but
// its own style and icon, and forms only where its buttons lead.
func (p Page) policy() string {
	return "default-src 'none'; style-src " + styleSource + "; img-src data:; form-action " + p.targets() +
		"; frame-ancestors 'none'; base-uri 'none'"
}

// targets are the origins that the page's buttons lead to.
func (p Page) targets() string {
	var targets []string
	for _, b := range p.Buttons {
		target := "'self'"
		// url.Parse leaves a semicolon in a host, which would begin a directive of its own here.
		if u, err := url.Parse(b.Action); err == nil && u.Host != "" && !strings.ContainsFunc(u.Host, notOfHost) {
			target = u.Scheme + "://" + u.Host
		}
		if !slices.Contains(targets, target) {
			targets = append(targets, target)
		}
	}
	if targets == nil {
		return "'none'"
	}
	return strings.Join(targets, " ")
}

// referrer is no-referrer, because the address of a page of ours may hold a code and its links may
// lead to the app on the same host. A page with a button is the exception: without a referrer policy
// of same-origin its form would carry "Origin: null" (Fetch standard, "append a request Origin
// header"), and the check that a sign-out comes from our own page could not be passed.
func (p Page) referrer() string {
	if len(p.Buttons) > 0 {
		return "same-origin"
	}
	return "no-referrer"
}

func (p Page) html(id string) []byte {
	var body bytes.Buffer
	err := layout.Execute(&body, struct {
		Page
		Style template.CSS
		ID    string
	}{p, template.CSS(style), id}) //nolint:gosec // our own file
	if err != nil {
		panic(err) // the template and the types that fill it are fixed; a test draws everything
	}
	return body.Bytes()
}

// json is the page for programs. An error has the keys error, message and id; another page title and
// message. Links stand under their Rel, which cannot hide one of ours.
func (p Page) json(id string) []byte {
	body := map[string]any{}
	for _, l := range p.Links {
		if l.Rel != "" {
			body[l.Rel] = l.Href
		}
	}
	if len(p.Facts) > 0 {
		facts := map[string]string{}
		for _, f := range p.Facts {
			facts[f.Name] = f.Value
		}
		body["facts"] = facts
	}
	body["message"] = strings.Join(p.Text, " ")
	if p.Status < http.StatusBadRequest {
		body["title"] = p.Title
	} else {
		body["error"], body["id"] = p.Title, id
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false) // addresses stay readable; nosniff keeps JSON from being taken for a page
	if err := enc.Encode(body); err != nil {
		panic(err) // strings only
	}
	return out.Bytes()
}
