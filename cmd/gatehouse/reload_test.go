package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// traffic asks for a public address all the time and counts what is not 200.
func traffic(r *rig, path string) (stop func() (asked, failed int64)) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	var asked, failed atomic.Int64
	for range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				asked.Add(1)
				if status, _ := r.get(r.public + path); status != http.StatusOK {
					failed.Add(1)
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	return func() (int64, int64) { cancel(); all.Wait(); return asked.Load(), failed.Load() }
}

// CF-03, RULE-17: a bad file changes nothing, a good one is taken up, and no request fails meanwhile.
func TestReload(t *testing.T) {
	r := newRig(t)
	public := fmt.Sprintf("  - {host: %q, path: /public, public: true, upstream: %q}\n", r.host(), r.app.URL)
	r.edit("routes:\n", "routes:\n"+public)
	r.start()
	stop := traffic(r, "/public/a")
	good, err := os.ReadFile(r.config)
	if err != nil {
		t.Fatal(err)
	}
	open := func(path string) func() bool {
		return func() bool { status, _ := r.get(r.public + path); return status == http.StatusOK }
	}
	complaints := func() int { return strings.Count(r.log.String(), "configuration not reloaded") }

	t.Run("CF-03/invalid YAML", func(t *testing.T) {
		r.write("routes: [")
		r.eventually("one complaint", func() bool { return complaints() == 1 })
		time.Sleep(3 * watchEvery)
		if n := complaints(); n != 1 || !open("/public/a")() {
			t.Errorf("%d complaints, and the old routes answer: %v", n, open("/public/a")())
		}
	})
	t.Run("CF-03/truncate, then write", func(t *testing.T) {
		file, err := os.Create(r.config)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		time.Sleep(watchEvery / 2)
		more := strings.ReplaceAll(string(good), "routes:\n", "routes:\n"+strings.ReplaceAll(public, "/public", "/second"))
		if _, err := file.WriteString(more); err != nil {
			t.Fatal(err)
		}
		r.eventually("the new route", open("/second/a"))
		r.eventually("its warning", func() bool { return strings.Contains(r.log.String(), "/second lets in more people") })
	})
	t.Run("CF-03/symbolic link swapped, as a ConfigMap is", func(t *testing.T) {
		for _, version := range []string{"..v1", "..v2"} {
			if err := os.Mkdir(filepath.Join(r.dir, version), 0o700); err != nil {
				t.Fatal(err)
			}
			text := strings.ReplaceAll(string(good), "routes:\n", "routes:\n"+strings.ReplaceAll(public, "/public", "/"+version[2:]))
			if err := os.WriteFile(filepath.Join(r.dir, version, "config.yaml"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		link := func(target, name string) {
			t.Helper()
			if err := os.Symlink(target, filepath.Join(r.dir, name+".new")); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(r.dir, name+".new"), filepath.Join(r.dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		link("..v1", "..data")
		link(filepath.Join("..data", "config.yaml"), "config.yaml")
		r.eventually("version 1", open("/v1/a"))
		link("..v2", "..data")
		r.eventually("version 2", open("/v2/a"))
		if open("/v1/a")() {
			t.Error("the route of version 1 still answers without a session")
		}
	})
	t.Run("CF-03/deleted and created again", func(t *testing.T) {
		if err := os.Remove(r.config); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * watchEvery)
		if !open("/v2/a")() {
			t.Error("the old routes must stay while there is no file")
		}
		r.write(string(good))
		r.eventually("the file's routes", func() bool { return !open("/v2/a")() })
	})
	t.Run("CF-03/upstream", func(t *testing.T) {
		other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "the other app") }))
		defer other.Close()
		r.edit("path: /public, public: true, upstream: \""+r.app.URL, "path: /public, public: true, upstream: \""+other.URL)
		r.eventually("the other app answers", func() bool { _, body := r.get(r.public + "/public/a"); return body == "the other app" })
		r.write(string(good))
		r.eventually("the first one again", func() bool { _, body := r.get(r.public + "/public/a"); return body != "the other app" })
	})
	t.Run("CF-03/trusted proxies", func(t *testing.T) {
		r.edit("server: {", `server: {trusted_proxies: [{from: "127.0.0.1", headers: [id]}, {from: "::1", headers: [id]}], `)
		r.eventually("the peer's request id is believed", func() bool {
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, r.public+"/public/a", nil)
			req.Header.Set("X-Request-Id", "given-by-the-proxy")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			return strings.Contains(r.log.String(), "given-by-the-proxy")
		})
		r.write(string(good))
	})
	t.Run("CF-03/start-only key", func(t *testing.T) {
		r.edit("drain_delay: 100ms", "drain_delay: 200ms")
		r.eventually("a warning that names it", func() bool { return strings.Contains(r.log.String(), "server.drain_delay") })
	})
	t.Run("CF-03/SIGHUP", func(t *testing.T) {
		before := strings.Count(r.log.String(), "configuration reloaded")
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		r.eventually("a reload", func() bool { return strings.Count(r.log.String(), "configuration reloaded") > before })
	})
	if asked, failed := stop(); failed != 0 || asked < 100 {
		t.Errorf("CF-03: of %d requests while the file changed, %d failed", asked, failed)
	}
}

// RULE-17: what is running when its route is withdrawn is judged again, and ended.
func TestReloadWithdrawsStream(t *testing.T) {
	r := newRig(t)
	r.answer(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for req.Context().Err() == nil {
			if _, err := fmt.Fprint(w, "data: tick\n\n"); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			time.Sleep(50 * time.Millisecond)
		}
	})
	r.start()
	b := r.browser()
	chooser, _ := b.navigate(r.public + "/_gate/login?next=/_gate/me")
	b.do(http.MethodPost, chooser.Request.URL.String(), map[string][]string{"email": {"alice@corp.test"}}, map[string]string{"Accept": "text/html"})
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, r.public+"/events", nil)
	req.Header.Set("Cookie", b.cookie())
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("stream: %s", resp.Status)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 1024)
		for {
			if _, err := resp.Body.Read(buf); err != nil {
				return
			}
		}
	}()
	// One reload that leaves it alone, so that it runs behind a front of the day before yesterday.
	r.edit("routes:\n", fmt.Sprintf("routes:\n  - {host: %q, path: /other, upstream: %q}\n", r.host(), r.app.URL))
	r.eventually("a first reload", func() bool { return strings.Contains(r.log.String(), "configuration reloaded") })
	r.edit(fmt.Sprintf("- {host: %q, upstream", r.host()), fmt.Sprintf("- {allow: {roles: [admin]}, host: %q, upstream", r.host()))
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatalf("RULE-17: the stream goes on though its route no longer allows alice:\n%s", r.log)
	}
}

// CF-03: a renewed certificate is shown to the next connection; half a renewal changes nothing.
func TestReloadCertificate(t *testing.T) {
	r := newRig(t)
	cert, key := filepath.Join(r.dir, "tls.crt"), filepath.Join(r.dir, "tls.key")
	renew := func(serial int64, files ...string) {
		t.Helper()
		texts := selfSigned(t, serial)
		for _, name := range files {
			if err := os.WriteFile(name, texts[filepath.Ext(name)], 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	renew(1, cert, key)
	r.edit("drain_delay", fmt.Sprintf("tls: {cert_file: %q, key_file: %q}, drain_delay", cert, key))
	r.start()
	shown := func() int64 {
		conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", r.host())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if n := shown(); n != 1 {
		t.Fatalf("certificate %d is shown at first", n)
	}
	renew(2, cert) // whose key is not there yet
	r.eventually("a complaint", func() bool { return strings.Contains(r.log.String(), "configuration not reloaded") })
	if n := shown(); n != 1 {
		t.Errorf("CF-03: certificate %d is shown while the pair does not fit", n)
	}
	renew(3, cert, key)
	r.eventually("the new certificate", func() bool { return shown() == 3 })
}

// selfSigned makes a certificate for localhost and its key, as PEM by the ending of their files.
func selfSigned(t *testing.T, serial int64) map[string][]byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		".crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		".key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

// CF-03, and the rotation of docs/operations.md: new sessions are signed with the new key, nobody who
// is in is signed out, and a key file that holds no key changes nothing.
func TestReloadKeys(t *testing.T) {
	r := newRig(t)
	file := filepath.Join(r.dir, "keys")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	old, next := newKeyLine(t, 1), newKeyLine(t, 101)
	put(old)
	r.edit("log: {", fmt.Sprintf("secret: {keys_file: %q}\nlog: {", file))
	r.start()
	signIn := func() string {
		t.Helper()
		b := r.browser()
		b.signIn(r.public+"/", "alice@corp.test")
		return b.cookie()
	}
	in := func(when string, cookies ...string) {
		t.Helper()
		for i, cookie := range cookies {
			if resp := r.ask(cookie, "/"); resp.StatusCode != http.StatusOK {
				t.Errorf("%s: session %d: %s", when, i+1, resp.Status)
			}
		}
	}
	kid := func(cookie string) string { return strings.TrimPrefix(cookie, "gate=")[:1] } // six of its eight bits
	reloads := func() int { return strings.Count(r.log.String(), "configuration reloaded") }
	turn := func(text string) {
		t.Helper()
		before := reloads()
		put(text)
		r.eventually("a reload", func() bool { return reloads() > before })
	}

	first := signIn()
	turn(old + next)
	second := signIn()
	turn(next + old)
	third := signIn()
	in("both keys there", first, second, third)
	if kid(first) != kid(second) || kid(second) == kid(third) {
		t.Errorf("the first key of the file signs: kids %s %s %s", kid(first), kid(second), kid(third))
	}
	turn(next)
	in("the old key gone", first, second, third)
	put("# no key at all\n")
	r.eventually("a complaint", func() bool { return strings.Contains(r.log.String(), "configuration not reloaded") })
	in("a key file without a key", third, signIn())
}
