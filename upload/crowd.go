package upload

import (
	"context"
	"sync"
	"time"
)

// crowd is the uploads under way. While somebody waits for memory, the slowest of them may be cut
// (RULE-23): whoever opens a hundred uploads and trickles would otherwise keep everybody out.
type crowd struct {
	mu  sync.Mutex
	all map[*inflow]int64 // and whose each is
}

// pressEvery is after how long a wait for memory the slowest upload is cut, and then the next.
const pressEvery = time.Second

// enter notes an upload, until the function that it returns is called.
func (c *crowd) enter(f *inflow, user int64) (leave func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[*inflow]int64{}
	}
	c.all[f] = user
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.all, f)
	}
}

// cut ends the slowest upload, if it is slower than a rate. Of whose uploads, among says.
func (c *crowd) cut(rate float64, among func(user int64) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var slowest *inflow
	for f, user := range c.all {
		if !among(user) {
			continue
		}
		if r, known := f.rate(); known && r < rate {
			slowest, rate = f, r
		}
	}
	if slowest != nil {
		delete(c.all, slowest)
		go slowest.cut(errCrowded) // which may wait for that connection's locks
	}
}

// admit reserves memory for an upload. The longer it waits, the faster the others have to be: twice
// the minimum rate after a second, four times after two, and so on. A user who waits because of what
// he has himself is no burden to others: then it is his own uploads that are looked at.
func (u *Uploader) admit(ctx context.Context, user, part int64) (*Lease, error) {
	var late []*time.Timer
	for n := 1; time.Duration(n)*pressEvery < admitLimit; n++ {
		late = append(late, time.AfterFunc(time.Duration(n)*pressEvery, func() {
			own := u.parts.Memory.crowds(user, part)
			u.crowd.cut(float64(u.limits.MinRate<<n), func(other int64) bool { return !own || other == user })
		}))
	}
	defer func() {
		for _, t := range late {
			t.Stop()
		}
	}()
	return u.parts.Memory.Admit(ctx, user, part)
}
