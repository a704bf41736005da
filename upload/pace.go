package upload

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// pace is how a client has to send. What counts is the time that somebody waits for it in Read: a slow
// bucket is never the client's fault.
type pace struct {
	stall time.Duration // it may send nothing for so long
	rate  int64         // bytes a second over that time, at least
}

// watch looks at an inflow now and then, and ends it if it does not keep pace. The deadline of a
// connection would tell of a stall as well, but to move it before every read is a message to another
// goroutine each time over HTTP/2.
type watch struct {
	ctl     *http.ResponseController
	pace    pace
	clock   clock
	release func() bool // of the hook on the request's context

	mu    sync.Mutex
	done  bool // the connection's deadline is no longer ours
	timer *time.Timer
	marks [2]mark // where the present and the former window began
}

// begin watches f until end, and lets it hear when the request's context is over.
func (w *watch) begin(request context.Context, f *inflow, ctl *http.ResponseController, p pace) {
	w.ctl, w.pace, w.clock.start = ctl, p, time.Now()
	w.mu.Lock() // until all is in place, for what is called by timers
	defer w.mu.Unlock()
	w.release = context.AfterFunc(request, func() { f.ends(context.Cause(request)) })
	w.timer = time.AfterFunc(w.every(), func() { w.look(f) })
}

// lookEvery is how often an inflow is looked at, at most.
const lookEvery = time.Second

func (w *watch) every() time.Duration { return min(lookEvery, w.pace.stall/4) }

func (w *watch) look(f *inflow) {
	switch {
	case w.clock.waiting() >= w.pace.stall:
		f.cut(errStalled)
	case w.slow(f.now()):
		f.cut(errSlow)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.done {
		w.timer.Reset(w.every())
	}
}

// slow ends a window that has been waited for long enough, and reports whether too little came in it.
func (w *watch) slow(now mark) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	began := w.marks[0]
	if now.waited-began.waited < w.pace.stall {
		return false
	}
	w.marks = [2]mark{now, began}
	return now.rateFrom(began) < float64(w.pace.rate)
}

// before is where the former window began.
func (w *watch) before() mark {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.marks[1]
}

// interrupt lets a read under way fail.
func (w *watch) interrupt() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.done {
		_ = w.ctl.SetReadDeadline(time.Unix(1, 0)) // not supported by test recorders only
	}
}

func (w *watch) end() {
	w.release()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = true
	w.timer.Stop()
}

// clock measures how long a client is waited for. One goroutine at a time reads.
type clock struct {
	start  time.Time
	waited atomic.Int64 // nanoseconds in reads that are over
	since  atomic.Int64 // when the read under way began, in nanoseconds after start; zero: there is none
}

func (c *clock) begin() { c.since.Store(max(1, int64(time.Since(c.start)))) }

func (c *clock) end() {
	c.waited.Add(int64(time.Since(c.start)) - c.since.Load())
	c.since.Store(0)
}

// running reports whether a read is under way.
func (c *clock) running() bool { return c.since.Load() != 0 }

// waiting is how long the read under way has waited.
func (c *clock) waiting() time.Duration {
	since := c.since.Load()
	if since == 0 {
		return 0
	}
	return time.Since(c.start) - time.Duration(since)
}

func (c *clock) total() time.Duration { return time.Duration(c.waited.Load()) + c.waiting() }

// mark is how far an inflow was at some moment.
type mark struct {
	bytes  int64
	waited time.Duration
}

func (m mark) rateFrom(from mark) float64 {
	return float64(m.bytes-from.bytes) / (m.waited - from.waited).Seconds()
}
