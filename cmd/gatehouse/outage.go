package main

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// lookEvery is how often the parts are looked at for the log and the metrics. An outage is two
	// lines there, however many requests it meets.
	lookEvery = time.Second
	// spareFor is how long an answer about the provider is believed: it is somebody else's server.
	spareFor = 10 * time.Second
)

// outages tells the log when a part goes away and when it is back.
type outages struct {
	log   *slog.Logger
	note  func(part string, fault error) // for the metrics
	since map[string]time.Time           // by part, while it is away
}

func newOutages(log *slog.Logger, note func(string, error)) *outages {
	return &outages{log: log, note: note, since: map[string]time.Time{}}
}

// watch looks at every part until ctx is done.
func (o *outages) watch(ctx context.Context, h *health) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		faults := h.look(ctx)
		if ctx.Err() != nil {
			return // what failed now failed because we stop
		}
		for i, p := range h.probes {
			o.judge(p, faults[i], time.Now())
		}
	}
}

// judge writes a line if the part was otherwise when it was looked at before. Both lines are
// warnings, so that whoever sees the one sees the other.
func (o *outages) judge(p probe, fault error, now time.Time) {
	o.note(p.name, fault)
	since, away := o.since[p.name]
	switch {
	case fault != nil && !away:
		o.since[p.name] = now
		o.log.Warn("cannot be asked", "part", p.name, "meanwhile", p.without, "error", fault)
	case fault == nil && away:
		delete(o.since, p.name)
		o.log.Warn("can be asked again", "part", p.name, "away", now.Sub(since).Round(lookEvery/10).String())
	}
}

// sparing asks no more than once in spareFor and gives the last answer meanwhile. What came of a
// caller that left is no answer.
func sparing(look func(context.Context) error) func(context.Context) error {
	var mu sync.Mutex
	var asked time.Time
	var last error
	return func(ctx context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		if !asked.IsZero() && time.Since(asked) < spareFor {
			return last
		}
		err := look(ctx)
		if context.Cause(ctx) != context.Canceled { //nolint:errorlint // the very value: a deadline is an answer
			asked, last = time.Now(), err
		}
		return err
	}
}
