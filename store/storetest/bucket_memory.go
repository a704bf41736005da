package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/upload"
)

// MemoryBucket keeps objects in memory, for tests. It keeps the contract upload.Bucket the way a
// server of S3 does, part by part in pages of the lease, and fails the test that hands it what no
// bucket must be given: a key that was used before or that holds text of a user, a part that is no
// whole number of pages, a lease without room for a part, more bytes than the bound.
type MemoryBucket struct {
	t testing.TB

	mu      sync.Mutex
	objects map[string]object
	used    map[string]bool // every key that ever was
	open    int             // Puts under way
	parts   int             // that were filled, in all
	stop    func(part int)  // called before a part is taken
}

type object struct {
	upload.Object
	meta  upload.Meta
	bytes []byte
}

// NewMemoryBucket makes an empty bucket that reports misuse to t.
func NewMemoryBucket(t testing.TB) *MemoryBucket {
	return &MemoryBucket{t: t, objects: map[string]object{}, used: map[string]bool{}, stop: func(int) {}}
}

// OnPart calls f before each part of each object is taken, counted from one: to hold a bucket up, or to
// do something in the middle of an upload.
func (b *MemoryBucket) OnPart(f func(part int)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stop = f
}

// Keys are the keys of all objects, sorted.
func (b *MemoryBucket) Keys() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.objects))
}

// Bytes are those of an object; nil: there is none.
func (b *MemoryBucket) Bytes(key string) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.objects[key].bytes
}

// Shorten takes a byte from an object behind everybody's back.
func (b *MemoryBucket) Shorten(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.objects[key]
	o.bytes = o.bytes[:len(o.bytes)-1]
	o.Size--
	b.objects[key] = o
}

// Busy counts the Puts under way, and the parts that were taken in all.
func (b *MemoryBucket) Busy() (puts, parts int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open, b.parts
}

// keyForm is what a key has to look like: nothing in it is a user's text (UP-03).
var keyForm = regexp.MustCompile(`^[a-z0-9-]+/[0-9]+/[0-9]{4}/[0-9]{2}/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// Put keeps the contract of upload.Bucket.
func (b *MemoryBucket) Put(ctx context.Context, key string, body upload.Body, meta upload.Meta) (upload.Object, error) {
	if err := b.begin(ctx, key, body, meta); err != nil {
		return upload.Object{}, err
	}
	defer b.end()
	var kept []byte
	for part := 1; ; part++ {
		read, more, err := b.part(ctx, body, part)
		if err != nil {
			return upload.Object{}, fmt.Errorf("put: part %d: %w", part, err)
		}
		kept = append(kept, read...)
		if int64(len(kept)) > body.Bound {
			b.t.Errorf("Put: %d bytes came of at most %d", len(kept), body.Bound)
			return upload.Object{}, errors.New("put: the body is longer than its bound")
		}
		if !more {
			break
		}
	}
	o := upload.Object{Key: key, Size: int64(len(kept)), Modified: time.Now().UTC()}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := context.Cause(ctx); err != nil {
		return upload.Object{}, fmt.Errorf("put: %w", err)
	}
	b.objects[key] = object{o, meta, kept}
	return o, nil
}

func (b *MemoryBucket) begin(ctx context.Context, key string, body upload.Body, meta upload.Meta) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !keyForm.MatchString(key):
		b.t.Errorf("Put: the key %q is not one of ours", key)
	case b.used[key]:
		b.t.Errorf("Put: the key %q was used before", key)
	case body.Part <= 0 || body.Part%upload.PageSize != 0:
		b.t.Errorf("Put: parts of %d bytes", body.Part)
	case body.Pages == nil || body.Reader == nil || meta.ID == "" || meta.Type == "":
		b.t.Errorf("Put: something is missing: %+v, %+v", body, meta)
	}
	b.used[key] = true
	b.open++
	return context.Cause(ctx)
}

func (b *MemoryBucket) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open--
}

// part takes one part, in pages as a bucket of S3 has to: all of them are held until it is sent.
func (b *MemoryBucket) part(ctx context.Context, body upload.Body, number int) (read []byte, more bool, err error) {
	b.mu.Lock()
	stop := b.stop
	b.mu.Unlock()
	stop(number)
	var pages []*upload.Page
	defer func() {
		for _, p := range pages {
			body.Pages.Give(p)
		}
	}()
	for int64(len(read)) < body.Part {
		page, err := b.take(ctx, body)
		if err != nil {
			return nil, false, err
		}
		pages = append(pages, page)
		n, err := fill(page[:], body)
		read = append(read, page[:n]...)
		if errors.Is(err, io.EOF) {
			return read, false, b.count()
		}
		if err != nil {
			return nil, false, err
		}
	}
	return read, true, b.count()
}

// fill is io.ReadFull for a reader that may never give anything, and whose errors are all its own.
func fill(p []byte, r io.Reader) (n int, err error) {
	for empty := 0; n < len(p) && err == nil; {
		var got int
		got, err = r.Read(p[n:])
		n += got
		if empty++; got > 0 {
			empty = 0
		}
		if empty > 100 {
			return n, io.ErrNoProgress
		}
	}
	return n, err
}

// take takes a page, which has to be there at once: the lease has room for a part.
func (b *MemoryBucket) take(ctx context.Context, body upload.Body) (*upload.Page, error) {
	soon, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	page, err := body.Pages.Take(soon)
	if err != nil && ctx.Err() == nil {
		b.t.Errorf("Put: no page although the part has room: %v", err)
	}
	return page, err
}

func (b *MemoryBucket) count() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.parts++
	return nil
}

// Open keeps the contract of upload.Bucket.
func (b *MemoryBucket) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, upload.Object, error) {
	o, err := b.find(ctx, key)
	if err != nil {
		return nil, upload.Object{}, err
	}
	if offset < 0 || offset > o.Size {
		b.t.Errorf("Open: from byte %d of %d", offset, o.Size)
		return nil, upload.Object{}, errors.New("open: out of range")
	}
	rest := o.bytes[offset:]
	if length >= 0 {
		rest = rest[:min(length, int64(len(rest)))]
	}
	return io.NopCloser(bytes.NewReader(rest)), o.Object, nil
}

// Stat keeps the contract of upload.Bucket.
func (b *MemoryBucket) Stat(ctx context.Context, key string) (upload.Object, error) {
	o, err := b.find(ctx, key)
	return o.Object, err
}

func (b *MemoryBucket) find(ctx context.Context, key string) (object, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return object{}, err
	}
	o, ok := b.objects[key]
	if !ok {
		return object{}, upload.ErrNoObject
	}
	return o, nil
}

// Delete keeps the contract of upload.Bucket.
func (b *MemoryBucket) Delete(ctx context.Context, key string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	delete(b.objects, key)
	return nil
}
