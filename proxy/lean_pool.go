package proxy

import (
	"sync"
	"time"
)

// pool keeps the lines to one app that nobody uses at the moment, for as long as Target.Idle. The one
// that was used last is taken first, so that the others can grow old.
//
// A line that the app closes meanwhile is noticed when it is about to be taken, or when its time is over:
// nobody waits on an idle line, which would cost a goroutine for each.
type pool struct {
	idle time.Duration

	mu     sync.Mutex
	lines  []*line // by the time of their last use, the oldest first
	timer  *time.Timer
	closed bool
}

// get takes a line, or returns nil. Whether it still lives is seen as it is used.
func (p *pool) get() *line {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.lines) - 1
	if last < 0 {
		return nil
	}
	c := p.lines[last]
	p.lines[last] = nil
	p.lines = p.lines[:last]
	return c
}

// put keeps a line that is clean: its answer was complete, and nothing came behind it.
func (p *pool) put(c *line) {
	c.rest()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.lines) == idleConns {
		_ = c.Close()
		return
	}
	p.lines = append(p.lines, c)
	switch {
	case p.timer == nil:
		p.timer = time.AfterFunc(p.idle, p.sweep)
	case len(p.lines) == 1:
		p.timer.Reset(p.idle)
	}
}

// sweep closes the lines that nobody used for the idle time.
func (p *pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := 0
	for old < len(p.lines) && time.Since(p.lines[old].since) >= p.idle {
		_ = p.lines[old].Close()
		old++
	}
	p.lines = append(p.lines[:0], p.lines[old:]...)
	if len(p.lines) > 0 {
		p.timer.Reset(time.Until(p.lines[0].since.Add(p.idle)))
	}
}

// close closes the lines that are idle. Those in use are closed when they are put back.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.lines {
		_ = c.Close()
	}
	p.lines = nil
	if p.timer != nil {
		p.timer.Stop()
	}
}
