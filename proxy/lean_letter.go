package proxy

import (
	"bytes"
	"errors"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// field is one line of a head.
type field struct{ name, value string }

// letter is a request as the app gets it: the bytes that http.Transport would send, in one piece.
type letter struct {
	buf    []byte
	fields []field
	ours   int         // where our own fields begin
	named  []string    // what the client's Connection names
	aside  http.Header // a place for what other parts do to headers
}

var letters = sync.Pool{New: func() any { return &letter{aside: http.Header{}} }}

// free forgets the letter.
func (m *letter) free() {
	clear(m.fields)
	clear(m.aside)
	clear(m.named)
	m.fields, m.named = m.fields[:0], m.named[:0]
	if cap(m.buf) > bufferSize {
		m.buf = nil
	}
	letters.Put(m)
}

// write composes the letter of a request that was let through: the client's headers without what is not
// theirs to say, then what is ours.
func (m *letter) write(u *Upstream, f *flow) error {
	if err := m.take(u, f); err != nil {
		return err
	}
	m.ours = len(m.fields)
	m.vouch(f.pass)
	if httpguts.HeaderValuesContainsToken(f.r.Header["Te"], "trailers") {
		m.set("Te", "trailers")
	}
	u.tell(f, m.set)
	slices.SortStableFunc(m.fields, func(a, b field) int { return strings.Compare(a.name, b.name) })
	return m.compose(u, f)
}

// take takes over the client's headers.
func (m *letter) take(u *Upstream, f *flow) error {
	m.listen(f.r.Header["Connection"])
	drop := claimed | hopping
	if f.pass.decision.Ruled {
		drop |= overriding
	}
	page := u.names.of(f.pass.identity)
	for name, values := range f.r.Header {
		what := u.names.fate(page, name)
		switch {
		case what&nameless != 0:
			return errors.New("a header of the request has no name")
		case what&drop != 0, name == "User-Agent", name == "X-Request-Id", slices.Contains(m.named, name):
			continue
		case name == "Cookie":
			m.aside["Cookie"] = values
			auth.Strip(m.aside)
			values = m.aside["Cookie"]
		}
		for _, value := range values {
			m.fields = append(m.fields, field{name, value})
		}
	}
	return nil
}

// listen notes which headers the client wants to be for this hop only. Nothing of ours can be among
// them: it is set later (golang/go#50580).
func (m *letter) listen(lines []string) {
	for _, line := range lines {
		if line == "keep-alive" || line == "close" {
			continue
		}
		for name := range strings.SplitSeq(line, ",") {
			m.named = append(m.named, textproto.CanonicalMIMEHeaderKey(textproto.TrimString(name)))
		}
	}
}

// vouch adds the identity of whoever is signed in.
func (m *letter) vouch(pass *passage) {
	if !pass.vouched() {
		return
	}
	delete(m.aside, "Cookie")
	pass.identity.Vouch(m.aside, &pass.decision.Session)
	for name, values := range m.aside {
		m.set(name, values[0])
	}
}

// set adds a header of ours, or replaces the one that was set before.
func (m *letter) set(name, value string) {
	for i := m.ours; i < len(m.fields); i++ {
		if m.fields[i].name == name {
			m.fields[i].value = value
			return
		}
	}
	m.fields = append(m.fields, field{name, value})
}

// compose writes the head. That no value holds an end of a line, or a NUL, is seen by counting: there
// must be as many as were written.
func (m *letter) compose(u *Upstream, f *flow) error {
	ask := f.pass.ask
	host := u.hostFor(ask)
	if host == "" {
		host = u.lean.host
	}
	path := u.cut(ask.Path)
	if strings.Contains(path, " ") || strings.Contains(ask.Query, " ") || !httpguts.ValidHostHeader(host) {
		return errors.New("the request line would be ambiguous")
	}
	b := append(append(m.buf[:0], ask.Method...), ' ')
	b = append(append(append(b, path...), ask.Query...), " HTTP/1.1\r\n"...)
	b = appendField(b, "Host", host)
	lines := 3 + len(m.fields)
	if agent := f.r.Header["User-Agent"]; len(agent) > 0 && agent[0] != "" && !slices.Contains(m.named, "User-Agent") {
		b = appendField(b, "User-Agent", agent[0])
		lines++
	}
	for _, one := range m.fields {
		b = appendField(b, one.name, one.value)
	}
	m.buf = append(b, "\r\n"...)
	if bytes.Count(m.buf, []byte("\n")) != lines || bytes.Count(m.buf, []byte("\r")) != lines || bytes.IndexByte(m.buf, 0) >= 0 {
		return errors.New("a header of the request holds a byte that ends a line")
	}
	return nil
}

func appendField(b []byte, name, value string) []byte {
	b = append(append(b, name...), ": "...)
	return append(append(b, textproto.TrimString(value)...), "\r\n"...)
}
