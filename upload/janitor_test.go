package upload_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-auth/gatehouse/upload"
)

// attic is a bucket as the janitor sees it.
type attic struct {
	objects    []upload.Object // in the order of their keys
	unfinished []upload.Unfinished
	aborted    []string
	listed     int              // objects that were yielded
	faults     map[string]error // by key: of Delete and Abort; "": of listing
}

func (a *attic) Delete(_ context.Context, key string) error {
	if err := a.faults[key]; err != nil {
		return err
	}
	a.objects = slices.DeleteFunc(a.objects, func(o upload.Object) bool { return o.Key == key })
	a.unfinished = slices.DeleteFunc(a.unfinished, func(u upload.Unfinished) bool { return u.Key == key })
	return nil
}

func (a *attic) Unfinished(_ context.Context, prefix string) iter.Seq2[upload.Unfinished, error] {
	return func(yield func(upload.Unfinished, error) bool) {
		if prefix != "install/" {
			panic("another installation's keys were asked for: " + prefix)
		}
		if err := a.faults[""]; err != nil {
			yield(upload.Unfinished{}, err)
			return
		}
		for _, u := range slices.Clone(a.unfinished) {
			if !yield(u, nil) {
				return
			}
		}
	}
}

func (a *attic) Abort(_ context.Context, u upload.Unfinished) error {
	if err := a.faults[u.Key]; err != nil {
		return err
	}
	a.aborted = append(a.aborted, u.Key)
	a.unfinished = slices.DeleteFunc(a.unfinished, func(have upload.Unfinished) bool { return have == u })
	return nil
}

func (a *attic) Objects(_ context.Context, _, after string) iter.Seq2[upload.Object, error] {
	return func(yield func(upload.Object, error) bool) {
		if err := a.faults[""]; err != nil {
			yield(upload.Object{}, err)
			return
		}
		for _, o := range a.objects {
			if o.Key > after {
				if a.listed++; !yield(o, nil) {
					return
				}
			}
		}
	}
}

// put makes an object that is old enough to count.
func (a *attic) put(key string) {
	a.objects = append(a.objects, upload.Object{Key: key, Modified: time.Now().Add(-time.Hour)})
	slices.SortFunc(a.objects, func(a, b upload.Object) int { return cmp.Compare(a.Key, b.Key) })
}

func (a *attic) begun(key string, ago time.Duration) {
	a.unfinished = append(a.unfinished, upload.Unfinished{Key: key, ID: "id of " + key, Begun: time.Now().Add(-ago)})
}

// remains are rows with an age of their own.
type remains struct {
	rows  map[string]*remnant // by key, which is the id too
	fault error
}

type remnant struct {
	state         upload.State
	beat, cleared time.Time
}

func (r *remains) Claim(_ context.Context, stale time.Duration, limit int) (n int, err error) {
	for _, row := range r.rows {
		if n < limit && row.state == upload.Pending && time.Since(row.beat) >= stale {
			row.state = upload.Doomed
			n++
		}
	}
	return n, r.fault
}

func (r *remains) Doomed(_ context.Context, stale time.Duration, limit int) (files []upload.File, err error) {
	for _, key := range slices.Sorted(maps.Keys(r.rows)) {
		if row := r.rows[key]; len(files) < limit && row.state == upload.Doomed && (row.cleared.IsZero() || time.Since(row.cleared) >= stale) {
			files = append(files, upload.File{ID: key, Key: key, State: upload.Doomed})
		}
	}
	return files, r.fault
}

func (r *remains) Cleared(_ context.Context, id string, stale time.Duration) error {
	row := r.rows[id]
	switch {
	case row == nil || row.state != upload.Doomed:
		return errors.New("cleared what is not doomed: " + id)
	case row.cleared.IsZero():
		row.cleared = time.Now()
	case time.Since(row.cleared) >= stale:
		delete(r.rows, id)
	}
	return r.fault
}

func (r *remains) Known(_ context.Context, keys []string) (map[string]upload.State, error) {
	known := map[string]upload.State{}
	for _, key := range keys {
		if row := r.rows[key]; row != nil {
			known[key] = row.state
		}
	}
	return known, r.fault
}

// cellar is a janitor with what he looks after.
func cellar() (*attic, *remains, *upload.Janitor) {
	a, r := &attic{faults: map[string]error{}}, &remains{rows: map[string]*remnant{}}
	return a, r, upload.NewJanitor(upload.JanitorParts{Attic: a, Rows: r, Prefix: "install/"})
}

func sweep(t *testing.T, j *upload.Janitor, want upload.Swept) {
	t.Helper()
	got, err := j.Sweep(t.Context())
	if err != nil || got != want {
		t.Errorf("Sweep = %+v, %v, want %+v", got, err, want)
	}
}

// RULE-22: a pending file is given up once its beat is 15 minutes old, its object is removed twice,
// and what a suspended process puts there in between goes with the second time.
func TestJanitorGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, r, j := cellar()
		const key = "install/1/f"
		r.rows[key] = &remnant{state: upload.Pending, beat: time.Now()}
		r.rows["install/1/kept"] = &remnant{state: upload.Kept}
		a.put("install/1/kept")
		a.put(key)
		a.begun(key, time.Hour)
		time.Sleep(14 * time.Minute)
		sweep(t, j, upload.Swept{Whole: true}) // RULE-22: it is alive
		if len(a.objects) != 2 || len(a.unfinished) != 1 {
			t.Fatalf("what a live upload needs is gone: %+v", a)
		}
		time.Sleep(time.Minute)
		sweep(t, j, upload.Swept{Claimed: 1, Removed: 1, Whole: true})
		if len(a.objects) != 1 || len(a.unfinished) != 0 {
			t.Errorf("left: %+v", a)
		}
		sweep(t, j, upload.Swept{Whole: true})
		a.put(key) // the process wakes up and finishes its Put
		time.Sleep(15 * time.Minute)
		sweep(t, j, upload.Swept{Removed: 1, Whole: true})
		if len(a.objects) != 1 || len(r.rows) != 1 {
			t.Errorf("objects %+v, rows %v, want the kept one alone", a.objects, r.rows)
		}
	})
}

// RULE-22: unfinished uploads without a row that could want them end; those of live ones, and those
// that are young, do not.
func TestJanitorAborts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, r, j := cellar()
		for key, state := range map[string]upload.State{"live": upload.Pending, "kept": upload.Kept, "doomed": upload.Doomed} {
			r.rows["install/"+key] = &remnant{state: state, beat: time.Now(), cleared: time.Now()}
			a.begun("install/"+key, time.Hour)
		}
		a.begun("install/lost", time.Hour)
		a.begun("install/young", time.Minute)
		sweep(t, j, upload.Swept{Aborted: 3, Whole: true})
		slices.Sort(a.aborted)
		if want := []string{"install/doomed", "install/kept", "install/lost"}; !slices.Equal(a.aborted, want) {
			t.Errorf("aborted %v, want %v", a.aborted, want)
		}
	})
}

// RULE-22: finished objects without a row are counted and never deleted, a thousand a sweep.
func TestJanitorCountsOrphans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, r, j := cellar()
		for i := range 2500 {
			key := fmt.Sprintf("install/%04d", i)
			a.put(key)
			if i%100 != 0 {
				r.rows[key] = &remnant{state: upload.Kept}
			}
		}
		a.objects = append(a.objects, upload.Object{Key: "install/9", Modified: time.Now()}) // its row may have gone just now
		for range 2 {                                                                        // and again from the beginning
			a.listed = 0
			sweep(t, j, upload.Swept{Orphans: 10})
			if a.listed > 1200 {
				t.Errorf("one sweep listed %d objects", a.listed)
			}
			sweep(t, j, upload.Swept{Orphans: 20})
			sweep(t, j, upload.Swept{Orphans: 25, Whole: true})
		}
		if len(a.objects) != 2501 {
			t.Errorf("%d objects are left of 2501", len(a.objects))
		}
	})
}

// UP-11: an outage costs the sweeps that fall into it, and one object that cannot be removed does not
// keep the others.
func TestJanitorOutages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, r, j := cellar()
		for _, key := range []string{"install/a", "install/b", "install/c"} {
			r.rows[key] = &remnant{state: upload.Doomed}
			a.put(key)
		}
		locked := errors.New("locked")
		a.faults["install/b"] = locked
		if got, err := j.Sweep(t.Context()); !errors.Is(err, locked) || got.Removed != 2 || !got.Whole {
			t.Errorf("Sweep = %+v, %v, want two removed and the fault of the third", got, err)
		}
		a.faults = map[string]error{"": upload.ErrUnavailable}
		if got, err := j.Sweep(t.Context()); !errors.Is(err, upload.ErrUnavailable) || got.Removed != 1 || got.Whole {
			t.Errorf("Sweep = %+v, %v, want one removed and ErrUnavailable", got, err)
		}
		a.faults = map[string]error{}
		r.fault = errors.New("database away")
		if _, err := j.Sweep(t.Context()); !errors.Is(err, r.fault) {
			t.Errorf("Sweep: %v, want the database's fault", err)
		}
		r.fault = nil
		sweep(t, j, upload.Swept{Whole: true})
	})
}

// UP-11: what can never be removed keeps nothing else for ever, however much of it there is.
func TestJanitorHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, r, j := cellar()
		held := errors.New("under a legal hold")
		for i := range 60 {
			key := fmt.Sprintf("install/%02d", i)
			r.rows[key] = &remnant{state: upload.Doomed}
			a.put(key)
			if i < 30 {
				a.faults[key] = held
			}
		}
		for n := range 6 {
			a.begun(fmt.Sprintf("install/lost%d", n), time.Hour)
		}
		a.faults["install/lost1"] = held
		for range 100 {
			if _, err := j.Sweep(t.Context()); !errors.Is(err, held) {
				t.Fatalf("Sweep: %v, want what cannot be removed", err)
			} else if n := strings.Count(err.Error(), "legal hold"); n > 2 {
				t.Fatalf("Sweep: %v: one reason is told %d times", err, n)
			}
		}
		if len(a.objects) != 30 || len(a.aborted) != 5 {
			t.Errorf("%d objects are left and %d uploads were aborted, want the 30 that are held, and all but one", len(a.objects), len(a.aborted))
		}
	})
}

func TestJanitorRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, r := &attic{}, &remains{rows: map[string]*remnant{}}
		told := 0
		j := upload.NewJanitor(upload.JanitorParts{Attic: a, Rows: r, Prefix: "install/", Told: func(_ upload.Swept, err error) {
			told++
			if err != nil {
				t.Errorf("told of %v", err)
			}
		}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		j.Run(ctx)
		if told < 40 || told > 121 {
			t.Errorf("%d sweeps in an hour", told)
		}
	})
}
