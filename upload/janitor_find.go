package upload

import (
	"context"
	"iter"
	"time"
)

// Strays yields the unfinished uploads under our prefix that nobody will finish: no pending file has
// their key, and they are older than what is stale. An upload begins after its row was written, so
// one without a row has lost it. A kept file may have one too, where the answer to a first attempt was
// lost. An error ends it.
func (j *Janitor) Strays(ctx context.Context) iter.Seq2[Unfinished, error] {
	return func(yield func(Unfinished, error) bool) {
		old := time.Now().Add(-j.parts.Stale)
		key := func(u Unfinished) string { return u.Key }
		for found, err := range withState(ctx, j.parts.Rows, j.parts.Attic.Unfinished(ctx, j.parts.Prefix), key) {
			if err == nil && (found.state == Pending || found.item.Begun.After(old)) {
				continue
			}
			if !yield(found.item, err) || err != nil {
				return
			}
		}
	}
}

// Orphans yields the finished objects under our prefix that have no row. Seen is told of each object
// that was looked at, a row or not. An error ends it.
func (j *Janitor) Orphans(ctx context.Context, seen func(Object)) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for o, err := range j.objects(ctx, "") {
			if err != nil {
				yield(Object{}, err)
				return
			}
			seen(o.Object)
			if o.orphan && !yield(o.Object, nil) {
				return
			}
		}
	}
}

// walked is an object of which it is known whether a row names it.
type walked struct {
	Object
	orphan bool
}

// objects yields the objects under our prefix after a key, each judged. One that is younger than what
// is stale is no orphan yet: its row may have gone, and it with it, since it was listed.
func (j *Janitor) objects(ctx context.Context, after string) iter.Seq2[walked, error] {
	return func(yield func(walked, error) bool) {
		old := time.Now().Add(-j.parts.Stale)
		key := func(o Object) string { return o.Key }
		for found, err := range withState(ctx, j.parts.Rows, j.parts.Attic.Objects(ctx, j.parts.Prefix, after), key) {
			if !yield(walked{found.item, found.state == "" && !found.item.Modified.After(old)}, err) || err != nil {
				return
			}
		}
	}
}

// stated is something of a bucket with the state of the row that has its key; empty: none has.
type stated[T any] struct {
	item  T
	state State
}

// withState asks the rows about what a bucket yields, many keys at a time. An error ends it.
func withState[T any](ctx context.Context, rows Remains, items iter.Seq2[T, error], key func(T) string) iter.Seq2[stated[T], error] {
	return func(yield func(stated[T], error) bool) {
		var some []T
		flush := func() bool {
			keys := make([]string, len(some))
			for i, item := range some {
				keys[i] = key(item)
			}
			known, err := rows.Known(ctx, keys)
			if err != nil {
				yield(stated[T]{}, err)
				return false
			}
			for _, item := range some {
				if !yield(stated[T]{item, known[key(item)]}, nil) {
					return false
				}
			}
			some = some[:0]
			return true
		}
		for item, err := range items {
			if err != nil {
				yield(stated[T]{}, err)
				return
			}
			if some = append(some, item); len(some) == keysAtOnce && !flush() {
				return
			}
		}
		flush()
	}
}
