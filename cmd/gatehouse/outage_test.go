package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-auth/gatehouse/web"
)

// An outage is one line when it begins and one when it is over, however long it lasts.
func TestOutageLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := new(lines)
		log, err := web.NewLog(out, "warn", "json")
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex // of the two below
		var down error
		up := map[string]bool{}
		guarded := func(f func()) { mu.Lock(); defer mu.Unlock(); f() }
		h := &health{probes: []probe{
			{"redis", "the database answers", func(context.Context) error { mu.Lock(); defer mu.Unlock(); return down }},
			{"database", "", func(context.Context) error { return nil }},
		}}
		ctx, cancel := context.WithCancel(t.Context())
		go newOutages(log.Logger, func(part string, fault error) { guarded(func() { up[part] = fault == nil }) }).watch(ctx, h)
		wait := func(d time.Duration) (text string, well bool) {
			time.Sleep(d)
			synctest.Wait()
			guarded(func() { well = up["redis"] && up["database"] })
			return out.String(), well
		}
		if text, well := wait(10 * time.Second); text != "" || !well {
			t.Errorf("all is well: %v; the log says %s", well, text)
		}
		guarded(func() { down = errors.New("connection refused") })
		if text, well := wait(time.Hour); strings.Count(text, "\n") != 1 || !strings.Contains(text, `"msg":"cannot be asked","part":"redis","meanwhile":"the database answers","error":"connection refused"`) || well {
			t.Errorf("an hour of outage: well %v, the log says %s", well, text)
		}
		guarded(func() { down = nil })
		if text, well := wait(10 * time.Second); strings.Count(text, "\n") != 2 || !strings.Contains(text, `"msg":"can be asked again","part":"redis","away":"1h0m0s"`) || !well {
			t.Errorf("it is back: well %v, the log says %s", well, text)
		}
		guarded(func() { down = errors.New("connection refused") })
		cancel() // nothing is said of what fails because the process stops
		synctest.Wait()
		if n := strings.Count(out.String(), "\n"); n != 2 {
			t.Errorf("%d lines after the end", n)
		}
	})
}

// The provider is somebody else's server: it is not asked for every probe.
func TestSparing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		look := sparing(func(ctx context.Context) error { asked++; return ctx.Err() })
		left, cancel := context.WithCancel(t.Context())
		cancel()
		if err := look(left); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller that left: %v", err)
		}
		for range 5 {
			if err := look(t.Context()); err != nil {
				t.Errorf("what came of a caller that left was taken for an answer: %v", err)
			}
		}
		time.Sleep(spareFor)
		if err := look(t.Context()); err != nil || asked != 3 {
			t.Errorf("asked %d times, %v; want 3 and no error", asked, err)
		}
	})
}
