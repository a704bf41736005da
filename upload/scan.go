package upload

import (
	"bytes"
	"io"
)

const (
	directSize = 4 << 10 // a caller with less room than this is served from the store
	padSize    = 64      // bytes of white space behind a boundary
)

// Read reads bytes of the part, straight from the client where b has room. It returns io.EOF only once
// the whole line of the delimiter behind the part was seen: what merely breaks off never looks like a
// file.
func (p *part) Read(b []byte) (int, error) {
	f := p.form
	if f.part != p {
		return 0, io.ErrClosedPipe
	}
	if f.fault != nil || len(b) == 0 {
		return 0, f.fault
	}
	n, err := f.read(b)
	if err != nil && err != io.EOF { //nolint:errorlint // read never wraps it
		f.fault = err
	}
	return n, err
}

func (f *form) read(b []byte) (int, error) {
	for f.known == 0 && f.line == 0 {
		if len(b) >= len(f.have())+directSize {
			if n, err := f.direct(b); n > 0 || err != nil {
				return n, err
			}
			continue
		}
		if err := f.advance(); err != nil {
			return 0, err
		}
	}
	if f.known == 0 {
		return 0, io.EOF
	}
	n := copy(b, f.have()[:f.known])
	f.r += n
	f.known -= n
	return n, nil
}

// direct reads into b. What the store has is the beginning of what may be a delimiter: it goes first.
// What turns out not to be the part's goes back into the store.
func (f *form) direct(b []byte) (int, error) {
	n := copy(b, f.have())
	n += f.ask(b[n:min(len(b), n+windowSize)])
	b = b[:n]
	data, line, err := f.scan(b)
	if err != nil {
		return 0, err
	}
	f.keep(b[data:])
	f.line = line
	if f.err != nil && data == 0 && line == 0 {
		return 0, f.ended()
	}
	return data, nil
}

// advance reads into the store until a byte is known to be the part's, or its end was seen.
func (f *form) advance() error {
	for {
		data, line, err := f.scan(f.have())
		if err != nil {
			return err
		}
		if f.known, f.line = data, line; data > 0 || line > 0 {
			return nil
		}
		if f.err != nil {
			return f.ended()
		}
		f.fill()
	}
}

// scan finds how many bytes at b's beginning are the part's, and how long the delimiter's line behind
// them is. Without a line, what is left of b may be the beginning of one.
func (f *form) scan(b []byte) (data, line int, err error) {
	for from := 0; ; {
		i := bytes.Index(b[from:], f.delim)
		if i < 0 {
			return f.sure(b), 0, nil
		}
		data = from + i
		if line, err = f.delimiter(b[data:]); line >= 0 {
			return data, line, err
		}
		from = data + len(f.delim)
	}
}

// sure returns how many bytes of b, which holds no whole delimiter, come before one that may have
// begun. A delimiter has only one CR, its first byte, so that the last CR is the only place to look at.
func (f *form) sure(b []byte) int {
	tail := max(0, len(b)-len(f.delim)+1)
	i := bytes.LastIndexByte(b[tail:], '\r')
	if i >= 0 && bytes.HasPrefix(f.delim, b[tail+i:]) {
		return tail + i
	}
	return len(b)
}

// delimiter returns how long the line is that b begins with: up to and with its CRLF, which a closing
// one at the form's end may lack. Zero: it cannot be told yet. Below zero: it is no delimiter, but
// data that begins like one, such as a form in the form whose boundary is a longer one.
func (f *form) delimiter(b []byte) (int, error) {
	rest, whole := bytes.CutPrefix(b, f.delim)
	switch {
	case !whole:
		return -1, nil
	case len(rest) == 0, string(rest) == "-":
		return 0, nil
	}
	rest, last := bytes.CutPrefix(rest, []byte("--"))
	if !last && bytes.IndexByte([]byte(" \t\r\n"), rest[0]) < 0 {
		return -1, nil
	}
	text := bytes.TrimLeft(rest, " \t")
	switch {
	case len(rest)-len(text) > padSize:
	case bytes.HasPrefix(text, crlf):
		return len(b) - len(text) + len(crlf), nil
	case last && len(text) == 0 && f.err == io.EOF: //nolint:errorlint // a wrapped io.EOF is a failure of the reader
		return len(b), nil
	case bytes.HasPrefix(crlf, text):
		return 0, nil
	}
	return 0, malformed("A boundary has something else behind it on its line.")
}
