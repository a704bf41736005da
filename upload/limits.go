package upload

import "time"

// Limits bounds what people may put. All sizes are in bytes. A zero means no bound, but for Part,
// Parts, MaxFiles, MaxFields and Stall, where it means the default.
type Limits struct {
	MaxFileSize    int64
	MaxRequestSize int64
	MaxFiles       int           // in one request; 50 by default
	MaxFields      int64         // of all text fields of a form together; 256 KiB by default
	Part           int64         // the least size of a bucket's parts; 8 MiB by default
	Parts          int           // the most parts that the bucket takes for one object; 10,000 by default
	Quota          Quota         // of each user
	Stall          time.Duration // how long a client may send nothing, or not take what is due to it; 30 s by default
	MinRate        int64         // bytes a second that a client must send at least, over the time of Stall
	Allow          []string      // media types that may come in, such as image/png or image/*; empty: all
	Deny           []string      // media types that may not
	Digest         Digest        // empty means SHA256
	SeeAll         []string      // roles whose users may list and read the files of all; to delete is the owner's
}

// Digest says which digest is made of every file.
type Digest string

// The digests.
const (
	SHA256   Digest = "sha256"
	NoDigest Digest = "none" // a digest that a client sends along is compared all the same
)

const (
	defaultFiles  = 50
	defaultFields = 256 << 10
	defaultPart   = 8 << 20
	defaultParts  = 10_000
	defaultStall  = 30 * time.Second
	// unbounded is the bound of a file where none is set: what S3 takes at most for one object.
	unbounded = 5 << 40
)

// filled returns the limits with their defaults in place.
func (l Limits) filled() Limits {
	l.MaxFiles = or(l.MaxFiles, defaultFiles)
	l.MaxFields = or(l.MaxFields, defaultFields)
	l.Part = or(l.Part, defaultPart)
	l.Parts = or(l.Parts, defaultParts)
	l.Stall = or(l.Stall, defaultStall)
	l.Digest = or(l.Digest, SHA256)
	l.MaxFileSize = or(l.MaxFileSize, unbounded)
	return l
}

// or is v, or a default for a zero.
func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// bound is the most bytes that a file may have in a body of a declared length (negative: unknown).
func (l Limits) bound(length int64) int64 {
	most := l.MaxFileSize
	if l.MaxRequestSize > 0 {
		most = min(most, l.MaxRequestSize)
	}
	if length >= 0 {
		most = min(most, length)
	}
	return most
}

// part is the one size of all parts of an object with at most bound bytes: parts of one size are what
// every S3 server takes, and as large that the bucket takes so many. Where that is more than room, the
// bound is lowered instead, so that a file ends in a 413 before a part too many is sent (UP-06).
func (l Limits) part(bound, room int64) (part, lowered int64) {
	least := (bound + int64(l.Parts) - 1) / int64(l.Parts)
	part = pages(max(l.Part, min(least, room)))
	return part, min(bound, part*int64(l.Parts))
}

// Largest is the most bytes that any file may have with a memory budget in bytes: a file has so many
// parts at most, and one user's share of the memory has room for one of them.
func (l Limits) Largest(memory int64) int64 {
	_, most := l.filled().part(unbounded, NewMemory(memory).largest())
	return most
}

// Unknown is the size in bytes of the parts of a file whose length is not told beforehand, with a memory
// budget in bytes: so much of the memory it has reserved.
func (l Limits) Unknown(memory int64) int64 {
	l = l.filled()
	size, _ := l.part(l.bound(-1), NewMemory(memory).largest())
	return size
}

// pages is a size in bytes, rounded up to whole pages.
func pages(size int64) int64 { return (size + PageSize - 1) / PageSize * PageSize }
