package web

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipe is whoever reads the log. It takes a while for each write, or takes nothing until it is opened.
type pipe struct {
	takes time.Duration
	shut  chan struct{} // nil: open

	mu     sync.Mutex
	buf    bytes.Buffer
	writes int
	err    error // instead of taking anything
}

func (p *pipe) Write(b []byte) (int, error) {
	time.Sleep(p.takes)
	if p.shut != nil {
		<-p.shut
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.writes++; p.err != nil {
		return 0, p.err
	}
	return p.buf.Write(b)
}

func (p *pipe) read() (text string, writes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buf.String(), p.writes
}

// spoolTo makes a log, and a function that logs a request, in a bubble of its own clock.
func spoolTo(t *testing.T, p io.Writer) (log *Log, request func(status int)) {
	t.Helper()
	log, err := NewLog(p, "info", "json")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	return log, func(status int) {
		n++
		log.request(t.Context(), &Record{ID: fmt.Sprintf("n%06d", n), Start: time.Now(), Outcome: Outcome{Status: status}})
	}
}

func TestLinesOfRequestsGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(pipe)
		_, request := spoolTo(t, p)
		for range 50 {
			request(200)
		}
		synctest.Wait()
		if text, _ := p.read(); text != "" {
			t.Errorf("at once: %s", text)
		}
		time.Sleep(spoolDelay)
		synctest.Wait()
		if text, writes := p.read(); strings.Count(text, "\n") != 50 || writes != 1 {
			t.Errorf("after %v: %d writes of %s", spoolDelay, writes, text)
		}
		// What comes while one is written waits for others as well.
		p.takes = time.Millisecond
		for range 2 * spoolBatch / 64 {
			request(200)
			time.Sleep(10 * time.Microsecond)
		}
		time.Sleep(2 * spoolDelay)
		synctest.Wait()
		if text, writes := p.read(); strings.Count(text, "\n") != 50+2*spoolBatch/64 || writes > 6 {
			t.Errorf("%d lines in %d writes", strings.Count(text, "\n"), writes)
		}
	})
}

// A warning is seen at once, with all that came before it, and whoever logs one does not wait for that.
func TestWarningsDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipe{takes: spoolDelay / 10}
		log, request := spoolTo(t, p)
		began := time.Now()
		request(200)
		request(503)
		request(200) // while the first two are being written
		request(502)
		if took := time.Since(began); took != 0 {
			t.Errorf("requests waited for %v", took)
		}
		time.Sleep(spoolDelay / 4)
		synctest.Wait()
		if text, _ := p.read(); strings.Count(text, "\n") != 4 {
			t.Errorf("soon after: %s", text)
		}
		request(503) // is being written when the next comes
		time.Sleep(time.Millisecond)
		request(200)
		log.Info("serving")
		text, _ := p.read() // a line that is no request's is written when the call is over
		if !strings.HasSuffix(text, "}\n") || !strings.Contains(text, "serving") || strings.Index(text, "serving") < strings.Index(text, `"n000006"`) {
			t.Errorf("after another line: %s", text)
		}
	})
}

// Whoever reads the log may stop, as a terminal does at Ctrl-S. Requests go on: one write holds up all of
// them together for no longer than a second.
func TestDeadLogHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipe{shut: make(chan struct{})}
		log, request := spoolTo(t, p)
		began, n := time.Now(), 3*spoolLimit/64
		for range n {
			request(200)
		}
		if took := time.Since(began); took > spoolPatience {
			t.Errorf("%d requests took %v", n, took)
		}
		if log.Lost() == 0 {
			t.Fatal("nothing was lost, so this tests nothing")
		}
		if len(log.spool.lines) > spoolLimit {
			t.Errorf("%d bytes wait", len(log.spool.lines))
		}
		began = time.Now()
		log.Warn("stopping")
		log.Flush()
		if took := time.Since(began); took > 2*spoolPatience+time.Millisecond {
			t.Errorf("a warning and a flush took %v", took)
		}
		close(p.shut)
		request(200)
		log.Flush()
		text, _ := p.read()
		if kept := strings.Count(text, "\n"); int64(kept)+log.Lost() != int64(n)+2 {
			t.Errorf("%d lines are there and %d lost, of %d", kept, log.Lost(), n+2)
		}
		inOrder(t, text)
	})
}

func inOrder(t *testing.T, text string) {
	t.Helper()
	last := ""
	for line := range strings.Lines(text) {
		if at := strings.Index(line, `"id":"n`); at >= 0 {
			id := line[at : at+14]
			if id <= last || !strings.HasSuffix(line, "}\n") {
				t.Fatalf("%q after %q", line, last)
			}
			last = id
		}
	}
}

// Behind a slow log requests slow down, and no line is lost.
func TestSlowLogLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipe{takes: spoolPatience / 2}
		log, request := spoolTo(t, p)
		n := 3 * spoolLimit / 64
		for range n {
			request(200)
		}
		log.Flush()
		time.Sleep(2 * spoolPatience)
		text, _ := p.read()
		if kept := strings.Count(text, "\n"); kept != n || log.Lost() != 0 {
			t.Errorf("%d of %d lines are there, %d are said to be lost", kept, n, log.Lost())
		}
		inOrder(t, text)
	})
}

func TestFailedWritesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipe{err: errors.New("no space left on device")}
		log, request := spoolTo(t, p)
		request(200)
		log.Warn("two\nlines are one")
		if log.Lost() != 2 {
			t.Errorf("%d lines are said to be lost", log.Lost())
		}
	})
}

func TestManyLogAtOnce(t *testing.T) {
	p := new(pipe)
	log, _ := spoolTo(t, p)
	const each = 500
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range each {
				status := 200 + 300*(n%100/99)
				log.request(t.Context(), &Record{ID: fmt.Sprintf("w%d-%06d", i, n), Start: time.Now(), Outcome: Outcome{Status: status}})
				if n%100 == 50 {
					log.Info("meanwhile", slog.Int("who", i))
				}
			}
		})
	}
	all.Wait()
	log.Flush()
	text, _ := p.read()
	seen := map[string]bool{}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, `{"time":"`) || !strings.HasSuffix(line, "}\n") || seen[line] {
			t.Fatalf("spoilt or doubled: %q", line)
		}
		seen[line] = true
	}
	if len(seen) != 8*each+8*each/100 {
		t.Errorf("%d lines", len(seen))
	}
}
