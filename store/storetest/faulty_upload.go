package storetest

import (
	"context"
	"io"

	"github.com/gatehouse-auth/gatehouse/upload"
)

// The methods of buckets and of rows of files that FaultyUploads knows.
const (
	Put    Op = "Put"
	Open   Op = "Open"
	Stat   Op = "Stat"
	Delete Op = "Delete"
	Begin  Op = "Begin"
	Beat   Op = "Beat"
	Settle Op = "Settle"
	Doom   Op = "Doom"
	File   Op = "File"
	List   Op = "List"
	Usage  Op = "Usage"
)

// FaultyUploads is a bucket and a table of files with faults on command, as Faulty has them. A store
// that the test does not use may stay nil.
type FaultyUploads struct {
	Faulty // its commands; its stores are not used

	Bucket upload.Bucket
	Files  upload.Files
	Shelf  upload.Shelf
}

// Put passes on to Bucket.
func (f *FaultyUploads) Put(ctx context.Context, key string, body upload.Body, meta upload.Meta) (o upload.Object, err error) {
	err = f.run(ctx, Put, func() (err error) { o, err = f.Bucket.Put(ctx, key, body, meta); return err })
	return o, err
}

// Open passes on to Bucket.
func (f *FaultyUploads) Open(ctx context.Context, key string, offset, length int64) (body io.ReadCloser, o upload.Object, err error) {
	err = f.run(ctx, Open, func() (err error) { body, o, err = f.Bucket.Open(ctx, key, offset, length); return err })
	return body, o, err
}

// Stat passes on to Bucket.
func (f *FaultyUploads) Stat(ctx context.Context, key string) (o upload.Object, err error) {
	err = f.run(ctx, Stat, func() (err error) { o, err = f.Bucket.Stat(ctx, key); return err })
	return o, err
}

// Delete passes on to Bucket.
func (f *FaultyUploads) Delete(ctx context.Context, key string) error {
	return f.run(ctx, Delete, func() error { return f.Bucket.Delete(ctx, key) })
}

// Begin passes on to Files.
func (f *FaultyUploads) Begin(ctx context.Context, file upload.File, q upload.Quota) error {
	return f.run(ctx, Begin, func() error { return f.Files.Begin(ctx, file, q) })
}

// Beat passes on to Files.
func (f *FaultyUploads) Beat(ctx context.Context, id string, size int64, q upload.Quota) error {
	return f.run(ctx, Beat, func() error { return f.Files.Beat(ctx, id, size, q) })
}

// Settle passes on to Files.
func (f *FaultyUploads) Settle(ctx context.Context, file upload.File) error {
	return f.run(ctx, Settle, func() error { return f.Files.Settle(ctx, file) })
}

// Doom passes on to Files.
func (f *FaultyUploads) Doom(ctx context.Context, id string) error {
	return f.run(ctx, Doom, func() error { return f.Files.Doom(ctx, id) })
}

// File passes on to Shelf.
func (f *FaultyUploads) File(ctx context.Context, id string) (file upload.File, err error) {
	err = f.run(ctx, File, func() (err error) { file, err = f.Shelf.File(ctx, id); return err })
	return file, err
}

// List passes on to Shelf.
func (f *FaultyUploads) List(ctx context.Context, owner int64, before string, limit int) (files []upload.File, err error) {
	err = f.run(ctx, List, func() (err error) { files, err = f.Shelf.List(ctx, owner, before, limit); return err })
	return files, err
}

// Usage passes on to Shelf.
func (f *FaultyUploads) Usage(ctx context.Context, owner int64) (has upload.Quota, err error) {
	err = f.run(ctx, Usage, func() (err error) { has, err = f.Shelf.Usage(ctx, owner); return err })
	return has, err
}
