package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// balancer is a proxy before three replicas, with what docs/deploy/replicas.md says of it.
type balancer struct {
	name, program, install string
	conf                   func(dir, listen string, replicas []*rig) (args []string, file string)
}

var balancers = []balancer{
	{"nginx", "nginx", "apt-get install nginx", balancedByNginx},
	{"haproxy", "haproxy", "apt-get install haproxy", balancedByHAProxy},
}

// balancedByNginx has nginx find out by itself: it has no active health checks in its free form.
func balancedByNginx(dir, listen string, replicas []*rig) ([]string, string) {
	var servers strings.Builder
	for _, r := range replicas {
		fmt.Fprintf(&servers, "    server %s max_fails=1 fail_timeout=1s;\n", strings.TrimPrefix(r.at, "http://"))
	}
	text := documented("nginx", map[string]string{
		"    server 10.0.0.1:8080 max_fails=1 fail_timeout=1s;\n    server 10.0.0.2:8080 max_fails=1 fail_timeout=1s;\n    server 10.0.0.3:8080 max_fails=1 fail_timeout=1s;\n": servers.String(),
		"listen 443 ssl http2;": "listen " + listen + ";",
		"    ssl_certificate     /etc/ssl/gatehouse/auth.example.com.crt;\n    ssl_certificate_key /etc/ssl/gatehouse/auth.example.com.key;\n": "",
		"X-Forwarded-Proto https":      "X-Forwarded-Proto http",
		"server_name auth.example.com": "server_name localhost",
	})
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;\n"
	}
	var temp strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temp, "%s_temp_path %s/%s;\n", kind, dir, kind)
	}
	return []string{"-p", dir, "-e", "stderr", "-c", filepath.Join(dir, "conf")},
		fmt.Sprintf("%sdaemon off; pid %s/pid; error_log stderr; events {}\nhttp { access_log off;\n%s%s}\n", user, dir, temp.String(), text)
}

// balancedByHAProxy has HAProxy ask /readyz of the admin listener.
func balancedByHAProxy(dir, listen string, replicas []*rig) ([]string, string) {
	var servers strings.Builder
	for i, r := range replicas {
		_, port, _ := strings.Cut(strings.TrimPrefix(r.admin, "http://"), ":")
		fmt.Fprintf(&servers, "    server gatehouse%d %s check port %s\n", i+1, strings.TrimPrefix(r.at, "http://"), port)
	}
	return []string{"-db", "-f", filepath.Join(dir, "conf")}, documented("haproxy", map[string]string{
		"    server gatehouse1 10.0.0.1:8080 check port 9090\n    server gatehouse2 10.0.0.2:8080 check port 9090\n    server gatehouse3 10.0.0.3:8080 check port 9090\n": servers.String(),
		"bind :443 ssl crt /etc/haproxy/certs/ alpn h2,http/1.1": "bind " + listen,
		"X-Forwarded-Proto https":                                "X-Forwarded-Proto http",
	})
}

// documented is the block of that language on the page about replicas, with other addresses. What is to
// be replaced must be there: the page says what is tested.
func documented(language string, replace map[string]string) string {
	page, err := os.ReadFile(filepath.Join(deployDir, "replicas.md"))
	if err != nil {
		panic(err)
	}
	_, text, _ := strings.Cut(string(page), "```"+language+"\n")
	text, _, _ = strings.Cut(text, "```")
	for from, to := range replace {
		if !strings.Contains(text, from) {
			panic(fmt.Sprintf("docs/deploy/replicas.md has no %q", from))
		}
		text = strings.ReplaceAll(text, from, to)
	}
	return text
}

// SD-01, RULE-27: three replicas are restarted one after the other behind a balancer, and nobody who
// asks, posts or uploads through it notices.
func TestRoll(t *testing.T) {
	for _, kind := range balancers {
		t.Run("SD-01/"+kind.name, func(t *testing.T) { roll(t, kind) })
	}
}

func roll(t *testing.T, kind balancer) {
	program := lookUp(t, kind.program, kind.install)
	pg, red, s3 := storetest.Postgres(t), storetest.Redis(t), storetest.S3(t)
	base := newRig(t)
	base.shared(pg.URL, red.URL)
	base.uploading()
	base.intoS3(s3)
	base.edit("drain_delay: 100ms, drain_timeout: 5s", "drain_delay: 4s, drain_timeout: 10s, trusted_proxies: [{from: 127.0.0.1, headers: [for, proto]}]")
	base.edit("log: {format: json}", "log: {format: json, level: warn}")
	for _, args := range [][]string{{"migrate"}, {"user", "add", "alice@corp.test"}} {
		if code, out := base.run(args...); code != exitOK {
			t.Fatalf("%v: exit %d: %s", args, code, out)
		}
	}
	replicas := []*rig{base.replica(), base.replica(), base.replica()}
	dir := t.TempDir()
	args, text := kind.conf(dir, base.host(), replicas)
	base.balance(program, args, filepath.Join(dir, "conf"), strings.ReplaceAll(text, base.host(), strings.Replace(base.host(), "localhost", "127.0.0.1", 1)))

	load := &rolling{rig: base, tally: newTally(), cookie: base.client("alice@corp.test").cookie, over: make(chan struct{})}
	load.start()
	for _, r := range replicas {
		r.stop()
		load.add("replicas restarted")
		r.serve()
		time.Sleep(2 * time.Second) // until a balancer that asks once a second, or has given it up for one, uses it again
	}
	close(load.over)
	load.all.Wait()
	load.report(t)
	for _, what := range []string{"GET", "POST", "uploads"} {
		if load.count(what) < 20 {
			t.Errorf("%d of %s are no load", load.count(what), what)
		}
	}
	load.client.CloseIdleConnections()
}

// balance starts a balancer, and ends it with the test.
func (r *rig) balance(program string, args []string, file, text string) {
	r.t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	cmd := exec.Command(program, args...) // it ends by a signal
	said := new(lines)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // it was told to end: how it says so does not matter
		if r.t.Failed() {
			r.t.Logf("%s said:\n%.4000s", program, said)
		}
	})
	r.eventually("the balancer answers: "+said.String(), func() bool {
		status, _ := r.get(r.public + "/_gate/me")
		return status == http.StatusUnauthorized
	})
}

// rolling is the load on three replicas.
type rolling struct {
	*rig
	*tally
	cookie string
	client http.Client
	all    sync.WaitGroup
	over   chan struct{}
}

func (l *rolling) start() {
	l.client = http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: time.Minute}
	for range 6 {
		l.every(20*time.Millisecond, "GET", http.MethodGet, "/a", nil, http.StatusOK)
	}
	for range 4 {
		l.every(20*time.Millisecond, "POST", http.MethodPost, "/a", []byte("a body"), http.StatusOK)
	}
	for i := range 3 {
		l.every(50*time.Millisecond, "uploads", http.MethodPut, fmt.Sprintf("/upload/u%d", i), someBytes(200<<10), http.StatusCreated)
	}
}

// every asks again and again, and never a second time for what failed.
func (l *rolling) every(pause time.Duration, what, method, path string, body []byte, want int) {
	l.all.Go(func() {
		for {
			select {
			case <-l.over:
				return
			case <-time.After(pause):
			}
			if err := l.once(method, path, body, want); err != nil {
				l.fail("%s %s: %v", method, path, err)
				continue
			}
			l.add(what)
		}
	})
}

func (l *rolling) once(method, path string, body []byte, want int) error {
	// A client of Go's would send again what it can read again.
	req, err := http.NewRequestWithContext(context.WithoutCancel(l.t.Context()), method, l.public+path, io.NopCloser(bytes.NewReader(body)))
	if err != nil {
		return err
	}
	req.ContentLength = int64(len(body))
	if body == nil {
		req.Body = nil
	}
	req.Header.Set("Cookie", l.cookie)
	resp, err := l.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != want {
		err = fmt.Errorf("%s: %.200s", resp.Status, text)
	}
	return err
}
