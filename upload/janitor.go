package upload

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
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

const (
	// staleAfter is how long a pending file may give no sign of life (RULE-22).
	staleAfter = 15 * time.Minute
	sweepEvery = time.Minute
	// sweepLimit bounds one sweep, for a bucket that hangs.
	sweepLimit = 10 * time.Minute
	// sweepMost is how many rows, unfinished uploads and objects one sweep looks at, each.
	sweepMost = 1000
	// faultsMost is how many failures of one kind end what a sweep does: the rest would fail likewise.
	faultsMost = 10
	// keysAtOnce is how many keys the rows are asked for in one question.
	keysAtOnce = 200
)

// JanitorParts is what a Janitor is made of.
type JanitorParts struct {
	Attic  Attic
	Rows   Remains
	Prefix string             // of all keys of this installation: its id and a slash (RULE-22)
	Stale  time.Duration      // 15 minutes by default
	Told   func(Swept, error) // of every sweep of Run; may be nil
}

// Janitor ends what a crash left, in the table and in the bucket. Any number of replicas may each have
// one: a file is given up by one conditional UPDATE, and everything after that can be done twice.
//
// It removes what a row of this installation names, and unfinished uploads under our own prefix. A
// finished object without a row it counts and leaves alone: the rows may have been restored from a
// backup that is older than the file.
type Janitor struct {
	parts JanitorParts

	// The walk over all objects goes on from sweep to sweep.
	after   string
	orphans int
}

// Swept is what a sweep has done.
type Swept struct {
	Claimed int  // pending files that were given up
	Removed int  // doomed files, after which nothing stands under their keys
	Aborted int  // unfinished uploads that no row wanted
	Orphans int  // finished objects without a row, in the walk over all objects that is under way
	Whole   bool // that walk came to its end with this sweep
}

// NewJanitor makes a janitor. It does nothing before Run or Sweep.
func NewJanitor(parts JanitorParts) *Janitor {
	parts.Stale = or(parts.Stale, staleAfter)
	if parts.Told == nil {
		parts.Told = func(Swept, error) {}
	}
	return &Janitor{parts: parts}
}

// Run sweeps about once a minute until ctx is done. An outage of bucket or database costs the sweeps
// that fall into it. The moments are random, so that replicas which start together do not sweep
// together for ever.
func (j *Janitor) Run(ctx context.Context) {
	wait := rand.N(sweepEvery) //nolint:gosec // nobody gains by guessing it
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		swept, err := j.bounded(ctx)
		if ctx.Err() != nil {
			return // what failed now failed because we stop
		}
		j.parts.Told(swept, err)
		wait = sweepEvery/2 + rand.N(sweepEvery) //nolint:gosec // likewise
	}
}

func (j *Janitor) bounded(ctx context.Context) (Swept, error) {
	ctx, cancel := context.WithTimeout(ctx, sweepLimit)
	defer cancel()
	return j.Sweep(ctx)
}

// Sweep does it once, and at most so much at a time. It must not run twice at once on one Janitor.
// Each of its steps is tried, whatever became of those before.
func (j *Janitor) Sweep(ctx context.Context) (s Swept, err error) {
	var claim, remove, abort, walk error
	s.Claimed, claim = j.parts.Rows.Claim(ctx, j.parts.Stale, sweepMost)
	s.Removed, remove = j.remove(ctx)
	s.Aborted, abort = j.abort(ctx)
	s.Whole, walk = j.walk(ctx)
	s.Orphans = j.orphans
	if s.Whole {
		j.after, j.orphans = "", 0
	}
	return s, errors.Join(claim, remove, abort, walk)
}

// remove clears doomed files away, in no order: some that can never be removed, such as objects under a
// legal hold, would otherwise keep all those behind them.
func (j *Janitor) remove(ctx context.Context) (removed int, err error) {
	files, err := j.parts.Rows.Doomed(ctx, j.parts.Stale, sweepMost)
	if err != nil {
		return 0, err
	}
	rand.Shuffle(len(files), func(a, b int) { files[a], files[b] = files[b], files[a] }) //nolint:gosec // nobody gains by guessing it
	var faults []error
	for _, f := range files {
		err := j.parts.Attic.Delete(ctx, f.Key)
		if err == nil {
			err = j.parts.Rows.Cleared(ctx, f.ID, j.parts.Stale)
		}
		if err == nil {
			removed++
			continue
		}
		if faults = append(faults, err); hopeless(ctx, faults) {
			break
		}
	}
	return removed, one(faults)
}

// abort ends unfinished uploads that no row wants. One that cannot be ended does not keep the others.
func (j *Janitor) abort(ctx context.Context) (aborted int, err error) {
	var faults []error
	for u, err := range j.Strays(ctx) {
		if err == nil {
			err = j.parts.Attic.Abort(ctx, u)
		}
		if err == nil {
			aborted++
		} else if faults = append(faults, err); hopeless(ctx, faults) {
			break
		}
		if aborted == sweepMost {
			break
		}
	}
	return aborted, one(faults)
}

// one is the first of the faults, and how many more there were: ten of them seldom have ten reasons.
func one(faults []error) error {
	if len(faults) < 2 {
		return errors.Join(faults...)
	}
	return fmt.Errorf("%w (and %d more)", faults[0], len(faults)-1)
}

// hopeless reports whether what follows would fail as the last of the faults did.
func hopeless(ctx context.Context, faults []error) bool {
	return errors.Is(faults[len(faults)-1], ErrUnavailable) || ctx.Err() != nil || len(faults) == faultsMost
}

// walk looks at the next objects and counts those without a row. It reports whether they were the last.
func (j *Janitor) walk(ctx context.Context) (whole bool, err error) {
	seen := 0
	for o, err := range j.objects(ctx, j.after) {
		if err != nil {
			return false, err
		}
		j.after = o.Key
		if o.orphan {
			j.orphans++
		}
		if seen++; seen == sweepMost {
			return false, nil
		}
	}
	return true, nil
}
