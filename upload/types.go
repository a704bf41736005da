package upload

import (
	"bytes"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-auth/gatehouse/web"
)

// sniffSize is how many bytes of a file are enough for Sniff.
const sniffSize = 512

// signatures are of types that net/http does not tell and that lists are made for: what phones take,
// and what runs.
var signatures = []struct {
	offset     int
	mark, kind string
}{
	{4, "ftyphei", "image/heic"},
	{4, "ftyphev", "image/heic"},
	{4, "ftypmif1", "image/heic"},
	{4, "ftypmsf1", "image/heic"},
	{4, "ftypavi", "image/avif"},
	{4, "ftypqt  ", "video/quicktime"},
	{4, "ftypM4A", "audio/mp4"},
	{4, "ftypM4V", "video/mp4"},
	{4, "ftypiso", "video/mp4"},
	{0, "II*\x00", "image/tiff"},
	{0, "MM\x00*", "image/tiff"},
	{0, "\x7fELF", "application/x-elf"},
	{0, "MZ", "application/vnd.microsoft.portable-executable"},
	{0, "\xcf\xfa\xed\xfe", "application/x-mach-binary"},
	{0, "\xce\xfa\xed\xfe", "application/x-mach-binary"},
	{0, "#!", "text/x-script"},
	// OpenDocument and EPUB archives begin with an entry that says what they are.
	{30, "mimetypeapplication/epub+zip", "application/epub+zip"},
	{30, "mimetypeapplication/vnd.oasis.opendocument.text", "application/vnd.oasis.opendocument.text"},
	{30, "mimetypeapplication/vnd.oasis.opendocument.spreadsheet", "application/vnd.oasis.opendocument.spreadsheet"},
	{30, "mimetypeapplication/vnd.oasis.opendocument.presentation", "application/vnd.oasis.opendocument.presentation"},
}

// Sniff returns the media type that a file's first bytes look like; 512 are enough. It never returns
// nothing: what it does not know is application/octet-stream, or text/plain with a charset.
func Sniff(first []byte) string {
	first = first[:min(len(first), sniffSize)]
	for _, s := range signatures {
		if len(first) > s.offset && bytes.HasPrefix(first[s.offset:], []byte(s.mark)) {
			return s.kind
		}
	}
	kind := http.DetectContentType(first)
	if strings.HasPrefix(kind, "text/") && svg(first) {
		return "image/svg+xml"
	}
	return kind
}

// svg reports whether a text's first element is an svg: an image that can run scripts.
func svg(text []byte) bool {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	for {
		text = bytes.TrimLeft(text, " \t\r\n\f")
		end := ">"
		switch {
		case bytes.HasPrefix(text, []byte("<!--")):
			end = "-->"
		case bytes.HasPrefix(text, []byte("<?")), bytes.HasPrefix(text, []byte("<!")):
		default:
			return len(text) > 4 && bytes.EqualFold(text[:4], []byte("<svg")) && bytes.IndexByte([]byte(" \t\r\n\f/>"), text[4]) >= 0
		}
		_, rest, whole := bytes.Cut(text, []byte(end))
		if !whole {
			return false
		}
		text = rest
	}
}

// vague names, for types that sniffing cannot tell further, what may be in them by the client's word:
// a CSV is plain text to whoever reads its first bytes, and a Word file is a ZIP archive.
var vague = map[string][]string{
	"text/plain":      {"text/*", "application/json", "application/yaml", "application/toml", "application/sql"},
	"text/xml":        {"text/xml", "application/xml", "application/rss+xml", "application/atom+xml"},
	"application/zip": {"application/vnd.openxmlformats-officedocument.*", "application/zip", "application/java-archive"},
}

// admits holds a file's types against the lists of an upload route. An entry is a media type, with *
// for any subtype, or for the rest of one: image/*, application/vnd.*. The error is a *web.Error.
//
// The allow list is judged by what the first bytes look like, and by the declared type only as far as
// the bytes leave it open (vague). The deny list is judged by both, so that a client cannot talk
// itself past it, nor be taken at less than its word. An empty list rules nothing. Names are not
// judged: an extension says nothing of the bytes, and whoever gets the file gets it as a download.
func admits(allow, deny []string, t Types) error {
	sniffed, declared := essence(t.Sniffed), essence(t.Declared)
	listed := slices.ContainsFunc(deny, func(pattern string) bool {
		return matches(pattern, sniffed) || matches(pattern, declared)
	})
	allowed := len(allow) == 0 || slices.ContainsFunc(allow, func(pattern string) bool {
		open := slices.ContainsFunc(vague[sniffed], func(within string) bool { return matches(within, declared) })
		return matches(pattern, sniffed) || open && matches(pattern, declared)
	})
	if allowed && !listed {
		return nil
	}
	return &web.Error{
		Status: http.StatusUnsupportedMediaType,
		Title:  "Not accepted here",
		Text:   fmt.Sprintf("Files of this type (%s) are not accepted here.", sniffed),
		Event:  "type_refused",
	}
}

// essence is a media type without its parameters; empty if it is none.
func essence(kind string) string {
	kind, _, _ = mime.ParseMediaType(kind) // it is empty where there is an error that matters
	return kind
}

func matches(pattern, kind string) bool {
	pattern = strings.ToLower(pattern)
	if prefix, wild := strings.CutSuffix(pattern, "*"); wild {
		return strings.HasPrefix(kind, strings.TrimSuffix(prefix, "*/")) && kind != ""
	}
	return pattern == kind
}

// CheckTypes returns what is wrong with an allow or deny list: an entry that could never match.
func CheckTypes(patterns []string) error {
	for _, pattern := range patterns {
		major, minor, divided := strings.Cut(pattern, "/")
		stars := strings.Count(pattern, "*")
		wellPut := stars == 0 || stars == 1 && strings.HasSuffix(minor, "*") || pattern == "*/*"
		if !divided || !wellPut || essence(pattern) != strings.ToLower(pattern) || major == "" || minor == "" {
			return fmt.Errorf("%q is no media type: write image/png, image/* or */*", pattern)
		}
	}
	return nil
}
