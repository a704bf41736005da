// Package upload takes files from signed-in people and puts them into a bucket as they come.
//
// The story. The uploader is the Next of a route like any other (handler.go), so that whoever gets
// here was let in by the same gate. The request's page must be our own or a listed one, its declared
// sizes within the limits and the quota, and there must be room in Memory for one part of it: all of
// that is judged before a byte of the body is read (receive.go). The body comes through an inflow
// (inflow.go), which watches that it comes at all, and fast enough (pace.go). Each file of a form (form.go), or
// the body itself, then goes the same way (intake.go): a key without a byte of user text, a row in
// Files, and the bytes from the socket into pages, through the digest, and on into the Bucket. Whatever
// must hold before a file may exist (its length, its digest, that the session is still alive) is asked
// by the body at its end (content.go): a body that fails leaves nothing in the bucket. Then the row is
// settled, and only then does the client hear 201 (answer.go). What a crash leaves is found by its row
// (janitor.go). Their owners list, fetch and delete files in files.go and download.go.
//
// What this package never does: it never holds a file in memory or on a disk of its own, it never
// reads for somebody who has no room reserved, it never lets a client's word into a key, and it never
// says that a file is there before bucket and row both say so.
package upload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

var (
	// ErrNoObject says that a bucket has nothing under a key.
	ErrNoObject = errors.New("no such object")
	// ErrUnavailable is in every error of a bucket that may be over soon: it could not be reached,
	// was too busy, or did not answer in time.
	ErrUnavailable = errors.New("the bucket is not available")
	// ErrLeft is in the error of a Put that could not remove what it had sent, or not find out whether
	// there was anything.
	ErrLeft = errors.New("perhaps left behind in the bucket")
	// ErrNoFile says that no row has that id, or none in the state that was asked for.
	ErrNoFile = errors.New("no such file")
	// ErrQuota says that a user has as much as he may have. It comes as one of the next three.
	ErrQuota = errors.New("the quota is used up")
	// ErrQuotaBytes says that the bound on bytes was met.
	ErrQuotaBytes = fmt.Errorf("%w: bytes", ErrQuota)
	// ErrQuotaFiles says that the bound on the number of files was met.
	ErrQuotaFiles = fmt.Errorf("%w: files", ErrQuota)
	// ErrQuotaLive says that the bound on uploads at once was met.
	ErrQuotaLive = fmt.Errorf("%w: uploads at once", ErrQuota)
	// ErrBusy says that there is no room in memory for one more upload now.
	ErrBusy = errors.New("no memory is left for another upload")
)

// Bucket keeps files. Implementations are safe for concurrent use.
type Bucket interface {
	// Put keeps all of body under key, or nothing visible under key. It returns nil only if what is
	// there has the size that it reports, by the bucket's own word. An error of body's Read is in the
	// chain of the error, and it means that nothing may be kept. When Put fails, or ctx ends in its
	// middle, what was sent so far is removed again, on a context of its own; if even that fails, the
	// error is ErrLeft too, and the janitor finds it by the row. An answer that was lost is settled by
	// asking, never by guessing (RULE-26). Keys are used once. Put returns only when nothing reads the
	// body or holds a page any more.
	Put(ctx context.Context, key string, body Body, meta Meta) (Object, error)

	// Open reads length bytes of an object from offset on; a length below zero means all that
	// follows. The Object describes the whole. ErrNoObject: there is none.
	Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, Object, error)

	// Stat describes an object. ErrNoObject: there is none.
	Stat(ctx context.Context, key string) (Object, error)

	// Delete removes an object, and whatever else stands under its key: an unfinished upload too. An
	// absent one is not an error.
	Delete(ctx context.Context, key string) error
}

// Body is what a Put is to keep. Its Read blocks while the client is slow, may return few bytes at a
// time, and is called by one goroutine at a time, best with whole pages. Only after io.EOF may the
// object be made visible: before it, what must hold is not known to hold.
type Body struct {
	io.Reader
	Bound int64  // it has at most so many bytes
	Part  int64  // the size of all its parts but the last, where a bucket takes parts; whole pages
	Pages *Lease // the memory that a Put may use: at least min(Bound, Part) and a page are its own
}

// Meta is what a bucket keeps beside an object's bytes.
type Meta struct {
	ID   string // of the File
	Type string // media type
}

// Object is a file as the bucket knows it.
type Object struct {
	Key      string
	Size     int64 // bytes
	Modified time.Time
}

// State is where a file stands in its life.
type State string

// The states, as the table has them.
const (
	Pending State = "pending" // its bytes are coming, or came and were not settled
	Kept    State = "kept"    // in the bucket, whole
	Doomed  State = "doomed"  // given up or deleted: the janitor removes object and row
)

// File is what we remember of an upload.
type File struct {
	ID      string // a UUID of version 7 as text, so that ids sort by time (RFC 9562)
	Owner   int64  // the user's id
	Session int64  // the session's id
	Key     string // in the bucket
	Name    string // the client's, cleaned: see CleanName
	Type    Types
	Size    int64  // bytes; while Pending, what is reserved
	SHA256  string // lower-case hex; empty with digest: none
	State   State
	Created time.Time
}

// Types are the media types of a file: neither is to be believed for more than a label.
type Types struct {
	Declared string // by the client; may be empty
	Sniffed  string // from the first 512 bytes
}

// Quota is what one user may have: zero means no bound.
type Quota struct {
	Bytes int64 // in kept and pending files
	Files int64 // kept and pending
	Live  int64 // pending at once
}

// Files remembers who put what where. Implementations are safe for concurrent use.
type Files interface {
	// Begin writes the row of a file, Pending, before its first byte. f.Size is what is reserved of
	// the quota, which is counted under the user's row lock (RULE-24). ErrQuota: it does not fit.
	Begin(ctx context.Context, f File, q Quota) error

	// Beat says that a pending file is alive, and reserves size bytes in all for it; a smaller size
	// than before changes nothing. ErrQuota: that does not fit. ErrNoFile: it was given up, so stop.
	Beat(ctx context.Context, id string, size int64, q Quota) error

	// Settle makes a pending file Kept, with f's size, digest and types. It returns nil only once
	// the row will survive a restart. ErrNoFile: it was given up or deleted meanwhile. A Settle that
	// is repeated with the same values succeeds: an answer may have been lost.
	Settle(ctx context.Context, f File) error

	// Doom takes a file out of every list and quota, whatever its state, and leaves it to the janitor.
	// ErrNoFile: there is none.
	Doom(ctx context.Context, id string) error
}

// Shelf is the files as their owners see them: Kept ones only.
type Shelf interface {
	// File returns one. ErrNoFile: there is none.
	File(ctx context.Context, id string) (File, error)

	// List returns at most limit files, newest first, that are older than the file with the id
	// before (empty: from the newest on). Owner zero means everybody's.
	List(ctx context.Context, owner int64, before string, limit int) ([]File, error)

	// Usage returns how much a user has, kept and pending.
	Usage(ctx context.Context, owner int64) (Quota, error)
}
