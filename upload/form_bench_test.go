package upload

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net"
	"testing"
)

// BenchmarkForm reads forms into pages as an upload does, and the same with mime/multipart.
func BenchmarkForm(b *testing.B) {
	for _, kind := range []struct {
		name        string
		files, size int
	}{{"one of 64 MiB", 1, 64 << 20}, {"640 of 100 KiB", 640, 100 << 10}} {
		body := filled(kind.files, kind.size)
		page := new(Page)
		b.Run(kind.name+"/form", func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				f := newForm(bytes.NewReader(body), "b9", formLimits{files: kind.files})
				for p, err := f.next(); !errors.Is(err, io.EOF); p, err = f.next() {
					drain(b, p, err, page)
				}
			}
		})
		b.Run(kind.name+"/multipart", func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				f := multipart.NewReader(bytes.NewReader(body), "b9")
				for p, err := f.NextPart(); !errors.Is(err, io.EOF); p, err = f.NextPart() {
					drain(b, p, err, page)
				}
			}
		})
	}
}

// BenchmarkFormFromSocket reads a form as it comes over a connection: here it counts how much is read at
// once.
func BenchmarkFormFromSocket(b *testing.B) {
	body := filled(1, 64<<20)
	page := new(Page)
	b.Run("form", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			p, err := newForm(sent(b, body), "b9", formLimits{files: 1}).next()
			drain(b, p, err, page)
		}
	})
	b.Run("multipart", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			p, err := multipart.NewReader(sent(b, body), "b9").NextPart()
			drain(b, p, err, page)
		}
	})
}

// sent is a connection that brings a body.
func sent(b *testing.B, body []byte) net.Conn {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		if c, err := net.Dial("tcp", listener.Addr().String()); err == nil {
			_, _ = c.Write(body) // what is missing the reader will see
			_ = c.Close()
		}
	}()
	c, err := listener.Accept()
	if err != nil {
		b.Fatal(err)
	}
	_ = listener.Close()
	b.Cleanup(func() { _ = c.Close() })
	return c
}

// filled is a form with files of random bytes.
func filled(files, size int) []byte {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	var body bytes.Buffer
	for range files {
		body.WriteString("--b9\r\n" + head(`form-data; name=f; filename=a`, "Content-Type: image/jpeg"))
		body.Write(data)
		body.WriteString("\r\n")
	}
	body.WriteString("--b9--\r\n")
	return body.Bytes()
}

// drain reads a part into a page as often as it takes.
func drain(b *testing.B, p io.Reader, err error, page *Page) {
	for err == nil {
		_, err = p.Read(page[:])
	}
	if !errors.Is(err, io.EOF) {
		b.Fatal(err)
	}
}
