package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/gatehouse-auth/gatehouse/upload"
)

// What stands in an object's metadata: whose it is, and by which Put it came.
const (
	idName    = "gatehouse-id"
	tokenName = "gatehouse-token"
)

var (
	errPart  = errors.New("s3: a body without the size of its parts, or without memory")
	errShort = errors.New("s3: the bucket does not hold what it was sent")
)

// target is what a Put makes.
type target struct {
	key   string
	media string
	meta  map[string]string
}

func newTarget(key string, m upload.Meta) target {
	t := target{key: key, media: m.Type, meta: map[string]string{idName: m.ID, tokenName: rand.Text()}}
	if t.media == "" {
		t.media = "application/octet-stream"
	}
	return t
}

// Put keeps a body as upload.Bucket has it.
//
// Of an object in one part whose checksum the server tells back as its own, that is proof that it got
// every byte, and saves a request for each small file; all others are asked for their size. Two Puts
// of one key at once are not provided for: keys are used once.
func (b *S3) Put(ctx context.Context, key string, body upload.Body, meta upload.Meta) (upload.Object, error) {
	if body.Part <= 0 || body.Pages == nil {
		return upload.Object{}, errPart
	}
	t, c := newTarget(key, meta), &cutter{body: body, kind: b.sums.kind()}
	defer c.close()
	first, err := c.next(ctx)
	if errors.Is(err, io.EOF) {
		first, err = &part{sum: newSum(c.kind)}, nil
	}
	if err != nil {
		return upload.Object{}, err
	}
	more, err := c.peek(ctx)
	switch {
	case err != nil:
		first.free()
		return upload.Object{}, err
	case more:
		return b.putParts(ctx, t, c, first)
	}
	return b.putWhole(ctx, t, first)
}

// putWhole keeps a body that fits into one part, and frees it.
func (b *S3) putWhole(ctx context.Context, t target, p *part) (upload.Object, error) {
	defer p.free()
	leave, err := b.enter(ctx)
	if err != nil {
		return upload.Object{}, err
	}
	defer leave()
	echoed, err := b.putObject(ctx, t, p)
	switch {
	case err == nil && echoed != "" && echoed == p.checksum():
		return upload.Object{Key: t.key, Size: p.size, Modified: time.Now().UTC().Truncate(time.Second)}, nil
	case refused(err):
		return upload.Object{}, err
	case err != nil && ctx.Err() != nil:
		return upload.Object{}, errors.Join(err, b.discard(ctx, t.key))
	}
	return b.settle(ctx, t, p.size, err)
}

// putObject sends p, and returns the checksum that the server made of it, if it says so.
func (b *S3) putObject(ctx context.Context, t target, p *part) (echoed string, err error) {
	in := &s3.PutObjectInput{
		Bucket: &b.bucket, Key: b.full(t.key), ContentLength: aws.Int64(p.size), ContentType: &t.media, Metadata: t.meta,
		ServerSideEncryption: b.care.sse, SSEKMSKeyId: b.care.kms, StorageClass: b.care.class,
	}
	err = b.sums.settle(kindOf(p), func(kind types.ChecksumAlgorithm) error {
		r := &reader{part: p}
		own, done := r.sending(ctx)
		defer done()
		in.Body = r
		in.ChecksumCRC32C, in.ChecksumSHA256 = header(kind, p)
		out, err := b.client.PutObject(own, in)
		if err == nil {
			echoed = aws.ToString(either(out.ChecksumCRC32C, out.ChecksumSHA256))
		}
		return err
	})
	return echoed, b.fault(ctx, "put an object", err)
}

// settle asks the bucket what became of t: after an answer that does not prove it, or that was lost
// (failed). Whatever is there and is not t, whole, is removed. A server that does not even tell what it has
// is not asked for that too: who sends has waited long enough, and the janitor has the row.
func (b *S3) settle(ctx context.Context, t target, size int64, failed error) (upload.Object, error) {
	own, cancel := b.detached(ctx)
	defer cancel()
	o, token, err := b.head(own, t.key)
	switch {
	case err == nil && token == t.meta[tokenName] && o.Size == size:
		return o, nil
	case err == nil && failed == nil:
		err = fmt.Errorf("%w: %d bytes were sent, and it tells of %d", errShort, size, o.Size)
	case errors.Is(err, upload.ErrNoObject) && failed == nil:
		err = fmt.Errorf("%w: it has nothing", errShort)
	case errors.Is(err, upload.ErrNoObject):
		err = nil // as was to be expected
	case errors.Is(err, upload.ErrUnavailable):
		return upload.Object{}, errors.Join(failed, fmt.Errorf("%w: %s: %w", upload.ErrLeft, b.prefix+t.key, err))
	}
	return upload.Object{}, errors.Join(failed, err, b.discard(ctx, t.key))
}

// discard removes what a Put that failed may have left, even when its client is gone.
func (b *S3) discard(ctx context.Context, key string) error {
	own, cancel := b.detached(ctx)
	defer cancel()
	if err := b.Delete(own, key); err != nil {
		return fmt.Errorf("%w: what a failed upload put under %s: %w", upload.ErrLeft, b.prefix+key, err)
	}
	return nil
}

// enter takes a slot, and returns what gives it back. Only who has a full part comes here: the server
// drops a request that is idle for about 20 seconds, and a slot held by a slow client is one that the
// fast ones wait for.
func (b *S3) enter(ctx context.Context) (leave func(), err error) {
	select {
	case b.slots <- struct{}{}:
		return func() { <-b.slots }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// kindOf is the checksum that was made of p.
func kindOf(p *part) types.ChecksumAlgorithm {
	switch {
	case p.sum == nil:
		return ""
	case p.sum.Size() == 4:
		return types.ChecksumAlgorithmCrc32c
	}
	return types.ChecksumAlgorithmSha256
}

// header is the checksum of p in the field that is its kind's.
func header(kind types.ChecksumAlgorithm, p *part) (crc32c, sha256 *string) {
	switch kind {
	case types.ChecksumAlgorithmCrc32c:
		return aws.String(p.checksum()), nil
	case types.ChecksumAlgorithmSha256:
		return nil, aws.String(p.checksum())
	default:
		return nil, nil
	}
}

func either(a, b *string) *string {
	if a != nil {
		return a
	}
	return b
}
