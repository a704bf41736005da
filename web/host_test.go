package web_test

import (
	"testing"

	"github.com/gatehouse-auth/gatehouse/web"
)

func TestCanonicalHost(t *testing.T) {
	for raw, want := range map[string]string{
		"APP.Test": "app.test", "app.test.": "app.test", "app.test:80": "app.test", "app.test:443": "app.test:443", "app.test:8080": "app.test:8080",
		"[::1]:80": "[::1]", "[::FFFF:192.0.2.7]": "192.0.2.7", "[fe80::1%eth0]:81": "[fe80::1]:81", "my_app": "my_app",
		"": "", ".": "", "a b": "", "a,b": "", "a/b": "", "[::1": "", "::1": "", "a:x": "", "a:": "", "a@b": "", "é.test": "", "a%00": "",
	} {
		if got, err := web.CanonicalHost(raw, "http"); got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v; want %q", raw, got, err, want)
		}
	}
}
