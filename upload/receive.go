package upload

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/web"
)

// digestHeader and digestField carry the SHA-256, in hex, that a client made of its file.
const (
	digestHeader = "X-Content-Sha256"
	digestField  = "sha256"
)

// delivery is what a request brings, as its head says.
type delivery struct {
	boundary string // of a form; empty: the body is one file
	name     string // of that file
	declared string // its media type
	digest   string // its SHA-256; may be empty
}

// transfer is a delivery under way. One goroutine has it.
type transfer struct {
	u       *Uploader
	session auth.Session
	in      *inflow
	lease   *Lease
	bound   int64 // bytes of any file in it
	part    int64 // bytes of a part
	results []result
	fields  map[string][]string // the text fields of a form
}

// result is how one file ended.
type result struct {
	name string
	file File
	err  error
}

// receive takes what a request brings. All that its head tells is judged before the first byte of the
// body is read: until then a client that asked (Expect: 100-continue) has not begun to send (UP-12).
func (at *route) receive(w http.ResponseWriter, r *http.Request, name string) (whole bool, err error) {
	u := at.u
	u.busy.Add(1)
	defer u.busy.Done()
	s, err := at.who(r)
	if err != nil {
		return false, err
	}
	d, err := at.delivery(r, name)
	if err != nil {
		return false, u.refused(err)
	}
	t := &transfer{u: u, session: s, fields: map[string][]string{}}
	if t.part, t.bound, err = u.room(r, s, d); err != nil {
		return false, u.refused(err)
	}
	if t.lease, err = u.admit(r.Context(), s.User.ID, min(t.bound, t.part)); err != nil {
		return false, u.refused(err)
	}
	used := func(n int64) {
		u.parts.Who.Used(r.Context())
		u.parts.Meter.Received(n)
	}
	t.in = newInflow(w, r, u.limits, used)
	err = t.run(d, s.User.ID)
	whole = t.in.close()
	_ = t.lease.Close() // a page that is still held is the bucket's fault and stays counted
	if whole {
		r = spent(r)
	}
	if err != nil {
		return whole, u.refused(err)
	}
	for _, one := range t.results {
		u.done(one.file, one.err)
	}
	return whole, at.report(w, r, d, t)
}

// run takes the files. An error is one that no file survives.
func (t *transfer) run(d delivery, user int64) error {
	defer t.u.crowd.enter(t.in, user)()
	if d.boundary != "" {
		return t.form(d.boundary)
	}
	in := incoming{name: d.name, declared: d.declared, digest: d.digest, length: t.in.length, reserve: t.in.length}
	if in.length < 0 {
		in.reserve = t.part
	}
	f, err := t.take(t.in, in)
	t.results = []result{{f.Name, f, err}}
	return err
}

// delivery reads the head of a request.
func (at *route) delivery(r *http.Request, name string) (delivery, error) {
	if err := at.sameSite(r); err != nil {
		return delivery{}, err
	}
	h := r.Header
	d := delivery{name: name, declared: h.Get("Content-Type"), digest: strings.ToLower(h.Get(digestHeader))}
	if coding := h.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return d, web.Fail(http.StatusUnsupportedMediaType, "Send the file as it is, without a Content-Encoding.", nil)
	}
	if h.Get("Content-Range") != "" {
		return d, web.Fail(http.StatusBadRequest, "A file is sent whole: Content-Range is not understood (RFC 9110, section 14.5).", nil)
	}
	if d.digest != "" && !isDigest(d.digest) {
		return d, badDigest(digestHeader)
	}
	if d.name == "" {
		d.name = r.URL.Query().Get("name")
	}
	if r.Method == http.MethodPut || d.name != "" && !strings.HasPrefix(strings.ToLower(d.declared), "multipart/") {
		return d, nil
	}
	var err error
	if d.boundary, err = boundaryOf(d.declared); err == nil && d.digest != "" {
		err = web.Fail(http.StatusBadRequest, "In a form the digest of a file is a field of the name "+digestField+" before it.", nil)
	}
	return d, err
}

// sameSite refuses what a page of another site sends: forms may be sent across sites, with the cookies
// of old browsers. The host is the one that the gate judged by.
func (at *route) sameSite(r *http.Request) error {
	asked := &http.Request{Method: r.Method, Header: r.Header, Host: r.Host, URL: r.URL}
	if host := web.PeerOf(r.Context()).Host; host != "" {
		asked.Host = host
	}
	if err := at.guard.Check(asked); err != nil {
		return &web.Error{
			Status: http.StatusForbidden, Title: "Not from here", Event: "cross_site", Cause: err,
			Text: "Files are taken only from pages of this site.",
		}
	}
	return nil
}

// room judges the declared length, and finds the size of the parts.
func (u *Uploader) room(r *http.Request, s auth.Session, d delivery) (part, bound int64, err error) {
	length := r.ContentLength
	part, bound = u.limits.part(u.limits.bound(length), u.parts.Memory.largest())
	switch {
	case d.boundary != "" && length == 0:
		return 0, 0, web.Fail(http.StatusBadRequest, "The form is empty.", nil)
	case u.limits.MaxRequestSize > 0 && length > u.limits.MaxRequestSize:
		return 0, 0, errRequestTooLarge
	case d.boundary == "" && length > bound:
		return 0, 0, errFileTooLarge
	}
	if d.boundary != "" {
		length -= around
	}
	return part, bound, u.within(r, s, max(0, length))
}

// around is how much a form may have beside its files before anybody is refused for it early.
const around = 64 << 10

// within judges a quota early, so that nobody sends a gigabyte to hear that there is no room for it.
// What counts is what Begin says: others may be under way.
func (u *Uploader) within(r *http.Request, s auth.Session, length int64) error {
	q := u.limits.Quota
	if q == (Quota{}) {
		return nil
	}
	has, err := u.parts.Shelf.Usage(r.Context(), s.User.ID)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errRows, err)
	case q.Live > 0 && has.Live >= q.Live:
		return ErrQuotaLive
	case q.Files > 0 && has.Files >= q.Files:
		return ErrQuotaFiles
	case q.Bytes > 0 && length > q.Bytes-has.Bytes:
		return ErrQuotaBytes
	}
	return nil
}

func isDigest(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

func badDigest(where string) error {
	return web.Fail(http.StatusBadRequest, "A SHA-256 in "+where+" is 64 hexadecimal digits, once for each file.", nil)
}
