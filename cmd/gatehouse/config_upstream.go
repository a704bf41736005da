package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"

	"github.com/gatehouse-auth/gatehouse/proxy"
)

// upstream has the address, its files and the host choice judged by the code that will use them.
func (j *judge) upstream(key string, r RouteConfig) {
	const fix = "write http://127.0.0.1:3000, https://host, h2c://host:port or unix:/run/app.sock"
	if r.Upload {
		j.uploadRoute(key, r)
		return
	}
	if r.Upstream == "" && j.checks() {
		return // another proxy carries the requests of this route, and asks about them
	}
	if r.Upstream == "" {
		j.bad(key+".upstream", "", "is required", fix)
		return
	}
	if h := r.UpstreamHost; h != "client" && h != "upstream" && !validHost(h) {
		j.bad(key+".upstream_host", h, "not client, upstream or a host", "client hands on the host that the browser asked for")
	}
	if r.TLS != (ClientTLSConfig{}) && !hasScheme(r.Upstream, "https") {
		j.bad(key+".tls", "", "needs an https upstream", "remove it, or write https:// in upstream")
	}
	j.keyPair(key+".tls", r.TLS.CertFile, r.TLS.KeyFile)
	target := j.target(r)
	target.Engine = "" // is judged by itself
	u, err := proxy.NewUpstream(target)
	if err != nil {
		j.bad(key+".upstream", r.Upstream, strings.TrimPrefix(err.Error(), fmt.Sprintf("upstream %q: ", r.Upstream)), fix)
		return
	}
	u.Close()
}

// client is how an https upstream is verified, for a try outside of the proxy.
func (t ClientTLSConfig) client() (*tls.Config, error) {
	out := &tls.Config{ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read ca_file: %w", err)
		}
		out.RootCAs = x509.NewCertPool()
		out.RootCAs.AppendCertsFromPEM(pem)
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read the client certificate: %w", err)
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}
