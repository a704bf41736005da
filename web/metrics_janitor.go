package web

import "github.com/prometheus/client_golang/prometheus"

// JanitorMetrics counts what is left behind by uploads that nobody finished.
type JanitorMetrics struct {
	removed *prometheus.CounterVec
	faults  prometheus.Counter
	orphans prometheus.Gauge
}

// Janitor makes the metrics of the janitor of uploads among the others, once.
func (m *Metrics) Janitor() *JanitorMetrics {
	j := &JanitorMetrics{
		removed: counter("gatehouse_upload_janitor_removed_total",
			"What the janitor removed from the bucket: row, a file that was deleted or given up (each is removed twice); unfinished, a multipart upload that no row wanted.", "kind"),
		faults: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gatehouse_upload_janitor_faults_total",
			Help: "Rounds in which the janitor could not do all of its work.",
		}),
		orphans: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "gatehouse_upload_orphans",
			Help: "Finished files in the bucket that no row names, when all were last looked at. They are never deleted by themselves.",
		}),
	}
	for _, kind := range []string{"row", "unfinished"} {
		j.removed.WithLabelValues(kind)
	}
	m.registry.MustRegister(j.removed, j.faults, j.orphans)
	return j
}

// Removed notes how many of a kind were removed, row or unfinished.
func (j *JanitorMetrics) Removed(kind string, n int) { j.removed.WithLabelValues(kind).Add(float64(n)) }

// Faults notes a round that failed, if it did.
func (j *JanitorMetrics) Faults(err error) {
	if err != nil {
		j.faults.Inc()
	}
}

// Orphans notes how many files have no row.
func (j *JanitorMetrics) Orphans(n int) { j.orphans.Set(float64(n)) }
