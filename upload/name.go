package upload

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const (
	nameSize = 255 // bytes of a name: what file systems take
	extSize  = 32  // bytes of an extension that is kept when a name is cut
	noName   = "file"
)

// CleanName returns the name under which a file is shown and given back. It is a label and nothing
// more: no path and no key is ever made of it.
//
// It is what the client wrote, in NFC (macOS sends names decomposed, and nobody who types one would
// find it), with these exceptions. The path is cut off, at slashes of both kinds: old browsers send
// C:\x\y.txt, and clients that send whole folders send the folder. Control characters, line ends and
// the marks that turn the direction of writing are dropped: with U+202E in its middle, "annextxt.exe"
// is shown as "annexexe.txt". Joiners stay, as emoji and Persian need them. What is no UTF-8 becomes
// U+FFFD. White space at both ends is dropped, and a name above 255 bytes is cut at a character,
// before its extension. Of what leaves nothing, or dots alone, "file" is made. Percent signs and
// encoded words of RFC 2047 are characters like all others, and never decoded.
func CleanName(raw string) string {
	name := strings.Map(keep, strings.ToValidUTF8(raw, "\uFFFD"))
	name = strings.TrimRight(name, `/\`)
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	name = strings.TrimSpace(cut(strings.TrimSpace(norm.NFC.String(name))))
	if strings.Trim(name, ".") == "" {
		return noName
	}
	return name
}

// keep drops what is not seen but changes what is.
func keep(c rune) rune {
	const joiner, nonJoiner = '\u200d', '\u200c'
	if c != joiner && c != nonJoiner && unicode.In(c, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
		return -1
	}
	return c
}

// cut shortens a name to nameSize, and keeps its extension if that is one.
func cut(name string) string {
	if len(name) <= nameSize {
		return name
	}
	ext := name[max(0, strings.LastIndexByte(name, '.')):]
	if len(ext) > extSize {
		ext = ""
	}
	end := nameSize - len(ext)
	for !utf8.RuneStart(name[end]) {
		end--
	}
	return name[:end] + ext
}

// Disposition returns the Content-Disposition that gives a file back as a download under its name
// (RFC 6266). A name of plain ASCII stands there as it is. Every other stands there twice: in ASCII,
// with underscores, for clients that know no better, and exactly (RFC 8187). A percent sign counts as
// not plain, because some browsers decode the plain form.
func Disposition(name string) string {
	plain := strings.Map(ascii, strings.ToValidUTF8(name, "_"))
	if plain == name {
		return `attachment; filename="` + plain + `"`
	}
	return `attachment; filename="` + plain + `"; filename*=UTF-8''` + extended(name)
}

// ascii replaces what may not stand in a quoted string, or is not understood there by everyone.
func ascii(c rune) rune {
	if c < ' ' || c > '~' || strings.ContainsRune(`"\%`, c) {
		return '_'
	}
	return c
}

// extended percent-encodes all but the attr-char of RFC 8187, section 3.2.1.
func extended(name string) string {
	const hex = "0123456789ABCDEF"
	out := make([]byte, 0, 3*len(name))
	for _, c := range []byte(strings.ToValidUTF8(name, "\uFFFD")) {
		if c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || strings.IndexByte("!#$&+-.^_`|~", c) >= 0 {
			out = append(out, c)
			continue
		}
		out = append(out, '%', hex[c>>4], hex[c&15])
	}
	return string(out)
}
