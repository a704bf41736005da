package web

import (
	"maps"
	"net/http"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Build is what was built, for the metrics and `gatehouse version`.
type Build struct {
	Version  string
	Revision string
}

// Metrics counts what happens, for Prometheus. Labels come from fixed sets and from the config, never
// from a request: else anybody could make us keep as many series as he likes (RULE-29).
type Metrics struct {
	registry *prometheus.Registry
	requests children[series, prometheus.Counter]
	duration children[string, prometheus.Observer]
	upstream children[string, prometheus.Observer]
	logins   *prometheus.CounterVec
	lookups  children[[2]string, prometheus.Counter]
	stores   children[[3]string, prometheus.Observer]
	parts    *prometheus.GaugeVec
}

var (
	// Whole requests take from a check of some microseconds to a slow page of an app.
	requestSeconds = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	// Stores answer fast, or meet their deadline of a few seconds.
	storeSeconds = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}

	knownMethods = []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodOptions, http.MethodConnect, http.MethodTrace,
	}
	knownVerdicts = []string{"allow", "sign_in", "forbidden", "unknown"}
)

// NewMetrics makes the metrics in a registry of their own, with those of the Go runtime and of the
// process beside them.
func NewMetrics(build Build) *Metrics {
	requests := counter("gatehouse_requests_total",
		"Requests answered, by the configured route (none: an own endpoint or no route), method, class of the status (499: the client went away first) and verdict (none: nothing was decided).",
		"route", "method", "class", "verdict")
	duration := histogram("gatehouse_request_duration_seconds",
		"Time from the head of a request to the end of its answer, by the configured route. Upgraded connections are not in it: they last as long as people stay.",
		requestSeconds, "route")
	upstream := histogram("gatehouse_upstream_duration_seconds",
		"Time until an upstream's response headers, by the configured route.",
		requestSeconds, "route")
	lookups := counter("gatehouse_session_lookups_total",
		"Session look-ups, by the tier that was asked and its result. process: hit (it answered by itself; all else asks on); redis: hit, miss, buried, newer, corrupt, open (spared, for it has been failing); database: ok, none; error in both: it could not be asked.", "tier", "result")
	stores := histogram("gatehouse_store_operation_seconds",
		"Time of one operation on a store (database, redis, s3; feed: one reading of the revocations), by store, operation and result.", storeSeconds, "store", "op", "result")
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: children[series, prometheus.Counter]{find: func(s series) prometheus.Counter {
			return requests.WithLabelValues(s.route, s.method, s.class, s.verdict)
		}},
		duration: children[string, prometheus.Observer]{find: func(route string) prometheus.Observer { return duration.WithLabelValues(route) }},
		upstream: children[string, prometheus.Observer]{find: func(route string) prometheus.Observer { return upstream.WithLabelValues(route) }},
		logins: counter("gatehouse_logins_total",
			"Sign-ins that came back from the provider, by result: login, or the event that the log has for the refusal.", "result"),
		lookups: children[[2]string, prometheus.Counter]{find: func(by [2]string) prometheus.Counter { return lookups.WithLabelValues(by[:]...) }},
		stores:  children[[3]string, prometheus.Observer]{find: func(by [3]string) prometheus.Observer { return stores.WithLabelValues(by[:]...) }},
		parts: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "gatehouse_part_up",
			Help: "Whether a part (database, redis, provider, bucket; memory: this process answers by itself; revocations: redis is believed) could be asked when it was last looked at: 1 yes, 0 no.",
		}, []string{"part"}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "gatehouse_build_info",
		Help:        "Always 1; its labels say what is running.",
		ConstLabels: prometheus.Labels{"version": build.Version, "revision": build.Revision, "go": runtime.Version()},
	})
	info.Set(1)
	m.registry.MustRegister(info, requests, duration, upstream, m.logins, lookups, stores, m.parts,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
}

// Request counts a request that is over. It is what Recorder.Observe wants.
func (m *Metrics) Request(rec *Record) {
	route := rec.Whereto.Route
	if route == "" {
		route = "none"
	}
	m.requests.of(series{route, method(rec.Request.Method), class(rec.Outcome.Status), verdict(rec.Outcome.Verdict)}).Inc()
	if rec.Outcome.Status != http.StatusSwitchingProtocols {
		m.duration.of(route).Observe(rec.Took.Seconds())
	}
	if rec.Whereto.Latency > 0 {
		m.upstream.of(route).Observe(rec.Whereto.Latency.Seconds())
	}
}

// series is the labels of one counter of requests.
type series struct{ route, method, class, verdict string }

// children are the members of a metric by their labels. Prometheus hashes the labels and takes a lock for
// every request; here a member is looked for once, and there are no more of them than there are labels,
// which come from the config and from fixed sets.
type children[K comparable, V any] struct {
	find  func(K) V
	known atomic.Pointer[map[K]V]
}

func (c *children[K, V]) of(key K) V {
	known := c.known.Load()
	if known != nil {
		if one, ok := (*known)[key]; ok {
			return one
		}
	}
	more := map[K]V{}
	if known != nil {
		maps.Copy(more, *known)
	}
	one := c.find(key)
	more[key] = one
	c.known.CompareAndSwap(known, &more) // whoever loses adds his own the next time
	return one
}

// LinesLost counts the log lines that could not be written, as count tells. It is called once.
func (m *Metrics) LinesLost(count func() int64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "gatehouse_log_lines_lost_total",
		Help: "Log lines that could not be written, because whoever reads the log had stopped or writing failed.",
	}, func() float64 { return float64(count()) }))
}

// Login counts a sign-in that came back from the provider. The result is one of a fixed set of words.
func (m *Metrics) Login(result string) { m.logins.WithLabelValues(result).Inc() }

// Lookup counts a session look-up in one tier. Both labels are of fixed sets of words.
func (m *Metrics) Lookup(tier, result string) { m.lookups.of([2]string{tier, result}).Inc() }

// Store notes one operation on a store. The labels are of fixed sets of words.
func (m *Metrics) Store(store, op, result string, d time.Duration) {
	m.stores.of([3]string{store, op, result}).Observe(d.Seconds())
}

// Part notes whether a part that we need could be asked: fault says why not. The name is of a fixed
// set of words.
func (m *Metrics) Part(name string, fault error) {
	up := 1.0
	if fault != nil {
		up = 0
	}
	m.parts.WithLabelValues(name).Set(up)
}

// Handler serves the metrics to Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// method is a label: a client may send any token as its method.
func method(sent string) string {
	if slices.Contains(knownMethods, sent) {
		return sent
	}
	return "other"
}

// class is a label: the first digit tells what most alerts ask. A client that went away stands alone,
// so that it counts neither as its error nor as ours.
func class(status int) string {
	if status == StatusClientClosedRequest {
		return "499"
	}
	if status < 0 || status >= 1000 {
		return "other"
	}
	return classes[status/100]
}

var classes = [...]string{"0xx", "1xx", "2xx", "3xx", "4xx", "5xx", "6xx", "7xx", "8xx", "9xx"}

func verdict(given string) string {
	switch {
	case given == "":
		return "none"
	case slices.Contains(knownVerdicts, given):
		return given
	}
	return "other"
}
