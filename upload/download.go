package upload

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/web"
)

// chunk is how many bytes a client must take within the time of Stall.
const chunk = 64 << 10

// asPage are the uses of an answer in which the bytes of a file would be run or drawn as a part of the
// site (RULE-25; Fetch Metadata, Sec-Fetch-Dest). Whoever could get somebody to upload a script must
// not find a page that runs it.
var asPage = []string{
	"script", "style", "worker", "sharedworker", "serviceworker", "audioworklet", "paintworklet",
	"iframe", "frame", "fencedframe", "object", "embed", "manifest", "report", "xslt",
}

// harmless are the media types that are told to a client. All else, and whatever can hold a script, is
// application/octet-stream: what a file is, is for its owner to say after it was saved.
var harmless = []string{
	"image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "audio/mpeg", "audio/wave", "audio/aiff",
	"video/mp4", "video/webm", "video/avi", "application/ogg", "application/pdf", "application/zip",
	"application/x-gzip", "text/plain; charset=utf-8",
}

// serveAs is the media type with which a file is kept and handed out.
func serveAs(t Types) string {
	if slices.Contains(harmless, t.Sniffed) {
		return t.Sniffed
	}
	return "application/octet-stream"
}

// fetch hands out the bytes of a file, to be saved: never to be shown on our own host.
func (at *route) fetch(w http.ResponseWriter, r *http.Request, s auth.Session, id string) error {
	if slices.Contains(asPage, r.Header.Get("Sec-Fetch-Dest")) {
		return &web.Error{Status: http.StatusForbidden, Text: "A file can be downloaded, but not used as a part of a page.", Event: "upload_as_page"}
	}
	f, err := at.find(r.Context(), id, func(f File) bool { return f.Owner == s.User.ID || at.u.seesAll(s) })
	if err != nil {
		return err
	}
	if at.u.parts.Presign != nil && r.Method == http.MethodGet {
		return at.redirect(w, r, f)
	}
	return at.u.hand(w, r, f)
}

// redirect sends a client to the bucket. The address opens the file for whoever has it, so it is in no
// log, and no page that it leads to hears where it came from.
func (at *route) redirect(w http.ResponseWriter, r *http.Request, f File) error {
	address, err := at.u.parts.Presign(r.Context(), f.Key, f.Name)
	if err != nil {
		return public(fmt.Errorf("%w: %w", errBucket, err))
	}
	web.Redirect(w, r, http.StatusFound, address)
	return nil
}

// hand sends a file, or what of it was asked for.
func (u *Uploader) hand(w http.ResponseWriter, r *http.Request, f File) error {
	describe(w.Header(), f)
	p := plan(r, w.Header(), f)
	var body io.ReadCloser
	if p.length > 0 && r.Method == http.MethodGet {
		var obj Object
		var err error
		if body, obj, err = u.parts.Bucket.Open(r.Context(), f.Key, p.offset, p.length); err != nil {
			return withoutFile(w, fmt.Errorf("%w: %w", errBucket, err))
		}
		defer body.Close()
		if obj.Size != f.Size {
			return withoutFile(w, fmt.Errorf("%w: it has %d bytes of a file of %d", errBucket, obj.Size, f.Size))
		}
	}
	h := w.Header()
	clear(h)
	for name, values := range p.header {
		h[name] = values
	}
	w.WriteHeader(p.status)
	if body == nil {
		return nil
	}
	return u.send(w, r, body, p.length)
}

// withoutFile says that a file could not be had, without the headers that described it.
func withoutFile(w http.ResponseWriter, err error) error {
	for _, name := range []string{"Cache-Control", "Accept-Ranges"} {
		w.Header().Del(name)
	}
	e := public(err)
	e.Text = strings.Replace(e.Text, "did not take the file, so it was not kept", "did not hand out the file", 1)
	return e
}

// describe sets the headers of every file. An answer may be kept by this browser alone, and it asks
// before it uses it: whoever signs in next at this desk must not find it.
func describe(h http.Header, f File) {
	h.Set("Content-Type", serveAs(f.Type))
	h.Set("Content-Disposition", Disposition(f.Name))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "private, no-cache")
	h.Set("Etag", `"`+or(f.SHA256, f.ID)+`"`)
}

// planned is an answer, made before a byte of it is asked from the bucket.
type planned struct {
	status         int
	header         http.Header
	offset, length int64
}

// plan lets net/http decide what is to be sent: which conditions hold, and which range is meant (RFC
// 9110, sections 13 and 14). It does so with a file of nothing, on a writer that sends nothing, since
// the bucket must be asked before the status is told. One range is served; who asks for several gets
// the file whole, as every client has to understand.
func plan(r *http.Request, h http.Header, f File) planned {
	asked := r.Clone(r.Context())
	asked.Method = http.MethodHead
	if r.Method != http.MethodGet || strings.Contains(asked.Header.Get("Range"), ",") {
		asked.Header.Del("Range")
	}
	dry := &dryRun{planned{header: h.Clone(), length: f.Size, status: http.StatusOK}}
	http.ServeContent(dry, asked, "", f.Created, &hollow{size: f.Size})
	p := dry.planned
	switch p.status {
	case http.StatusOK:
	case http.StatusPartialContent:
		var last, size int64
		_, _ = fmt.Sscanf(p.header.Get("Content-Range"), "bytes %d-%d/%d", &p.offset, &last, &size)
		p.length = last - p.offset + 1
	default:
		p.length = 0
		p.header.Del("Content-Type") // of a text that is not sent
	}
	return p
}

// dryRun is a http.ResponseWriter that only notes what it is told.
type dryRun struct{ planned }

func (d *dryRun) Header() http.Header         { return d.header }
func (d *dryRun) WriteHeader(status int)      { d.status = status }
func (d *dryRun) Write(p []byte) (int, error) { return len(p), nil }

// hollow is a file of a size, of which nobody reads.
type hollow struct{ size int64 }

func (f *hollow) Read([]byte) (int, error) { return 0, io.EOF }

func (f *hollow) Seek(offset int64, whence int) (int64, error) {
	if whence == io.SeekEnd {
		return f.size + offset, nil
	}
	return offset, nil
}

// send copies a file to a client that has to take it, and ends when the session does. A copy that
// breaks off breaks the connection, so that nobody takes the half for the whole.
func (u *Uploader) send(w http.ResponseWriter, r *http.Request, body io.Reader, length int64) error {
	ctl := http.NewResponseController(w)
	defer context.AfterFunc(r.Context(), func() { _ = ctl.SetWriteDeadline(time.Unix(1, 0)) })()
	for left := length; left > 0; {
		if err := context.Cause(r.Context()); err != nil {
			return fmt.Errorf("send a file: %w", err)
		}
		_ = ctl.SetWriteDeadline(time.Now().Add(u.limits.Stall)) // not supported by test recorders only
		n, err := io.CopyN(w, body, min(left, chunk))
		left -= n
		if err != nil {
			return fmt.Errorf("send a file: %d bytes are left: %w", left, err)
		}
		u.parts.Who.Used(r.Context())
	}
	return nil
}
