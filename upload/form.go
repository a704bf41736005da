package upload

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"

	"github.com/gatehouse-auth/gatehouse/web"
)

// What is wrong with a form; each is wrapped in a *web.Error that tells the client.
var (
	errMalformed = errors.New("malformed form")
	errTooLarge  = errors.New("too large")
	errTooMany   = errors.New("too many parts")
)

// form reads multipart/form-data (RFC 7578) as it comes.
//
// mime/multipart would do, but it reads 4 KiB at a time and copies every byte twice. This one reads
// from the client straight into the caller's page, finds the boundary there (scan.go), and keeps for
// itself only what lies behind it. What both accept, both read as the same parts and the same bytes:
// a fuzz test holds that. This one is the stricter. It refuses, where mime/multipart does not:
//
//   - anything but one CRLF before the first boundary: whoever skips a preamble loses the first file
//     of a client that got its first boundary wrong, and tells nobody;
//   - a form that ends within a part's head: mime/multipart takes that for its proper end;
//   - lines that end in a bare LF: how many lines that makes depends on who is asked;
//   - a boundary that RFC 2046 does not allow, or that is longer than its 70 characters;
//   - a part without "Content-Disposition: form-data" or without a name, or with two of them;
//   - Content-Transfer-Encoding but for 7bit, 8bit and binary: what would be kept is not what the
//     client holds in its hand, and its digest would be another;
//   - a multipart within a field: files would hide in it (RFC 7578, section 4.3, ended that).
//
// What stands behind the closing boundary is not read.
type form struct {
	source
	lines  *bufio.Reader // for the heads
	limits formLimits
	delim  []byte // CRLF, two hyphens, boundary: what ends a part
	known  int    // so many bytes at the front of the store are the part's
	line   int    // so long is the delimiter's line behind them; zero: not seen yet
	part   *part  // that is being read
	fault  error  // of the form: it stays wrong
}

// formLimits bound what a form may cost beside the bytes of its files.
type formLimits struct {
	files  int   // parts with a file name
	fields int   // parts without
	text   int64 // bytes of all fields' names and values together
}

const headSize = 8 << 10 // bytes of a part's head

var (
	crlf  = []byte("\r\n")
	blank = []byte("\r\n\r\n") // the end of a line, and an empty one
)

// newForm reads a form from r. The boundary is one that boundaryOf returned.
func newForm(r io.Reader, boundary string, limits formLimits) *form {
	f := &form{
		source: source{src: r, store: make([]byte, storeSize)},
		lines:  bufio.NewReader(nil),
		limits: limits,
		delim:  []byte("\r\n--" + boundary),
	}
	// The first boundary has no line before it that could end. With a CRLF of our own in front it
	// looks like every other.
	f.w = copy(f.store, crlf)
	return f
}

// next returns the next part, and io.EOF behind the last. What was not read of the part before is
// skipped. Every other error is for the client, a *web.Error that wraps errMalformed, errTooLarge or
// errTooMany, but for an error of the reader, which comes as it is.
func (f *form) next() (*part, error) {
	if f.fault == nil {
		f.part, f.fault = f.step()
	}
	return f.part, f.fault
}

func (f *form) step() (*part, error) {
	if err := f.toLine(); err != nil {
		return nil, err
	}
	if bytes.HasPrefix(f.have()[len(f.delim):], []byte("--")) {
		return nil, io.EOF
	}
	head, err := f.head()
	if err != nil {
		return nil, err
	}
	p, err := parsePart(head, f.lines)
	if err != nil {
		return nil, err
	}
	p.form = f
	if err := f.count(p); err != nil {
		return nil, err
	}
	return p, f.enter()
}

// toLine goes to the next delimiter's line, over what is left of the part.
func (f *form) toLine() error {
	if f.part == nil {
		return f.first()
	}
	for f.known > 0 || f.line == 0 {
		f.r += f.known
		f.known = 0
		if f.line == 0 {
			f.grow(windowSize)
		}
		if err := f.advance(); err != nil {
			return err
		}
	}
	return nil
}

// first finds the boundary that a form begins with.
func (f *form) first() error {
	for {
		have := f.have()
		if bytes.HasPrefix(have, blank) {
			have = have[len(crlf):]
		}
		n, err := f.delimiter(have)
		switch {
		case err != nil:
			return err
		case n > 0:
			f.r, f.line = f.w-len(have), n
			return nil
		case n < 0 && !bytes.HasPrefix(f.delim, have) && !bytes.HasPrefix(blank, have):
			return malformed("The form does not begin with the boundary that its Content-Type names.")
		case f.err != nil:
			return f.ended()
		}
		f.fill()
	}
}

// head returns a part's head, with the empty line that ends it, whose CRLF it leaves in the store too.
// What it returns is good until more is read.
func (f *form) head() ([]byte, error) {
	// The line's own CRLF may be the first half of the end of a head with nothing in it.
	f.r += f.line - len(crlf)
	f.line = 0
	for seen := 0; ; {
		have := f.have()
		if end := bytes.Index(have[seen:], blank); end >= 0 && seen+end <= headSize {
			end += seen + len(crlf)
			f.r += end
			return have[len(crlf) : end+len(crlf)], nil
		}
		if len(have) > headSize+len(blank) {
			return nil, tooLarge("The head of a part of the form is too large.")
		}
		seen = max(0, len(have)-len(blank)+1)
		if f.err != nil {
			return nil, f.ended()
		}
		f.fill()
	}
}

// enter goes past the CRLF that head left. That belongs to the next delimiter's line instead where
// this follows at once, as it may behind a part without a body.
func (f *form) enter() error {
	if err := f.advance(); err != nil {
		return err
	}
	if f.known > 0 {
		f.r += len(crlf)
		f.known -= len(crlf)
	}
	return nil
}

// count holds a part against the limits.
func (f *form) count(p *part) error {
	if p.file {
		if f.limits.files--; f.limits.files < 0 {
			return tooMany("The form has too many files.")
		}
		return nil
	}
	if f.limits.fields--; f.limits.fields < 0 {
		return tooMany("The form has too many fields.")
	}
	return f.spend(len(p.name))
}

// spend takes bytes of what the fields may have together.
func (f *form) spend(n int) error {
	if f.limits.text -= int64(n); f.limits.text < 0 {
		return tooLarge("The fields of the form are too large.")
	}
	return nil
}

// ended is the error of a form that ends where it must not: the reader's own, if it has one.
func (f *form) ended() error {
	if f.err == io.EOF { //nolint:errorlint // a wrapped io.EOF is a failure of the reader
		return malformed("The form ends before its closing boundary.")
	}
	return f.err
}

func malformed(text string) error {
	return &web.Error{Status: http.StatusBadRequest, Title: "Malformed form", Text: text, Cause: errMalformed}
}

func tooLarge(text string) error {
	return &web.Error{Status: http.StatusRequestEntityTooLarge, Title: "Too large", Text: text, Cause: errTooLarge}
}

func tooMany(text string) error {
	return &web.Error{Status: http.StatusRequestEntityTooLarge, Title: "Too many", Text: text, Cause: errTooMany}
}
