package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The whole way, as a person and an operator see it: sign in, reach the app, be listed, sign out.
func TestServe(t *testing.T) {
	r := newRig(t)
	r.start()
	b := r.browser()

	resp, body := b.signIn(r.public+"/deep/link?q=a%26b&x=1;y=%zz", "alice@corp.test")
	if want := "GET /deep/link?q=a%26b&x=1;y=%zz user=alice@corp.test\n"; body != want {
		t.Fatalf("the app saw %q (%s), want %q", body, resp.Status, want)
	}
	code, out := r.run("session", "ls", "--json")
	if code != exitOK || !strings.Contains(out, "alice@corp.test") {
		t.Errorf("session ls: exit %d: %s", code, out)
	}

	old := b.cookie()
	resp, body = b.do(http.MethodPost, r.public+"/_gate/logout", url.Values{}, map[string]string{"Accept": "text/html", "Origin": r.public})
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, "signed out") {
		t.Errorf("after logout: %s: %s", resp.Status, body)
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, r.public+"/", nil)
	req.Header.Set("Cookie", old)
	again, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	again.Body.Close()
	if again.StatusCode != http.StatusUnauthorized {
		t.Errorf("the old cookie after logout: %s, want 401", again.Status)
	}

	if _, body := r.browser().signIn(r.public+"/", "bob@corp.test"); !strings.Contains(body, "bob@corp.test") || !strings.Contains(body, "select_account") {
		t.Errorf("an unknown account must learn as whom it came and get a way out, got: %s", body)
	}
	r.stop() // with which all of the log is written
	for _, secret := range []string{strings.TrimPrefix(old, "gate="), "client-s3cret", "code=", "state=", "q=a"} {
		if strings.Contains(r.log.String(), secret) {
			t.Errorf("RULE-29: the log holds %q", secret)
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(r.log.String()), "\n") {
		if !json.Valid([]byte(line)) {
			t.Errorf("not a JSON log line: %s", line)
		}
	}
	if !strings.Contains(r.log.String(), `"event":"login"`) || !strings.Contains(r.log.String(), `"event":"logout"`) {
		t.Errorf("the log names no login and logout:\n%s", r.log)
	}
}

// RULE-27: livez touches nothing; readyz names what is degraded in a 200; metrics are served.
func TestAdminListener(t *testing.T) {
	r := newRig(t)
	r.edit(r.issuer, "http://127.0.0.1:1") // a provider that is down
	r.start()
	r.eventually("RULE-27: readyz names the provider, and nothing else once revocations were read", func() bool {
		status, body := r.get(r.admin + "/readyz")
		return status == http.StatusOK && body == `{"status":"ready","degraded":["provider"]}`+"\n"
	})
	if status, body := r.get(r.admin + "/livez"); status != http.StatusOK || body != "ok\n" {
		t.Errorf("RULE-27: livez: %d %s", status, body)
	}
	if resp, body := r.browser().navigate(r.public + "/"); resp.StatusCode != http.StatusBadGateway || !strings.Contains(body, "<html") {
		t.Errorf("a login with the provider down: %s, want 502 and a page", resp.Status)
	}
	r.eventually("the log names the provider", func() bool {
		return strings.Contains(r.log.String(), `"msg":"cannot be asked","part":"provider","meanwhile":"nobody can sign in`)
	})
	status, body := r.get(r.admin + "/metrics")
	for _, name := range []string{"gatehouse_requests_total", "gatehouse_build_info", "gatehouse_store_operation_seconds", `gatehouse_part_up{part="provider"} 0`, `gatehouse_part_up{part="database"} 1`, `gatehouse_part_up{part="memory"} 1`} {
		if status != http.StatusOK || !strings.Contains(body, name) {
			t.Errorf("metrics: %d, no %s", status, name)
		}
	}
	if status, _ := r.get(r.admin + "/"); status != http.StatusNotFound {
		t.Errorf("admin root: %d, want 404", status)
	}
}

// PX-13: over the limit there is a readable answer, and nobody is looked up for it.
func TestHeadLimits(t *testing.T) {
	r := newRig(t)
	r.start()
	for _, c := range []struct {
		name string
		edit func(*http.Request)
		want int
	}{
		{"PX-13/cookie of 15 kB passes", func(q *http.Request) { q.Header.Set("Cookie", "other="+strings.Repeat("x", 15<<10)) }, 401},
		{"PX-13/60 kB header", func(q *http.Request) { q.Header.Set("X-Big", strings.Repeat("x", 60<<10)) }, 431},
		{"PX-13/URL over 16 kB", func(q *http.Request) { q.URL.RawQuery = strings.Repeat("x", 17<<10) }, 414},
	} {
		t.Run(c.name, func(t *testing.T) {
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, r.public+"/", nil)
			c.edit(req)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != c.want || !strings.Contains(string(body), `"message"`) {
				t.Errorf("%s: %s, want %d and a readable body", resp.Status, body, c.want)
			}
		})
	}
}

// A start that cannot work ends at once and says why, without a secret.
func TestRefusedStarts(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*rig)
		code int
		says string
	}{
		{"CF-04/port in use", func(r *rig) {
			l, err := new(net.ListenConfig).Listen(r.t.Context(), "tcp", r.host())
			if err != nil {
				r.t.Fatal(err)
			}
			r.t.Cleanup(func() { l.Close() })
		}, exitFailure, "server.listen"},
		{"CF-04/Postgres down", func(r *rig) {
			r.edit("store: {dir:", `store: {database: "postgres://gatehouse:hunter22@127.0.0.1:1/gatehouse", dir:`)
			keys := filepath.Join(r.dir, "keys")
			if err := os.WriteFile(keys, []byte(newKeyLine(r.t, 1)), 0o600); err != nil {
				r.t.Fatal(err)
			}
			r.edit("log: {", "secret: {keys_file: \""+keys+"\"}\nlog: {")
		}, exitFailure, "store.database"},
		{"a second serve on one directory", func(r *rig) { r.start() }, exitFailure, "another gatehouse"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			c.edit(r)
			began := time.Now()
			code, out := r.run("serve")
			if code != c.code || !strings.Contains(out, c.says) || strings.Contains(out, "hunter22") {
				t.Errorf("exit %d: %s; want %d, a message that names %s, and no secret", code, out, c.code, c.says)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}
