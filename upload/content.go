package upload

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
)

var (
	errFileTooLarge    = errors.New("the file is larger than a file may be")
	errRequestTooLarge = errors.New("the request is larger than a request may be")
	errMismatch        = errors.New("the file is not the one that the client's SHA-256 is of")
	errLength          = errors.New("the file is not as long as its request said")
)

// content is the bytes of one file on their way into a bucket. It counts and digests them, keeps the
// reservation in front of them, and at the end asks whether the file may exist at all: until then a
// bucket shows nothing. After an error nothing of it does.
type content struct {
	src     io.Reader
	head    []byte // what was read of it already
	most    int64  // bytes
	length  int64  // as declared; negative: unknown
	sum     hash.Hash
	want    string                 // the digest that the client told, in hex; empty: none
	reserve func(size int64) error // called as the size grows
	may     func() error           // asked at the end: is whoever sends it still signed in

	size int64
	err  error // sticky
}

// Read reads on, straight into p.
func (c *content) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	var n int
	if len(c.head) > 0 {
		n = copy(p, c.head)
		c.head = c.head[n:]
	} else {
		n, c.err = c.src.Read(p)
	}
	c.size += int64(n)
	if c.sum != nil {
		c.sum.Write(p[:n])
	}
	switch {
	case c.err != nil && !errors.Is(c.err, io.EOF):
	case c.size > c.most:
		c.err = errFileTooLarge
	default:
		if err := c.reserve(c.size); err != nil {
			c.err = err
		}
	}
	if errors.Is(c.err, io.EOF) {
		c.err = c.end()
	}
	return n, c.err
}

// end is io.EOF if the file may exist.
func (c *content) end() error {
	if c.length >= 0 && c.size != c.length {
		return fmt.Errorf("%w: %d of %d bytes", errLength, c.size, c.length)
	}
	if c.want != "" && c.digest() != c.want {
		return errMismatch
	}
	if err := c.may(); err != nil {
		return err
	}
	return io.EOF
}

// digest is the SHA-256 of what was read, in hex; empty if none was made.
func (c *content) digest() string {
	if c.sum == nil {
		return ""
	}
	return hex.EncodeToString(c.sum.Sum(nil))
}

// failed is why the content ended, if it was not at its end.
func (c *content) failed() error {
	if errors.Is(c.err, io.EOF) {
		return nil
	}
	return c.err
}
