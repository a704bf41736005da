package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"github.com/gatehouse-auth/gatehouse/upload"
)

// testPart is the least size of a part that S3 takes.
const testPart = 5 << 20

var errDiffers = errors.New("what comes back is not what was put")

// SelfTest puts an object of one part and one of two, reads them, and removes them again. Its error
// says at which step the bucket did not do what it should, and what may be done about that.
func (b *S3) SelfTest(ctx context.Context) error { return selfTest(ctx, b, testPart+1) }

// SelfTest writes a file, reads it, and removes it again.
func (d *Dir) SelfTest(ctx context.Context) error { return selfTest(ctx, d) }

// selfTest goes through what a bucket must be able to do, with a small object and one of each size.
// The keys lie beside those of every installation, whose ids look different.
func selfTest(ctx context.Context, b upload.Bucket, sizes ...int) error {
	for _, size := range append([]int{64}, sizes...) {
		content := make([]byte, size)
		rand.Read(content)
		if err := roundTrip(ctx, b, "self-test/"+rand.Text(), content); err != nil {
			return fmt.Errorf("test of the bucket with an object of %d bytes: %w", size, err)
		}
	}
	return nil
}

func roundTrip(ctx context.Context, b upload.Bucket, key string, content []byte) (err error) {
	lease, err := upload.NewMemory(testPart+2*upload.PageSize).Admit(ctx, 0, testPart)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lease.Close()) }()
	body := upload.Body{Reader: bytes.NewReader(content), Bound: int64(len(content)), Part: testPart, Pages: lease}
	if _, err := b.Put(ctx, key, body, upload.Meta{ID: "self-test"}); err != nil {
		return fmt.Errorf("put: %w", err)
	}
	err = compare(ctx, b, key, content)
	if removed := b.Delete(context.WithoutCancel(ctx), key); removed != nil {
		return errors.Join(err, fmt.Errorf("delete: %w", removed))
	}
	if err != nil {
		return err
	}
	if _, err := b.Stat(ctx, key); !errors.Is(err, upload.ErrNoObject) {
		return fmt.Errorf("look for what was deleted: it is still there, or cannot be told: %w", err)
	}
	return nil
}

// compare reads the whole object, and a range in its middle.
func compare(ctx context.Context, b upload.Bucket, key string, content []byte) error {
	half := int64(len(content) / 2)
	for _, r := range []struct{ offset, length int64 }{{0, -1}, {half, 7}} {
		want := content[r.offset:]
		if r.length >= 0 {
			want = want[:r.length]
		}
		f, o, err := b.Open(ctx, key, r.offset, r.length)
		if err != nil {
			return fmt.Errorf("open: %w", err)
		}
		got, err := io.ReadAll(io.LimitReader(f, int64(len(want))+1))
		switch err := errors.Join(err, f.Close()); {
		case err != nil:
			return fmt.Errorf("read: %w", err)
		case o.Size != int64(len(content)), !bytes.Equal(got, want):
			return fmt.Errorf("read from %d on: %w", r.offset, errDiffers)
		}
	}
	return nil
}
