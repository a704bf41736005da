package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/gatehouse-auth/gatehouse/auth/standin"
)

// authServer is one that a front proxy asks about requests, with a session in it.
type authServer struct {
	address string // where it listens, http://…
	check   string // the path that is asked
	cookie  string
	headers []string // what a check tells of the request, as nginx would
	pid     int
}

// compareChecks lists checks: oauth2-proxy's first, for it is what Gatehouse is compared with, each
// asked directly and by the same nginx before the same file. first is the index of the first subject.
func (s *stage) compareChecks(first int, g gateway, redis string) ([]subject, error) {
	gate := authServer{address: g.address, check: "/_gate/check/nginx", cookie: g.cookie, pid: g.pid, headers: []string{
		"X-Original-URL: " + g.address + "/index.html", "X-Original-Method: GET",
		"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http", "X-Forwarded-Host: " + strings.TrimPrefix(g.address, "http://"),
	}}
	peer, err := s.oauth2Proxy(redis)
	if err != nil {
		return nil, fmt.Errorf("oauth2-proxy: %w", err)
	}
	beforePeer, err := s.nginx(peer, "")
	if err != nil {
		return nil, err
	}
	beforeGate, err := s.nginx(gate, g.address)
	if err != nil {
		return nil, err
	}
	heeder, heederPID, err := s.peer("heeder")
	if err != nil {
		return nil, err
	}
	return []subject{
		{name: "check: oauth2-proxy /oauth2/auth, Redis", url: peer.address + peer.check, cookie: peer.cookie, pid: peer.pid, against: first},
		{name: "check: Gatehouse /_gate/check/nginx, all tiers", url: gate.address + gate.check, cookie: gate.cookie, headers: gate.headers, pid: gate.pid, against: first},
		// Envoy's dialect asks with the request's own path and no header beside: the very request that the
		// bare handler gets. nginx' has five lines more, which cost net/http something too.
		{name: "check: Gatehouse /_gate/check/envoy, one cookie", url: gate.address + "/_gate/check/envoy/index.html", cookie: gate.cookie, pid: gate.pid, against: 0},
		{name: "check: Gatehouse, beside the bare handler", url: gate.address + gate.check, cookie: gate.cookie, headers: gate.headers, pid: gate.pid, against: 0},
		{name: "bare net/http with a check's headers", url: heeder, cookie: gate.cookie, headers: gate.headers, pid: heederPID, against: 0},
		{name: "nginx auth_request, file: oauth2-proxy", url: beforePeer + "/index.html", cookie: peer.cookie, pid: peer.pid, against: first + 5},
		{name: "nginx auth_request, file: Gatehouse", url: beforeGate + "/index.html", cookie: gate.cookie, pid: gate.pid, against: first + 5},
	}, nil
}

// nginx starts one that asks about each request before it serves a small file. origin is what the
// address of a request begins with, as the auth server is told it.
func (s *stage) nginx(a authServer, origin string) (string, error) {
	const text = `%[1]sworker_processes 1; daemon off; pid %[2]s/pid; error_log stderr error; events {}
http {
  access_log off;
  client_body_temp_path %[2]s/a; proxy_temp_path %[2]s/b; fastcgi_temp_path %[2]s/c; uwsgi_temp_path %[2]s/d; scgi_temp_path %[2]s/e;
  upstream auth { server %[3]s; keepalive 64; }
  server {
    listen 127.0.0.1:%[4]s;
    location / { root %[2]s; auth_request /check; auth_request_set $user $upstream_http_x_auth_request_email; add_header X-User $user; }
    location = /check {
      internal;
      proxy_pass http://auth%[5]s;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header X-Original-URL %[6]s$request_uri;
      proxy_set_header X-Original-Method $request_method;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
    }
  }
}
`
	dir, err := os.MkdirTemp(s.dir, "nginx-")
	if err != nil {
		return "", err
	}
	port, err := freePort(s.ctx)
	if err != nil {
		return "", err
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;\n"
	}
	files := map[string]string{
		"index.html": "hello, world\n",
		"nginx.conf": fmt.Sprintf(text, user, dir, strings.TrimPrefix(a.address, "http://"), port, a.check, origin),
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return "", err
		}
	}
	cmd := exec.CommandContext(s.ctx, "nginx", "-p", dir, "-e", "stderr", "-c", filepath.Join(dir, "nginx.conf")) //nolint:gosec // our own path
	if err := s.start(cmd); err != nil {
		return "", err
	}
	address := "http://127.0.0.1:" + port
	return address, await(s.ctx, func() error { return lets(s.ctx, address+"/index.html", a.cookie) })
}

// oauth2Proxy starts it with sessions in Redis, as its documentation has it for several replicas, and
// signs somebody in through our stand-in for a provider.
func (s *stage) oauth2Proxy(redis string) (authServer, error) {
	provider := httptest.NewUnstartedServer(nil)
	issuer := "http://" + provider.Listener.Addr().String()
	provider.Config.Handler = standin.New(issuer, []standin.Account{{Email: "alice@corp.test", Name: "Alice"}})
	provider.Start()
	s.onStop = append(s.onStop, provider.Close)
	port, err := freePort(s.ctx)
	if err != nil {
		return authServer{}, err
	}
	a := authServer{address: "http://127.0.0.1:" + port, check: "/oauth2/auth"}
	logs, err := os.Create(filepath.Join(s.dir, "oauth2-proxy.log"))
	if err != nil {
		return authServer{}, err
	}
	defer logs.Close()
	cmd := exec.CommandContext(s.ctx, "oauth2-proxy", //nolint:gosec // our own arguments
		"--provider=oidc", "--oidc-issuer-url="+issuer, "--client-id=bench", "--client-secret=bench-bench-bench",
		"--redirect-url="+a.address+"/oauth2/callback", "--http-address=127.0.0.1:"+port, "--code-challenge-method=S256",
		"--cookie-secret=0123456789abcdef0123456789abcdef", "--cookie-secure=false", "--email-domain=*",
		"--session-store-type=redis", "--redis-connection-url="+redis, "--reverse-proxy=true", "--trusted-proxy-ip=127.0.0.1",
		"--set-xauthrequest=true", "--skip-provider-button=true", "--upstream=static://202")
	cmd.Stdout, cmd.Stderr = logs, logs
	if err := s.start(cmd); err != nil {
		return authServer{}, err
	}
	a.pid = cmd.Process.Pid
	err = await(s.ctx, func() error {
		var err error
		a.cookie, err = signInAt(s.ctx, a.address)
		return err
	})
	if err != nil {
		text, _ := os.ReadFile(logs.Name())
		return authServer{}, fmt.Errorf("%w: %s", err, text)
	}
	return a, lets(s.ctx, a.address+a.check, a.cookie)
}

// signInAt goes through a login of oauth2-proxy as a browser would, and returns its cookie.
func signInAt(ctx context.Context, address string) (string, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	client := &http.Client{Jar: jar}
	chooser, err := visit(ctx, client, http.MethodGet, address+"/oauth2/start?rd=/", "")
	if err != nil {
		return "", err
	}
	if _, err := visit(ctx, client, http.MethodPost, chooser.String(), url.Values{"email": {"alice@corp.test"}}.Encode()); err != nil {
		return "", err
	}
	at, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	for _, c := range jar.Cookies(at) {
		if c.Name == "_oauth2_proxy" {
			return c.Name + "=" + c.Value, nil
		}
	}
	return "", errors.New("the login left no cookie")
}

// visit makes one request, follows redirects, and says where they led.
func visit(ctx context.Context, client *http.Client, method, address, form string) (*url.URL, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(form))
	if err != nil {
		return nil, err
	}
	if form != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.Request.URL, err
}

// lets reports whether a session gets in.
func lets(ctx context.Context, address, cookie string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Cookie", cookie)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s answers %s", address, resp.Status)
	}
	return nil
}
