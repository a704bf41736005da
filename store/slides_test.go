package store

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// scribe writes slides down instead of into a database, and says how often and how many.
type scribe struct {
	mu     sync.Mutex
	sizes  []int
	ats    []time.Time
	atOnce atomic.Int32
	took   time.Duration
	err    error
}

func (s *scribe) write(ctx context.Context, at time.Time, ttl time.Duration, keys []auth.Key) (map[auth.Key]time.Time, error) {
	if s.atOnce.Add(1) > 1 {
		panic("two statements at once")
	}
	defer s.atOnce.Add(-1)
	select {
	case <-time.After(s.took):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sizes, s.ats = append(s.sizes, len(keys)), append(s.ats, at)
	ends := map[auth.Key]time.Time{}
	for _, k := range keys {
		ends[k] = at.Add(ttl)
	}
	return ends, s.err
}

// crowd slides n sessions at once and returns what each was told.
func crowd(ctx context.Context, s *slides, n int, ttl time.Duration) (told []error) {
	told = make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { _, told[i] = s.slide(ctx, storetest.NewKey(), ttl) })
	}
	all.Wait()
	return told
}

// sliding runs a test with a clock that goes only while everybody waits.
func sliding(t *testing.T, name string, test func(t *testing.T, s *slides, w *scribe)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := &scribe{}
			s := newSlides(w.write)
			defer s.close()
			test(t, s, w)
		})
	})
}

func TestSlidesGather(t *testing.T) {
	t.Parallel()
	sliding(t, "one statement for those of a moment", func(t *testing.T, s *slides, w *scribe) {
		began := time.Now()
		if err := errors.Join(crowd(t.Context(), s, 300, time.Hour)...); err != nil {
			t.Fatal(err)
		}
		if len(w.sizes) != 1 || w.sizes[0] != 300 || time.Since(began) != slideWait {
			t.Errorf("statements of %v keys after %v, want one of 300 after %v", w.sizes, time.Since(began), slideWait)
		}
		if !w.ats[0].Equal(began) {
			t.Errorf("noted as used at %v, want when the first of them was", w.ats[0])
		}
	})
	sliding(t, "a full one does not wait", func(t *testing.T, s *slides, w *scribe) {
		began := time.Now()
		crowd(t.Context(), s, 3*slideMost, time.Hour)
		if len(w.sizes) != 3 || time.Since(began) != 0 {
			t.Errorf("statements of %v keys after %v, want three at once", w.sizes, time.Since(began))
		}
	})
	sliding(t, "the same key counts once", func(t *testing.T, s *slides, w *scribe) {
		k := storetest.NewKey()
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if end, err := s.slide(t.Context(), k, time.Hour); err != nil || end.IsZero() {
					t.Errorf("slide = %v, %v", end, err)
				}
			})
		}
		all.Wait()
		if len(w.sizes) != 1 || w.sizes[0] != 1 {
			t.Errorf("statements of %v keys, want one of one", w.sizes)
		}
	})
	sliding(t, "a slow database gets fewer and larger ones", func(t *testing.T, s *slides, w *scribe) {
		w.took = time.Second
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() { crowd(t.Context(), s, 10, time.Hour) })
			time.Sleep(slideWait)
		}
		all.Wait()
		if len(w.sizes) != 2 || w.sizes[0]+w.sizes[1] != 200 {
			t.Errorf("statements of %v keys, want two of 200", w.sizes)
		}
	})
	sliding(t, "each session.ttl has its own", func(t *testing.T, s *slides, w *scribe) {
		for _, ttl := range []time.Duration{time.Hour, time.Minute} {
			go crowd(t.Context(), s, 2, ttl)
			synctest.Wait()
		}
		time.Sleep(slideWait)
		synctest.Wait()
		if len(w.sizes) != 2 {
			t.Errorf("statements of %v keys, want two of two", w.sizes)
		}
	})
}

func TestSlidesTell(t *testing.T) {
	t.Parallel()
	fault := errors.New("the disk is full")
	sliding(t, "everybody hears of a failure", func(t *testing.T, s *slides, w *scribe) {
		w.err = fault
		for _, err := range crowd(t.Context(), s, 20, time.Hour) {
			if !errors.Is(err, fault) {
				t.Fatalf("slide: %v, want the fault", err)
			}
		}
	})
	sliding(t, "a database that hangs", func(t *testing.T, s *slides, w *scribe) {
		w.took = time.Hour
		if err := crowd(t.Context(), s, 1, time.Hour)[0]; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("slide: %v, want a deadline", err)
		}
	})
	sliding(t, "a caller that leaves spoils nothing", func(t *testing.T, s *slides, w *scribe) {
		w.took = time.Second
		gone, cancel := context.WithTimeout(t.Context(), slideWait/2)
		defer cancel()
		first := make(chan error, 1)
		go func() { first <- crowd(gone, s, 1, time.Hour)[0] }()
		synctest.Wait()
		if err := crowd(t.Context(), s, 1, time.Hour)[0]; err != nil {
			t.Errorf("who came second was told %v", err)
		}
		if err := <-first; !errors.Is(err, context.DeadlineExceeded) || len(w.sizes) != 1 || w.sizes[0] != 2 {
			t.Errorf("who left was told %v, statements of %v keys", err, w.sizes)
		}
		if err := crowd(gone, s, 1, time.Hour)[0]; err == nil || s.open != nil {
			t.Errorf("who had left before was told %v", err)
		}
	})
	sliding(t, "closing writes at once, and nothing after", func(t *testing.T, s *slides, w *scribe) {
		began, told := time.Now(), make(chan []error, 1)
		go func() { told <- crowd(t.Context(), s, 5, time.Hour) }()
		synctest.Wait()
		s.close()
		if err := errors.Join(<-told...); err != nil || time.Since(began) != 0 || len(w.sizes) != 1 || w.sizes[0] != 5 {
			t.Errorf("told %v after %v, statements of %v keys", err, time.Since(began), w.sizes)
		}
		if err := crowd(t.Context(), s, 1, time.Hour)[0]; !errors.Is(err, errClosed) {
			t.Errorf("after close: %v, want errClosed", err)
		}
	})
}
