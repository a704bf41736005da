package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/gatehouse-auth/gatehouse/test/stage"
)

// How many there are of whom.
const (
	comers  = 6 // sign in, work, and have their session ended
	keepers = 3 // stay signed in from the beginning to the end
	senders = 2 // send files
)

const (
	// haunted is for how long an ended session is tried still.
	haunted = 8 * time.Second
	pause   = 60 * time.Millisecond
)

// emails are those of all who may come.
func emails() (all []string) {
	for i := range comers + keepers + senders + readers {
		all = append(all, fmt.Sprintf("user%d@corp.test", i+1))
	}
	return all
}

// crowd is everybody who is at work.
type crowd struct {
	stage   *stage.Stage
	history *History
	all     sync.WaitGroup

	mu   sync.Mutex
	held []holder // every session there ever was, for the last question
}

type holder struct {
	client *client
	visa   visa
}

func (c *crowd) join(cl *client, v visa) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = append(c.held, holder{cl, v})
}

// work lets everybody work until the context ends, and returns at once; wait for all.
func (c *crowd) work(ctx context.Context, seed uint64) {
	for i, email := range emails()[:comers+keepers+senders] {
		cl := &client{c.stage, c.history, email}
		rng := rand.New(rand.NewPCG(seed, uint64(i))) //nolint:gosec // to be had again
		c.all.Go(func() {
			switch {
			case i < comers:
				c.come(ctx, cl, rng)
			case i < comers+keepers:
				c.keep(ctx, cl, rng)
			default:
				c.send(ctx, cl, rng)
			}
		})
	}
}

// enter signs in, at one gateway or another until it is done. A visa without a cookie: it is all over.
func (c *crowd) enter(ctx context.Context, cl *client, rng *rand.Rand) visa {
	for ctx.Err() == nil {
		v := cl.signIn(ctx, rng.IntN(gates))
		if v.cookie != "" {
			c.join(cl, v)
			return v
		}
		sleep(ctx, 4*pause)
	}
	return visa{}
}

// come is one session after another: everything that people do, and then its end, in one of two ways,
// which is answered or tried again. What has ended goes on being tried, as by somebody who stole it.
func (c *crowd) come(ctx context.Context, cl *client, rng *rand.Rand) {
	for ctx.Err() == nil {
		v := c.enter(ctx, cl, rng)
		length := time.Second + time.Duration(rng.Int64N(int64(3*time.Second)))
		if rng.IntN(3) == 0 {
			gate := rng.IntN(gates)
			c.all.Go(func() { cl.hold(ctx, gate, v, length+haunted) })
		}
		c.browse(ctx, cl, rng, v, length)
		c.leave(ctx, cl, rng, v)
		haunt := rand.New(rand.NewPCG(rng.Uint64(), 0)) //nolint:gosec // likewise
		c.all.Go(func() { c.haunt(ctx, cl, haunt, v) })
	}
}

// browse asks for pages, at any gateway, for so long.
func (c *crowd) browse(ctx context.Context, cl *client, rng *rand.Rand, v visa, length time.Duration) {
	for end := time.Now().Add(length); ctx.Err() == nil && time.Now().Before(end); sleep(ctx, pause) {
		kind := Get
		if rng.IntN(3) == 0 {
			kind = Ask
		}
		cl.get(ctx, kind, rng.IntN(gates), v)
	}
}

func (c *crowd) leave(ctx context.Context, cl *client, rng *rand.Rand, v visa) {
	for ctx.Err() == nil {
		if rng.IntN(4) == 0 {
			if cl.deleteRow(ctx, v) {
				return
			}
		} else if cl.signOut(ctx, rng.IntN(gates), v) {
			return
		}
		sleep(ctx, 4*pause)
	}
}

func (c *crowd) haunt(ctx context.Context, cl *client, rng *rand.Rand, v visa) {
	for end := time.Now().Add(haunted); ctx.Err() == nil && time.Now().Before(end); sleep(ctx, 4*pause) {
		cl.get(ctx, Get, rng.IntN(gates), v)
	}
}

// keep is one session for all the time.
func (c *crowd) keep(ctx context.Context, cl *client, rng *rand.Rand) {
	v := c.enter(ctx, cl, rng)
	for ctx.Err() == nil {
		if rng.IntN(10) == 0 {
			cl.hold(ctx, rng.IntN(gates), v, time.Second)
		}
		c.browse(ctx, cl, rng, v, time.Second)
	}
}

// send sends one file after another, each session a few.
func (c *crowd) send(ctx context.Context, cl *client, rng *rand.Rand) {
	for ctx.Err() == nil {
		v := c.enter(ctx, cl, rng)
		for range 10 {
			if ctx.Err() == nil {
				cl.upload(ctx, rng, rng.IntN(gates), v)
			}
			sleep(ctx, 3*pause)
		}
		c.leave(ctx, cl, rng, v)
	}
}

// ask asks every gateway about every session there ever was, for the last time.
func (c *crowd) ask(ctx context.Context) {
	for _, h := range c.held {
		for gate := range gates {
			h.client.get(ctx, Last, gate, h.visa)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
