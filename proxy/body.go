package proxy

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// outflow is the body of an answer whose length is known. ReverseProxy flushes nothing of such an answer
// by itself, so that what came before an app broke off would be lost with the connection (PX-10).
type outflow struct {
	io.ReadCloser
	flow *flow
	err  error // met together with bytes, which go first
}

// Read reads on, and sends what there is before it fails.
func (o *outflow) Read(p []byte) (int, error) {
	if o.err == nil {
		var n int
		if n, o.err = o.ReadCloser.Read(p); n > 0 {
			return n, nil
		}
	}
	if o.err != nil && !errors.Is(o.err, io.EOF) {
		_ = o.flow.FlushError() // the reason to stop is o.err
	}
	return 0, o.err
}

// inflow is the body of a request on its way to the app.
type inflow struct {
	io.ReadCloser
	flow    *flow
	in, out *http.Request

	mu     sync.Mutex
	closed bool
	due    time.Time // when the client will have stalled; zero: nothing is awaited
	ended  bool      // nothing more will come
	cut    bool      // nothing more is wanted
	err    error     // why, if it was not the body's end
}

func (f *flow) body(b io.ReadCloser, in, out *http.Request) io.ReadCloser {
	f.in.mu.Lock()
	defer f.in.mu.Unlock()
	f.in.ReadCloser, f.in.flow, f.in.in, f.in.out = b, f, in, out
	return &f.in
}

// Read reads on, giving the client the stall time to send more. A deadline that stayed behind after
// the body's end would cancel the request, so it is cleared. After a failure it stays: net/http would
// otherwise wait for the rest of a body that nobody wants, without any.
func (b *inflow) Read(p []byte) (int, error) {
	b.deadline(time.Now().Add(b.flow.stall))
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.deadline(time.Time{})
	}
	if err != nil {
		b.end(err)
	}
	b.flow.used()
	return n, err
}

// end notes why nothing more will come.
func (b *inflow) end(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.ended = true
	if errors.Is(err, io.EOF) {
		b.trail()
	} else {
		b.err = err
	}
}

// trail hands on the trailers, which have arrived with the end of the body. ReverseProxy announces
// them and then sends none.
func (b *inflow) trail() {
	for name := range b.out.Trailer {
		b.out.Trailer[name] = b.in.Trailer[name]
	}
}

func (b *inflow) deadline(t time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed && !b.cut {
		b.due = t
		_ = b.flow.ctl.SetReadDeadline(t)
	}
}

// interrupt makes a read that waits for the client fail. An app of HTTP/2 that has begun to answer is not
// told that the request is over before the next bytes of its body came.
func (b *inflow) interrupt() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ReadCloser != nil && !b.closed && !b.ended {
		b.cut = true
		_ = b.flow.ctl.SetReadDeadline(time.Unix(1, 0))
	}
}

// close ends the watch, for the connection may go on to its next request. If the body was not read
// to its end, net/http reads on a little after us, and gets a few seconds for that.
func (b *inflow) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if b.ReadCloser != nil && !b.ended && b.flow.r.ProtoMajor == 1 {
		_ = b.flow.ctl.SetReadDeadline(time.Now().Add(5 * time.Second))
	}
}

// failure is why the body broke off, if it did. A failed read also cancels the request's context, and
// may be seen there before Read has returned: so a deadline that has passed counts by itself.
func (b *inflow) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil && !b.due.IsZero() && time.Now().After(b.due) {
		return os.ErrDeadlineExceeded
	}
	return b.err
}
