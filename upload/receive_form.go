package upload

import (
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/gatehouse-auth/gatehouse/web"
)

const (
	// epilogue is how much behind the end of a form is read, so that the connection can be used again.
	epilogue = 64 << 10
	// maxFields is how many text fields a form may have.
	maxFields = 1000
)

// form takes the files of a form one after the other. What is wrong with one of them is its own
// result, and the others go on. What ends the body ends all of them: then those that were kept already
// are taken back, for the client hears of a failure and will send all of them again.
func (t *transfer) form(boundary string) (err error) {
	defer func() {
		if err != nil {
			t.takeBack()
		}
	}()
	limits := formLimits{files: t.u.limits.MaxFiles, fields: maxFields, text: t.u.limits.MaxFields}
	form := newForm(t.in, boundary, limits)
	digest := ""
	for {
		p, err := form.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return t.why(err)
		}
		if digest, err = t.partOf(p, digest); err != nil {
			return t.why(err)
		}
	}
	if len(t.results) == 0 {
		return web.Fail(http.StatusBadRequest, "There is no file in the form.", nil)
	}
	// The form is whole; whatever follows it is not looked at, nor whether it comes.
	_, _ = io.CopyN(io.Discard, t.in, epilogue)
	return t.late(digest)
}

// partOf takes a part of a form. A digest goes before its file; that of the next file is returned.
func (t *transfer) partOf(p *part, digest string) (next string, err error) {
	if p.file {
		in := incoming{name: p.filename, declared: p.declared, digest: digest, length: -1, reserve: t.part}
		if t.in.length >= 0 {
			// All that is left of the body but the boundary that it has to end with.
			in.reserve = t.in.length - t.in.bytes.Load() + int64(len(p.form.have())) - int64(len(p.form.delim)) - 2
		}
		f, err := t.take(p, in)
		if errors.Is(err, errNothing) {
			return digest, nil
		}
		t.results = append(t.results, result{CleanName(p.filename), f, err})
		return "", nil
	}
	text, err := p.text()
	if err != nil {
		return digest, err
	}
	if p.name != digestField {
		t.fields[p.name] = append(t.fields[p.name], text)
		return digest, nil
	}
	if digest != "" || !isDigest(strings.ToLower(text)) {
		return digest, badDigest(digestField)
	}
	return strings.ToLower(text), nil
}

// late judges a digest that came behind the last file. It is honoured where there is no doubt which
// file it is of, and refused where there is: it is never ignored (UP-07).
func (t *transfer) late(digest string) error {
	switch {
	case digest == "":
		return nil
	case len(t.results) > 1 || t.u.limits.Digest == NoDigest:
		return web.Fail(http.StatusBadRequest, "The digest of a file is a field of the name "+digestField+" before it.", nil)
	case t.results[0].err == nil && t.results[0].file.SHA256 != digest:
		return errMismatch
	}
	return nil
}

// takeBack removes what was kept of a form that failed as a whole.
func (t *transfer) takeBack() {
	for _, one := range t.results {
		if one.err == nil {
			t.erase(one.file)
		}
	}
}
