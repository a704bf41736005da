package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

// Answer is the one place that answers errors. It draws the page of an *Error anywhere in err's
// chain, and for every other error a 500 that says nothing; it notes the private cause in the record.
// Headers that were set before stay (Set-Cookie, CORS, Vary), but for those that described another
// body.
//
// Where the client has gone, or a part of an answer was sent already, nothing more can be said: it
// panics with http.ErrAbortHandler, so that the connection breaks. Returning would be wrong: net/http
// answers 200 for a handler that wrote nothing, and a client that had only closed its sending half
// would take that for a yes.
func Answer(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r.Context())
	e := public(r, err)
	out := &RecordOf(r.Context()).Outcome
	out.Status, out.Cause = e.Status, cause(err)
	if e.Event != "" {
		out.Event = e.Event
	}
	if e.Status == StatusClientClosedRequest || errors.Is(err, http.ErrAbortHandler) || x != nil && x.writer.status != 0 {
		panic(http.ErrAbortHandler)
	}
	h := w.Header()
	for _, name := range []string{"Content-Encoding", "Content-Range", "Content-Disposition", "Etag", "Last-Modified", "Expires"} {
		h.Del(name)
	}
	if e.RetryAfter > 0 {
		h.Set("Retry-After", seconds(e.RetryAfter))
	}
	Draw(w, r, e.page())
}

// cause is what the record keeps of an error: the private half of a bare *Error, since its public
// half says no more than the status; otherwise the whole chain.
func cause(err error) error {
	if e, ok := err.(*Error); ok { //nolint:errorlint // a wrapped one is kept with its wrapping
		return e.Cause
	}
	return err
}

// page is what a client sees of an error.
func (e *Error) page() Page {
	p := Page{Status: e.Status, Title: e.Title, Links: e.Links}
	if p.Title == "" {
		p.Title = http.StatusText(e.Status)
	}
	if e.Text != "" {
		p.Text = []string{e.Text}
	}
	return p
}

// public returns err as an *Error: itself if it is one, otherwise a 500 that says nothing. A client
// that has gone away is told apart, for nothing is to be sent to it.
func public(r *http.Request, err error) *Error {
	if clientGone(r.Context(), err) {
		return &Error{Status: StatusClientClosedRequest, Cause: err}
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Status: http.StatusInternalServerError, Title: "Something went wrong", Text: "The fault is on our side and has been noted.", Cause: err}
}

// clientGone reports whether err came about because the client went away. The context alone does not
// tell: it also ends for a client that closed its sending half and still waits for the answer. A
// context that we ended ourselves has another cause, so a revoked session is not taken for this.
func clientGone(ctx context.Context, err error) bool {
	if !errors.Is(context.Cause(ctx), context.Canceled) {
		return false
	}
	for _, sign := range []error{context.Canceled, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, sign) {
			return true
		}
	}
	return false
}

// seconds is a Retry-After value: whole seconds, rounded up so that nobody comes too early.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64(math.Ceil(d.Seconds())), 10)
}

// Redirect sends the browser elsewhere, with a body that is empty in every case: net/http's own would
// repeat the target. The target must have been judged safe by the caller.
func Redirect(w http.ResponseWriter, r *http.Request, status int, target string) {
	prepare(w, r)
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Header().Set("Location", escapeTarget(target))
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(status)
}

// escapeTarget percent-encodes what must not stand in a header: control bytes and spaces would end or
// split it, and clients differ over raw bytes above ASCII. All else arrives as it is, byte for byte.
func escapeTarget(target string) string {
	const hex = "0123456789ABCDEF"
	out := make([]byte, 0, len(target))
	for _, c := range []byte(target) {
		if c <= ' ' || c >= 0x7f {
			out = append(out, '%', hex[c>>4], hex[c&15])
			continue
		}
		out = append(out, c)
	}
	return string(out)
}

// JSON answers a program with v, status 200.
func JSON(w http.ResponseWriter, r *http.Request, v any) error {
	return Reply(w, r, http.StatusOK, v)
}

// Reply answers a program with v and a status of its own.
func Reply(w http.ResponseWriter, r *http.Request, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write json: %w", err)
	}
	prepare(w, r)
	body = append(body, '\n')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the record notes a client that has gone
	return nil
}

// takeLimit is how long a client may take to receive an answer of ours.
const takeLimit = 30 * time.Second

// prepare sets what every answer of ours carries: it is for this client and this moment only (LO-02),
// and is what its Content-Type says. And it is taken in time or not at all: over HTTP/2 a client may
// ask two hundred times on a connection and make room for no answer, and each would hold a goroutine
// for as long as the connection stands.
func prepare(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	unread(w.Header(), r)
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(takeLimit)) // not supported by test recorders only
}

// unread closes the connection of an HTTP/1 request with a body. Unless it is told to close, net/http
// first waits for up to 256 KiB of a body that nobody reads, and a client that sends a byte a second
// would not learn for days that it was refused (PX-09).
func unread(h http.Header, r *http.Request) {
	if r.ProtoMajor == 1 && r.ContentLength != 0 {
		h.Set("Connection", "close")
	}
}
