package upload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/gatehouse-auth/gatehouse/auth"
)

var (
	errGone     = errors.New("the client broke off")
	errStalled  = errors.New("the client sent nothing for too long")
	errSlow     = errors.New("the client sent too slowly")
	errStopping = errors.New("the process stops")
	errCrowded  = errors.New("the slowest upload was cut because others waited for memory")
)

// inflow is the body of a request as its client sends it. There is no limit on its whole time, only on
// how long the client may send nothing or little (pace.go).
//
// It ends early for one reason, the first that comes: the client stalls or is too slow, the session is
// over, the process stops, the client goes away. The reason is the cause of its context, which the
// bucket gets: the request's own will not do, for net/http cancels that when any read fails, our own
// deadline included, and then everything would look as if the client had gone.
type inflow struct {
	body   io.Reader
	most   int64           // bytes of the whole request; zero: no bound
	length int64           // as declared; negative: unknown
	moved  func(int64)     // told of bytes as they come
	ctx    context.Context //nolint:containedctx // an inflow is a context with a reason to end
	stop   context.CancelCauseFunc
	err    error // met by Read; not asked again afterwards
	bytes  atomic.Int64
	ended  atomic.Bool // all of the body was read
	watch  watch
}

// newInflow makes the inflow of a request. Close it before the handler returns.
func newInflow(w http.ResponseWriter, r *http.Request, l Limits, moved func(int64)) *inflow {
	f := &inflow{body: r.Body, most: l.MaxRequestSize, length: r.ContentLength, moved: moved}
	f.ctx, f.stop = context.WithCancelCause(context.WithoutCancel(r.Context()))
	f.watch.begin(r.Context(), f, http.NewResponseController(w), pace{l.Stall, l.MinRate})
	return f
}

// Read reads on, straight into p. An error is sticky.
func (f *inflow) Read(p []byte) (int, error) {
	if f.err == nil {
		f.err = context.Cause(f.ctx)
	}
	if f.err != nil {
		return 0, f.err
	}
	f.watch.clock.begin()
	n, err := f.body.Read(p)
	total := f.bytes.Add(int64(n))
	if errors.Is(err, io.EOF) {
		f.ended.Store(true) // before the clock ends: see ends
	}
	f.watch.clock.end()
	if n > 0 {
		f.moved(int64(n))
	}
	switch {
	case f.most > 0 && total > f.most:
		f.err = errRequestTooLarge
	case err != nil:
		f.err = f.reason(err)
	}
	return n, f.err
}

// reason is why a read failed: ours, if we made it fail.
func (f *inflow) reason(err error) error {
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	f.stop(fmt.Errorf("%w: %w", errGone, err)) // of no effect if there is a reason already
	return context.Cause(f.ctx)
}

// ends hears that the request's context is over. If that only says that the client has closed its
// connection, a read under way will tell, and whoever has sent all may have closed his half of it.
func (f *inflow) ends(cause error) {
	switch {
	case errors.Is(cause, auth.ErrRevoked):
	case !errors.Is(cause, context.Canceled):
		cause = fmt.Errorf("%w: %w", errStopping, cause)
	case f.watch.clock.running() || f.ended.Load():
		return
	default:
		cause = fmt.Errorf("%w: %w", errGone, cause)
	}
	f.cut(cause)
}

// cut ends the inflow for a reason.
func (f *inflow) cut(cause error) {
	f.stop(cause) // first, so that a read that fails finds it
	if !f.ended.Load() {
		// A deadline that is set behind the body's end would be the next request's.
		f.watch.interrupt()
	}
}

// close ends the watch. It returns whether all of the body was read.
func (f *inflow) close() (whole bool) {
	f.watch.end()
	f.stop(context.Canceled)
	return f.ended.Load()
}

func (f *inflow) now() mark { return mark{f.bytes.Load(), f.watch.clock.total()} }

// rate is how many bytes a second came of late, of the time that was waited for them. A client that
// was not waited for as long as it takes to tell is as fast as any.
func (f *inflow) rate() (bytesPerSecond float64, known bool) {
	now := f.now()
	from := f.watch.before()
	if f.ended.Load() || now.waited-from.waited < 2*lookEvery {
		return 0, false
	}
	return now.rateFrom(from), true
}
