package upload_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/gatehouse-auth/gatehouse/upload"
)

// gone is a context that is over: a Take with it succeeds only if there is a page at once.
func gone() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// lessee is a lease as a test knows it.
type lessee struct {
	*upload.Lease
	user  int64
	own   int // pages reserved
	pages []*upload.Page
}

// RULE-23: whatever uploads do in whatever order, they never have more than the budget, and every one
// that was admitted can take its own pages at once.
func TestMemoryNeverExceedsItsBudget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total := rapid.IntRange(2, 24).Draw(t, "pages")
		m := upload.NewMemory(int64(total) * mib)
		var all []*lessee
		counted := func() (n int) {
			for _, l := range all {
				n += max(l.own, len(l.pages))
			}
			return n
		}
		pick := func(t *rapid.T) *lessee {
			if len(all) == 0 {
				return nil
			}
			return rapid.SampledFrom(all).Draw(t, "lease")
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				held, reserved := 0, 0
				seen := map[*upload.Page]bool{}
				for _, l := range all {
					held, reserved = held+len(l.pages), reserved+l.own
					for _, p := range l.pages {
						if seen[p] {
							t.Fatal("two leases hold one page")
						}
						seen[p] = true
					}
				}
				h, r := m.InUse()
				if h != int64(held)*mib || r != int64(reserved)*mib {
					t.Fatalf("InUse = %d, %d, want %d and %d pages", h/mib, r/mib, held, reserved)
				}
				if counted() > total {
					t.Fatalf("%d pages of %d are out", counted(), total)
				}
			},
			"admit": func(t *rapid.T) {
				user := rapid.Int64Range(1, 3).Draw(t, "user")
				part := rapid.Int64Range(0, int64(total)*mib).Draw(t, "part")
				own, has := int((part+mib-1)/mib)+1, 0
				for _, l := range all {
					if l.user == user {
						has += l.own
					}
				}
				l, err := m.Admit(gone(), user, part)
				fits := counted()+own <= total && (has == 0 || has+own <= total/4)
				if fits != (err == nil) {
					t.Fatalf("Admit of %d pages to one who has %d, beside %d of %d: %v", own, has, counted(), total, err)
				}
				if err == nil {
					all = append(all, &lessee{Lease: l, user: user, own: own})
				}
			},
			"take": func(t *rapid.T) {
				l := pick(t)
				if l == nil {
					return
				}
				p, err := l.Take(gone())
				if there := len(l.pages) < l.own || counted() < total; there != (err == nil) {
					t.Fatalf("Take of one who holds %d of %d own, beside %d of %d: %v", len(l.pages), l.own, counted(), total, err)
				}
				if err == nil {
					p[0], p[upload.PageSize-1] = 1, 1
					l.pages = append(l.pages, p)
				}
			},
			"give": func(t *rapid.T) {
				l := pick(t)
				if l == nil || len(l.pages) == 0 {
					return
				}
				l.Give(l.pages[0])
				l.pages = l.pages[1:]
			},
			"close": func(t *rapid.T) {
				l := pick(t)
				if l == nil {
					return
				}
				if err := l.Close(); (err == nil) != (len(l.pages) == 0) {
					t.Fatalf("Close of one who holds %d: %v", len(l.pages), err)
				}
				if _, err := l.Take(gone()); err == nil {
					t.Fatal("a closed lease gave a page")
				}
				for _, p := range l.pages { // late, but given back
					l.Give(p)
				}
				all = slices.DeleteFunc(all, func(o *lessee) bool { return o == l })
			},
		})
	})
}

// Uploads that fill and send parts at the same time, of all sizes, all come to an end.
func TestMemoryHasNoDeadlock(t *testing.T) {
	m := upload.NewMemory(16 * mib)
	var held atomic.Int64
	var all sync.WaitGroup
	for n := range 40 {
		all.Go(func() {
			part := int64(1+n%5) * mib
			var l *upload.Lease
			var err error
			for l == nil { // whoever was told to come again comes again
				if l, err = m.Admit(t.Context(), int64(n%7), part); err != nil && !errors.Is(err, upload.ErrBusy) {
					t.Errorf("Admit: %v", err)
					return
				}
			}
			var sending sync.WaitGroup
			for range 6 {
				var pages []*upload.Page
				for range part / mib {
					p, err := l.Take(t.Context())
					if err != nil {
						t.Errorf("Take: %v", err)
						return
					}
					if held.Add(1) > 16 {
						t.Error("more pages are out than there are")
					}
					pages = append(pages, p)
				}
				sending.Go(func() { // as S3 takes a part while the next is filled
					for _, p := range pages {
						held.Add(-1)
						l.Give(p)
					}
				})
			}
			sending.Wait()
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if held, reserved := m.InUse(); held != 0 || reserved != 0 {
		t.Errorf("%d bytes held and %d reserved at the end", held, reserved)
	}
}

func TestMemoryServesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := upload.NewMemory(8 * mib)
		fast, err := m.Admit(t.Context(), 1, mib) // two pages
		if err != nil {
			t.Fatal(err)
		}
		var pages []*upload.Page
		for range 7 { // of which five are lent
			p, err := fast.Take(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			pages = append(pages, p)
		}
		var order []string
		var all sync.WaitGroup
		var waits *upload.Lease
		all.Go(func() { // needs three: there is one
			if waits, err = m.Admit(t.Context(), 2, 2*mib); err != nil {
				t.Error(err)
			}
			order = append(order, "admitted")
		})
		synctest.Wait()
		all.Go(func() { // would fit, but came later
			p, err := fast.Take(t.Context())
			if err != nil {
				t.Error(err)
			}
			order = append(order, "lent")
			fast.Give(p)
		})
		synctest.Wait()
		if len(order) != 0 {
			t.Fatalf("%v before there was room: a loan must not overtake who waits to be admitted", order)
		}
		for i := range 3 {
			fast.Give(pages[i])
			synctest.Wait()
		}
		all.Wait()
		if !slices.Equal(order, []string{"admitted", "lent"}) {
			t.Errorf("served in the order %v", order)
		}
		for _, p := range pages[3:] {
			fast.Give(p)
		}
		for _, l := range []*upload.Lease{fast, waits} {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestMemoryOfOneUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := upload.NewMemory(16 * mib)
		admit := func(user, part int64) (*upload.Lease, time.Duration, error) {
			start := time.Now()
			l, err := m.Admit(t.Context(), user, part)
			return l, time.Since(start), err
		}
		greedy, _, err := admit(1, 9*mib) // more than a quarter, but the first
		if err != nil {
			t.Fatalf("RULE-23: one upload is always allowed: %v", err)
		}
		if _, took, err := admit(1, mib); !errors.Is(err, upload.ErrBusy) || took < time.Second {
			t.Errorf("RULE-23: a second of one who has more than a quarter: %v after %v, want ErrBusy after a while", err, took)
		}
		done := make(chan struct{})
		go func() { defer close(done); _, _, _ = admit(1, mib) }()
		synctest.Wait()
		other, took, err := admit(2, mib)
		if err != nil || took != 0 {
			t.Errorf("RULE-23: another user waits %v behind one above his share: %v", took, err)
		}
		<-done
		if _, took, err := admit(3, 16*mib); err == nil || errors.Is(err, upload.ErrBusy) || took != 0 {
			t.Errorf("a part that never fits: %v after %v, want an error at once", err, took)
		}
		for _, l := range []*upload.Lease{greedy, other} {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// A bucket that is stuck must not hold those who wait for a page longer than their context lives.
func TestTakeEndsWithItsContext(t *testing.T) {
	m := upload.NewMemory(2 * mib)
	l, err := m.Admit(t.Context(), 1, mib)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := l.Take(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(10*time.Millisecond, func() { cancel(errFake) })
	if _, err := l.Take(ctx); !errors.Is(err, errFake) {
		t.Errorf("Take: %v, want the cause of its context", err)
	}
}
