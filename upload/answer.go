package upload

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gatehouse-auth/gatehouse/web"
)

// fileJSON is a file as clients see it.
type fileJSON struct {
	ID       string    `json:"id"`
	Owner    int64     `json:"owner,omitempty"` // where the files of all are listed
	Name     string    `json:"name"`
	Size     int64     `json:"size"`
	SHA256   string    `json:"sha256,omitempty"`
	Declared string    `json:"declared"`
	Sniffed  string    `json:"sniffed"`
	URL      string    `json:"url"`
	Created  time.Time `json:"created"`
}

// faultJSON is what became of a file that is not kept.
type faultJSON struct {
	Name    string `json:"name"`
	Error   string `json:"error"`
	Message string `json:"message"`
	Status  int    `json:"status"`
}

func (at *route) json(f File) fileJSON {
	return fileJSON{
		ID: f.ID, Name: f.Name, Size: f.Size, SHA256: f.SHA256, Declared: f.Type.Declared, Sniffed: f.Type.Sniffed,
		URL: at.base + "/" + url.PathEscape(f.ID), Created: f.Created,
	}
}

// report answers a request whose body came to its end: 201, or what became of each file.
func (at *route) report(w http.ResponseWriter, r *http.Request, d delivery, t *transfer) error {
	out := &web.RecordOf(r.Context()).Outcome
	out.Event = "upload"
	var faults, ours []error
	first := (*web.Error)(nil)
	files := make([]any, 0, len(t.results))
	for _, one := range t.results {
		if one.err == nil {
			files = append(files, at.json(one.file))
			continue
		}
		e := public(one.err)
		if first == nil {
			first = e
		}
		faults = append(faults, one.err)
		if e.Status >= http.StatusInternalServerError {
			ours = append(ours, one.err)
		}
		files = append(files, faultJSON{one.name, title(e), e.Text, e.Status})
	}
	out.Cause = errors.Join(faults...)
	if len(faults) < len(files) { // what a client did wrong is no reason to warn of an answer that went well
		out.Cause = errors.Join(ours...)
	}
	switch {
	case d.boundary == "":
		w.Header().Set("Location", at.json(t.results[0].file).URL)
		return web.Reply(w, r, http.StatusCreated, at.json(t.results[0].file))
	case web.WantsHTML(r):
		return at.showForm(w, r, t, first, len(faults))
	}
	return at.replyForm(w, r, files, t.fields, first, len(faults))
}

// replyForm answers a program that sent a form: 201, 207 where a part of the files is kept, or the
// status of the first failure where none is.
func (at *route) replyForm(w http.ResponseWriter, r *http.Request, files []any, fields map[string][]string, first *web.Error, faults int) error {
	body := map[string]any{"files": files}
	if len(fields) > 0 {
		body["fields"] = fields // a field that means nothing here is at least not swallowed (UP-07)
	}
	switch faults {
	case 0:
		return web.Reply(w, r, http.StatusCreated, body)
	case len(files):
		web.RecordOf(r.Context()).Outcome.Event = first.Event
		body["error"], body["message"], body["id"] = title(first), first.Text, web.RecordOf(r.Context()).ID
		retryAfter(w, first)
		return web.Reply(w, r, first.Status, body)
	}
	return web.Reply(w, r, http.StatusMultiStatus, body)
}

// showForm answers a browser that sent a form without a script: back to the list, or a page that says
// what went wrong.
func (at *route) showForm(w http.ResponseWriter, r *http.Request, t *transfer, first *web.Error, faults int) error {
	if faults == 0 {
		web.Redirect(w, r, http.StatusSeeOther, at.base+"/")
		return nil
	}
	if faults == len(t.results) {
		return first
	}
	p := web.Page{
		Status: http.StatusMultiStatus, Title: "Not all files were kept",
		Text:  []string{"What is wrong with the others is told beside them."},
		Links: []web.Link{{Name: "Back to your files", Rel: "files", Href: at.base + "/"}},
	}
	for _, one := range t.results {
		state := "kept"
		if one.err != nil {
			state = public(one.err).Text
		}
		p.Facts = append(p.Facts, web.Fact{Name: one.name, Value: state})
	}
	web.Draw(w, r, p)
	return nil
}

func title(e *web.Error) string {
	if e.Title != "" {
		return e.Title
	}
	return http.StatusText(e.Status)
}

// refused counts a request that failed as a whole, and returns the answer to it.
func (u *Uploader) refused(err error) error {
	u.done(File{}, err)
	return public(err)
}

// done counts a file.
func (u *Uploader) done(f File, err error) {
	u.parts.Meter.Done(resultOf(err), f.Size)
}

// retryAfter tells a program when to come again.
func retryAfter(w http.ResponseWriter, e *web.Error) {
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(e.RetryAfter.Seconds())))
	}
}
