package store

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/gatehouse-auth/gatehouse/upload"
)

// presigned is how long an address leads to its object: long enough to be followed, too short to be
// passed on (RULE-25).
const presigned = 60 * time.Second

// Presign makes an address at which the server itself hands out an object for a minute, to whoever has
// the address: keep it out of logs. What the server answers is signed along: a download under the name
// given, never a page of the bucket's host.
func (b *S3) Presign(ctx context.Context, key, name string) (string, error) {
	ctx, cancel := b.limit(ctx)
	defer cancel()
	out, err := b.visitors.PresignGetObject(ctx, &s3.GetObjectInput{
		Bucket: &b.bucket, Key: b.full(key),
		ResponseContentDisposition: aws.String(upload.Disposition(name)),
		ResponseContentType:        aws.String("application/octet-stream"),
		ResponseCacheControl:       aws.String("private, no-store"),
	}, s3.WithPresignExpires(presigned))
	if err != nil {
		return "", fmt.Errorf("sign an address: %w", b.fault(ctx, "sign", err))
	}
	return out.URL, nil
}
