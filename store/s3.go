package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/gatehouse-auth/gatehouse/upload"
)

var (
	_ upload.Bucket = (*S3)(nil)
	_ upload.Attic  = (*S3)(nil)
)

// S3Config says which bucket, where, and how it is to be treated. What has no default is required.
type S3Config struct {
	Bucket         string
	Prefix         string // before every key, without slashes at its ends; may be empty
	Endpoint       string // http:// or https://; empty means that of AWS for the region
	PublicEndpoint string // what Presign leads to, where browsers cannot reach Endpoint
	Region         string // empty: what the environment says, else us-east-1
	PathStyle      bool   // the bucket's name in the path and not in the host name
	CAFile         string // PEM; whom to trust beside the system's authorities

	AccessKey    string // empty: the SDK's usual places, from the environment to the machine's role
	SecretKey    string
	SessionToken string

	Checksum     Checksum
	SSE          string // empty, AES256, aws:kms or aws:kms:dsse
	KMSKey       string // the id of a key; only with KMS
	StorageClass string // such as STANDARD_IA; empty: the bucket's own

	Slots    int           // how many parts may be on their way at once; 32 by default
	MaxParts int           // the most parts that the server takes for one object; 10,000 by default
	Patience time.Duration // how long the server may be silent in one attempt; 30 s by default
	Observe  Observe       // told of every attempt, with the name of the operation; tier "s3"
}

// S3 is a bucket of Amazon S3, or of a server that speaks its protocol.
//
// The story of a Put. A cutter (s3_part.go) reads the body into pages, one part at a time, and looks
// one byte further: what fits into one part is one PutObject, an empty file a PutObject of nothing
// (s3_put.go). The rest goes by parts of one size, each sent when it is full while the next is being
// filled (s3_multi.go). Only a full part takes one of the slots, so slow clients hold up nobody.
//
// What was sent is never guessed at. Put waits for the answer to whatever the server may have taken
// whole, even when the client has gone; it is the bucket's word on size and checksum that counts; and
// when an answer is lost, the object itself is asked for the token that this Put gave it (RULE-26).
type S3 struct {
	client   *s3.Client
	visitors *s3.PresignClient
	bucket   string
	prefix   string // empty, or ends in a slash
	care     care
	sums     sums
	slots    chan struct{}
	parts    int
	patience time.Duration
}

// care is how the server is told to keep what it gets.
type care struct {
	sse   types.ServerSideEncryption
	kms   *string
	class types.StorageClass
}

const (
	defaultSlots    = 32
	defaultParts    = 10_000
	defaultPatience = 30 * time.Second
	defaultRegion   = "us-east-1"
)

// NewS3 makes the client of a bucket. It does not connect, and it asks nobody for credentials before
// they are needed: a bucket that is away keeps no one from starting. See SelfTest.
func NewS3(ctx context.Context, c S3Config) (*S3, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	if c.Slots == 0 {
		c.Slots = defaultSlots
	}
	if c.MaxParts == 0 {
		c.MaxParts = defaultParts
	}
	if c.Patience == 0 {
		c.Patience = defaultPatience
	}
	options, err := c.options(ctx)
	if err != nil {
		return nil, err
	}
	b := &S3{
		client: s3.New(options), visitors: c.visitors(options), bucket: c.Bucket,
		care:  care{sse: types.ServerSideEncryption(c.SSE), class: types.StorageClass(c.StorageClass)},
		slots: make(chan struct{}, c.Slots), parts: c.MaxParts, patience: c.Patience,
	}
	if p := strings.Trim(c.Prefix, "/"); p != "" {
		b.prefix = p + "/"
	}
	if c.KMSKey != "" {
		b.care.kms = aws.String(c.KMSKey)
	}
	b.sums.mode = c.Checksum
	return b, nil
}

// validate finds what can be found without asking anybody.
func (c S3Config) validate() error {
	switch {
	case c.Bucket == "":
		return errors.New("s3: the name of the bucket is missing")
	case (c.AccessKey == "") != (c.SecretKey == ""):
		return errors.New("s3: an access key needs its secret key, and the other way round")
	case c.KMSKey != "" && !strings.HasPrefix(c.SSE, "aws:kms"):
		return errors.New("s3: a KMS key is given, but not encryption with KMS (aws:kms)")
	case c.SSE != "" && !known(types.ServerSideEncryption(c.SSE)):
		return fmt.Errorf("s3: %q is no encryption that S3 knows: AES256, aws:kms or aws:kms:dsse", c.SSE)
	case !c.Checksum.valid():
		return fmt.Errorf("s3: %q is no checksum mode: auto, none, crc32c or sha256", c.Checksum)
	case c.Slots < 0 || c.MaxParts < 0 || c.Patience < 0:
		return errors.New("s3: slots, parts and patience cannot be negative")
	}
	return nil
}

func known[T interface {
	comparable
	Values() []T
}](v T) bool {
	for _, have := range v.Values() {
		if v == have {
			return true
		}
	}
	return false
}

// Name is the bucket and prefix as an address, for messages.
func (b *S3) Name() string { return "s3://" + path.Join(b.bucket, b.prefix) }

func (b *S3) full(key string) *string { return aws.String(b.prefix + key) }

// Close closes the connections that are idle.
func (b *S3) Close() error {
	if c, ok := b.client.Options().HTTPClient.(*patientClient); ok {
		c.client.CloseIdleConnections()
	}
	return nil
}

// Stat describes an object. upload.ErrNoObject: there is none.
func (b *S3) Stat(ctx context.Context, key string) (upload.Object, error) {
	o, _, err := b.head(ctx, key)
	return o, err
}

// head describes an object, and tells the token that its Put gave it.
func (b *S3) head(ctx context.Context, key string) (upload.Object, string, error) {
	ctx, cancel := b.limit(ctx)
	defer cancel()
	out, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.bucket, Key: b.full(key)})
	if err != nil {
		return upload.Object{}, "", b.fault(ctx, "look for an object", err)
	}
	if out.ContentLength == nil {
		return upload.Object{}, "", errSizeless
	}
	return upload.Object{Key: key, Size: *out.ContentLength, Modified: aws.ToTime(out.LastModified)}, out.Metadata[tokenName], nil
}

// Open reads length bytes of an object from offset on; a length below zero means all that follows.
// The Object describes the whole. upload.ErrNoObject: there is none. Open fails when the server gives
// no answer within twice Patience, and reading when it is silent for longer than Patience.
func (b *S3) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, upload.Object, error) {
	if length == 0 {
		return b.openNone(ctx, key, offset)
	}
	// The limit is for the answer alone: how long its body takes is for the reader to say.
	own, cancel := context.WithCancelCause(ctx)
	late := time.AfterFunc(2*b.patience, func() { cancel(errSilent) })
	out, err := b.client.GetObject(own, &s3.GetObjectInput{Bucket: &b.bucket, Key: b.full(key), Range: byteRange(offset, length)})
	late.Stop()
	if err = b.fault(own, "open an object", err); err != nil {
		cancel(nil)
	}
	switch {
	case beyondEnd(err):
		return b.openNone(ctx, key, offset)
	case err != nil:
		return nil, upload.Object{}, err
	}
	body := opened{out.Body, cancel}
	o := upload.Object{Key: key, Size: whole(out), Modified: aws.ToTime(out.LastModified)}
	if o.Size < 0 {
		return nil, upload.Object{}, errors.Join(errSizeless, body.Close())
	}
	return body, o, nil
}

// opened is the body of an answer, with the context that it is read on.
type opened struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

func (o opened) Close() error {
	defer o.cancel(nil)
	return o.ReadCloser.Close()
}

// openNone opens no byte of an object: S3 has no range for that, and none that begins at the end.
func (b *S3) openNone(ctx context.Context, key string, offset int64) (io.ReadCloser, upload.Object, error) {
	o, err := b.Stat(ctx, key)
	if err == nil && offset > o.Size {
		err = fmt.Errorf("open an object of %d bytes from %d on: %w", o.Size, offset, errRange)
	}
	if err != nil {
		return nil, upload.Object{}, err
	}
	return http.NoBody, o, nil
}

var (
	errRange    = errors.New("the range begins behind the end")
	errSizeless = errors.New("s3: the server does not tell the size of an object")
)

func byteRange(offset, length int64) *string {
	switch {
	case offset == 0 && length < 0:
		return nil
	case length < 0:
		return aws.String(fmt.Sprintf("bytes=%d-", offset))
	}
	return aws.String(fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
}

// whole is the size of the object of which out may be a range; below zero if it is not told.
func whole(out *s3.GetObjectOutput) int64 {
	if out.ContentRange == nil {
		if out.ContentLength == nil {
			return -1
		}
		return *out.ContentLength
	}
	_, size, _ := strings.Cut(*out.ContentRange, "/")
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// Delete removes an object, and every unfinished upload under its key. An absent one is not an error.
func (b *S3) Delete(ctx context.Context, key string) error {
	own, cancel := b.limit(ctx)
	defer cancel()
	_, err := b.client.DeleteObject(own, &s3.DeleteObjectInput{Bucket: &b.bucket, Key: b.full(key)})
	if err = b.fault(own, "delete an object", err); errors.Is(err, upload.ErrNoObject) {
		err = nil
	}
	// Uploads that were begun under this key are looked for even so: what can be freed, is.
	for u, listing := range b.Unfinished(ctx, key) {
		switch {
		case listing != nil:
			err = errors.Join(err, listing)
		case u.Key == key:
			err = errors.Join(err, b.Abort(ctx, u))
		}
	}
	return err
}

// limit bounds a call that moves no bytes, with all its retries.
func (b *S3) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, 2*b.patience, errSilent)
}

// detached is limit for what must be done although the caller is gone: an abort on the context of a
// request whose client has left is never sent (aws-sdk-go-v2#3341).
func (b *S3) detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return b.limit(context.WithoutCancel(ctx))
}
