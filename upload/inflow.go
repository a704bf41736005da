package upload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

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
// how long the client may send nothing or little: what counts is the time that somebody waits in Read.
// So a slow bucket is never the client's fault.
//
// It ends early for one reason, the first that comes: the client stalls or is too slow, the session is
// over, the process stops, the client goes away. The reason is the cause of its context, which the
// bucket gets: the request's own will not do, for net/http cancels that when any read fails, our own
// deadline included, and then everything would look as if the client had gone.
type inflow struct {
	body    io.Reader
	ctl     *http.ResponseController
	pace    pace
	most    int64           // bytes of the whole request; zero: no bound
	length  int64           // as declared; negative: unknown
	moved   func(int64)     // told of bytes as they come
	ctx     context.Context //nolint:containedctx // an inflow is a context with a reason to end
	stop    context.CancelCauseFunc
	release func() bool // of the hook on the request's context
	err     error       // met by Read; not asked again afterwards

	start  time.Time
	bytes  atomic.Int64
	waited atomic.Int64 // nanoseconds in reads that are over
	since  atomic.Int64 // when the read under way began, in nanoseconds after start; zero: there is none
	ended  atomic.Bool  // all of the body was read

	mu    sync.Mutex
	done  bool // the connection's deadline is no longer ours
	timer *time.Timer
	marks [2]mark // where the present and the former window began
}

// pace is how a client has to send.
type pace struct {
	stall time.Duration // it may send nothing for so long
	rate  int64         // bytes a second over that time, at least
}

// mark is how far an inflow was at some moment.
type mark struct {
	bytes  int64
	waited time.Duration
}

// lookEvery is how often an inflow is looked at, at most.
const lookEvery = time.Second

// newInflow makes the inflow of a request. Close it before the handler returns.
func newInflow(w http.ResponseWriter, r *http.Request, l Limits, moved func(int64)) *inflow {
	f := &inflow{
		body: r.Body, ctl: http.NewResponseController(w), pace: pace{l.Stall, l.MinRate}, most: l.MaxRequestSize,
		length: r.ContentLength, moved: moved, start: time.Now(),
	}
	f.ctx, f.stop = context.WithCancelCause(context.WithoutCancel(r.Context()))
	f.mu.Lock() // until all is in place, for what is called by timers
	defer f.mu.Unlock()
	f.release = context.AfterFunc(r.Context(), func() { f.ends(context.Cause(r.Context())) })
	f.timer = time.AfterFunc(f.every(), f.look)
	return f
}

func (f *inflow) every() time.Duration { return min(lookEvery, f.pace.stall/4) }

// Read reads on, straight into p. An error is sticky.
func (f *inflow) Read(p []byte) (int, error) {
	if f.err == nil {
		f.err = context.Cause(f.ctx)
	}
	if f.err != nil {
		return 0, f.err
	}
	began := time.Since(f.start)
	f.since.Store(max(int64(began), 1))
	n, err := f.body.Read(p)
	total := f.bytes.Add(int64(n))
	if errors.Is(err, io.EOF) {
		f.ended.Store(true) // before since: see ends
	}
	f.waited.Add(int64(time.Since(f.start) - began))
	f.since.Store(0)
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
	gone := fmt.Errorf("%w: %w", errGone, err)
	f.stop(gone) // of no effect if there is a reason already
	return context.Cause(f.ctx)
}

// ends hears that the request's context is over. If that only says that the client has closed its
// connection, a read under way will tell, and whoever has sent all may have closed his half of it.
func (f *inflow) ends(cause error) {
	switch {
	case errors.Is(cause, auth.ErrRevoked):
	case !errors.Is(cause, context.Canceled):
		cause = fmt.Errorf("%w: %w", errStopping, cause)
	case f.since.Load() != 0 || f.ended.Load():
		return
	default:
		cause = fmt.Errorf("%w: %w", errGone, cause)
	}
	f.cut(cause)
}

// cut ends the inflow for a reason.
func (f *inflow) cut(cause error) {
	f.stop(cause) // first, so that a read that fails finds it
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.done && !f.ended.Load() {
		// A deadline that is set behind the body's end would be the next request's.
		_ = f.ctl.SetReadDeadline(time.Unix(1, 0)) // not supported by test recorders only
	}
}

// close ends the watch. It returns whether all of the body was read.
func (f *inflow) close() (whole bool) {
	f.release()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done = true
	f.timer.Stop()
	f.stop(context.Canceled)
	return f.ended.Load()
}

// look is called now and then. The deadline of a connection would tell of a stall as well, but to move
// it before every read is a message to another goroutine each time over HTTP/2.
func (f *inflow) look() {
	now := f.now()
	switch {
	case f.waiting() >= f.pace.stall:
		f.cut(errStalled)
	case f.slow(now):
		f.cut(errSlow)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.done {
		f.timer.Reset(f.every())
	}
}

// waiting is how long the read under way has waited.
func (f *inflow) waiting() time.Duration {
	since := f.since.Load()
	if since == 0 {
		return 0
	}
	return time.Since(f.start) - time.Duration(since)
}

func (f *inflow) now() mark {
	return mark{f.bytes.Load(), time.Duration(f.waited.Load()) + f.waiting()}
}

// slow ends a window that has been waited for long enough, and reports whether too little came in it.
func (f *inflow) slow(now mark) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	began := f.marks[0]
	if now.waited-began.waited < f.pace.stall {
		return false
	}
	f.marks = [2]mark{now, began}
	return now.rateFrom(began) < float64(f.pace.rate)
}

// rate is how many bytes a second came of late, of the time that was waited for them. A client that
// was not waited for as long as it takes to tell is as fast as any.
func (f *inflow) rate() (bytesPerSecond float64, known bool) {
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	from := f.marks[1]
	if f.ended.Load() || now.waited-from.waited < 2*f.every() {
		return 0, false
	}
	return now.rateFrom(from), true
}

func (m mark) rateFrom(from mark) float64 {
	return float64(m.bytes-from.bytes) / (m.waited - from.waited).Seconds()
}
