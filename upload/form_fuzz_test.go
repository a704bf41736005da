package upload

import (
	"bytes"
	"errors"
	"io"
	"mime/multipart"
	"net/textproto"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/gatehouse-auth/gatehouse/web"
)

// judged is a form as mime/multipart reads it.
type judged struct {
	parts []piece                // that were whole
	heads []textproto.MIMEHeader // of all that began
	err   error
}

// oracle reads a form as mime/multipart does.
func oracle(body []byte, boundary string) (j judged) {
	r := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		p, err := r.NextRawPart()
		if err == io.EOF { //nolint:errorlint // a wrapped one is how it tells of a form that breaks off
			return j
		}
		if err != nil {
			j.err = err
			return j
		}
		j.heads = append(j.heads, p.Header)
		data, err := io.ReadAll(p)
		if err != nil {
			j.err = err
			return j
		}
		j.parts = append(j.parts, piece{name: p.FormName(), declared: p.Header.Get("Content-Type"), body: string(data)})
	}
}

// begins matches a form without a preamble, closes one with a closing boundary.
var (
	begins = regexp.MustCompile("^(\r\n)?--b(--)?[ \t]{0,64}(\r\n|$)")
	closes = regexp.MustCompile("(^|\r\n)--b--[ \t]*(\r\n|$)")
)

// deviations are the ways in which form is stricter, by the text of its refusal, and how to see that
// the form gave cause for it.
var deviations = map[string]func(body []byte, j judged) bool{
	"does not begin with the boundary": func(body []byte, _ judged) bool { return !begins.Match(body) },
	"something else behind it": func(body []byte, _ judged) bool {
		return !begins.Match(body) || bytes.Contains(body, []byte(strings.Repeat(" ", padSize/2)))
	},
	"does not end in CRLF": func(body []byte, _ judged) bool { return bareLine(body) },
	"ends before its closing": func(body []byte, _ judged) bool {
		return !closes.Match(body) || bareLine(body)
	},
	"no Content-Disposition": some(func(h textproto.MIMEHeader) bool {
		return len(h["Content-Disposition"]) != 1
	}),
	"has no name": some(func(h textproto.MIMEHeader) bool {
		return (&multipart.Part{Header: h}).FormName() == ""
	}),
	"another encoding than UTF-8": some(func(h textproto.MIMEHeader) bool {
		return (&multipart.Part{Header: h}).FileName() == ""
	}),
	"has a Content-Transfer-Encoding": some(func(h textproto.MIMEHeader) bool {
		return !slices.Contains([]string{"7bit", "8bit", "binary"}, strings.ToLower(h.Get("Content-Transfer-Encoding")))
	}),
	"is a multipart": some(func(h textproto.MIMEHeader) bool {
		return strings.HasPrefix(strings.ToLower(h.Get("Content-Type")), "multipart/")
	}),
	"too many lines": func(body []byte, _ judged) bool { return bytes.Count(body, crlf) >= headLines },
	"is too large":   func(body []byte, _ judged) bool { return len(body) > headSize },
	"too many f":     func(_ []byte, j judged) bool { return len(j.heads) > roomy.fields },
}

// bareLine reports whether a CR or an LF stands by itself.
func bareLine(body []byte) bool {
	return bytes.Count(body, crlf) != bytes.Count(body, []byte("\n")) || bytes.Count(body, crlf) != bytes.Count(body, []byte("\r"))
}

// some judges by the heads.
func some(is func(textproto.MIMEHeader) bool) func([]byte, judged) bool {
	return func(_ []byte, j judged) bool { return slices.ContainsFunc(j.heads, is) }
}

// FuzzForm holds form against mime/multipart: what form reads to its end, the other reads as the same
// parts with the same bytes; what form refuses, the other refuses too, or it is one of the deviations
// that form's comment lists; and how the bytes arrive and how much room there is makes no difference.
func FuzzForm(f *testing.F) {
	x := head(`form-data; name=x`)
	for _, seed := range []string{
		lines("--b", x+"1", "--b", head(`form-data; name="f"; filename="a.txt"`, "Content-Type: text/plain")+"hello", "--b--", ""),
		lines("", "--b \t", x, "--b--  ", "epilogue"),
		lines("--b", "Content-Disposition: form-data; name=x", "", "--b--"),
		lines("--b", x+"--bb\r\n--b-\r\n--b", "--b--"),
		lines("--b", x+"\r\n\r\n--\r\r\n", "--b", x+"-", "--b--", "--b", x),
		lines("preamble", "--b", x+"1", "--b--"),
		"--b\nContent-Disposition: form-data; name=x\n\n1\n--b--\n",
		lines("--b", "Content-Disposition: form-data;", " name=x", "", "1", "--b--"),
		lines("--b", "Content-Disposition: form-data; name=x\nX: y", "", "1", "--b--"),
		lines("--b", head(`form-data; name=x; filename*=UTF-8''a`, "Content-Transfer-Encoding: base64")+"1", "--b--"),
		lines("--b", head(`form-data; name=x`, "Content-Type: multipart/mixed; boundary=bb")+"--bb", "", "", "--bb--", "--b--"),
		"--b--", "--b--\n", "--b", "\r\n\r\n--b--", "",
	} {
		f.Add([]byte(seed), uint16(0), uint16(0))
		f.Add([]byte(seed), uint16(1), uint16(3))
	}
	f.Fuzz(func(t *testing.T, body []byte, piecewise, room uint16) {
		compare(t, body, int(piecewise)+1, int(room)+1)
	})
}

// TestFormAgainstMultipart does as FuzzForm does, on forms made of what forms are made of.
func TestFormAgainstMultipart(t *testing.T) {
	tokens := []string{
		"\r\n", "\r\n", "\n", "\r", "-", "--", "--b", "\r\n--b", "\r\n--b\r\n", "\r\n--b--", "\r\n--b--\r\n", "b", " ", "\t", "x",
		head(`form-data; name=x`), head(`form-data; name=f; filename=a`, "Content-Type: text/plain"), "Content-Disposition: form-data; name=x",
		lines("", "--b", head(`form-data; name=y`)+"1"), "X: y", strings.Repeat("\r\n--b", 20), strings.Repeat("y", directSize),
	}
	rapid.Check(t, func(t *rapid.T) {
		body := strings.Join(rapid.SliceOfN(rapid.SampledFrom(tokens), 0, 12).Draw(t, "tokens"), "")
		if rapid.Bool().Draw(t, "begins well") {
			body = lines("--b", head(`form-data; name=x`)+body)
		}
		compare(t, []byte(body), rapid.IntRange(1, 9000).Draw(t, "piece"), rapid.IntRange(1, 9000).Draw(t, "room"))
	})
}

// compare reads a form in pieces and at once, and as mime/multipart does.
func compare(t interface{ Fatalf(string, ...any) }, body []byte, piecewise, room int) {
	got, err := whole(newForm(&segments{bytes.NewReader(body), piecewise}, "b", roomy), room)
	once, err1 := whole(newForm(bytes.NewReader(body), "b", roomy), 128<<10)
	if !slices.Equal(got, once) || text(err) != text(err1) {
		t.Fatalf("in pieces of %d into %d bytes: %s, %v; at once: %s, %v", piecewise, room, show(got), err, show(once), err1)
	}
	j := oracle(body, "b")
	for i := range got {
		got[i].file, got[i].filename = false, ""
	}
	if err == nil && (j.err != nil || len(got) != len(j.parts)) || len(got) > len(j.parts) || !slices.Equal(got, j.parts[:len(got)]) {
		t.Fatalf("read %s, %v; mime/multipart %s, %v", show(got), err, show(j.parts), j.err)
	}
	if err == nil || j.err != nil {
		return
	}
	for refusal, cause := range deviations {
		if strings.Contains(text(err), refusal) && cause(body, j) {
			return
		}
	}
	t.Fatalf("refused without a cause: %v; mime/multipart reads %s", err, show(j.parts))
}

// text is what an error says to the client.
func text(err error) string {
	var public *web.Error
	if errors.As(err, &public) {
		return public.Text
	}
	return ""
}
