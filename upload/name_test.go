package upload

import (
	"mime"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

func TestCleanName(t *testing.T) {
	tests := []struct{ name, raw, want string }{
		{"UP-03 as it is", "report 2026.pdf", "report 2026.pdf"},
		{"UP-03 a path upwards", "../../etc/passwd", "passwd"},
		{"UP-03 a path upwards with backslashes", `..\..\a`, "a"},
		{"UP-03 an absolute path", "/abs", "abs"},
		{"UP-03 what old browsers sent", `C:\x\y.txt`, "y.txt"},
		{"UP-03 a folder", "photos/2026/", "2026"},
		{"UP-03 empty", "", "file"},
		{"UP-03 a dot", ".", "file"},
		{"UP-03 two dots", "..", "file"},
		{"UP-03 a path of dots", "../..", "file"},
		{"UP-03 slashes", `/\/`, "file"},
		{"UP-03 white space", " \t\u00a0 ", "file"},
		{"UP-03 NUL", "a\x00.txt", "a.txt"},
		{"UP-03 percent-encoded CR LF", "a%0d%0aX: y", "a%0d%0aX: y"},
		{"UP-03 raw CR LF", "a\r\nX: y", "aX: y"},
		{"UP-03 C1 and line separators", "a\u0085b\u2028c\u2029d\u007fe", "abcde"},
		{"UP-03 an encoded word", "=?UTF-8?B?Li4vLi4vYQ==?=", "=?UTF-8?B?Li4vLi4vYQ==?="},
		{"UP-03 a percent-encoded path", "%2e%2e%2fx", "%2e%2e%2fx"},
		{"UP-03 all that letters can be", "日本語 naïve +&#%.txt", "日本語 naïve +&#%.txt"},
		{"UP-03 decomposed", "nai\u0308ve", "na\u00efve"},
		{"UP-03 a right-to-left mark", "a\u200fb.txt", "ab.txt"},
		{"UP-03 a right-to-left override", "annex\u202etxt.exe", "annextxt.exe"},
		{"UP-03 isolates and a byte order mark", "\ufeff\u2067a\u2069.txt", "a.txt"},
		{"UP-03 a joined emoji", "👩\u200d🚀.png", "👩\u200d🚀.png"},
		{"UP-03 html", "x.html", "x.html"},
		{"UP-03 a hidden file", ".profile", ".profile"},
		{"UP-03 no UTF-8", "a\xe4b\xff\xfe.txt", "a\ufffdb\ufffd.txt"},
		{"UP-03 300 characters", strings.Repeat("x", 296) + ".txt", strings.Repeat("x", 251) + ".txt"},
		{"UP-03 300 characters of three bytes", strings.Repeat("語", 300) + ".txt", strings.Repeat("語", 83) + ".txt"},
		{"UP-03 300 characters and no extension", strings.Repeat("x", 300), strings.Repeat("x", 255)},
		{"UP-03 300 characters of extension", "a." + strings.Repeat("x", 300), "a." + strings.Repeat("x", 253)},
		{"UP-03 255 bytes", strings.Repeat("x", 255), strings.Repeat("x", 255)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := CleanName(tt.raw); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestDisposition(t *testing.T) {
	tests := []struct{ name, file, want string }{
		{"plain", "a b;c.txt", `attachment; filename="a b;c.txt"`},
		{"a quotation mark and a backslash", `a"b\c`, `attachment; filename="a_b_c"; filename*=UTF-8''a%22b%5Cc`},
		{"a percent sign", "100%.txt", `attachment; filename="100_.txt"; filename*=UTF-8''100%25.txt`},
		{"letters beyond ASCII", "naïve €.txt", `attachment; filename="na_ve _.txt"; filename*=UTF-8''na%C3%AFve%20%E2%82%AC.txt`},
		{"UP-03 what could end the header", "a\r\nX: y", `attachment; filename="a__X: y"; filename*=UTF-8''a%0D%0AX%3A%20y`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Disposition(tt.file); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// FuzzName holds what every name must keep, whatever the client wrote, and that it comes back exactly
// through the header of a download.
func FuzzName(f *testing.F) {
	for _, seed := range []string{
		"a.txt", `C:\x\y.txt`, "../..", "nai\u0308ve", "a\u202eb", "\u200d", "a\x00\r\n", "\xff\xfe", strings.Repeat("語", 99) + ".txt", "a.\u0338" + strings.Repeat("\u0301", 200), "100%25", ` . `, "\u212a", "..\u200f",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		name := CleanName(raw)
		switch {
		case name == "" || name == "." || name == "..":
			t.Fatalf("%q became %q", raw, name)
		case len(name) > nameSize:
			t.Fatalf("%q became %d bytes", raw, len(name))
		case !utf8.ValidString(name) || !norm.NFC.IsNormalString(name):
			t.Fatalf("%q became %q, which is no UTF-8 in NFC", raw, name)
		case strings.ContainsAny(name, "/\\") || strings.ContainsFunc(name, func(c rune) bool { return unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c) }):
			t.Fatalf("%q became %q", raw, name)
		case CleanName(name) != name:
			t.Fatalf("%q became %q and that %q", raw, name, CleanName(name))
		}
		for _, n := range []string{name, strings.ToValidUTF8(raw, "")} {
			header := Disposition(n)
			if strings.ContainsFunc(header, func(c rune) bool { return c < ' ' || c > '~' }) {
				t.Fatalf("%q gives the header %q", n, header)
			}
			kind, params, err := mime.ParseMediaType(header)
			if err != nil || kind != "attachment" || params["filename"] != n {
				t.Fatalf("%q comes back from %s as %q, %v", n, header, params["filename"], err)
			}
		}
	})
}
