package web

import (
	"net/http"
	"runtime"
	"slices"
	"strconv"
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
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	upstream *prometheus.HistogramVec
	logins   *prometheus.CounterVec
	lookups  *prometheus.CounterVec
	stores   *prometheus.HistogramVec
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
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: counter("gatehouse_requests_total",
			"Requests answered, by the configured route (none: an own endpoint or no route), method, class of the status (499: the client went away first) and verdict (none: nothing was decided).",
			"route", "method", "class", "verdict"),
		duration: histogram("gatehouse_request_duration_seconds",
			"Time from the head of a request to the end of its answer, by the configured route. Upgraded connections are not in it: they last as long as people stay.",
			requestSeconds, "route"),
		upstream: histogram("gatehouse_upstream_duration_seconds",
			"Time until an upstream's response headers, by the configured route.",
			requestSeconds, "route"),
		logins: counter("gatehouse_logins_total",
			"Sign-ins that came back from the provider, by result: login, or the event that the log has for the refusal.", "result"),
		lookups: counter("gatehouse_session_lookups_total",
			"Session look-ups, by the tier that was asked (redis, database) and its result; error: it could not be asked.", "tier", "result"),
		stores: histogram("gatehouse_store_operation_seconds",
			"Time of one operation on a store, by store, operation and result.", storeSeconds, "store", "op", "result"),
		parts: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "gatehouse_part_up",
			Help: "Whether a part (database, redis, revocations, provider) could be asked when it was last looked at: 1 yes, 0 no.",
		}, []string{"part"}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "gatehouse_build_info",
		Help:        "Always 1; its labels say what is running.",
		ConstLabels: prometheus.Labels{"version": build.Version, "revision": build.Revision, "go": runtime.Version()},
	})
	info.Set(1)
	m.registry.MustRegister(info, m.requests, m.duration, m.upstream, m.logins, m.lookups, m.stores, m.parts,
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
	m.requests.WithLabelValues(route, method(rec.Request.Method), class(rec.Outcome.Status), verdict(rec.Outcome.Verdict)).Inc()
	if rec.Outcome.Status != http.StatusSwitchingProtocols {
		m.duration.WithLabelValues(route).Observe(rec.Took.Seconds())
	}
	if rec.Whereto.Latency > 0 {
		m.upstream.WithLabelValues(route).Observe(rec.Whereto.Latency.Seconds())
	}
}

// Login counts a sign-in that came back from the provider. The result is one of a fixed set of words.
func (m *Metrics) Login(result string) { m.logins.WithLabelValues(result).Inc() }

// Lookup counts a session look-up in one tier. Both labels are of fixed sets of words.
func (m *Metrics) Lookup(tier, result string) { m.lookups.WithLabelValues(tier, result).Inc() }

// Store notes one operation on a store. The labels are of fixed sets of words.
func (m *Metrics) Store(store, op, result string, d time.Duration) {
	m.stores.WithLabelValues(store, op, result).Observe(d.Seconds())
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
	return strconv.Itoa(status/100) + "xx"
}

func verdict(given string) string {
	switch {
	case given == "":
		return "none"
	case slices.Contains(knownVerdicts, given):
		return given
	}
	return "other"
}
