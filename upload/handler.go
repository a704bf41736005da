package upload

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/web"
)

// Parts is what an Uploader is made of.
type Parts struct {
	Bucket  Bucket
	Files   Files
	Shelf   Shelf
	Memory  *Memory
	Limits  Limits
	Who     Asking
	Install string // the id of this installation: all keys begin with it (RULE-22)
	Presign Presign
	Meter   Meter
}

// Asking is how an Uploader learns who is asking, from the context of a request that was let through.
type Asking struct {
	Session func(context.Context) (auth.Session, bool)
	Used    func(context.Context)                                 // told of every few bytes that move
	Find    func(context.Context, auth.Key) (auth.Session, error) // that of auth.Sessions
}

// Presign makes an address at which the bucket itself hands out an object, under the name given, for a
// minute or so. Nil: files are handed out here (RULE-25).
type Presign func(ctx context.Context, key, name string) (string, error)

// Meter is told what happens. Its functions are quick and never nil once New has seen it.
type Meter struct {
	Received func(bytes int64)                // that came from clients
	Done     func(result string, bytes int64) // how one file or refused request ended: one of Results; bytes are those kept
	Left     func(error)                      // of ErrLeft, where the upload ended for another reason and nobody else tells of it
}

// Uploader takes files and hands them out. It is safe for concurrent use.
type Uploader struct {
	parts  Parts
	limits Limits
	crowd  crowd
	busy   sync.WaitGroup // requests that bring files
}

// New makes an Uploader of its parts. Who and Meter may lack functions where nobody is to be told.
func New(parts Parts) *Uploader {
	if parts.Who.Used == nil {
		parts.Who.Used = func(context.Context) {}
	}
	if parts.Meter.Received == nil {
		parts.Meter.Received = func(int64) {}
	}
	if parts.Meter.Done == nil {
		parts.Meter.Done = func(string, int64) {}
	}
	if parts.Meter.Left == nil {
		parts.Meter.Left = func(error) {}
	}
	return &Uploader{parts: parts, limits: parts.Limits.filled()}
}

// Close waits until nothing of an upload runs any more, what is removed after a failure included. End
// the contexts of requests first; the error is that of ctx.
func (u *Uploader) Close(ctx context.Context) error {
	done := make(chan struct{})
	go func() { u.busy.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for uploads: %w", context.Cause(ctx))
	}
}

// route is the uploader at one place of the site.
type route struct {
	u       *Uploader
	base    string // the path of the collection, without a slash at its end
	origins []string
	guard   *http.CrossOriginProtection
}

// Route is the Next of a route with that path. Pages of the origins may send files to it too, each
// written as browsers send it: https://app.example.com.
func (u *Uploader) Route(path string, origins []string) (http.Handler, error) {
	at := &route{u: u, base: strings.TrimSuffix(path, "/"), origins: origins, guard: http.NewCrossOriginProtection()}
	for _, origin := range origins {
		if err := at.guard.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("uploads at %s: %w", path, err)
		}
	}
	return at, nil
}

// ServeHTTP answers, and then gives a client that still sends the time to read the answer.
func (at *route) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at.share(w, r)
	whole, err := at.serve(w, r)
	if whole {
		r = spent(r)
	}
	if err != nil {
		web.Answer(w, r, err)
	}
	web.Linger(w, r)
}

// spent is a request whose body was read: its connection can go on to the next one.
func spent(r *http.Request) *http.Request {
	r = r.WithContext(r.Context())
	r.ContentLength = 0
	return r
}

// serve finds what is asked for. It reports whether the body was read to its end.
func (at *route) serve(w http.ResponseWriter, r *http.Request) (whole bool, err error) {
	name, under := at.name(r)
	switch {
	case !under:
		return false, notFound()
	case r.Method == http.MethodOptions:
		w.WriteHeader(http.StatusNoContent)
		return false, nil
	case r.Method == http.MethodPost && name == "", r.Method == http.MethodPut && name != "":
		return at.receive(w, r, name)
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		return false, at.get(w, r, name)
	case r.Method == http.MethodDelete && IsID(name):
		return false, at.remove(w, r, name)
	case r.Method == http.MethodPost:
		if id, _ := strings.CutSuffix(name, "/delete"); IsID(id) && id != name { // a form can do no DELETE
			return false, at.remove(w, r, id)
		}
	}
	allow := "GET, HEAD, POST, OPTIONS"
	if name != "" {
		allow = "GET, HEAD, PUT, DELETE, OPTIONS"
	}
	w.Header().Set("Allow", allow)
	return false, web.Fail(http.StatusMethodNotAllowed, "Send files by POST to this address, or one by PUT with its name behind it.", nil)
}

// name is what stands behind the route's path, decoded; empty for the collection itself.
func (at *route) name(r *http.Request) (string, bool) {
	rest, under := strings.CutPrefix(r.URL.EscapedPath(), at.base)
	if !under || rest != "" && rest[0] != '/' {
		return "", false
	}
	name, err := url.PathUnescape(strings.TrimPrefix(rest, "/"))
	return name, err == nil
}

// share lets the pages of listed origins read our answers, and send what they may (Fetch standard,
// "CORS protocol"). That they may at all was judged by the gate.
func (at *route) share(w http.ResponseWriter, r *http.Request) {
	if len(at.origins) == 0 {
		return
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if !slices.Contains(at.origins, origin) {
		return
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Set("Access-Control-Expose-Headers", "Location, Retry-After, Content-Disposition, Content-Range, ETag")
	if r.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, DELETE")
		h.Set("Access-Control-Allow-Headers", "Content-Type, "+digestHeader+", Range, If-Range, If-None-Match")
		h.Set("Access-Control-Max-Age", "600")
	}
}

// who is the session on whose behalf a request came.
func (at *route) who(r *http.Request) (auth.Session, error) {
	s, ok := at.u.parts.Who.Session(r.Context())
	if !ok {
		return s, web.Fail(http.StatusUnauthorized, "Sign in first: files belong to somebody.", nil)
	}
	return s, nil
}

func notFound() error {
	return web.Fail(http.StatusNotFound, "There is no such file here, or it is not yours.", ErrNoFile)
}
