package storetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// Authority is a throwaway certificate authority.
type Authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// NewAuthority makes one that is good for a day.
func NewAuthority() (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	self := blank("throwaway authority")
	self.IsCA, self.BasicConstraintsValid, self.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, self, self, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &Authority{key: key, cert: cert}, err
}

// File writes the authority's certificate where SSL_CERT_FILE may point to.
func (a *Authority) File(t testing.TB) (path string) {
	t.Helper()
	return writePEM(t, filepath.Join(room(t), "ca.pem"), "CERTIFICATE", a.cert.Raw)
}

// PEM is the authority's certificate as a file has it.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// RedisTLS is Redis with TLS and a certificate of the authority's for 127.0.0.1. Its URL begins with
// rediss://; Addr leads to a port without TLS.
func (a *Authority) RedisTLS(t testing.TB, args ...string) *RedisServer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := blank("127.0.0.1")
	leaf.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	cert, err := x509.CreateCertificate(rand.Reader, leaf, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir, port := room(t), strconv.Itoa(FreePort(t))
	r := Redis(t, append(args, "--tls-port", port, "--tls-auth-clients", "no", "--tls-ca-cert-file", a.File(t),
		"--tls-cert-file", writePEM(t, filepath.Join(dir, "cert.pem"), "CERTIFICATE", cert),
		"--tls-key-file", writePEM(t, filepath.Join(dir, "key.pem"), "PRIVATE KEY", secret))...)
	r.URL = "rediss://" + net.JoinHostPort("127.0.0.1", port)
	return r
}

func blank(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
	}
}

func writePEM(t testing.TB, path, kind string, der []byte) string {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	hand(t, path)
	return path
}
