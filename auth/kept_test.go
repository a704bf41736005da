package auth_test

import (
	"sync"
	"testing"

	"github.com/gatehouse-auth/gatehouse/auth"
)

func TestKept(t *testing.T) {
	before, after := new(int), new(int) // the makers: those of a front, and of the next one
	var none *auth.Kept
	none.Keep(before, "x")
	if got := none.By(before); got != nil {
		t.Errorf("a nil Kept kept %v", got)
	}
	one := auth.Session{Kept: new(auth.Kept)}
	copied := one
	if got := one.Kept.By(before); got != nil {
		t.Errorf("before anything was kept: %v", got)
	}
	one.Kept.Keep(before, "old")
	if got := copied.Kept.By(before); got != "old" {
		t.Errorf("a copy of the snapshot has %v", got)
	}
	if got := one.Kept.By(after); got != nil {
		t.Errorf("RULE-17: after a reload there is %v, made by what was before it", got)
	}
	one.Kept.Keep(after, "new")
	if old, now := one.Kept.By(before), one.Kept.By(after); old != nil || now != "new" {
		t.Errorf("got %v and %v", old, now)
	}
}

// Whoever builds at the same time builds the same: which of them stays does not matter, but nobody ever
// sees one maker's thing as another's.
func TestKeptByManyAtOnce(t *testing.T) {
	makers := []*int{new(int), new(int), new(int)}
	kept := new(auth.Kept)
	var all sync.WaitGroup
	for i, maker := range makers {
		all.Go(func() {
			for range 1000 {
				if got := kept.By(maker); got != nil && got != i {
					t.Errorf("%d got %v", i, got)
				}
				kept.Keep(maker, i)
			}
		})
	}
	all.Wait()
}
