package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// realFront is a real proxy that the tests start with what `gatehouse snippet` prints.
type realFront struct {
	name    string
	program string
	install string // what to install if it is missing
	start   func(f *frontRig, dir string) []string
}

var realFronts = []realFront{
	{"nginx", "nginx", "apt-get install nginx", (*frontRig).nginx},
	{"caddy", "caddy", "test/ci/install.sh unit, which builds it into the cache and puts it in the PATH (test/ci/env.sh)", (*frontRig).caddy},
	{"haproxy", "haproxy", "apt-get install haproxy", (*frontRig).haproxy},
}

// frontRig is a front proxy before two apps and beside a Gatehouse, under one cookie domain.
type frontRig struct {
	*rig
	pg   *storetest.PostgresServer
	port string
	open *httptest.Server // a second app, whose host is public altogether
	seen chan http.Header // what the first app got, of requests under /seen
}

const (
	wiki     = "wiki.corp.test"
	grafana  = "grafana.corp.test"
	openHost = "open.corp.test"
)

// newFront starts everything: Postgres, Gatehouse, apps and the proxy.
func newFront(t *testing.T, kind realFront) *frontRig {
	t.Helper()
	program := lookUp(t, kind.program, kind.install)
	f := &frontRig{rig: newRig(t), pg: storetest.Postgres(t), port: freePort(t), seen: make(chan http.Header, 16)}
	f.open = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "open app %s user=%s\n", r.RequestURI, r.Header.Get("X-Auth-Request-Email"))
	}))
	t.Cleanup(f.open.Close)
	f.answer(f.first)
	listen := f.host()
	f.public = "https://auth.corp.test:" + f.port
	f.write(fmt.Sprintf(`server:
  listen: %q
  public_url: %q
  drain_delay: 100ms
  trusted_proxies: [{from: 127.0.0.1, headers: [for, proto, host, uri, method]}]
admin: {listen: %q}
cookie: {domain: corp.test}
login: {issuer: %q, client_id: gatehouse, client_secret: client-s3cret}
log: {format: json}
store: {dir: %q}
forward_auth: [%s]
routes:
  - {host: "%[7]s:%[8]s", upstream: %[9]q}
  - {host: "%[7]s:%[8]s", path: /public, upstream: %[9]q, public: true}
  - {host: "%[7]s:%[8]s", path: /read, upstream: %[9]q, methods: [GET]}
  - {host: "%[10]s:%[8]s", upstream: %[9]q, allow: {roles: [admin]}}
  - {host: "%[10]s:%[8]s", path: /shared, upstream: %[9]q}
  - {host: "%[11]s:%[8]s", upstream: %[12]q, public: true}
`, strings.Replace(listen, "localhost", "127.0.0.1", 1), f.public, strings.TrimPrefix(f.admin, "http://"), f.issuer, filepath.Join(f.dir, "data"), kind.name,
		wiki, f.port, f.app.URL, grafana, openHost, f.open.URL))
	f.shared(f.pg.URL, "")
	f.rig.start()
	f.launch(program, kind.start(f, t.TempDir()))
	return f
}

// lookUp finds a program in the PATH or where test/ci/install.sh puts what it builds. A missing one
// fails the test.
func lookUp(t *testing.T, program, install string) string {
	t.Helper()
	if path, err := exec.LookPath(program); err == nil {
		return path
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(cache, "gatehouse", "bin", program), "/usr/sbin/" + program} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Fatalf("%s is missing: %s", program, install)
	return ""
}

// snippetText is what the command prints.
func (f *frontRig) snippetText(args ...string) string {
	f.t.Helper()
	code, out := f.run(append([]string{"snippet"}, args...)...)
	if code != exitOK {
		f.t.Fatalf("snippet %v: exit %d: %s", args, code, out)
	}
	return out
}

func (f *frontRig) file(dir, name, text string) string {
	f.t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	return path
}

// nginx has the snippet as it is but for the folder of its certificates, in the smallest nginx.conf.
func (f *frontRig) nginx(dir string) []string {
	f.certificates(dir)
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;\n"
	}
	conf := f.file(dir, "gatehouse.conf", strings.ReplaceAll(f.snippetText("nginx"), "/etc/ssl/gatehouse/", dir+"/"))
	var temp strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temp, "%s_temp_path %s/%s;\n", kind, dir, kind)
	}
	main := f.file(dir, "nginx.conf", fmt.Sprintf("%sdaemon off; pid %s/pid; error_log stderr; events {}\nhttp { access_log off; server_names_hash_bucket_size 64;\n%s include %s; }\n", user, dir, temp.String(), conf))
	return []string{"-p", dir, "-e", "stderr", "-c", main}
}

// caddy makes its certificates itself here.
func (f *frontRig) caddy(dir string) []string {
	globals := fmt.Sprintf("{\n\tadmin off\n\tpersist_config off\n\tlocal_certs\n\tskip_install_trust\n\tauto_https disable_redirects\n\tstorage file_system %s\n\tservers {\n\t\tprotocols h1 h2\n\t}\n}\n", dir)
	return []string{"run", "--adapter", "caddyfile", "--config", f.file(dir, "Caddyfile", globals+f.snippetText("caddy"))}
}

func (f *frontRig) haproxy(dir string) []string {
	f.certificates(dir)
	lua := f.file(dir, "gatehouse.lua", f.snippetText("haproxy", "--lua"))
	text := strings.NewReplacer("/etc/haproxy/certs/", dir+"/"+wiki+".pem", "/etc/haproxy/gatehouse.lua", lua).Replace(f.snippetText("haproxy"))
	return []string{"-db", "-f", f.file(dir, "haproxy.cfg", text)}
}

// certificates writes one for each host, in the forms that proxies want.
func (f *frontRig) certificates(dir string) {
	f.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	names := []string{wiki, grafana, openHost, "auth.corp.test"}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: names}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		f.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.t.Fatal(err)
	}
	crt := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	pk := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	for _, name := range names {
		f.file(dir, name+".crt", crt)
		f.file(dir, name+".key", pk)
		f.file(dir, name+".pem", crt+pk)
	}
}

// launch starts the proxy, and ends it with the test.
func (f *frontRig) launch(program string, args []string) {
	f.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(f.t.Context()))
	cmd := exec.CommandContext(ctx, program, args...)
	said := new(lines)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.Env = append(os.Environ(), "HOME="+f.dir, "XDG_DATA_HOME="+f.dir, "XDG_CONFIG_HOME="+f.dir)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was told to end: how it says so does not matter
		if f.t.Failed() {
			f.t.Logf("%s said:\n%s", program, said)
		}
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		conn, err := (&tls.Dialer{Config: f.tls(wiki)}).DialContext(f.t.Context(), "tcp", "127.0.0.1:"+f.port)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(end) {
			f.t.Fatalf("%s does not answer: %v\n%s", program, err, said)
		}
	}
}

func (f *frontRig) tls(name string) *tls.Config {
	return &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}
}

// person is a browser that finds all hosts of the domain at the proxy.
func (f *frontRig) person() *browser {
	b := f.browser()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasSuffix(address, ".corp.test:"+f.port) {
			address = "127.0.0.1:" + f.port
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	f.t.Cleanup(transport.CloseIdleConnections)
	b.client.Transport, b.client.Timeout = transport, 5*time.Minute
	return b
}

func (f *frontRig) url(host, path string) string { return "https://" + host + ":" + f.port + path }

// session is the cookie of a person as a header.
func (f *frontRig) session(b *browser) string {
	at, _ := url.Parse(f.url(wiki, "/"))
	for _, c := range b.client.Jar.Cookies(at) {
		if c.Name == "__Secure-gate" {
			return c.Name + "=" + c.Value
		}
	}
	f.t.Fatal("nobody is signed in")
	return ""
}

// raw sends bytes as they are and returns the connection and what the head of the answer says.
func (f *frontRig) raw(t *testing.T, text string) (*tls.Conn, *bufferedAnswer) {
	t.Helper()
	conn, err := (&tls.Dialer{Config: f.tls(wiki)}).DialContext(t.Context(), "tcp", "127.0.0.1:"+f.port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return conn.(*tls.Conn), readAnswer(t, conn)
}

// first is the app behind wiki and grafana.
func (f *frontRig) first(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasPrefix(r.URL.Path, "/seen") || strings.HasPrefix(r.URL.Path, "/public/seen"):
		h := r.Header.Clone()
		h.Set("Method-Of", r.Method)
		select {
		case f.seen <- h:
		default:
		}
		fmt.Fprintln(w, "seen")
	case r.URL.Path == "/socket":
		echoSocket(w, r)
	case r.URL.Path == "/large":
		swapLarge(w, r)
	default:
		echo(w, r)
	}
}

// got is what the app saw of the last request, or nil if it saw none.
func (f *frontRig) got() http.Header {
	select {
	case h := <-f.seen:
		return h
	default:
		return nil
	}
}

// echoSocket answers the WebSocket handshake of RFC 6455, section 1.3, and sends what it gets back in
// capitals.
func echoSocket(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		http.Error(w, "no handshake arrived", http.StatusBadRequest)
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-User: %s\r\n\r\n", r.Header.Get("X-Auth-Request-Email"))
	buf := make([]byte, 4)
	for {
		n, err := rw.Read(buf)
		if err != nil {
			return
		}
		if _, err := conn.Write(bytes.ToUpper(buf[:n])); err != nil {
			return
		}
	}
}
