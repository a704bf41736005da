package storetest

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/upload"
)

// Remains runs the suite of upload.Remains. Each subtest opens an empty store. What is stale after
// nothing is everything, and what is stale after an hour is nothing: no test waits.
func Remains(t *testing.T, open func(*testing.T) FilesGround) {
	for name, test := range map[string]func(*testing.T, FilesGround){
		"RULE-22/claim":               remainsClaim,
		"RULE-22/claim, many at once": remainsClaimRace,
		"RULE-22/late settle":         remainsLateSettle,
		"RULE-22/cleared twice":       remainsCleared,
		"RULE-22/known":               remainsKnown,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

const always, never = 0, time.Hour

func (g FilesGround) wantClaimed(t *testing.T, stale time.Duration, want int) {
	t.Helper()
	if n, err := g.Remains.Claim(t.Context(), stale, 10); err != nil || n != want {
		t.Errorf("Claim after %v = %d, %v, want %d", stale, n, err, want)
	}
}

func (g FilesGround) wantDoomed(t *testing.T, stale time.Duration, want ...string) {
	t.Helper()
	files, err := g.Remains.Doomed(t.Context(), stale, 10)
	var got []string
	for _, f := range files {
		got = append(got, f.Key)
		if f.State != upload.Doomed {
			t.Errorf("Doomed has %+v", f)
		}
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("Doomed = %v, %v, want %v", got, err, want)
	}
}

func remainsClaim(t *testing.T, g FilesGround) {
	u := g.addUser(t, "alice@corp.test")
	g.keep(t, u, 1)
	f := g.begin(t, u, 1)
	g.wantClaimed(t, never, 0) // it is alive
	g.wantClaimed(t, always, 1)
	g.wantClaimed(t, always, 0) // and what is kept stays
	g.wantDoomed(t, never, f.Key)
	g.wantUsage(t, u, upload.Quota{Bytes: 1, Files: 1})
	for range 3 {
		g.begin(t, u, 1)
	}
	if n, err := g.Remains.Claim(t.Context(), always, 2); err != nil || n != 2 {
		t.Errorf("Claim of at most 2 = %d, %v", n, err)
	}
}

func remainsClaimRace(t *testing.T, g FilesGround) {
	u := g.addUser(t, "alice@corp.test")
	for range 20 {
		g.begin(t, u, 1)
	}
	var all sync.WaitGroup
	var claimed atomic.Int64
	for range 4 {
		all.Go(func() {
			for range 10 {
				n, err := g.Remains.Claim(t.Context(), always, 3)
				if err != nil {
					t.Errorf("Claim: %v", err)
				}
				claimed.Add(int64(n))
			}
		})
	}
	all.Wait()
	if claimed.Load() != 20 {
		t.Errorf("20 files were claimed %d times", claimed.Load())
	}
}

func remainsLateSettle(t *testing.T, g FilesGround) {
	u := g.addUser(t, "alice@corp.test")
	f := g.begin(t, u, 1)
	g.wantClaimed(t, always, 1)
	wantErr(t, "Beat", g.Files.Beat(t.Context(), f.ID, 1, upload.Quota{}), upload.ErrNoFile)
	wantErr(t, "Settle", g.Files.Settle(t.Context(), settled(f, 1)), upload.ErrNoFile)
}

func remainsCleared(t *testing.T, g FilesGround) {
	u := g.addUser(t, "alice@corp.test")
	f, kept := g.begin(t, u, 1), g.keep(t, u, 1)
	clear := func(id string, stale time.Duration) {
		t.Helper()
		if err := g.Remains.Cleared(t.Context(), id, stale); err != nil {
			t.Fatalf("Cleared: %v", err)
		}
	}
	clear(f.ID, always) // neither is doomed: nothing happens
	clear(kept.ID, always)
	if err := g.Files.Doom(t.Context(), f.ID); err != nil {
		t.Fatal(err)
	}
	clear(f.ID, never)
	g.wantDoomed(t, never) // cleared, and not due again for an hour
	clear(f.ID, never)     // two janitors at once
	g.wantDoomed(t, always, f.Key)
	if known, err := g.Remains.Known(t.Context(), []string{f.Key}); err != nil || known[f.Key] != upload.Doomed {
		t.Errorf("Known = %v, %v: the row went too early", known, err)
	}
	clear(f.ID, always)
	g.wantDoomed(t, always)
	if known, err := g.Remains.Known(t.Context(), []string{f.Key}); err != nil || len(known) != 0 {
		t.Errorf("Known = %v, %v: the row is still there", known, err)
	}
	clear(f.ID, always) // by another janitor, once more
	if _, err := g.Shelf.File(t.Context(), kept.ID); err != nil {
		t.Errorf("a kept file is gone: %v", err)
	}
}

func remainsKnown(t *testing.T, g FilesGround) {
	u := g.addUser(t, "alice@corp.test")
	kept, pending, doomed := g.keep(t, u, 1), g.begin(t, u, 1), g.begin(t, u, 1)
	if err := g.Files.Doom(t.Context(), doomed.ID); err != nil {
		t.Fatal(err)
	}
	// A bucket may hold keys that we did not make.
	known, err := g.Remains.Known(t.Context(), []string{kept.Key, pending.Key, doomed.Key, "", "absent", "a\x00b", "\xff", "'"})
	if err != nil || len(known) != 3 || known[kept.Key] != upload.Kept || known[pending.Key] != upload.Pending || known[doomed.Key] != upload.Doomed {
		t.Errorf("Known = %v, %v", known, err)
	}
	if known, err := g.Remains.Known(t.Context(), nil); err != nil || len(known) != 0 {
		t.Errorf("Known of no keys = %v, %v", known, err)
	}
}
