package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gatehouse-auth/gatehouse/upload"
)

// BucketGround is what the suite of buckets stands on: one that is empty.
type BucketGround struct {
	Bucket upload.Bucket
	Attic  upload.Attic                                      // nil: it has no corners to look into
	Part   int64                                             // the size of parts to try; whole pages
	Left   func(t testing.TB) []string                       // all that stands in it, unfinished uploads too, by its own word
	Begin  func(t testing.TB, key string)                    // what a process leaves that is killed in its Put
	Meta   func(t testing.TB, key string) (id, media string) // what the bucket keeps beside the bytes; nil: nothing
}

// Bucket is the suite of upload.Bucket, and of upload.Attic where there is one. fresh makes an empty
// bucket.
func Bucket(t *testing.T, fresh func(*testing.T) BucketGround) {
	for name, test := range map[string]func(*testing.T, BucketGround){
		"UP-02 sizes":                       bucketSizes,
		"UP-06 short reads":                 bucketShortReads,
		"UP-01 the body fails":              bucketBodyFails,
		"UP-01 cancel at any moment":        bucketCancel,
		"a body that is too long":           bucketTooLong,
		"a body that gives nothing":         bucketNoProgress,
		"RULE-23 many at once, no deadlock": bucketAtOnce,
		"ranges":                            bucketRanges,
		"what is absent":                    bucketAbsent,
		"delete":                            bucketDelete,
		"RULE-22 the attic":                 bucketAttic,
	} {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
}

// content is a file of a size, always the same for the same size, which nobody needs to hold.
func content(size int64) io.Reader {
	seed := [32]byte{}
	copy(seed[:], fmt.Sprint(size))
	return io.LimitReader(rand.NewChaCha8(seed), size)
}

func digest(t testing.TB, r io.Reader) [32]byte {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Errorf("read: %v", err)
	}
	return [32]byte(h.Sum(nil))
}

// put puts a body with no more memory than an upload has for itself, and demands all of it back.
func (g BucketGround) put(t testing.TB, ctx context.Context, key string, body io.Reader, bound int64) (upload.Object, error) { //nolint:revive // t first, as everywhere here
	t.Helper()
	return g.putIn(ctx, t, upload.NewMemory(g.Part+upload.PageSize), key, body, bound)
}

func (g BucketGround) putIn(ctx context.Context, t testing.TB, memory *upload.Memory, key string, body io.Reader, bound int64) (upload.Object, error) {
	t.Helper()
	lease, err := memory.Admit(t.Context(), 1, g.Part)
	if err != nil {
		t.Errorf("admit: %v", err)
		return upload.Object{}, err
	}
	o, err := g.Bucket.Put(ctx, key, upload.Body{Reader: body, Bound: bound, Part: g.Part, Pages: lease}, upload.Meta{ID: "id-" + key, Type: "image/png"})
	if closed := lease.Close(); closed != nil {
		t.Errorf("Put kept pages: %v", closed)
	}
	return o, err
}

// clean demands that nothing stands in the bucket.
func (g BucketGround) clean(t testing.TB, after string) {
	t.Helper()
	if left := g.Left(t); len(left) != 0 {
		t.Errorf("%s: left behind: %q", after, left)
	}
}

// holds demands that the bucket has a file of content whole, by every way that it tells of it.
func (g BucketGround) holds(t testing.TB, key string, size int64) {
	t.Helper()
	o, err := g.Bucket.Stat(t.Context(), key)
	if err != nil || o.Size != size || o.Key != key {
		t.Errorf("Stat = %+v, %v; want %d bytes", o, err, size)
	}
	if age := time.Since(o.Modified); age < -time.Minute || age > time.Hour {
		t.Errorf("Modified is %v ago", age)
	}
	f, o, err := g.Bucket.Open(t.Context(), key, 0, -1)
	if err != nil {
		t.Errorf("Open: %v", err)
		return
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}()
	if o.Size != size || o.Key != key {
		t.Errorf("Open tells of %+v, want %d bytes", o, size)
	}
	if digest(t, f) != digest(t, content(size)) {
		t.Errorf("what comes back of %d bytes is not what was put", size)
	}
}

func bucketSizes(t *testing.T, g BucketGround) {
	part := g.Part
	for _, size := range []int64{0, 1, upload.PageSize, part - 1, part, part + 1, 2 * part, 2*part + 1, 5*part + 7} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			key := fmt.Sprintf("i/1/2026/11/size-%d", size)
			o, err := g.put(t, t.Context(), key, content(size), size)
			if err != nil || o.Size != size || o.Key != key {
				t.Fatalf("Put = %+v, %v; want %d bytes", o, err, size)
			}
			g.holds(t, key, size)
			if g.Meta != nil {
				if id, media := g.Meta(t, key); id != "id-"+key || media != "image/png" {
					t.Errorf("the bucket keeps id %q and type %q beside it", id, media)
				}
			}
			if left := g.Left(t); !slices.Equal(left, []string{key}) {
				t.Errorf("in the bucket: %q, want the object alone", left)
			}
			if err := g.Bucket.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			g.clean(t, "Delete")
		})
	}
}

// bucketShortReads: a client that trickles must not make short parts (tusd#1247).
func bucketShortReads(t *testing.T, g BucketGround) {
	size := 2*g.Part + 3
	r := content(size)
	trickle := readFunc(func(p []byte) (int, error) {
		if len(p) > 0 && p[0] == 0 && rand.IntN(8) == 0 { //nolint:gosec // any numbers do
			return 0, nil // which io.Reader allows, once in a while
		}
		return r.Read(p[:min(len(p), 1+rand.IntN(100_000))]) //nolint:gosec // any numbers do
	})
	if _, err := g.put(t, t.Context(), "i/trickle", trickle, size); err != nil {
		t.Fatal(err)
	}
	g.holds(t, "i/trickle", size)
}

var errBody = errors.New("the body fails")

// failing is content that fails at its end.
func failing(size int64) io.Reader {
	return io.MultiReader(content(size), readFunc(func([]byte) (int, error) { return 0, errBody }))
}

func bucketBodyFails(t *testing.T, g BucketGround) {
	for _, at := range []int64{0, 1, g.Part - 1, g.Part, g.Part + 1, 2 * g.Part, 3*g.Part - 1} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			key := fmt.Sprint("i/fails-", at)
			if _, err := g.put(t, t.Context(), key, failing(at), 10*g.Part); !errors.Is(err, errBody) {
				t.Errorf("Put = %v, want the body's error", err)
			}
			g.clean(t, "a body that failed")
			if _, err := g.Bucket.Stat(t.Context(), key); !errors.Is(err, upload.ErrNoObject) {
				t.Errorf("Stat = %v, want ErrNoObject", err)
			}
		})
	}
}

var errGone = errors.New("the client has gone")

// bucketCancel: whenever the caller goes, there is either the whole object and no error, or an error
// that says why and nothing left. A server may come to what was broken off when it has already done what it was
// asked next, which was to remove it. That is seldom, and the janitor, who has the row, removes it once more.
func bucketCancel(t *testing.T, g BucketGround) {
	sizes := []int64{0, 1000, g.Part, g.Part + 1, 2*g.Part + 1}
	n, overtaken := 0, 0
	rapid.Check(t, func(r *rapid.T) {
		n++
		size := rapid.SampledFrom(sizes).Draw(r, "size")
		at := rapid.Int64Range(0, size).Draw(r, "cancelled at byte")
		delay := time.Duration(rapid.IntRange(0, 20_000).Draw(r, "µs after that")) * time.Microsecond
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		var late *time.Timer
		trigger := readFunc(func([]byte) (int, error) {
			late = time.AfterFunc(delay, func() { cancel(errGone) })
			return 0, io.EOF
		})
		whole := content(size)
		body := io.MultiReader(io.LimitReader(whole, at), trigger, whole)
		key := fmt.Sprintf("i/cancel-%d", n)
		o, err := g.put(t, ctx, key, body, size)
		if late != nil {
			late.Stop()
		}
		switch {
		case err == nil && o.Size != size:
			r.Fatalf("Put = %+v without an error, want %d bytes", o, size)
		case err != nil && !errors.Is(err, errGone) && !errors.Is(err, context.Canceled):
			r.Fatalf("Put = %v, want the cause of the end", err)
		case err == nil:
			g.holds(t, key, size)
			if err := g.Bucket.Delete(t.Context(), key); err != nil {
				r.Fatal(err)
			}
		}
		left := g.Left(t)
		if len(left) > 0 && err != nil && g.Attic != nil && overtaken < 5 {
			overtaken++
			if err := g.Bucket.Delete(t.Context(), key); err != nil {
				r.Fatal(err)
			}
			left = g.Left(t)
		}
		if len(left) != 0 {
			r.Fatalf("left behind after %v: %q", err, left)
		}
	})
}

func bucketTooLong(t *testing.T, g BucketGround) {
	for _, bound := range []int64{0, 10, g.Part, 2 * g.Part} {
		if o, err := g.put(t, t.Context(), fmt.Sprint("i/long-", bound), content(bound+1), bound); err == nil {
			t.Errorf("Put of a byte more than %d = %+v", bound, o)
		}
		g.clean(t, "a body that was too long")
	}
}

func bucketNoProgress(t *testing.T, g BucketGround) {
	never := readFunc(func([]byte) (int, error) { return 0, nil })
	if _, err := g.put(t, t.Context(), "i/never", never, 1); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("Put = %v, want io.ErrNoProgress", err)
	}
	g.clean(t, "a body that gives nothing")
}

// bucketAtOnce puts the same content many times in parallel, in a memory that has just enough for all:
// each must be able to go on with what is its own.
func bucketAtOnce(t *testing.T, g BucketGround) {
	const many = 8
	memory := upload.NewMemory(many * (g.Part + upload.PageSize))
	size := 2*g.Part + 5
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			lease, err := memory.Admit(t.Context(), int64(i), g.Part)
			if err != nil {
				t.Errorf("admit: %v", err)
				return
			}
			body := upload.Body{Reader: content(size), Bound: size, Part: g.Part, Pages: lease}
			if _, err := g.Bucket.Put(t.Context(), fmt.Sprintf("i/%d", i), body, upload.Meta{}); err != nil {
				t.Errorf("Put: %v", err)
			}
			if err := lease.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range many {
		g.holds(t, fmt.Sprintf("i/%d", i), size)
	}
	if left := g.Left(t); len(left) != many {
		t.Errorf("in the bucket: %q", left)
	}
}

func bucketRanges(t *testing.T, g BucketGround) {
	const size = 100_000
	if _, err := g.put(t, t.Context(), "i/ranges", content(size), size); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(content(size))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct{ offset, length int64 }{
		{0, -1}, {0, 0}, {0, 1}, {1, 1}, {0, size}, {99_999, 1}, {99_999, -1}, {50_000, -1}, {50_000, 25_000}, {size, -1}, {size, 0},
	} {
		want := all[r.offset:]
		if r.length >= 0 {
			want = want[:r.length]
		}
		f, o, err := g.Bucket.Open(t.Context(), "i/ranges", r.offset, r.length)
		if err != nil {
			t.Errorf("Open(%d, %d): %v", r.offset, r.length, err)
			continue
		}
		got, err := io.ReadAll(f)
		if err = errors.Join(err, f.Close()); err != nil || !bytes.Equal(got, want) {
			t.Errorf("Open(%d, %d) gave %d bytes (%v), want %d", r.offset, r.length, len(got), err, len(want))
		}
		if o.Size != size || o.Key != "i/ranges" {
			t.Errorf("Open(%d, %d) tells of %+v", r.offset, r.length, o)
		}
	}
	if f, _, err := g.Bucket.Open(t.Context(), "i/ranges", size+1, -1); err == nil {
		_ = f.Close()
		t.Error("Open behind the end: no error")
	}
}

func bucketAbsent(t *testing.T, g BucketGround) {
	if _, err := g.Bucket.Stat(t.Context(), "i/none"); !errors.Is(err, upload.ErrNoObject) {
		t.Errorf("Stat = %v", err)
	}
	for _, length := range []int64{-1, 0, 5} {
		if _, _, err := g.Bucket.Open(t.Context(), "i/none", 0, length); !errors.Is(err, upload.ErrNoObject) {
			t.Errorf("Open(0, %d) = %v", length, err)
		}
	}
	if err := g.Bucket.Delete(t.Context(), "i/none"); err != nil {
		t.Errorf("Delete = %v", err)
	}
}

func bucketDelete(t *testing.T, g BucketGround) {
	for _, key := range []string{"i/a", "i/ab"} {
		if _, err := g.put(t, t.Context(), key, content(10), 10); err != nil {
			t.Fatal(err)
		}
	}
	if g.Begin != nil {
		g.Begin(t, "i/a-begun")
		if err := g.Bucket.Delete(t.Context(), "i/a-begun"); err != nil {
			t.Errorf("Delete of an unfinished upload: %v", err)
		}
	}
	for range 2 {
		if err := g.Bucket.Delete(t.Context(), "i/a"); err != nil {
			t.Errorf("Delete: %v", err)
		}
	}
	if left := g.Left(t); !slices.Equal(left, []string{"i/ab"}) {
		t.Errorf("in the bucket: %q, want what was not deleted", left)
	}
}

func bucketAttic(t *testing.T, g BucketGround) {
	if g.Attic == nil {
		return
	}
	// In the order of their bytes, in which "." < "/" < "0".
	keys := []string{"i/1/a", "i/1/b.c", "i/1/b/c", "i/1/b0", "i/10/a", "i/2/a", "j/1/a"}
	for _, key := range []string{keys[3], keys[0], keys[6], keys[2], keys[1], keys[5], keys[4]} {
		if _, err := g.put(t, t.Context(), key, content(3), 3); err != nil {
			t.Fatal(err)
		}
	}
	for _, list := range []struct {
		prefix, after string
		want          []string
	}{
		{"", "", keys},
		{"i/", "", keys[:6]},
		{"i/1/", "", keys[:4]},
		{"i/1", "", keys[:5]},
		{"i/", "i/1/b.c", keys[2:6]},
		{"i/", "i/1/b/c", keys[3:6]},
		{"i/", "i/1/zz", keys[4:6]},
		{"i/", "i/2/a", nil},
		{"k/", "", nil},
	} {
		var got []string
		for o, err := range g.Attic.Objects(t.Context(), list.prefix, list.after) {
			if err != nil {
				t.Fatalf("Objects(%q, %q): %v", list.prefix, list.after, err)
			}
			if o.Size != 3 || o.Modified.IsZero() {
				t.Errorf("Objects tells of %+v", o)
			}
			got = append(got, o.Key)
		}
		if !slices.Equal(got, list.want) {
			t.Errorf("Objects(%q, %q) = %q, want %q", list.prefix, list.after, got, list.want)
		}
	}
	for _, err := range g.Attic.Objects(t.Context(), "", "") {
		if err != nil {
			t.Error(err)
		}
		break // an early end is the reader's right
	}
	atticUnfinished(t, g)
}

func atticUnfinished(t *testing.T, g BucketGround) {
	g.Begin(t, "i/7/begun")
	g.Begin(t, "j/7/begun")
	var found []upload.Unfinished
	for u, err := range g.Attic.Unfinished(t.Context(), "i/") {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, u)
	}
	if len(found) != 1 || found[0].Key != "i/7/begun" || time.Since(found[0].Begun).Abs() > time.Hour {
		t.Fatalf("Unfinished = %+v, want the one under the prefix", found)
	}
	for range 2 { // the second finds it gone
		if err := g.Attic.Abort(t.Context(), found[0]); err != nil {
			t.Errorf("Abort: %v", err)
		}
	}
	for u, err := range g.Attic.Unfinished(t.Context(), "i/") {
		t.Errorf("Unfinished after Abort = %+v, %v", u, err)
	}
}
