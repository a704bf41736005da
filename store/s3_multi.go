package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/gatehouse-auth/gatehouse/upload"
)

// abreast is how many parts of one upload may be on their way while the next is being filled. A client
// that is faster than one connection to the server gains by it; no single one takes all slots.
const abreast = 4

var errParts = errors.New("s3: a body has more parts than the server takes")

// multi is an object that is put by parts.
type multi struct {
	b    *S3
	t    target
	id   string                  // the upload's, by the server
	kind types.ChecksumAlgorithm // that the server was told of

	wg    sync.WaitGroup
	flock chan struct{} // a place for each part on its way
	fail  context.CancelCauseFunc

	mu    sync.Mutex
	parts []types.CompletedPart // by number, which begin at 1
}

// putParts keeps a body of more than one part. It frees what it is given and what it reads.
func (b *S3) putParts(ctx context.Context, t target, c *cutter, first *part) (upload.Object, error) {
	m, err := b.create(ctx, t, c.kind)
	if err != nil {
		first.free()
		if refused(err) || errors.Is(err, errSilent) {
			return upload.Object{}, err
		}
		// An upload whose id did not reach us may have begun all the same.
		return upload.Object{}, errors.Join(err, b.discard(ctx, t.key))
	}
	c.kind = m.kind
	if err := m.sendAll(ctx, c, first); err != nil {
		return upload.Object{}, errors.Join(err, m.abort(ctx))
	}
	o, err := m.complete(ctx, c.total)
	if err != nil {
		return upload.Object{}, errors.Join(err, m.abort(ctx))
	}
	return o, nil
}

// create begins an upload. A client that goes while it does is of no matter: the id must be known, or
// it could not be aborted (UP-01).
func (b *S3) create(ctx context.Context, t target, kind types.ChecksumAlgorithm) (*multi, error) {
	own, cancel := b.detached(ctx)
	defer cancel()
	m := &multi{b: b, t: t, flock: make(chan struct{}, abreast)}
	in := &s3.CreateMultipartUploadInput{
		Bucket: &b.bucket, Key: b.full(t.key), ContentType: &t.media, Metadata: t.meta,
		ServerSideEncryption: b.care.sse, SSEKMSKeyId: b.care.kms, StorageClass: b.care.class,
	}
	err := b.sums.settle(kind, func(kind types.ChecksumAlgorithm) error {
		in.ChecksumAlgorithm, m.kind = kind, kind
		out, err := b.client.CreateMultipartUpload(own, in)
		if err == nil {
			m.id = aws.ToString(out.UploadId)
		}
		return err
	})
	if err == nil && m.id == "" {
		err = errors.New("s3: the server began an upload and gave no id for it")
	}
	return m, b.fault(own, "begin an upload", err)
}

// sendAll sends the parts, one after the other as they come, and returns when none is on its way any
// more. The first failure, of the body or of a part, ends it.
func (m *multi) sendAll(ctx context.Context, c *cutter, p *part) error {
	ctx, m.fail = context.WithCancelCause(ctx)
	defer m.fail(nil)
	err := m.send(ctx, p)
	for err == nil {
		if p, err = c.next(ctx); err == nil {
			err = m.send(ctx, p)
		}
	}
	if !errors.Is(err, io.EOF) {
		m.fail(err)
	}
	m.wg.Wait()
	return context.Cause(ctx)
}

// send sets a part going, and waits as long as there are enough of this upload on their way.
func (m *multi) send(ctx context.Context, p *part) error {
	number := len(m.parts) + 1
	if number > m.b.parts {
		p.free()
		return fmt.Errorf("%w: %d", errParts, m.b.parts)
	}
	select {
	case m.flock <- struct{}{}:
	case <-ctx.Done():
		p.free()
		return context.Cause(ctx)
	}
	m.mu.Lock()
	m.parts = append(m.parts, types.CompletedPart{})
	m.mu.Unlock()
	m.wg.Go(func() {
		defer func() { <-m.flock }()
		defer p.free()
		if err := m.sendPart(ctx, number, p); err != nil {
			m.fail(err)
		}
	})
	return nil
}

func (m *multi) sendPart(ctx context.Context, number int, p *part) error {
	leave, err := m.b.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	in := &s3.UploadPartInput{
		Bucket: &m.b.bucket, Key: m.b.full(m.t.key), UploadId: &m.id,
		PartNumber: aws.Int32(int32(number)), ContentLength: aws.Int64(p.size), //nolint:gosec // at most parts
	}
	done := types.CompletedPart{PartNumber: in.PartNumber}
	err = m.b.sums.settle(m.kind, func(kind types.ChecksumAlgorithm) error {
		r := &reader{part: p}
		own, stop := r.sending(ctx)
		defer stop()
		in.Body = r
		in.ChecksumCRC32C, in.ChecksumSHA256 = header(kind, p)
		out, err := m.b.client.UploadPart(own, in)
		if err != nil {
			return err
		}
		done.ETag, done.ChecksumCRC32C, done.ChecksumSHA256 = out.ETag, in.ChecksumCRC32C, in.ChecksumSHA256
		if echoed := either(out.ChecksumCRC32C, out.ChecksumSHA256); echoed != nil && kind != "" && *echoed != p.checksum() {
			return errShort
		}
		return nil
	})
	if err != nil {
		return m.b.fault(ctx, fmt.Sprintf("send part %d", number), err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.parts[number-1] = done
	return nil
}

// complete makes the object of the parts, and asks the bucket what it has. From here on it is the
// bucket that decides: the answer is waited for even when the client goes. Many parts take a server
// minutes.
func (m *multi) complete(ctx context.Context, size int64) (upload.Object, error) {
	if ctx.Err() != nil {
		return upload.Object{}, context.Cause(ctx)
	}
	own, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), 10*m.b.patience, errSilent)
	defer cancel()
	_, err := m.b.client.CompleteMultipartUpload(own, &s3.CompleteMultipartUploadInput{
		Bucket: &m.b.bucket, Key: m.b.full(m.t.key), UploadId: &m.id,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: m.parts},
	})
	if err = m.b.fault(own, "complete an upload", err); refused(err) {
		return upload.Object{}, err
	}
	return m.b.settle(ctx, m.t, size, err)
}

// abort frees what the parts hold, whether or not the client is still there. Should it fail, its error
// names the upload, so that an operator can end it by hand; the janitor will try too.
func (m *multi) abort(ctx context.Context) error {
	own, cancel := m.b.detached(ctx)
	defer cancel()
	return m.b.Abort(own, upload.Unfinished{Key: m.t.key, ID: m.id})
}
