package store

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/gatehouse-auth/gatehouse/upload"
)

// castagnoli is the polynomial of CRC32C, for which processors have an instruction.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// part is a piece of a body, in pages of which all but the last are full.
type part struct {
	pages []*upload.Page
	size  int64
	lease *upload.Lease
	sum   hash.Hash // nil: none is sent along
}

// add counts bytes that came into a page of p.
func (p *part) add(b []byte) {
	p.size += int64(len(b))
	if p.sum != nil {
		p.sum.Write(b)
	}
}

// free gives the pages back.
func (p *part) free() {
	for _, page := range p.pages {
		p.lease.Give(page)
	}
	p.pages = nil
}

// checksum is the part's, as S3 writes it; empty if there is none.
func (p *part) checksum() string {
	if p.sum == nil {
		return ""
	}
	return base64.StdEncoding.EncodeToString(p.sum.Sum(nil))
}

// cutter cuts a body into parts. It reads from one goroutine.
type cutter struct {
	body   upload.Body
	kind   types.ChecksumAlgorithm // of each part; empty: none
	total  int64                   // bytes read so far
	ahead  *upload.Page            // what was read beyond the last part, by peek
	unread int                     // how much of it
	err    error                   // what the body said last; io.EOF when it is over
}

// maxEmptyReads is how often in a row a body may answer a Read with nothing.
const maxEmptyReads = 100

var errTooLong = errors.New("s3: a body is longer than it was said to be")

// next returns the next part, which has the size of all parts unless the body ends in it. io.EOF:
// there is none, and the body ended well. The caller frees the part.
func (c *cutter) next(ctx context.Context) (*part, error) {
	if c.err != nil && c.ahead == nil {
		return nil, io.EOF
	}
	p := &part{lease: c.body.Pages, sum: newSum(c.kind)}
	if err := c.fill(ctx, p); err != nil {
		p.free()
		return nil, err
	}
	if p.size == 0 {
		p.free()
		return nil, io.EOF
	}
	return p, nil
}

func (c *cutter) fill(ctx context.Context, p *part) error {
	for p.size < c.body.Part {
		page, n, err := c.page(ctx)
		if err != nil {
			return err
		}
		p.pages = append(p.pages, page)
		room := page[:min(upload.PageSize, c.body.Part-p.size)]
		p.add(room[:n])
		for n < len(room) && c.err == nil {
			got, err := c.read(ctx, room[n:])
			if err != nil {
				return err
			}
			p.add(room[n : n+got]) // now, while it is in the processor's cache
			n += got
		}
		if c.err != nil {
			return nil //nolint:nilerr // it is io.EOF: the body is over, and p its last part
		}
	}
	return nil
}

// page returns the page that peek has filled a little of, or a new one.
func (c *cutter) page(ctx context.Context) (*upload.Page, int, error) {
	if page, n := c.ahead, c.unread; page != nil {
		c.ahead, c.unread = nil, 0
		return page, n, nil
	}
	page, err := c.body.Pages.Take(ctx)
	return page, 0, err
}

// peek reports whether the body goes on. It needs the one page that a lease has beyond a part.
func (c *cutter) peek(ctx context.Context) (bool, error) {
	if c.err != nil {
		return false, nil //nolint:nilerr // io.EOF
	}
	page, err := c.body.Pages.Take(ctx)
	if err != nil {
		return false, err
	}
	n, err := c.read(ctx, page[:min(upload.PageSize, c.body.Part)])
	if err != nil || n == 0 {
		c.body.Pages.Give(page)
		return false, err
	}
	c.ahead, c.unread = page, n
	return true, nil
}

// close gives back what peek took and nobody asked for.
func (c *cutter) close() {
	if c.ahead != nil {
		c.body.Pages.Give(c.ahead)
		c.ahead = nil
	}
}

// read reads at least one byte, or to the end of the body, which is in c.err and no error. A body that
// fails fails for good: whatever it says is the reason why nothing may be kept.
func (c *cutter) read(ctx context.Context, room []byte) (int, error) {
	for range maxEmptyReads {
		if err := ctx.Err(); err != nil {
			return 0, context.Cause(ctx)
		}
		n, err := c.body.Read(room)
		if c.total += int64(n); c.total > c.body.Bound {
			return 0, fmt.Errorf("%w: %d bytes", errTooLong, c.body.Bound)
		}
		if c.err = err; err != nil && !errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("read what is to be kept: %w", err)
		}
		if n > 0 || err != nil {
			return n, nil //nolint:nilerr // io.EOF
		}
	}
	return 0, io.ErrNoProgress
}

func newSum(kind types.ChecksumAlgorithm) hash.Hash {
	switch kind {
	case types.ChecksumAlgorithmCrc32c:
		return crc32.New(castagnoli)
	case types.ChecksumAlgorithmSha256:
		return sha256.New()
	default:
		return nil
	}
}

// reader reads a part, again if it must: the SDK rewinds it for each attempt.
//
// It knows whether its last byte was handed out. Before that a server cannot take the part for whole,
// and sending can be broken off; after that it may, and its answer must be waited for: a request that
// is cancelled then may still be carried out, after the clean-up that follows.
type reader struct {
	part *part

	mu     sync.Mutex
	at     int64
	halted bool
}

// haltedError is what a reader says that was halted.
type haltedError struct{}

func (haltedError) Error() string { return "s3: sending was broken off" }

// RetryableError tells the SDK not to try again.
func (haltedError) RetryableError() bool { return false }

// Read implements io.Reader.
func (r *reader) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.halted:
		return 0, haltedError{}
	case r.at >= r.part.size:
		return 0, io.EOF
	}
	page := r.part.pages[r.at/upload.PageSize]
	from := r.at % upload.PageSize
	n := copy(b, page[from:min(upload.PageSize, from+r.part.size-r.at)])
	r.at += int64(n)
	return n, nil
}

// Seek implements io.Seeker.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.part.size
	}
	if offset < 0 {
		return 0, errors.New("s3: seek before the start of a part")
	}
	r.at = offset
	return offset, nil
}

// halt lets no further byte out, and reports whether there was one to be held back.
func (r *reader) halt() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	whole := r.at >= r.part.size
	r.halted = true
	return !whole
}

// sending returns a context for the request that sends r. It ends with ctx for as long as the server
// cannot have the whole of r. Call the function when the answer is there.
func (r *reader) sending(ctx context.Context) (context.Context, context.CancelFunc) {
	own, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		if r.halt() {
			cancel(context.Cause(ctx))
		}
	})
	return own, func() {
		stop()
		cancel(nil)
	}
}
