package main

import (
	"context"
	"runtime/debug"
	"testing"
	"testing/synctest"
)

func TestHeapPercent(t *testing.T) {
	for name, one := range map[string]struct {
		alive uint64
		want  int
	}{
		"before the first collection": {0, heapMost},
		"next to nothing":             {1 << 20, heapMost},
		"a gateway at rest":           {8 << 20, 300},
		"as much as the room":         {heapRoom, heapLeast},
		"many sessions":               {1 << 30, heapLeast},
	} {
		if got := heapPercent(one.alive); got != one.want {
			t.Errorf("%s: %d %%, want %d %%", name, got, one.want)
		}
	}
}

// Who sets GOGC is not overruled, and what was set for a while is set back.
func TestBreathe(t *testing.T) {
	during := func(t *testing.T) int {
		ctx, stop := context.WithCancel(t.Context())
		over := make(chan struct{})
		go func() { breathe(ctx); close(over) }()
		synctest.Wait()
		percent := debug.SetGCPercent(heapLeast)
		debug.SetGCPercent(percent)
		stop()
		<-over
		return percent
	}
	t.Setenv("GOGC", "100")
	synctest.Test(t, func(t *testing.T) {
		if got := during(t); got != heapLeast {
			t.Errorf("with GOGC=100: %d %%", got)
		}
	})
	t.Setenv("GOGC", "")
	synctest.Test(t, func(t *testing.T) {
		debug.SetGCPercent(heapLeast)
		if got := during(t); got <= heapLeast {
			t.Errorf("without GOGC: %d %%", got)
		}
		if after := debug.SetGCPercent(heapLeast); after != heapLeast {
			t.Errorf("afterwards: %d %%", after)
		}
	})
}
