package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/gatehouse-auth/gatehouse/upload"
)

// Abort ends an unfinished upload. An absent one is not an error.
func (b *S3) Abort(ctx context.Context, u upload.Unfinished) error {
	ctx, cancel := b.limit(ctx)
	defer cancel()
	_, err := b.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &b.bucket, Key: b.full(u.Key), UploadId: &u.ID})
	err = b.fault(ctx, "abort", err)
	if err == nil || errors.Is(err, errNoUpload) || errors.Is(err, upload.ErrNoObject) {
		return nil
	}
	return fmt.Errorf("%w: upload %s of %s: %w", upload.ErrLeft, u.ID, b.prefix+u.Key, err)
}

// Unfinished yields the uploads under a prefix that were begun and neither completed nor aborted.
func (b *S3) Unfinished(ctx context.Context, prefix string) iter.Seq2[upload.Unfinished, error] {
	return func(yield func(upload.Unfinished, error) bool) {
		in := &s3.ListMultipartUploadsInput{Bucket: &b.bucket, Prefix: b.full(prefix)}
		for {
			out, err := b.unfinished(ctx, in)
			if errors.Is(err, errNoUpload) {
				return // some servers say so where there is none at all
			}
			if err != nil {
				yield(upload.Unfinished{}, err)
				return
			}
			for _, u := range out.Uploads {
				key := strings.TrimPrefix(aws.ToString(u.Key), b.prefix)
				if !yield(upload.Unfinished{Key: key, ID: aws.ToString(u.UploadId), Begun: aws.ToTime(u.Initiated)}, nil) {
					return
				}
			}
			if !aws.ToBool(out.IsTruncated) {
				return
			}
			in.KeyMarker, in.UploadIdMarker = out.NextKeyMarker, out.NextUploadIdMarker
		}
	}
}

func (b *S3) unfinished(ctx context.Context, in *s3.ListMultipartUploadsInput) (*s3.ListMultipartUploadsOutput, error) {
	ctx, cancel := b.limit(ctx)
	defer cancel()
	out, err := b.client.ListMultipartUploads(ctx, in)
	return out, b.fault(ctx, "list unfinished uploads", err)
}

// Objects yields the objects under a prefix whose keys come after a key, in the order of their bytes.
func (b *S3) Objects(ctx context.Context, prefix, after string) iter.Seq2[upload.Object, error] {
	return func(yield func(upload.Object, error) bool) {
		in := &s3.ListObjectsV2Input{Bucket: &b.bucket, Prefix: b.full(prefix)}
		if after != "" {
			in.StartAfter = b.full(after)
		}
		for {
			out, err := b.objects(ctx, in)
			if err != nil {
				yield(upload.Object{}, err)
				return
			}
			for _, o := range out.Contents {
				key := strings.TrimPrefix(aws.ToString(o.Key), b.prefix)
				if !yield(upload.Object{Key: key, Size: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified)}, nil) {
					return
				}
			}
			if !aws.ToBool(out.IsTruncated) {
				return
			}
			in.ContinuationToken = out.NextContinuationToken
		}
	}
}

func (b *S3) objects(ctx context.Context, in *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
	ctx, cancel := b.limit(ctx)
	defer cancel()
	out, err := b.client.ListObjectsV2(ctx, in)
	return out, b.fault(ctx, "list objects", err)
}
