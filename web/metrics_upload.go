package web

import "github.com/prometheus/client_golang/prometheus"

// UploadMetrics counts what is uploaded.
type UploadMetrics struct {
	received prometheus.Counter
	kept     prometheus.Counter
	results  *prometheus.CounterVec
}

// Uploads makes the metrics of uploads among the others, once. InUse tells how many bytes of the memory
// for uploads are held and how many are reserved, whenever somebody looks. Results are all the words
// that Done will be told: each is there from the start, so that the first of a kind is a rise too.
func (m *Metrics) Uploads(results []string, inUse func() (held, reserved int64)) *UploadMetrics {
	u := &UploadMetrics{
		received: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gatehouse_upload_received_bytes_total",
			Help: "Bytes of uploads that came from clients, whatever became of them.",
		}),
		kept: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gatehouse_upload_kept_bytes_total",
			Help: "Bytes of files that are in the bucket and recorded.",
		}),
		results: counter("gatehouse_uploads_total",
			"Files that were sent, and upload requests that were refused as a whole, by result. busy: no memory was left; failed: its row could not be written, or the fault is ours; gone: the client broke off; stopped: this process ended.", "result"),
	}
	for _, result := range results {
		u.results.WithLabelValues(result)
	}
	m.registry.MustRegister(u.received, u.kept, u.results,
		gauge("gatehouse_upload_memory_held_bytes", "Memory that uploads hold in pages.", func() int64 { held, _ := inUse(); return held }),
		gauge("gatehouse_upload_memory_reserved_bytes", "Memory that is reserved for uploads under way, held or not.", func() int64 { _, reserved := inUse(); return reserved }))
	return u
}

func gauge(name, help string, value func() int64) prometheus.GaugeFunc {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value()) })
}

// Received notes bytes that came from a client.
func (u *UploadMetrics) Received(bytes int64) { u.received.Add(float64(bytes)) }

// Done notes how a file or a refused request ended, and the bytes of what was kept. The result is one
// of a fixed set of words.
func (u *UploadMetrics) Done(result string, bytes int64) {
	u.results.WithLabelValues(result).Inc()
	u.kept.Add(float64(bytes))
}
