package main

import (
	"errors"
	"log/slog"
	"math"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/web"
)

// bounds is what this process takes on at once. It outlives a reload, for so does what is under way.
// What else is bounded stands where it is done: look-ups in store and auth, code exchanges in auth,
// memory for uploads in upload, the heads of requests and HTTP/2 in server.go.
type bounds struct {
	room     *web.Room
	load     *web.Load
	sessions *web.Turns[int64] // requests under way by session; nil: any number
	metrics  *web.LoadMetrics
}

// openBounds makes them before anything listens.
func (g *gateway) openBounds(cfg Config) {
	l := cfg.Limits.settled(fileLimit())
	refusals := new(refusals)
	b := &bounds{load: web.NewLoad(web.LoadLimits{Requests: int(l.Requests), Streams: int(l.Streams)})}
	b.room = web.NewRoom(web.RoomLimits{
		All: int(l.Connections), Each: int(l.ClientConnections), Ahead: connWindow,
		Exempt: func(addr netip.Addr) bool { return g.front.Load().peers.Lists(addr) },
	}, func(what string, who netip.Prefix) {
		b.metrics.Shed(what)
		refusals.note(g.log.Logger, what, who)
	})
	if l.SessionRequests > 0 {
		b.sessions = web.NewTurns[int64](math.MaxInt, int(l.SessionRequests))
	}
	b.metrics = g.metrics.Load(b.room, b.load)
	g.metrics.Limits(map[string]int64{
		"connection": l.Connections, "connection_client": l.ClientConnections,
		"request": l.Requests, "stream": l.Streams, "session": l.SessionRequests,
	})
	g.bounds = b
}

// refusals tells the log of connections that were closed or turned away, which have no line of their own:
// once a minute for each kind, with the last of them.
type refusals struct {
	mu   sync.Mutex
	said map[string]time.Time
	more map[string]int // since it was last said
}

const refusalsEvery = time.Minute

func (r *refusals) note(log *slog.Logger, what string, who netip.Prefix) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.said == nil {
		r.said, r.more = map[string]time.Time{}, map[string]int{}
	}
	r.more[what]++
	now := time.Now()
	if now.Sub(r.said[what]) < refusalsEvery {
		return
	}
	log.Warn("connections closed or turned away", "what", what, "count", r.more[what], "client", who.String())
	r.said[what], r.more[what] = now, 0
}

// observe counts a request that was refused because there was too much to do.
func (b *bounds) observe(rec *web.Record) {
	event := rec.Outcome.Event
	switch {
	case event == "login_busy":
		b.metrics.Shed("sign_in")
	case strings.HasPrefix(event, "shed_"): // ours, of a fixed set
		b.metrics.Shed(strings.TrimPrefix(event, "shed_"))
	case errors.Is(rec.Outcome.Cause, auth.ErrTooMany):
		b.metrics.Shed("lookup")
	}
}
