package chaos

import (
	"context"
	"sync"
	"time"

	"github.com/gatehouse-auth/gatehouse/test/stage"
)

// readers is how many read late at once: the race is one of milliseconds.
const readers = 8

// lateReader is the race that tombstones in Redis are there for. A gateway has read rows that are there
// still, and is about to put them into Redis, by a slow way, when their sessions are ended at another.
// It and the third gateway are cut off from Postgres that very moment: neither hears of the end, and
// both may believe Redis. If the record came to stand there again, both would let in for minutes.
//
// Where every gateway hears of revocations, their own memory covers for Redis, and a plain delete in the
// place of the tombstone would show nowhere: that is why no simple fault finds it.
func lateReader() wound {
	return wound{
		name: "Postgres silent after a late reader", hurts: []Part{Postgres},
		strike: (*nemesis).readLate,
		mend: func(n *nemesis, _ int) {
			n.each(everyGate, func(g *stage.Gate) { g.ToSQL.Mend(); g.ToRedis.Mend() })
		},
	}
}

// late is how long the record is on its way, and less than a call to Redis may take.
const late = 80 * time.Millisecond

func (n *nemesis) readLate(int) {
	ctx := n.t.Context()
	here := n.rng.IntN(gates)
	there := n.stage.Gates[(here+1)%gates]
	third := n.stage.Gates[(here+2)%gates]
	clients, visas := make([]*client, readers), make([]visa, readers)
	n.atOnce(func(i int) {
		clients[i] = &client{n.stage, n.history, emails()[comers+keepers+senders+i]}
		visas[i] = clients[i].signIn(ctx, here)
		n.crowd.join(clients[i], visas[i])
	})
	there.ToRedis.SlowThere(late)
	n.atOnce(func(i int) { clients[i].get(ctx, Get, (here+1)%gates, visas[i]) })
	there.ToSQL.Silence()
	third.ToSQL.Silence()
	n.atOnce(func(i int) {
		clients[i].signOut(ctx, here, visas[i])
		n.crowd.all.Go(func() { n.haunt(ctx, clients[i], visas[i]) })
	})
}

// haunt tries an ended session at every gateway in turn.
func (n *nemesis) haunt(ctx context.Context, c *client, v visa) {
	for end := time.Now().Add(haunted); time.Now().Before(end); sleep(ctx, 4*pause) {
		for gate := range gates {
			c.get(ctx, Get, gate, v)
		}
	}
}

func (n *nemesis) atOnce(do func(i int)) {
	var all sync.WaitGroup
	for i := range readers {
		all.Go(func() { do(i) })
	}
	all.Wait()
}
