package main

import (
	"io"
	"time"
)

const (
	progressAfter = time.Second // what is quicker needs no word
	progressEvery = time.Second / 4
)

// progress is one line of a terminal that tells how far something is, written over and over. To
// anything but a terminal it says nothing.
type progress struct {
	out   io.Writer // nil: no terminal
	next  time.Time // when to say something again
	shown bool
}

func newProgress(out io.Writer) *progress {
	file, ok := terminal(out)
	if !ok {
		return &progress{}
	}
	return &progress{out: file, next: time.Now().Add(progressAfter)}
}

// say shows the text if it is time for that. Whatever stood there is erased first.
func (p *progress) say(text string) {
	if p.out == nil || time.Now().Before(p.next) {
		return
	}
	p.next, p.shown = time.Now().Add(progressEvery), true
	_, _ = io.WriteString(p.out, "\r\x1b[K"+printable(text))
}

// end leaves the line empty for what comes.
func (p *progress) end() {
	if p.shown {
		_, _ = io.WriteString(p.out, "\r\x1b[K")
	}
}
