package main

import (
	"errors"
	"math"
	"net/netip"
	"strings"

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
	b := &bounds{load: web.NewLoad(web.LoadLimits{Requests: int(l.Requests), Streams: int(l.Streams)})}
	b.room = web.NewRoom(web.RoomLimits{
		All: int(l.Connections), Each: int(l.ClientConnections),
		Exempt: func(addr netip.Addr) bool { return g.front.Load().peers.Lists(addr) },
	}, func(what string) { b.metrics.Shed(what) })
	if l.SessionRequests > 0 {
		b.sessions = web.NewTurns[int64](math.MaxInt, int(l.SessionRequests))
	}
	b.metrics = g.metrics.Load(b.room, b.load)
	g.bounds = b
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
