package upload

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/gatehouse-auth/gatehouse/web"
)

// piece is a part as it was read.
type piece struct {
	name, filename, declared string
	file                     bool
	body                     string
}

func show(all []piece) string { return fmt.Sprintf("%+q", fmt.Sprint(all)) }

// roomy are limits that no test form meets by accident.
var roomy = formLimits{files: 100, fields: 100, text: 1 << 20}

// lines joins a form's lines by CRLF.
func lines(of ...string) string { return strings.Join(of, "\r\n") }

// head is the head of a part and the empty line behind it, as one item of lines.
func head(disposition string, more ...string) string {
	return lines(append(append([]string{"Content-Disposition: " + disposition}, more...), "", "")...)
}

// whole reads a form to its end with a buffer of size bytes. With an error, the pieces are those that
// were whole before it.
func whole(f *form, size int) ([]piece, error) {
	var all []piece
	b := make([]byte, size)
	for {
		p, err := f.next()
		if err == io.EOF { //nolint:errorlint // nothing else is a proper end
			return all, nil
		}
		if err != nil {
			return all, err
		}
		var body bytes.Buffer
		if _, err := io.CopyBuffer(struct{ io.Writer }{&body}, struct{ io.Reader }{p}, b); err != nil {
			return all, err
		}
		all = append(all, piece{p.name, p.filename, p.declared, p.file, body.String()})
	}
}

func TestFormReadsParts(t *testing.T) {
	big := strings.Repeat("\r\n--b\r-\r\n--\r\n-", 20_000) // full of what almost is the boundary
	tests := []struct {
		name, body string
		want       []piece
	}{
		{
			"a file", lines("--b9", head(`form-data; name="f"; filename="a.txt"`, "Content-Type: text/plain")+"hello", "--b9--", ""),
			[]piece{{"f", "a.txt", "text/plain", true, "hello"}},
		},
		{
			"UP-07 fields before, between and behind files, names twice",
			lines("--b9", head(`form-data; name=x`)+"1", "--b9", head(`form-data; name=f; filename=a`)+"A", "--b9", head(`form-data; name=x`)+"2",
				"--b9", head(`form-data; name=f; filename=a`)+"B", "--b9", head(`form-data; name=x`)+"3", "--b9--", ""),
			[]piece{{name: "x", body: "1"}, {"f", "a", "", true, "A"}, {name: "x", body: "2"}, {"f", "a", "", true, "B"}, {name: "x", body: "3"}},
		},
		{"UP-02 an empty file", lines("--b9", head(`form-data; name=f; filename=a`), "--b9--", ""), []piece{{"f", "a", "", true, ""}}},
		{"an empty body whose head's empty line is the boundary's own", lines("--b9", "Content-Disposition: form-data; name=x", "", "--b9--"), []piece{{name: "x"}}},
		{
			"nothing chosen in a browser", lines("--b9", head(`form-data; name="f"; filename=""`, "Content-Type: application/octet-stream"), "--b9--", ""),
			[]piece{{"f", "", "application/octet-stream", true, ""}},
		},
		{"no parts", "--b9--\r\n", nil},
		{"no line end at the very end", lines("--b9", head(`form-data; name=x`)+"1", "--b9--"), []piece{{name: "x", body: "1"}}},
		{"white space behind boundaries", lines("--b9 \t", head(`form-data; name=x`)+"1", "--b9--  ", ""), []piece{{name: "x", body: "1"}}},
		{"a CRLF before the first boundary", lines("", "--b9", head(`form-data; name=x`)+"1", "--b9--", ""), []piece{{name: "x", body: "1"}}},
		{"an epilogue", lines("--b9", head(`form-data; name=x`)+"1", "--b9--", "--b9", "bye"), []piece{{name: "x", body: "1"}}},
		{"data that ends in line ends", lines("--b9", head(`form-data; name=x`)+"1\r\n\r\n\n\r", "--b9--", ""), []piece{{name: "x", body: "1\r\n\r\n\n\r"}}},
		{
			"data that begins like the boundary", lines("--b9", head(`form-data; name=x`)+"--b99", "--b9", head(`form-data; name=y`)+"-", "--b9--", ""),
			[]piece{{name: "x", body: "--b99"}, {name: "y", body: "-"}},
		},
		{
			"UP-04 a form in a file, whose boundary is a longer one",
			lines("--b9", head(`form-data; name=f; filename=m`, "Content-Type: multipart/mixed; boundary=b99"), "--b99", "", "x", "--b99--", "--b9--", ""),
			[]piece{{"f", "m", "multipart/mixed; boundary=b99", true, lines("", "--b99", "", "x", "--b99--")}},
		},
		{"almost a boundary, again and again", lines("--b9", head(`form-data; name=f; filename=a`)+big, "--b9--", ""), []piece{{"f", "a", "", true, big}}},
		{"a folded head", lines("--b9", "Content-Disposition: form-data;", "  name=x", "", "1", "--b9--", ""), []piece{{name: "x", body: "1"}}},
		{"an encoding that is none", lines("--b9", head(`form-data; name=x`, "Content-Transfer-Encoding: 8BIT")+"1", "--b9--", ""), []piece{{name: "x", body: "1"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for how, reader := range chunked(tt.body) {
				for _, size := range []int{1, 5, 4 << 10, directSize + 80, 1 << 20} {
					if size == 1 && len(tt.body) > 10_000 && how == "a byte at a time" {
						continue // both slow ways at once show nothing more
					}
					got, err := whole(newForm(reader(), "b9", roomy), size)
					if err != nil {
						t.Fatalf("%s, %d bytes of room: %v", how, size, err)
					}
					if !slices.Equal(got, tt.want) {
						t.Fatalf("%s, %d bytes of room: got %.300s, want %.300s", how, size, show(got), show(tt.want))
					}
				}
			}
		})
	}
}

// chunked are the ways in which a body may arrive.
func chunked(body string) map[string]func() io.Reader {
	return map[string]func() io.Reader{
		"at once":          func() io.Reader { return strings.NewReader(body) },
		"a byte at a time": func() io.Reader { return iotest.OneByteReader(strings.NewReader(body)) },
		"half of what fits": func() io.Reader {
			return iotest.HalfReader(strings.NewReader(body))
		},
		"the end with the last bytes": func() io.Reader { return iotest.DataErrReader(strings.NewReader(body)) },
		"1,460 bytes at a time":       func() io.Reader { return &segments{strings.NewReader(body), 1460} },
	}
}

// segments gives at most size bytes at once.
type segments struct {
	io.Reader
	size int
}

func (s *segments) Read(b []byte) (int, error) { return s.Reader.Read(b[:min(len(b), s.size)]) }

func TestFormRefuses(t *testing.T) {
	ok := head(`form-data; name=f; filename=a`)
	tests := []struct {
		name, body string
		status     int
		is         error
	}{
		{"UP-04 an empty body", "", 400, errMalformed},
		{"UP-04 another boundary", lines("--b8", ok+"x", "--b8--", ""), 400, errMalformed},
		{"UP-04 ends in the first boundary", "--b", 400, errMalformed},
		{"UP-04 ends behind the first boundary", "--b9", 400, errMalformed},
		{"UP-04 ends in the head", lines("--b9", "Content-Disposition: form-da"), 400, errMalformed},
		{"UP-04 ends behind the head", lines("--b9", ok), 400, errMalformed},
		{"UP-04 ends in the data", lines("--b9", ok+"x"), 400, errMalformed},
		{"UP-04 ends in a boundary", lines("--b9", ok+"x", "--b9"), 400, errMalformed},
		{"UP-04 ends in the closing boundary", lines("--b9", ok+"x", "--b9-"), 400, errMalformed},
		{"UP-04 ends behind a boundary's line", lines("--b9", ok+"x", "--b9", ""), 400, errMalformed},
		{"UP-04 no closing boundary", lines("--b9", ok+"x", "--b9", ok+"y", ""), 400, errMalformed},
		{"UP-04 no Content-Disposition", lines("--b9", "Content-Type: text/plain", "", "x", "--b9--", ""), 400, errMalformed},
		{"UP-04 no head", lines("--b9", "", "x", "--b9--", ""), 400, errMalformed},
		{"UP-04 no name", lines("--b9", head(`form-data; filename=a`)+"x", "--b9--", ""), 400, errMalformed},
		{"UP-04 an empty name", lines("--b9", head(`form-data; name=""; filename=a`)+"x", "--b9--", ""), 400, errMalformed},
		{"UP-04 an attachment", lines("--b9", head(`attachment; name=f; filename=a`)+"x", "--b9--", ""), 400, errMalformed},
		{"UP-04 base64", lines("--b9", head(`form-data; name=f; filename=a`, "Content-Transfer-Encoding: base64")+"eA==", "--b9--", ""), 400, errMalformed},
		{"UP-04 quoted-printable", lines("--b9", head(`form-data; name=f; filename=a`, "Content-Transfer-Encoding: Quoted-Printable")+"=41", "--b9--", ""), 400, errMalformed},
		{"UP-04 a multipart in a field", lines("--b9", head(`form-data; name=f`, "Content-Type: multipart/mixed; boundary=c")+"--c", "", "x", "--c--", "--b9--", ""), 400, errMalformed},
		{"two Content-Dispositions", lines("--b9", head(`form-data; name=f`, `Content-Disposition: form-data; name=g; filename=a`)+"x", "--b9--", ""), 400, errMalformed},
		{"UP-03 two file names", lines("--b9", head(`form-data; name=f; filename=a; filename=b`)+"x", "--b9--", ""), 400, errMalformed},
		{"UP-03 CR and LF in a file name", lines("--b9", head("form-data; name=f; filename=\"a\r\nX: y\"")+"x", "--b9--", ""), 400, errMalformed},
		{"UP-03 NUL in a file name", lines("--b9", head("form-data; name=f; filename=\"a\x00.txt\"")+"x", "--b9--", ""), 400, errMalformed},
		{"UP-03 a file name in another encoding", lines("--b9", head(`form-data; name=f; filename*=ISO-8859-1''%E4`)+"x", "--b9--", ""), 400, errMalformed},
		{"a preamble", lines("hello", "--b9", ok+"x", "--b9--", ""), 400, errMalformed},
		{"two CRLF before the first boundary", lines("", "", "--b9", ok+"x", "--b9--", ""), 400, errMalformed},
		{"lines that end in LF", strings.ReplaceAll(lines("--b9", ok+"x", "--b9--", ""), "\r\n", "\n"), 400, errMalformed},
		{"LF in a head", lines("--b9", "Content-Disposition: form-data; name=f\nX: y", "", "x", "--b9--", ""), 400, errMalformed},
		{"a line without a colon", lines("--b9", "Content-Disposition: form-data; name=f", "oops", "", "x", "--b9--", ""), 400, errMalformed},
		{"a folded line at the beginning", lines("--b9", " Content-Disposition: form-data; name=f", "", "x", "--b9--", ""), 400, errMalformed},
		{"text behind a boundary", lines("--b9", ok+"x", "--b9 y", ok, "--b9--", ""), 400, errMalformed},
		{"text behind the closing boundary", lines("--b9", ok+"x", "--b9--y", ""), 400, errMalformed},
		{"a boundary whose line ends in LF", lines("--b9", ok+"x", "--b9\n"+ok, "--b9--", ""), 400, errMalformed},
		{"endless white space behind a boundary", lines("--b9", ok+"x", "--b9"+strings.Repeat(" ", 1<<20)), 400, errMalformed},
		{"UP-05 15,000 lines in a head", lines("--b9", strings.Repeat("X: y\r\n", 15_000)+ok+"x", "--b9--", ""), 413, errTooLarge},
		{"UP-05 33 lines in a head", lines("--b9", strings.Repeat("X: y\r\n", 32)+ok+"x", "--b9--", ""), 413, errTooLarge},
		{"UP-05 a line of 9 MB in a head", lines("--b9", "X: "+strings.Repeat("y", 9<<20), ok+"x", "--b9--", ""), 413, errTooLarge},
		{"UP-05 101 files", lines("--b9", strings.Repeat(lines(ok+"x", "--b9", ""), 100)+ok+"x", "--b9--", ""), 413, errTooMany},
		{"UP-05 20,000 fields", lines("--b9", strings.Repeat(lines(head(`form-data; name=x`)+"0123456789", "--b9", ""), 19_999)+ok+"x", "--b9--", ""), 413, errTooMany},
		{"UP-05 long field names", lines("--b9", strings.Repeat(lines(head(`form-data; name=`+strings.Repeat("x", 8000))+"0", "--b9", ""), 140)+ok+"x", "--b9--", ""), 413, errTooMany},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for how, reader := range chunked(tt.body) {
				f := newForm(reader(), "b9", roomy)
				_, err := whole(f, 1<<20)
				var public *web.Error
				if !errors.As(err, &public) || public.Status != tt.status || public.Text == "" {
					t.Fatalf("%s: got %v, want a public error with status %d", how, err, tt.status)
				}
				if !errors.Is(err, tt.is) {
					t.Fatalf("%s: got %v, want %v in its chain", how, err, tt.is)
				}
				if _, again := f.next(); !errors.Is(again, public) {
					t.Fatalf("%s: next after %v: got %v, want the same", how, err, again)
				}
			}
		})
	}
}

// TestFormOfABadReader: what happened to the connection is no fault of the form.
func TestFormOfABadReader(t *testing.T) {
	body := lines("--b9", head(`form-data; name=f; filename=a`)+"hello", "--b9", head(`form-data; name=f; filename=b`)+"you", "--b9--")
	gone := errors.New("the client has gone")
	for cut := range len(body) {
		for _, size := range []int{1, 1 << 20} {
			_, err := whole(newForm(io.MultiReader(strings.NewReader(body[:cut]), iotest.ErrReader(gone)), "b9", roomy), size)
			if !errors.Is(err, gone) {
				t.Fatalf("gone at %d of %d: got %v", cut, len(body), err)
			}
		}
	}
	if _, err := whole(newForm(stuck{}, "b9", roomy), 10); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a reader that neither reads nor fails: got %v", err)
	}
}

// stuck is a reader that neither reads nor fails.
type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

// TestFormNeverTakesABreakForAnEnd cuts a form at every byte: a part that was not followed by a whole
// boundary was never read to io.EOF (UP-04).
func TestFormNeverTakesABreakForAnEnd(t *testing.T) {
	a, b := lines("--b9", head(`form-data; name=f; filename=a`)+"hello", "--b9", ""), lines(head(`form-data; name=f; filename=b`)+"you", "--b9--")
	for cut := range len(a + b) {
		want := 0
		if cut >= len(a) {
			want = 1
		}
		got, err := whole(newForm(strings.NewReader((a + b)[:cut]), "b9", roomy), 1<<20)
		if len(got) != want || !errors.Is(err, errMalformed) {
			t.Errorf("cut at %d: got %s and %v, want %d whole files and a malformed form", cut, show(got), err, want)
		}
	}
}

func TestFormSkipsWhatIsNotRead(t *testing.T) {
	big := strings.Repeat("\r\n--b\r", 100_000)
	body := lines("--b9", head(`form-data; name=f; filename=a`)+big, "--b9", head(`form-data; name=x`)+"1", "--b9--", "")
	for how, reader := range chunked(body) {
		for _, room := range []int{0, 1, 10_000} {
			f := newForm(reader(), "b9", roomy)
			first, err := f.next()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(first, make([]byte, room)); err != nil {
				t.Fatal(err)
			}
			p, err := f.next()
			if err != nil || p.name != "x" {
				t.Fatalf("%s, after %d bytes: got %v, %v", how, room, p, err)
			}
			if _, err := first.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("a part that was left behind: got %v", err)
			}
			if value, err := p.text(); value != "1" || err != nil {
				t.Errorf("%s, after %d bytes: got %q, %v", how, room, value, err)
			}
		}
	}
}

// TestFormFieldsAreBounded: UP-05, a text field of 200 MB, and many that are too much together.
func TestFormFieldsAreBounded(t *testing.T) {
	limits := formLimits{files: 1, fields: 3, text: 1000}
	for name, values := range map[string][]int{"one": {200 << 20}, "together": {400, 400, 400}, "by one byte": {332, 332, 334}} {
		var body []io.Reader
		for _, n := range values {
			body = append(body, strings.NewReader("--b9\r\n"+head("form-data; name=x")), io.LimitReader(endless{}, int64(n)), strings.NewReader("\r\n"))
		}
		counted := &counter{Reader: io.MultiReader(append(body, strings.NewReader("--b9--"))...)}
		f := newForm(counted, "b9", limits)
		var err error
		for err == nil {
			var p *part
			if p, err = f.next(); err == nil {
				_, err = p.text()
			}
		}
		if !errors.Is(err, errTooLarge) || counted.n > 10_000 {
			t.Errorf("%s: got %v after %d bytes", name, err, counted.n)
		}
		if _, again := f.next(); !errors.Is(again, errTooLarge) {
			t.Errorf("%s: next afterwards: got %v", name, again)
		}
	}
}

// endless gives the letter x.
type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	return len(b), nil
}

// counter counts what is read.
type counter struct {
	io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n += int64(n)
	return n, err
}

func TestBoundaryOf(t *testing.T) {
	long := strings.Repeat("b", 70)
	tests := []struct {
		name, contentType, want string
		status                  int
	}{
		{"a browser's", "multipart/form-data; boundary=----WebKitFormBoundaryAbC09", "----WebKitFormBoundaryAbC09", 0},
		{"in quotes", `Multipart/Form-Data; charset=utf-8; boundary="a b:c"`, "a b:c", 0},
		{"70 characters", "multipart/form-data; boundary=" + long, long, 0},
		{"UP-04 71 characters", "multipart/form-data; boundary=b" + long, "", 400},
		{"UP-04 none", "multipart/form-data", "", 400},
		{"UP-04 empty", `multipart/form-data; boundary=""`, "", 400},
		{"a space at its end", `multipart/form-data; boundary="b "`, "", 400},
		{"not of RFC 2046", `multipart/form-data; boundary="b*"`, "", 400},
		{"above ASCII", `multipart/form-data; boundary="ä"`, "", 400},
		{"two", "multipart/form-data; boundary=a; boundary=b", "", 415},
		{"cannot be read", "multipart/form-data; boundary=a b", "", 400},
		{"UP-04 application/json", "application/json", "", 415},
		{"another multipart", "multipart/mixed; boundary=b", "", 415},
		{"nothing", "", "", 415},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := boundaryOf(tt.contentType)
			var public *web.Error
			switch {
			case tt.status == 0 && err != nil:
				t.Fatal(err)
			case tt.status != 0 && (!errors.As(err, &public) || public.Status != tt.status):
				t.Fatalf("got %v, want status %d", err, tt.status)
			case got != tt.want:
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestPartFileNames: UP-03, the ways in which a part names its file.
func TestPartFileNames(t *testing.T) {
	for disposition, want := range map[string]string{
		`form-data; name=f; filename="../../etc/passwd"`:                 "../../etc/passwd",
		`form-data; name=f; filename="C:\x\y.txt"`:                       `C:\x\y.txt`,
		`form-data; name=f; filename="日本語 naïve +&#%.txt"`:               "日本語 naïve +&#%.txt",
		`form-data; name=f; filename="a%22b\"c.txt"`:                     `a"b"c.txt`,
		`form-data; name=f; filename="a%0d%0aX: y"`:                      "a%0d%0aX: y",
		`form-data; name=f; filename="=?UTF-8?B?Li4vLi4vYQ==?="`:         "=?UTF-8?B?Li4vLi4vYQ==?=",
		`form-data; name=f; filename*=UTF-8''%2e%2e%2fx`:                 "../x",
		`form-data; name=f; filename="x"; filename*=UTF-8''%e2%82%ac%22`: `€"`,
		`form-data; name=f; filename="x"; filename*=UTF-8''a%2522`:       "a%22",
		`form-data; name=f; filename="x"; filename*=ISO-8859-1''%E4`:     "x",
		`form-data; name=f; filename=""`:                                 "",
	} {
		got, err := whole(newForm(strings.NewReader(lines("--b9", head(disposition)+"x", "--b9--")), "b9", roomy), 1<<20)
		if err != nil || len(got) != 1 || !got[0].file || got[0].filename != want {
			t.Errorf("%s: got %s, %v, want %q", disposition, show(got), err, want)
		}
	}
}
