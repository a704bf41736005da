package web_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gatehouse-auth/gatehouse/web"
)

func TestWantsHTML(t *testing.T) {
	for _, c := range []struct {
		who    string
		accept []string
		want   bool
	}{
		{"Chrome", []string{"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"}, true},
		{"Internet Explorer", []string{"text/html, application/xhtml+xml, */*"}, true},
		{"nothing said", nil, false},
		{"curl", []string{"*/*"}, false},
		{"fetch for JSON", []string{"application/json"}, false},
		{"axios", []string{"application/json, text/plain, */*"}, false},
		{"jQuery for JSON", []string{"application/json, text/javascript, */*; q=0.01"}, false},
		{"jQuery for HTML", []string{"text/html, */*; q=0.01"}, true},
		{"event stream", []string{"text/event-stream"}, false},
		{"both alike", []string{"text/html, application/json"}, false},
		{"JSON preferred", []string{"text/html;q=0.8, application/json"}, false},
		{"HTML preferred", []string{"application/json;q=0.8, text/html"}, true},
		{"several lines", []string{"application/json;q=0.1", "text/html"}, true},
		{"any text", []string{"text/*"}, true},
		{"HTML refused", []string{"text/html;q=0, */*;q=0.5"}, false},
		{"all refused", []string{"text/html;q=0, */*;q=0"}, false},
		{"the more exact range counts", []string{"text/*;q=0.9, text/html;q=0.1, application/json;q=0.5"}, false},
		{"upper case", []string{"TEXT/HTML"}, true},
		{"odd", []string{";;;,,/,q=1, text/html;q=two, text/html;q=-1, text/html;q=NaN"}, false},
		{"image", []string{"image/avif,image/webp,*/*;q=0.8"}, false},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
		r.Header["Accept"] = c.accept
		if got := web.WantsHTML(r); got != c.want {
			t.Errorf("%s (%q): %v, want %v", c.who, c.accept, got, c.want)
		}
	}
}
