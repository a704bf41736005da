package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// message is a request or an answer as a reader takes it that knows the grammar of RFC 9112 and no
// mercy. It shares no line with net/http, which is what it is there to judge.
type message struct {
	first    string // request line or status line
	fields   []headline
	body     string
	trailers []headline
	chunked  bool
}

// headline is a header or a trailer.
type headline struct{ name, value string }

// values of a header, whatever the case of its name.
func (m *message) values(name string) (found []string) {
	for _, f := range m.fields {
		if strings.EqualFold(f.name, name) {
			found = append(found, f.value)
		}
	}
	return found
}

// strict reads messages one behind the other. It returns io.EOF where nothing follows,
// io.ErrUnexpectedEOF where a message breaks off, and any other error where two readers could
// understand what is there differently.
type strict struct {
	from *bufio.Reader
	to   io.Writer // where a client that expects it is told to continue; nil for who reads answers
}

// line is the next line without its CRLF. No CR or LF stands alone, and no other control byte but a tab.
func (s strict) line() (string, error) {
	text, err := s.from.ReadString('\n')
	if err != nil {
		if errors.Is(err, io.EOF) && text != "" {
			err = io.ErrUnexpectedEOF
		}
		return "", err
	}
	line, ok := strings.CutSuffix(text, "\r\n")
	if !ok || strings.ContainsFunc(line, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
		return "", fmt.Errorf("a line with a control byte or without its CR: %q", text)
	}
	return line, nil
}

const tokenBytes = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

func token(s string) bool { return s != "" && strings.Trim(s, tokenBytes) == "" }

// section reads header or trailer lines up to the empty one.
func (s strict) section() (fields []headline, err error) {
	for {
		line, err := s.line()
		if err != nil {
			return nil, within(err)
		}
		if line == "" {
			return fields, nil
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !token(name) {
			return nil, fmt.Errorf("no header line: %q", line)
		}
		fields = append(fields, headline{name, strings.Trim(value, " \t")})
	}
}

// within is an error met in the middle of a message.
func within(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// request reads a request in origin form.
func (s strict) request() (m message, err error) {
	if m.first, err = s.line(); err != nil {
		return m, err
	}
	parts := strings.Split(m.first, " ")
	if len(parts) != 3 || !token(parts[0]) || !strings.HasPrefix(parts[1], "/") || parts[2] != "HTTP/1.1" {
		return m, fmt.Errorf("no request line: %q", m.first)
	}
	if m.fields, err = s.section(); err != nil {
		return m, err
	}
	if hosts := m.values("Host"); len(hosts) != 1 || hosts[0] == "" {
		return m, fmt.Errorf("the hosts %q", hosts)
	}
	if len(m.values("Expect")) > 0 && len(m.values("Content-Length"))+len(m.values("Transfer-Encoding")) > 0 {
		_, _ = io.WriteString(s.to, "HTTP/1.1 100 Continue\r\n\r\n")
	}
	_, err = s.sized(&m) // without a length there is no body
	return m, err
}

// answer reads an answer to a request with a method. An informational one counts as one.
func (s strict) answer(method string) (m message, status int, err error) {
	if m.first, err = s.line(); err != nil {
		return m, 0, err
	}
	parts := strings.SplitN(m.first, " ", 3)
	if len(parts) != 3 || parts[0] != "HTTP/1.1" && parts[0] != "HTTP/1.0" || len(parts[1]) != 3 {
		return m, 0, fmt.Errorf("no status line: %q", m.first)
	}
	if status, err = strconv.Atoi(parts[1]); err != nil || status < 100 {
		return m, 0, fmt.Errorf("no status line: %q", m.first)
	}
	if m.fields, err = s.section(); err != nil {
		return m, status, err
	}
	if method == "HEAD" || status < 200 || status == 204 || status == 304 {
		return m, status, nil
	}
	sized, err := s.sized(&m)
	if err != nil || sized {
		return m, status, err
	}
	if closing := m.values("Connection"); len(closing) != 1 || closing[0] != "close" {
		return m, status, fmt.Errorf("a body without an end: %q %v", m.first, m.fields)
	}
	all, err := io.ReadAll(s.from)
	m.body = string(all)
	return m, status, err
}

// sized reads a body whose end is told, and reports whether it was: by one length, or by chunks.
func (s strict) sized(m *message) (bool, error) {
	lengths, encodings := m.values("Content-Length"), m.values("Transfer-Encoding")
	switch {
	case len(lengths) == 0 && len(encodings) == 0:
		return false, nil
	case len(lengths)+len(encodings) != 1:
		return true, fmt.Errorf("the lengths %q and encodings %q", lengths, encodings)
	case len(encodings) == 1:
		if encodings[0] != "chunked" {
			return true, fmt.Errorf("the encoding %q", encodings[0])
		}
		m.chunked = true
		return true, s.chunks(m)
	}
	n, err := strconv.ParseUint(lengths[0], 10, 31) // no sign; more than 2 GiB is no body of these tests
	if err != nil {
		return true, fmt.Errorf("the length %q", lengths[0])
	}
	m.body, err = s.exactly(int(n))
	return true, err
}

func (s strict) exactly(n int) (string, error) {
	body := make([]byte, n)
	_, err := io.ReadFull(s.from, body)
	return string(body), within(err)
}

// chunks reads a chunked body without extensions, and its trailers.
func (s strict) chunks(m *message) error {
	for {
		line, err := s.line()
		if err != nil {
			return within(err)
		}
		n, err := strconv.ParseUint(line, 16, 31)
		if err != nil {
			return fmt.Errorf("the chunk size %q", line)
		}
		if n == 0 {
			m.trailers, err = s.section()
			return err
		}
		chunk, err := s.exactly(int(n))
		if err != nil {
			return err
		}
		if end, err := s.exactly(2); err != nil || end != "\r\n" {
			return errors.Join(err, fmt.Errorf("a chunk ends in %q", end))
		}
		m.body += chunk
	}
}
