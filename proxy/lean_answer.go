package proxy

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// answer is the head of what an app answers.
type answer struct {
	status  int
	fields  []field // with canonical names
	length  int64   // of the body; -1: unknown
	chunked bool
	close   bool     // the app will say no more on this connection
	trailer []string // the trailers that were announced, if the body is chunked
}

// parse takes a head apart. It is strict where two readers could understand a message differently: then
// there is no answer at all. What is only old-fashioned (a line that ends in LF alone, a value folded
// over several lines) it takes as http.ReadResponse does, and it is written anew for the client.
func (a *answer) parse(head, method string) error {
	*a = answer{fields: a.fields[:0], length: -1}
	line, rest := cutLine(head)
	minor, err := a.begin(line)
	if err != nil {
		return err
	}
	if a.fields, err = parseFields(a.fields, rest); err != nil {
		return err
	}
	if err := a.frame(minor); err != nil {
		return err
	}
	none := a.status == http.StatusNoContent
	bodiless := none || a.status == http.StatusNotModified
	if bodiless && a.chunked || none && a.length > 0 {
		a.close = true // an app that frames a body may send it later, and the next client would get it
	}
	if method == http.MethodHead || a.status < 200 || bodiless {
		a.length, a.chunked = 0, false
	}
	if a.length < 0 && !a.chunked {
		a.close = true // the body ends where the connection does
	}
	return nil
}

// cutLine cuts the first line off, without its end.
func cutLine(text string) (line, rest string) {
	line, rest, _ = strings.Cut(text, "\n")
	return strings.TrimSuffix(line, "\r"), rest
}

// begin reads the status line and returns the minor version.
func (a *answer) begin(line string) (minor int, err error) {
	version, rest, ok := strings.Cut(line, " ")
	if !ok || version != "HTTP/1.1" && version != "HTTP/1.0" {
		return 0, fmt.Errorf("the app answers %.40q, which is no HTTP/1", line)
	}
	code, _, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	a.status, err = strconv.Atoi(code)
	if err != nil || len(code) != 3 || a.status < 100 {
		return 0, fmt.Errorf("the app answers with status %.10q", code)
	}
	return int(version[len(version)-1] - '0'), nil
}

// parseFields reads header lines up to the empty one.
func parseFields(fields []field, text string) ([]field, error) {
	for {
		var line string
		line, text = cutLine(text)
		if line == "" {
			return fields, nil
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !httpguts.ValidHeaderFieldName(name) { // as where it is the rest of another, and there is none
			return nil, fmt.Errorf("a header of the answer has no name: %.40q", name)
		}
		value, text = unfold(value, text)
		if !httpguts.ValidHeaderFieldValue(value) {
			return nil, errors.New("a header of the answer holds a control byte")
		}
		fields = append(fields, field{textproto.CanonicalMIMEHeaderKey(name), value})
	}
}

// unfold joins a value and the lines that it is folded over. Any of them may be empty.
func unfold(first, rest string) (value, text string) {
	first = strings.Trim(first, blanks)
	if !isFold(rest) {
		return first, rest
	}
	pieces := []string{first} // and not one after the other: an app may send thousands
	for isFold(rest) {
		var line string
		line, rest = cutLine(rest)
		pieces = append(pieces, strings.Trim(line, blanks))
	}
	return strings.Trim(strings.Join(pieces, " "), blanks), rest
}

// blanks are what may stand around a value. A CR may not.
const blanks = " \t"

func isFold(text string) bool { return text != "" && (text[0] == ' ' || text[0] == '\t') }

// frame finds out where the body ends (RFC 9112, section 6.3).
func (a *answer) frame(minor int) error {
	kept, encoded := minor > 0, 0
	for _, one := range a.fields {
		switch one.name {
		case "Connection":
			kept = kept || httpguts.HeaderValuesContainsToken([]string{one.value}, "keep-alive")
			a.close = a.close || httpguts.HeaderValuesContainsToken([]string{one.value}, "close")
		case "Content-Length":
			n, err := strconv.ParseUint(one.value, 10, 63)
			if err != nil || a.length >= 0 {
				return errors.New("the answer has a length that is none, or several")
			}
			a.length = int64(n) // of 63 bits
		case "Transfer-Encoding":
			a.chunked = strings.EqualFold(one.value, "chunked")
			encoded++
		}
	}
	a.close = a.close || !kept
	if encoded > 1 || encoded == 1 && (!a.chunked || minor == 0) {
		return errors.New("the answer has a transfer encoding that is not chunked")
	}
	if a.chunked && a.length >= 0 {
		return errors.New("the answer has both a length and chunks")
	}
	if a.chunked {
		return a.announce()
	}
	return nil
}

// announce notes the trailers that will follow the body.
func (a *answer) announce() error {
	for _, one := range a.fields {
		if one.name != "Trailer" {
			continue
		}
		for name := range strings.SplitSeq(one.value, ",") {
			name = textproto.CanonicalMIMEHeaderKey(textproto.TrimString(name))
			switch {
			case delimits(name):
				return fmt.Errorf("the answer announces the trailer %s", name)
			case name != "" && !slices.Contains(a.trailer, name):
				a.trailer = append(a.trailer, name)
			}
		}
	}
	return nil
}

// delimits names the headers that say where a message ends, and to whom it goes.
func delimits(name string) bool {
	switch name {
	case "Content-Length", "Transfer-Encoding", "Trailer", "Host":
		return true
	}
	return false
}

// pour adds the headers of the answer to those of the client's, without those that were for us only.
func (a *answer) pour(h http.Header) {
	var named []string
	for _, one := range a.fields {
		if one.name == "Connection" {
			for name := range strings.SplitSeq(one.value, ",") {
				named = append(named, textproto.CanonicalMIMEHeaderKey(textproto.TrimString(name)))
			}
		}
	}
	values := make([]string, len(a.fields)) // one allocation for nearly all of them
	for i, one := range a.fields {
		if hopByHop(one.name) || len(named) > 0 && slices.Contains(named, one.name) {
			continue
		}
		if before, ok := h[one.name]; ok {
			h[one.name] = append(before, one.value)
			continue
		}
		values[i] = one.value
		h[one.name] = values[i : i+1 : i+1]
	}
	if pragma := h["Pragma"]; len(pragma) > 0 && pragma[0] == "no-cache" && h["Cache-Control"] == nil {
		h["Cache-Control"] = []string{"no-cache"} // as http.ReadResponse has it (RFC 9111, section 5.4)
	}
}

// inform passes an informational answer on. Its headers are not those of the answer proper, and take none
// away that are there already: a server that is about to stop has said so by then.
func (a *answer) inform(f *flow) {
	h := f.Header()
	before := maps.Clone(h)
	a.pour(h)
	f.WriteHeader(a.status)
	clear(h)
	maps.Copy(h, before)
}
