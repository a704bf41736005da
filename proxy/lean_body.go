package proxy

import (
	"io"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
)

// deliver passes the head of an answer on.
func (c *line) deliver(f *flow) {
	h := f.Header()
	c.answer.pour(h)
	own(h)
	keepPrivate(h, f.pass.decision.Route)
	if names := c.answer.trailer; len(names) > 0 {
		h["Trailer"] = append(h["Trailer"], strings.Join(names, ", "))
	}
	f.WriteHeader(c.answer.status)
}

// relay passes the body on. An error means that it did not come whole, or did not arrive.
//
// Where nobody knows how much there will be, and for events, the client gets what there is before we wait
// for more. A body of known length is sent as the buffers fill, like httputil.ReverseProxy does.
func (c *line) relay(f *flow) error {
	a := &c.answer
	switch {
	case a.chunked:
		c.live = true
		if _, err := copyBody(f, httputil.NewChunkedReader(c.from)); err != nil {
			return err
		}
		return c.trail(f)
	case a.length < 0:
		c.live = true
		_, err := copyBody(f, c.from)
		return err
	}
	c.live = events(f.Header())
	// What came along with the head goes on from where it lies.
	if n := int(min(a.length, int64(c.from.Buffered()))); n > 0 {
		begun, _ := c.from.Peek(n)
		if _, err := f.Write(begun); err != nil {
			return err
		}
		_, _ = c.from.Discard(n)
		a.length -= int64(n)
	}
	if a.length == 0 {
		return nil
	}
	n, err := copyBody(f, io.LimitReader(c.from, a.length))
	if err == nil && n < a.length {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// events reports whether an answer is a stream of events.
func events(h http.Header) bool {
	kind := h["Content-Type"]
	if len(kind) == 0 {
		return false
	}
	first, _, _ := strings.Cut(kind[0], ";")
	return strings.EqualFold(strings.TrimSpace(first), "text/event-stream")
}

func copyBody(f *flow, from io.Reader) (n int64, err error) {
	buf := buffers{}.Get()
	defer buffers{}.Put(buf)
	for {
		got, err := from.Read(buf)
		if got > 0 {
			if _, err := f.Write(buf[:got]); err != nil {
				return n, err
			}
			n += int64(got)
		}
		if err == io.EOF { // readers return it bare
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// trail reads what follows the last chunk and passes the trailers on, as ReverseProxy does: by their
// names, if all of them were announced.
func (c *line) trail(f *flow) error {
	left := bufferSize
	text, err := c.head(&left)
	if err != nil {
		return err
	}
	fields, err := parseFields(c.answer.fields[:0], text)
	if err != nil {
		return err
	}
	c.answer.fields = fields
	if len(fields)+len(c.answer.trailer) == 0 {
		return nil
	}
	if err := f.FlushError(); err != nil { // or net/http counts a short body and leaves no room for trailers
		return err
	}
	prefix := ""
	for _, one := range fields {
		if !slices.Contains(c.answer.trailer, one.name) {
			prefix = http.TrailerPrefix
		}
	}
	for _, one := range fields {
		if !hopByHop(one.name) && !delimits(one.name) {
			f.Header()[prefix+one.name] = append(f.Header()[prefix+one.name], one.value)
		}
	}
	return nil
}
