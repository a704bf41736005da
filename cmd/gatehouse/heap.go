package main

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// heapRoom is how far the heap may grow between two collections, however little of it is alive.
	// A gateway keeps a few MiB and makes garbage quickly, so that by Go's own rule (as much again as is
	// alive) it would collect many times a second; docs/performance.md has what that costs a request.
	heapRoom = 24 << 20
	// heapLeast is Go's own GOGC, which is enough as soon as heapRoom is alive, and heapMost the most that
	// is ever asked for: sessions may come quicker than heapEvery.
	heapLeast, heapMost = 100, 400
	// heapEvery is how often the rule is looked at.
	heapEvery = time.Second
)

// breathe gives the collector that room until ctx is done, and then takes it back. Who set GOGC has
// decided himself.
func breathe(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	tick := time.NewTicker(heapEvery)
	defer tick.Stop()
	alive := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	was := heapLeast
	defer func() { debug.SetGCPercent(heapLeast) }()
	for {
		metrics.Read(alive)
		// Setting it stops the world for a moment, so a tenth is not worth it.
		if now := heapPercent(alive[0].Value.Uint64()); math.Abs(float64(now-was)) > heapLeast/10 {
			debug.SetGCPercent(now)
			was = now
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// heapPercent is the GOGC that leaves heapRoom above what is alive, within its bounds.
func heapPercent(alive uint64) int {
	return int(min(heapMost, max(heapLeast, heapRoom*100/max(alive, 1))))
}
