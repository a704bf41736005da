package upload

import (
	"errors"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/web"
)

func TestSniff(t *testing.T) {
	tests := []struct{ name, first, want string }{
		{"nothing", "", "text/plain; charset=utf-8"},
		{"a PNG", "\x89PNG\r\n\x1a\n....", "image/png"},
		{"a PDF", "%PDF-1.7", "application/pdf"},
		{"UP-03 a page under any name", "<!DOCTYPE html><p>hello", "text/html; charset=utf-8"},
		{"a phone's photo", "\x00\x00\x00\x24ftypheic\x00\x00\x00\x00mif1heic", "image/heic"},
		{"an AVIF", "\x00\x00\x00\x20ftypavif\x00\x00\x00\x00", "image/avif"},
		{"a phone's film", "\x00\x00\x00\x14ftypqt  \x00\x00\x00\x00", "video/quicktime"},
		{"an MP4", "\x00\x00\x00\x18ftypisom\x00\x00\x02\x00", "video/mp4"},
		{"a program of Windows", "MZ\x90\x00", "application/vnd.microsoft.portable-executable"},
		{"a program of Linux", "\x7fELF\x02\x01", "application/x-elf"},
		{"a script", "#!/bin/sh\n", "text/x-script"},
		{"an SVG", "<?xml version=\"1.0\"?>\n<!-- <svg> -->\n<!DOCTYPE svg>\n<svg xmlns=\"\">", "image/svg+xml"},
		{"an SVG without ado", "\xef\xbb\xbf <SVG>", "image/svg+xml"},
		{"XML that only speaks of SVG", "<?xml version=\"1.0\"?><a><svg></svg></a>", "text/xml; charset=utf-8"},
		{"text that speaks of SVG", "see <svg>", "text/plain; charset=utf-8"},
		{"a comment without an end", "<!-- <svg>", "text/html; charset=utf-8"},
		{"a ZIP archive", "PK\x03\x04....", "application/zip"},
		{"an OpenDocument text", "PK\x03\x04" + strings.Repeat("\x00", 26) + "mimetypeapplication/vnd.oasis.opendocument.textPK", "application/vnd.oasis.opendocument.text"},
		{"bytes", "\x00\x01\x02\x03", "application/octet-stream"},
		{"nothing behind the first 512 bytes", strings.Repeat(" ", 512) + "<svg>", "text/plain; charset=utf-8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Sniff([]byte(tt.first)); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestAdmits(t *testing.T) {
	const docx = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
	tests := []struct {
		name        string
		allow, deny string // divided by spaces
		types       Types
		want        bool
	}{
		{"no lists", "", "", Types{Declared: "text/html", Sniffed: "text/html; charset=utf-8"}, true},
		{"allowed", "image/png", "", Types{Sniffed: "image/png"}, true},
		{"allowed in any case", "IMAGE/*", "", Types{Sniffed: "image/png"}, true},
		{"allowed by a beginning", "application/vnd.oasis.*", "", Types{Sniffed: "application/vnd.oasis.opendocument.text"}, true},
		{"everything is allowed", "*/*", "", Types{Sniffed: "application/octet-stream"}, true},
		{"not allowed", "image/*", "", Types{Sniffed: "text/plain; charset=utf-8"}, false},
		{"a beginning that is not one", "image/*", "", Types{Sniffed: "images/png"}, false},
		{"the client's word does not open what the bytes tell", "image/*", "", Types{Declared: "image/png", Sniffed: "application/pdf"}, false},
		{"nor what nobody can tell", "image/*", "", Types{Declared: "image/png", Sniffed: "application/octet-stream"}, false},
		{"nor text", "image/*", "", Types{Declared: "image/png", Sniffed: "text/plain; charset=utf-8"}, false},
		{"a CSV is text", "text/csv", "", Types{Declared: "text/csv; header=present", Sniffed: "text/plain; charset=utf-8"}, true},
		{"a Word file is an archive", docx, "", Types{Declared: docx, Sniffed: "application/zip"}, true},
		{"an archive is no Word file", docx, "", Types{Declared: "application/zip", Sniffed: "application/zip"}, false},
		{"denied by the bytes", "", "text/html", Types{Declared: "image/png", Sniffed: "text/html; charset=utf-8"}, false},
		{"denied by the client's word", "", "text/html", Types{Declared: "Text/HTML; charset=utf-8", Sniffed: "text/plain; charset=utf-8"}, false},
		{"denied before allowed", "image/*", "image/svg+xml", Types{Sniffed: "image/svg+xml"}, false},
		{"not denied", "", "image/svg+xml", Types{Declared: "no type", Sniffed: "image/png"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := admits(strings.Fields(tt.allow), strings.Fields(tt.deny), tt.types)
			if got := err == nil; got != tt.want {
				t.Fatalf("got %v, want admitted: %v", err, tt.want)
			}
			var public *web.Error
			if err != nil && (!errors.As(err, &public) || public.Status != 415) {
				t.Errorf("got %v, want status 415", err)
			}
		})
	}
}

func TestCheckTypes(t *testing.T) {
	for pattern, want := range map[string]bool{
		"image/png": true, "image/*": true, "*/*": true, "application/vnd.*": true, "Image/PNG": true, "image/svg+xml": true,
		"": false, "image": false, "png": false, ".png": false, "*": false, "*/png": false, "im*/png": false, "image/p*g": false,
		"image/": false, "/png": false, "text/plain; charset=utf-8": false, "image/png ": false, "image/**": false,
	} {
		if got := CheckTypes([]string{"text/plain", pattern}) == nil; got != want {
			t.Errorf("%q: got %v, want %v", pattern, got, want)
		}
	}
}
