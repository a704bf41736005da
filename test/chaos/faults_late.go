package chaos

import (
	"context"
	"sync"
	"time"

	"github.com/gatehouse-auth/gatehouse/test/stage"
)

// readers is how many read late at once.
const readers = 9

// lateReader is the race that tombstones in Redis are there for. A gateway reads rows that are there
// still, and their way back to it is slow. Meanwhile their sessions are ended at another, which tells
// Redis. Then the rows arrive and are put into Redis, and the gateway is cut off from Postgres before it
// hears of the end; so is the third, from the beginning. If the records came to stand in Redis again,
// both would believe them and let in for minutes.
//
// Where every gateway hears of revocations, their own memory covers for Redis, and a plain delete in the
// place of the tombstone would show nowhere: that is why no simple fault finds it.
func lateReader() wound {
	return wound{
		name: "Postgres silent after a late reader", hurts: []Part{Postgres, Redis}, empty: true, single: true, others: true,
		strike: (*nemesis).readLate,
		mend:   func(n *nemesis, _ int) { n.each(everyGate, func(g *stage.Gate) { g.ToSQL.Mend() }) },
	}
}

// late is how long each answer of Postgres is on its way. A row is read at once and arrives after that; or
// the connection had rested and is tried out first, or it has to be made, and both take one or two such
// times longer. It is less than the half second after which a connection that is tried out is given up.
const late = 400 * time.Millisecond

// readLate has sessions end at one gateway while the next reads them, some for each of
// the three cases.
func (n *nemesis) readLate(here int) {
	there, third := n.stage.Gates[(here+1)%gates], n.stage.Gates[(here+2)%gates]
	visas := make([]visa, readers)
	n.atOnce(func(i int) {
		for visas[i].cookie == "" && n.t.Context().Err() == nil { // of one client eight may sign in at once
			sleep(n.t.Context(), pause)
			visas[i] = n.reader(i).signIn(n.t.Context(), here)
		}
		n.crowd.join(n.reader(i), visas[i])
	})
	sleep(n.t.Context(), late/4)
	n.stage.Redis.Do("FLUSHALL") // the page that a sign-in leads to has put them there
	third.ToSQL.Silence()
	there.ToSQL.Slow(late)
	arrived := make(chan struct{}, readers)
	go n.atOnce(func(i int) { n.race(here, i, visas[i]); arrived <- struct{}{} })
	select {
	case <-arrived:
	case <-time.After(5 * late): // nobody was late
	}
	sleep(n.t.Context(), late/10) // the record goes to Redis when the answer has gone out
	there.ToSQL.Silence()
}

// race reads a session at one gateway and ends it at another meanwhile. It returns at once if it read the
// session although that had ended before the answer came, and else when it is too late for the rest.
func (n *nemesis) race(here, i int, v visa) {
	ctx := n.t.Context()
	c, there, ended := n.reader(i), (here+1)%gates, make(chan struct{})
	n.crowd.all.Go(func() {
		defer close(ended)
		sleep(ctx, late/2+late*time.Duration(i%3))
		c.signOut(ctx, here, v)
	})
	o := c.get(ctx, Get, there, v)
	select {
	case <-ended:
	default:
		o.Status = 0 // it came too early
	}
	n.crowd.all.Go(func() { <-ended; n.haunt(ctx, c, v) })
	if !o.yes() {
		sleep(ctx, 5*late)
	}
}

func (n *nemesis) reader(i int) *client {
	return &client{n.stage, n.history, emails()[comers+keepers+senders+i]}
}

// haunt tries an ended session at every gateway.
func (n *nemesis) haunt(ctx context.Context, c *client, v visa) {
	for gate := range gates {
		n.crowd.all.Go(func() {
			for end := time.Now().Add(haunted); time.Now().Before(end); sleep(ctx, 4*pause) {
				c.get(ctx, Get, gate, v)
			}
		})
	}
}

func (n *nemesis) atOnce(do func(i int)) {
	var all sync.WaitGroup
	for i := range readers {
		all.Go(func() { do(i) })
	}
	all.Wait()
}
