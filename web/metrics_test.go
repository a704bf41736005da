package web_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/web"
)

// scrape is what Prometheus would read.
func scrape(t *testing.T, m *web.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	if w.Code != http.StatusOK {
		t.Fatalf("got %d", w.Code)
	}
	return w.Body.String()
}

func TestMetrics(t *testing.T) {
	m := web.NewMetrics(web.Build{Version: "v1.2.3", Revision: "abc"})
	m.Request(&web.Record{
		Took: 30 * time.Millisecond, Request: web.Request{Method: "GET"},
		Whereto: web.Whereto{Route: "app.test/", Latency: 20 * time.Millisecond}, Outcome: web.Outcome{Status: 204, Verdict: "allow"},
	})
	m.Request(&web.Record{Request: web.Request{Method: "GET"}, Outcome: web.Outcome{Status: 101}})
	m.Request(&web.Record{Request: web.Request{Method: "GET"}, Outcome: web.Outcome{Status: web.StatusClientClosedRequest}})
	m.Login("ok")
	m.Lookup("redis", "miss")
	m.Store("database", "find", "ok", 3*time.Millisecond)
	m.Part("redis", errors.New("refused"))
	m.Part("database", nil)
	m.LinesLost(func() int64 { return 7 })
	got := scrape(t, m)
	for _, line := range []string{
		`gatehouse_requests_total{class="2xx",method="GET",route="app.test/",verdict="allow"} 1`,
		`gatehouse_requests_total{class="1xx",method="GET",route="none",verdict="none"} 1`,
		`gatehouse_requests_total{class="499",method="GET",route="none",verdict="none"} 1`, // PX-12: no 5xx
		`gatehouse_request_duration_seconds_bucket{route="app.test/",le="0.025"} 0`,
		`gatehouse_request_duration_seconds_bucket{route="app.test/",le="0.05"} 1`,
		`gatehouse_request_duration_seconds_count{route="none"} 1`,
		`gatehouse_upstream_duration_seconds_count{route="app.test/"} 1`,
		`gatehouse_logins_total{result="ok"} 1`,
		`gatehouse_session_lookups_total{result="miss",tier="redis"} 1`,
		`gatehouse_store_operation_seconds_count{op="find",result="ok",store="database"} 1`,
		`gatehouse_part_up{part="redis"} 0`,
		`gatehouse_part_up{part="database"} 1`,
		`gatehouse_log_lines_lost_total 7`,
		`revision="abc",version="v1.2.3"} 1`,
		"go_goroutines ", "process_open_fds ",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("no %s in\n%s", line, got)
		}
	}
	if strings.Contains(got, `gatehouse_upstream_duration_seconds_count{route="none"}`) {
		t.Error("a request that went nowhere has an upstream latency")
	}
}

func TestEveryMetricIsExplained(t *testing.T) {
	m := web.NewMetrics(web.Build{})
	m.Request(&web.Record{Whereto: web.Whereto{Latency: 1}})
	m.Login("ok")
	m.Lookup("database", "ok")
	m.Store("database", "find", "ok", 1)
	m.Part("database", nil)
	m.LinesLost(func() int64 { return 7 })
	names := 0
	for line := range strings.Lines(scrape(t, m)) {
		if help, ok := strings.CutPrefix(line, "# HELP gatehouse_"); ok {
			names++
			if len(strings.Fields(help)) < 5 {
				t.Errorf("explains little: %s", line)
			}
		}
	}
	if names != 9 {
		t.Errorf("%d metrics", names)
	}
}

// Nothing that a client chooses becomes a label: else it could make us keep a series for each request.
func TestLabelsAreBounded(t *testing.T) {
	m := web.NewMetrics(web.Build{})
	record := func(method, path, verdict string) {
		m.Request(&web.Record{Request: web.Request{Method: method, Host: path, Path: path}, Outcome: web.Outcome{Status: 404, Verdict: verdict}})
	}
	record("GET", "/", "allow")
	record("EVIL", "/", "evil")
	before := strings.Count(scrape(t, m), "gatehouse_requests_total{")
	for _, odd := range []string{"EVIL1", "EVIL2", "get", "", "\xff\n\""} {
		record(odd, "/evil"+odd, "evil"+odd)
	}
	got := scrape(t, m)
	if after := strings.Count(got, "gatehouse_requests_total{"); after > before+1 { // "" is a verdict of its own
		t.Errorf("RULE-29: %d series became %d", before, after)
	}
	if strings.Contains(strings.ToLower(got), "evil") {
		t.Errorf("RULE-29: a client's word is a label:\n%s", got)
	}
}
