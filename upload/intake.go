package upload

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
)

var (
	errBucket  = errors.New("a fault of the bucket")
	errShort   = fmt.Errorf("%w: it kept another number of bytes than were sent", errBucket)
	errNothing = errors.New("no file was chosen")
)

// incoming is a file as the client announces it.
type incoming struct {
	name     string // as the client wrote it
	declared string // media type; may be empty
	digest   string // SHA-256 in lower-case hex; may be empty
	length   int64  // bytes; negative: unknown
	reserve  int64  // bytes that it may well have, to be reserved before the first
}

// take carries one file into the bucket: row, bytes, row. When it returns an error there is no object,
// and the row is doomed; whatever of that could not be done is the janitor's.
func (t *transfer) take(src io.Reader, in incoming) (File, error) {
	head := make([]byte, sniffSize)
	n, err := io.ReadFull(src, head)
	if err != nil && !errors.Is(err, io.EOF) && err != io.ErrUnexpectedEOF { //nolint:errorlint // ReadFull's own; the client's is wrapped
		return File{}, t.why(err)
	}
	if in.name == "" && n == 0 {
		return File{}, errNothing // an input of a form in which no file was chosen (HTML standard)
	}
	f := t.file(in, head[:n])
	if err := admits(t.u.limits.Allow, t.u.limits.Deny, f.Type); err != nil {
		return File{}, err
	}
	least := int64(n) // that it has for sure
	if in.length >= 0 {
		least = f.Size
	}
	if f.Size, err = t.begin(f, least); err != nil {
		return File{}, err
	}
	defer t.beat(f)()
	c := t.content(src, in, f)
	c.head = head[:n]
	if err := t.put(f, c); err != nil {
		return File{}, err
	}
	f.Size, f.SHA256, f.State = c.size, c.digest(), Kept
	if err := t.settle(f); err != nil {
		t.erase(f)
		return File{}, err
	}
	return f, nil
}

// file is the row of a file that begins now.
func (t *transfer) file(in incoming, head []byte) File {
	now := time.Now().UTC()
	f := File{
		ID: newID(now), Owner: t.session.User.ID, Session: t.session.ID, Name: CleanName(in.name),
		Type: Types{Declared: in.declared, Sniffed: Sniff(head)}, State: Pending, Created: now,
		Size: max(0, min(t.bound, in.reserve)),
	}
	f.Key = t.u.parts.Install + "/" + strconv.FormatInt(f.Owner, 10) + now.Format("/2006/01/") + f.ID
	return f
}

// content is the bytes of a file, with all that is asked of them.
func (t *transfer) content(src io.Reader, in incoming, f File) *content {
	c := &content{src: src, most: t.bound, length: in.length, want: in.digest, may: t.may}
	if t.u.limits.Digest == SHA256 || in.digest != "" {
		c.sum = sha256.New()
	}
	// What could not be known before is reserved part by part (RULE-24).
	reserved := f.Size
	c.reserve = func(size int64) (err error) {
		if size > reserved {
			reserved, err = t.reserve(f, size, min(c.most, (size/t.part+1)*t.part))
		}
		return err
	}
	return c
}

// put streams a file into the bucket.
func (t *transfer) put(f File, c *content) error {
	body := Body{Reader: c, Bound: c.most, Part: t.part, Pages: t.lease}
	obj, err := t.u.parts.Bucket.Put(t.in.ctx, f.Key, body, Meta{ID: f.ID, Type: serveAs(f.Type)})
	switch {
	case err == nil && errors.Is(c.err, io.EOF) && obj.Size == c.size:
		return nil
	case err == nil:
		// Something else than the file is there, by a fault of the bucket's or of our own.
		t.erase(f)
		err = fmt.Errorf("%w: %d instead of %d", errShort, obj.Size, c.size)
	default:
		_ = t.drop(f)
		err = fmt.Errorf("%w: %w", errBucket, err)
	}
	// That the bucket then failed too is no news, but what it holds of the file is.
	reason := t.why(or(c.failed(), err))
	if errors.Is(err, ErrLeft) && !errors.Is(reason, errBucket) {
		t.u.parts.Meter.Left(err)
	}
	return reason
}

// why is the reason for which the whole request ends, if it does, and otherwise err.
func (t *transfer) why(err error) error {
	if cause := context.Cause(t.in.ctx); cause != nil {
		return cause
	}
	return err
}

// may asks at the end of a file whether the session that sends it is alive. Nobody can tell: then it
// is not known, and the file is not kept (DESIGN.md, section 6).
func (t *transfer) may() error {
	ctx, cancel := context.WithTimeout(t.in.ctx, rowLimit)
	defer cancel()
	_, err := t.u.parts.Who.Find(ctx, t.session.Key)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, auth.ErrNoSession):
		t.in.cut(auth.ErrRevoked)
		return auth.ErrRevoked
	}
	return fmt.Errorf("%w: %w", errRows, err)
}
