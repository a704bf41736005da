package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/upload"
)

// bucket is a bucket with all that is done to it beside putting files.
type bucket interface {
	upload.Bucket
	upload.Attic
	Name() string // for messages
	SelfTest(ctx context.Context) error
	Close() error
}

// openBucket makes the bucket of the configuration. A directory is made; a server is not asked yet.
func openBucket(ctx context.Context, cfg Config, observe store.Observe) (bucket, error) {
	b, err := newBucket(ctx, cfg, observe)
	if err != nil {
		return nil, fmt.Errorf("upload.bucket: %w", err)
	}
	return b, nil
}

func newBucket(ctx context.Context, cfg Config, observe store.Observe) (bucket, error) {
	if dir := cfg.bucketDir(); dir != "" {
		return store.NewDir(dir)
	}
	u := cfg.Upload
	name, prefix := cfg.bucketName()
	return store.NewS3(ctx, store.S3Config{
		Bucket: name, Prefix: prefix, Endpoint: u.Endpoint, PublicEndpoint: u.PublicEndpoint, Region: u.Region,
		PathStyle: u.PathStyle, CAFile: u.CAFile, AccessKey: u.AccessKey, SecretKey: u.SecretKey,
		Checksum: store.Checksum(u.Checksum), SSE: u.SSE, KMSKey: u.KMSKey, StorageClass: u.StorageClass,
		Slots: int(u.Slots), MaxParts: int(u.MaxParts), Observe: observe,
	})
}

// bucketLimit bounds one look at the bucket, which may be on another continent: a probe, whose limit is
// made for a database next door, does not wait for it.
const bucketLimit = 5 * time.Second

var errNoAnswer = fmt.Errorf("no answer within %v", bucketLimit)

// lookout looks at the bucket from time to time, beside the probes that ask how it is.
type lookout struct {
	bucket upload.Bucket
	busy   sync.WaitGroup

	mu    sync.Mutex
	asked time.Time // when it was last begun
	last  error     // of the last look that ended
}

// ask tells how the bucket was a moment ago, and sees to it that somebody looks again.
func (l *lookout) ask(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.asked) >= spareFor {
		l.asked = time.Now()
		l.busy.Go(l.look)
	}
	return l.last
}

// look opens an object that is not there: whoever can say so is there, and knows us. To describe it would
// not do: S3 answers that without a text, and so alike where the bucket itself is missing.
func (l *lookout) look() {
	ctx, cancel := context.WithTimeoutCause(context.Background(), bucketLimit, errNoAnswer)
	defer cancel()
	body, _, err := l.bucket.Open(ctx, "self-test/absent", 0, 1)
	switch {
	case err == nil:
		err = body.Close()
	case errors.Is(err, upload.ErrNoObject):
		err = nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = err
}

// tryBucket puts two objects into the bucket, reads them and removes them. A directory is not made.
func (c *Config) tryBucket(ctx context.Context) error {
	if dir := c.bucketDir(); dir != "" && missing(dir) {
		return nil // made at the first start
	}
	b, err := newBucket(ctx, *c, nil)
	if err != nil {
		return err
	}
	return errors.Join(b.SelfTest(ctx), b.Close())
}
