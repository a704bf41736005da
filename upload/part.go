package upload

import (
	"bufio"
	"bytes"
	"io"
	"mime"
	"net/http"
	"net/textproto"
	"strings"

	"github.com/gatehouse-auth/gatehouse/web"
)

// part is a part of a form, and the reader of its bytes.
type part struct {
	name     string // of the field
	file     bool   // it has a file name, even if that is empty
	filename string // as the client wrote it: see CleanName
	declared string // media type, as the client wrote it; may be empty
	form     *form
}

const headLines = 32 // lines of a part's head, with the empty one

// boundaryOf returns the boundary that a request's Content-Type names. The error is a *web.Error: 415
// for what is no form of files, 400 for a boundary that RFC 2046, section 5.1.1, does not allow.
func boundaryOf(contentType string) (string, error) {
	kind, params, err := mime.ParseMediaType(contentType)
	if kind != "multipart/form-data" {
		return "", &web.Error{
			Status: http.StatusUnsupportedMediaType,
			Title:  "Not a form",
			Text:   "Send files as multipart/form-data, or one file by PUT to this address with its name behind it.",
			Cause:  errMalformed,
		}
	}
	boundary := params["boundary"]
	if err != nil || boundary == "" || len(boundary) > 70 || strings.HasSuffix(boundary, " ") || strings.ContainsFunc(boundary, notOfBoundary) {
		return "", malformed("The Content-Type names no boundary, or one that RFC 2046 does not allow.")
	}
	return boundary, nil
}

func notOfBoundary(c rune) bool {
	return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune("'()+_,-./:=? ", c)
}

// parsePart reads a part's head, with the help of a reader that is used again.
func parsePart(head []byte, r *bufio.Reader) (*part, error) {
	lines := bytes.Count(head, crlf)
	if bytes.Count(head, crlf[:1]) != lines || bytes.Count(head, crlf[1:]) != lines {
		return nil, malformed("The head of a part of the form has a line that does not end in CRLF.")
	}
	if lines > headLines {
		return nil, tooLarge("The head of a part of the form has too many lines.")
	}
	r.Reset(bytes.NewReader(head))
	header, err := textproto.NewReader(r).ReadMIMEHeader()
	if err != nil {
		return nil, malformed("The head of a part of the form cannot be read.")
	}
	p := &part{declared: header.Get("Content-Type")}
	if err := p.dispose(header["Content-Disposition"]); err != nil {
		return nil, err
	}
	switch strings.ToLower(header.Get("Content-Transfer-Encoding")) {
	case "", "7bit", "8bit", "binary":
	default:
		return nil, malformed("A part of the form has a Content-Transfer-Encoding: send files as they are.")
	}
	if kind, _, _ := mime.ParseMediaType(p.declared); !p.file && strings.HasPrefix(kind, "multipart/") {
		return nil, malformed("A part of the form is a multipart: send each file as a part of its own.")
	}
	return p, nil
}

// dispose reads the Content-Disposition. RFC 7578, section 4.2, forbids filename*, and .NET sends it
// beside filename all the same: where it can be read it is the better one (RFC 6266, section 4.3).
func (p *part) dispose(lines []string) error {
	if len(lines) != 1 {
		return malformed("A part of the form has no Content-Disposition, or more than one.")
	}
	kind, params, err := mime.ParseMediaType(lines[0])
	if err != nil || kind != "form-data" || params["name"] == "" {
		return malformed("A part of the form has no name, or a Content-Disposition that cannot be read.")
	}
	p.name = params["name"]
	p.filename, p.file = params["filename"]
	extended := strings.Contains(strings.ToLower(lines[0]), "filename*")
	if extended && !p.file {
		// Taken for a field, a file would be lost without a word.
		return malformed("A part of the form has a file name in another encoding than UTF-8.")
	}
	if !extended {
		// Browsers write a quotation mark in a name this way (HTML standard, "multipart/form-data
		// encoding algorithm").
		p.filename = strings.ReplaceAll(p.filename, "%22", `"`)
	}
	return nil
}

// text reads a field whole. The error is that of Read, or a *web.Error with errTooLarge once all
// fields together are longer than the form's limits allow.
func (p *part) text() (string, error) {
	var value []byte
	for b := make([]byte, 512); ; {
		n, err := p.Read(b)
		value = append(value, b[:n]...)
		switch {
		case err == io.EOF: //nolint:errorlint // Read never wraps it
			return string(value), nil
		case err != nil:
			return "", err
		}
		if err := p.form.spend(n); err != nil {
			p.form.fault = err
			return "", err
		}
	}
}
