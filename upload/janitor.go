package upload

import (
	"context"
	"iter"
	"time"
)

// Remains are the rows of files that are pending or doomed, as the janitor needs them. Ages are told
// by one clock, the database's, so that gateways whose clocks disagree do no harm.
type Remains interface {
	// Claim dooms pending files that gave no sign of life for so long as stale, at most limit, each
	// once whoever else claims at the same time, and tells how many.
	Claim(ctx context.Context, stale time.Duration, limit int) (int, error)

	// Doomed returns at most limit doomed files that are to be cleared away, the oldest first: those
	// that never were, and those that were so long ago as stale.
	Doomed(ctx context.Context, stale time.Duration, limit int) ([]File, error)

	// Cleared notes that nothing stands under the key of a doomed file. The row stays until this is
	// said again at least stale later, and then goes: a process that was suspended in its Put may
	// finish it after the first time.
	Cleared(ctx context.Context, id string, stale time.Duration) error

	// Known returns the state of those keys that have a row.
	Known(ctx context.Context, keys []string) (map[string]State, error)
}

// Attic is the corners of a bucket that a janitor looks into. Implementations are safe for concurrent
// use.
type Attic interface {
	// Delete is that of Bucket.
	Delete(ctx context.Context, key string) error

	// Unfinished yields the uploads under a prefix that were begun and neither completed nor aborted.
	// An error ends it.
	Unfinished(ctx context.Context, prefix string) iter.Seq2[Unfinished, error]

	// Abort ends one of them and frees what it holds. An absent one is not an error.
	Abort(ctx context.Context, u Unfinished) error

	// Objects yields the objects under a prefix whose keys come after a key (empty: from the first
	// on), in the order of their keys' bytes. An error ends it.
	Objects(ctx context.Context, prefix, after string) iter.Seq2[Object, error]
}

// Unfinished is an upload that a bucket has begun to take and not completed.
type Unfinished struct {
	Key   string
	ID    string // the bucket's own name for it
	Begun time.Time
}
