package web

import (
	"bytes"
	"io"
	"slices"
	"sync"
	"time"
)

const (
	// spoolDelay is how long a line may wait for others to be written with it.
	spoolDelay = 100 * time.Millisecond
	// spoolBatch is how many bytes are written at once when there are many: more does not make a line
	// cheaper any more.
	spoolBatch = 32 << 10
	// spoolKeep is how large a buffer may have grown and still be used again.
	spoolKeep = 8 * spoolBatch
	// spoolLimit bounds the bytes that wait for a log that takes nothing.
	spoolLimit = 1 << 20
	// spoolPatience is how long one write may hold up those who log.
	spoolPatience = time.Second
)

// spool gathers log lines, so that a request does not pay for a system call of its own, and keeps those
// who log from waiting for whoever reads the log. Lines stay in order.
//
// A terminal that was stopped, a full disk or a dead log collector must not stop a gateway. So only one
// goroutine at a time writes, never that of a request; who logs waits only while the spool is full and
// the write under way is younger than spoolPatience. Behind a slow log requests slow down and lose no
// line; behind a dead one they go on, and lines are lost and counted.
//
// It holds no goroutine and no timer while there is nothing to write.
type spool struct {
	out  io.Writer
	lost func(lines int) // told of lines that will not be written; must not log

	mu      sync.Mutex
	lines   []byte        // what waits
	spare   []byte        // the other buffer, while nothing is written from it
	timer   *time.Timer   // for what waits; nil until the first line
	urgent  bool          // what waits is to be written as soon as nobody writes
	done    chan struct{} // closed when the write under way is over; nil: none is
	began   time.Time     // when it began
	put     uint64        // bytes that ever came in
	written uint64        // bytes that ever went out
}

// Write adds one line and waits until it is written, or for spoolPatience. It is for lines that somebody
// may have to read before the program ends. It never fails: there is nobody to tell.
func (s *spool) Write(line []byte) (int, error) {
	s.add(line)
	s.flush()
	return len(line), nil
}

// later is the same spool for lines that can wait for others.
type later struct{ *spool }

// Write adds one line, which is written within spoolDelay.
func (l later) Write(line []byte) (int, error) {
	l.add(line)
	return len(line), nil
}

func (s *spool) add(line []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.lines) > 0 && len(s.lines)+len(line) > spoolLimit {
		s.start()
		if !s.wait(spoolPatience - time.Since(s.began)) {
			s.lost(1)
			return
		}
	}
	first := len(s.lines) == 0
	s.lines = append(s.lines, line...)
	s.put += uint64(len(line))
	switch {
	case len(s.lines) >= spoolBatch:
		s.start()
	case first && s.done == nil:
		s.arm()
	}
}

// arm has what waits written after a while.
func (s *spool) arm() {
	if s.timer == nil {
		s.timer = time.AfterFunc(spoolDelay, s.hurry)
		return
	}
	s.timer.Reset(spoolDelay)
}

// hurry has what waits written now, and does not wait for that.
func (s *spool) hurry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.start()
	s.urgent = len(s.lines) > 0
}

// flush has what waits written, and waits for that, but no longer than spoolPatience.
func (s *spool) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := time.Now().Add(spoolPatience)
	for until := s.put; s.written < until; {
		s.start()
		if !s.wait(time.Until(limit)) {
			return
		}
	}
}

// wait waits for the end of the write under way, without the lock, and reports whether it came in time.
func (s *spool) wait(limit time.Duration) bool {
	done := s.done
	if limit <= 0 || done == nil {
		return limit > 0
	}
	s.mu.Unlock()
	defer s.mu.Lock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// start begins to write what waits, unless somebody is at it.
func (s *spool) start() {
	if s.done == nil && len(s.lines) > 0 {
		go s.write(s.take())
	}
}

// take hands out what waits, for one write.
func (s *spool) take() (batch []byte) {
	batch, s.lines, s.spare = s.lines, slices.Grow(s.spare[:0], spoolBatch), nil
	s.done, s.began, s.urgent = make(chan struct{}), time.Now(), false
	return batch
}

// write writes a batch, and the next one if that is due by then. What came meanwhile and is not due
// waits for more.
func (s *spool) write(batch []byte) {
	for batch != nil {
		_, err := s.out.Write(batch)
		batch = s.wrote(batch, err)
	}
}

func (s *spool) wrote(batch []byte, err error) (next []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.lost(bytes.Count(batch, []byte("\n")))
	}
	s.written += uint64(len(batch))
	if cap(batch) <= spoolKeep {
		s.spare = batch
	}
	close(s.done)
	s.done = nil
	switch {
	case s.urgent || len(s.lines) >= spoolBatch:
		return s.take()
	case len(s.lines) > 0:
		s.arm()
	}
	return nil
}
