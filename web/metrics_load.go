package web

import "github.com/prometheus/client_golang/prometheus"

// LoadMetrics counts what was refused so that the rest goes on.
type LoadMetrics struct{ shed *prometheus.CounterVec }

// sheds are all the words that Shed will be told.
var sheds = []string{
	"connection", "connection_client", "flood", "idle", "lookup", "request", "request_client", "session", "sign_in", "stream", "stream_client",
}

// Load makes the metrics of what this process has taken on, once, each asked for whenever somebody looks.
func (m *Metrics) Load(room *Room, load *Load) *LoadMetrics {
	l := &LoadMetrics{shed: counter("gatehouse_shed_total",
		"What was refused because too much of it was under way, by what: connection and connection_client (none was free, or the client has its share), idle (closed to make room for another), flood (closed, for it sent much and asked nothing, or broke most of it off), request, stream and their _client, session (requests of one session), lookup, sign_in.", "what")}
	for _, what := range sheds {
		l.shed.WithLabelValues(what)
	}
	m.registry.MustRegister(l.shed,
		gauge("gatehouse_connections", "Connections of clients that are open.", func() int64 { return int64(room.Taken()) }),
		gauge("gatehouse_requests_under_way", "Requests that are being answered, without streams.", func() int64 { n, _ := load.Under(); return n }),
		gauge("gatehouse_streams_under_way", "WebSockets and event streams that are open.", func() int64 { _, n := load.Under(); return n }))
	return l
}

// Limits tells how much of each may be under way, by the words of gatehouse_limit; 0: any number.
func (m *Metrics) Limits(limits map[string]int64) {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "gatehouse_limit",
		Help: "How much may be under way at once, by what (limits.*, with what was derived): connection, connection_client, request, stream (one client may have a quarter of these two), session (requests of one session; 0: any number).",
	}, []string{"what"})
	for what, n := range limits {
		g.WithLabelValues(what).Set(float64(n))
	}
	m.registry.MustRegister(g)
}

// Shed notes something that was refused, by a word of a fixed set.
func (l *LoadMetrics) Shed(what string) { l.shed.WithLabelValues(what).Inc() }
