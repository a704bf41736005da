// Package web is Gatehouse's manners over HTTP.
//
// The story. A handler of ours returns an error instead of answering it, and one place answers:
// Handler.ServeHTTP hands it to Answer (answer.go), which draws a page or JSON by what the client
// accepts (accept.go, page.go) and notes the private cause in the request's Record. Around everything
// stands the Recorder (record.go): it names the request, counts what is sent (writer.go), catches
// panics, writes one log line (log.go) from which secrets are taken (redact.go), and tells the metrics
// (metrics.go). Who is at the other end of a connection, and which forwarded headers may be believed,
// is decided in one place too (peer.go, forwarded.go), before any handler runs.
//
// What this package never does: it knows nothing of users, sessions, routes or stores, it never
// shows a client the text of an internal error, and it never logs a query string, a cookie, a token
// or a code.
package web

import (
	"net/http"
	"time"
)

// Error is what went wrong, said twice: once for the client, once for us.
type Error struct {
	Status     int           // of the answer, 4xx or 5xx
	Title      string        // for the client: a few words; empty: the status text
	Text       string        // for the client: what happened and what to do
	Links      []Link        // for the client: ways on, shown on the page and in the JSON
	RetryAfter time.Duration // sent as Retry-After, in whole seconds, when above zero
	Event      string        // a security event for the record, such as "user_unknown"; may be empty
	Cause      error         // for us: recorded, never sent
}

// Link is a way on from a page.
type Link struct {
	Name string // what the client reads: "Use another account"
	Rel  string // a stable name for programs, the key in the JSON: "login"
	Href string
}

func (e *Error) Error() string {
	text := e.Text
	if text == "" {
		text = http.StatusText(e.Status)
	}
	if e.Cause != nil {
		return text + ": " + e.Cause.Error()
	}
	return text
}

func (e *Error) Unwrap() error { return e.Cause }

// Fail makes an Error of a status, a public text and a private cause, which may be nil.
func Fail(status int, text string, cause error) *Error {
	return &Error{Status: status, Text: text, Cause: cause}
}

// Unavailable is the answer where a store or another part could not be asked: neither yes nor no
// (DESIGN.md section 6). The client is told to try again in a few seconds; nothing is cleared.
func Unavailable(cause error) *Error {
	return &Error{
		Status:     http.StatusServiceUnavailable,
		Title:      "Just a moment",
		Text:       "Gatehouse cannot reach one of its stores right now, so it cannot tell whether you are signed in. You have not been signed out. Please try again in a few seconds.",
		RetryAfter: 5 * time.Second,
		Cause:      cause,
	}
}

// Handler answers a request or returns what went wrong, never both. An error that comes after a byte
// of the answer was written can no longer be told to the client: it breaks the connection (Answer).
type Handler func(w http.ResponseWriter, r *http.Request) error

// ServeHTTP runs h and answers what it returns. Whoever is still sending a body then gets the time to
// read the answer (Linger).
func (h Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := h(w, r); err != nil {
		Answer(w, r, err)
		Linger(w, r)
	}
}

// StatusClientClosedRequest is recorded, never sent, when the client went away before the answer.
// The number is nginx's.
const StatusClientClosedRequest = 499
