package web_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/web"
)

func TestUploadMetrics(t *testing.T) {
	m := web.NewMetrics(web.Build{})
	u := m.Uploads([]string{"kept", "quota"}, func() (held, reserved int64) { return 3, 7 })
	u.Received(100)
	u.Received(11)
	u.Done("kept", 90)
	res := httptest.NewRecorder()
	m.Handler().ServeHTTP(res, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, line := range []string{
		"gatehouse_upload_received_bytes_total 111", "gatehouse_upload_kept_bytes_total 90",
		`gatehouse_uploads_total{result="kept"} 1`, `gatehouse_uploads_total{result="quota"} 0`,
		"gatehouse_upload_memory_held_bytes 3", "gatehouse_upload_memory_reserved_bytes 7",
	} {
		if !strings.Contains(res.Body.String(), line+"\n") {
			t.Errorf("the metrics have no line %q", line)
		}
	}
}
