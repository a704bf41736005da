package proxy_test

import (
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
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/proxy"
)

// certificate makes a self-signed certificate for app.internal and writes its files.
func certificate(t *testing.T) (certFile, keyFile string, pair tls.Certificate) {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"app.internal"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))
	certFile, keyFile = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for name, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile, must(tls.LoadX509KeyPair(certFile, keyFile))
}

func TestUpstreamKinds(t *testing.T) { engines(t, testUpstreamKinds) }

func testUpstreamKinds(t *testing.T) {
	told := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s %s", r.Proto, r.RequestURI) })
	certFile, keyFile, pair := certificate(t)
	roots := x509.NewCertPool()
	roots.AddCert(must(x509.ParseCertificate(pair.Certificate[0])))
	secure := httptest.NewUnstartedServer(told)
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots}
	secure.EnableHTTP2 = true
	secure.Config.ErrorLog = nil
	secure.StartTLS()
	t.Cleanup(secure.Close)

	socket := filepath.Join(must(os.MkdirTemp("", "gate")), "app.sock")
	t.Cleanup(func() { _ = os.RemoveAll(filepath.Dir(socket)) })
	local := httptest.NewUnstartedServer(told)
	_ = local.Listener.Close()
	local.Listener = must(new(net.ListenConfig).Listen(t.Context(), "unix", socket))
	local.Start()
	t.Cleanup(local.Close)

	for name, one := range map[string]struct {
		target proxy.Target
		status int
		body   string
	}{
		"https":            {proxy.Target{URL: secure.URL, TLS: proxy.ClientTLS{CAFile: certFile, CertFile: certFile, KeyFile: keyFile, ServerName: "app.internal"}}, 200, "HTTP/2.0 /a%2Fb?"},
		"https-unknown-ca": {proxy.Target{URL: secure.URL, TLS: proxy.ClientTLS{CertFile: certFile, KeyFile: keyFile, ServerName: "app.internal"}}, 502, ""},
		"https-other-name": {proxy.Target{URL: secure.URL, TLS: proxy.ClientTLS{CAFile: certFile, CertFile: certFile, KeyFile: keyFile}}, 502, ""},
		"https-nobody":     {proxy.Target{URL: secure.URL, TLS: proxy.ClientTLS{CAFile: certFile, ServerName: "app.internal"}}, 502, ""},
		"unix":             {proxy.Target{URL: "unix:" + socket}, 200, "HTTP/1.1 /a%2Fb?"},
		"unix-gone":        {proxy.Target{URL: "unix:/nowhere.sock"}, 502, ""},
		"h2c":              {proxy.Target{URL: grpcApp(t)}, 404, "404 page not found\n"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, setup{routes: routes(newUpstream(t, one.target))})
			res := w.ask("GET", "/a%2Fb?", w.authed(), xhr)
			if res.StatusCode != one.status || one.body != "" && res.body != one.body {
				t.Errorf("got %s %q", res.Status, res.body)
			}
		})
	}
}

func TestTargetFaults(t *testing.T) {
	for _, one := range []struct {
		target proxy.Target
		part   string
	}{
		{proxy.Target{URL: "127.0.0.1:3000"}, "upstream"},
		{proxy.Target{URL: "ftp://a"}, "write http://"},
		{proxy.Target{URL: "http://a/base"}, "no path"},
		{proxy.Target{URL: "http://user:hunter2@a"}, "credentials"},
		{proxy.Target{URL: "unix:relative"}, "unix:/path"},
		{proxy.Target{URL: "https://a", TLS: proxy.ClientTLS{CAFile: "/nowhere"}}, "CA"},
		{proxy.Target{URL: "https://a", TLS: proxy.ClientTLS{CertFile: "/nowhere"}}, "client certificate"},
	} {
		_, err := proxy.NewUpstream(one.target)
		if err == nil || !strings.Contains(err.Error(), one.part) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%+v: %v", one.target, err)
		}
	}
}
