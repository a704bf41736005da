package storetest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// What all test servers for S3 have in common.
const (
	S3Bucket    = "files"
	S3AccessKey = "AKIAGATEHOUSETEST"
	S3SecretKey = "gatehouse-throwaway-secret"
	S3Region    = "us-east-1"
)

// S3Server is a server that speaks the protocol of S3, with one empty bucket, for one test.
type S3Server struct {
	Endpoint string // http:// or https://
	CAFile   string // whom to trust for https; empty for http
	client   *s3.Client
	server   *server // nil: it runs in this process
}

// S3 starts versitygw, which checks signatures, checksums and the least size of parts. It ends with
// the test; args go on its command line before the backend's name.
func S3(t testing.TB, args ...string) *S3Server {
	t.Helper()
	return versity(t, "http", nil, args...)
}

// S3TLS is S3 over https, with a certificate of the authority's for 127.0.0.1.
func (a *Authority) S3TLS(t testing.TB) *S3Server {
	t.Helper()
	cert, key := a.leaf(t)
	ca := a.File(t)
	text, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	s := versity(t, "https", &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, "--cert", cert, "--key", key)
	s.CAFile = ca
	return s
}

// leaf makes a certificate for 127.0.0.1 and returns the files of it and its key.
func (a *Authority) leaf(t testing.TB) (cert, key string) {
	t.Helper()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := blank("127.0.0.1")
	leaf.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	der, err := x509.CreateCertificate(rand.Reader, leaf, a.cert, &secret.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	dir := room(t)
	return writePEM(t, filepath.Join(dir, "cert.pem"), "CERTIFICATE", der), writePEM(t, filepath.Join(dir, "key.pem"), "PRIVATE KEY", pkcs8)
}

func versity(t testing.TB, scheme string, trust *tls.Config, args ...string) *S3Server {
	t.Helper()
	path := program(t, "versitygw", "nothing for it: test/ci/install.sh unit builds it",
		filepath.Join(cacheDir(), "gatehouse", "bin", "versitygw"))
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(FreePort(t)))
	data, side := room(t), room(t)
	s := &S3Server{Endpoint: scheme + "://" + address}
	transport := &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true}
	s.client = s3Client(s.Endpoint, transport)
	s.server = &server{t: t, name: "versitygw", make: func() *exec.Cmd {
		// What the server notes of an object goes beside it: not every file system that a test may run
		// on has extended attributes.
		line := slices.Concat([]string{"--quiet", "--keep-alive", "--port", address, "--access", S3AccessKey, "--secret", S3SecretKey},
			args, []string{"posix", "--sidecar", side, data})
		return exec.Command(path, line...) //nolint:gosec,noctx // our own arguments; it lives as long as the test
	}}
	s.server.up = func() bool {
		_, err := s.client.ListBuckets(context.Background(), &s3.ListBucketsInput{})
		return err == nil
	}
	s.server.Start()
	t.Cleanup(s.Stop)
	s.makeBucket(t)
	return s
}

// cacheDir is where test/ci/install.sh puts what it builds.
func cacheDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "/root/.cache"
	}
	return dir
}

// FakeS3 runs gofakes3 in this process: it stands for servers that are older and sloppier than the
// protocol, for it asks for no signature, knows no checksum and takes parts of any size. It stands
// behind wrap, if that is not nil.
func FakeS3(t testing.TB, wrap func(http.Handler) http.Handler) *S3Server {
	t.Helper()
	handler := gofakes3.New(s3mem.New(), gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
	plain := httptest.NewServer(handler)
	t.Cleanup(plain.Close)
	s := &S3Server{Endpoint: plain.URL, client: s3Client(plain.URL, &http.Transport{DisableKeepAlives: true})}
	s.makeBucket(t)
	if wrap != nil {
		front := httptest.NewServer(wrap(handler))
		t.Cleanup(front.Close)
		s.Endpoint = front.URL
	}
	return s
}

func s3Client(endpoint string, transport *http.Transport) *s3.Client {
	return s3.New(s3.Options{
		Region: S3Region, BaseEndpoint: &endpoint, UsePathStyle: true,
		Credentials:      credentials.NewStaticCredentialsProvider(S3AccessKey, S3SecretKey, ""),
		HTTPClient:       &http.Client{Transport: transport, Timeout: 30 * time.Second},
		RetryMaxAttempts: 1,
	})
}

func (s *S3Server) makeBucket(t testing.TB) {
	t.Helper()
	if _, err := s.client.CreateBucket(context.Background(), &s3.CreateBucketInput{Bucket: aws.String(S3Bucket)}); err != nil {
		t.Fatalf("make a bucket: %v", err)
	}
}

// Stop ends the server; what it holds stays.
func (s *S3Server) Stop() {
	if s.server != nil {
		s.server.stop(syscall.SIGKILL)
	}
}

// Start starts it again.
func (s *S3Server) Start() { s.server.Start() }

// Left lists all that stands in the bucket: the keys of objects, and those of unfinished uploads with
// a word before.
func (s *S3Server) Left(t testing.TB) []string {
	t.Helper()
	var left []string
	objects := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: aws.String(S3Bucket)})
	for objects.HasMorePages() {
		page, err := objects.NextPage(context.Background())
		if err != nil {
			t.Fatalf("list objects: %v", err)
		}
		for _, o := range page.Contents {
			left = append(left, aws.ToString(o.Key))
		}
	}
	uploads, err := s.client.ListMultipartUploads(context.Background(), &s3.ListMultipartUploadsInput{Bucket: aws.String(S3Bucket)})
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() == "NoSuchUpload" { // gofakes3 says so where there is none
		return left
	}
	if err != nil {
		t.Fatalf("list uploads: %v", err)
	}
	for _, u := range uploads.Uploads {
		left = append(left, "unfinished: "+aws.ToString(u.Key))
	}
	return left
}

// Head returns the headers of an object that tell how it is kept.
func (s *S3Server) Head(t testing.TB, key string) *s3.HeadObjectOutput {
	t.Helper()
	out, err := s.client.HeadObject(context.Background(), &s3.HeadObjectInput{Bucket: aws.String(S3Bucket), Key: &key})
	if err != nil {
		t.Fatalf("head %s: %v", key, err)
	}
	return out
}

// Begin begins an upload, sends one part of it, and leaves it so, as a process does that was killed.
func (s *S3Server) Begin(t testing.TB, key string) {
	t.Helper()
	out, err := s.client.CreateMultipartUpload(context.Background(), &s3.CreateMultipartUploadInput{Bucket: aws.String(S3Bucket), Key: &key})
	if err != nil {
		t.Fatalf("begin an upload: %v", err)
	}
	_, err = s.client.UploadPart(context.Background(), &s3.UploadPartInput{
		Bucket: aws.String(S3Bucket), Key: &key, UploadId: out.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader("left behind"),
	})
	if err != nil {
		t.Fatalf("send a part: %v", err)
	}
}

// Content reads an object whole.
func (s *S3Server) Content(t testing.TB, key string) []byte {
	t.Helper()
	out, err := s.client.GetObject(context.Background(), &s3.GetObjectInput{Bucket: aws.String(S3Bucket), Key: &key})
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	defer func() { _ = out.Body.Close() }()
	b, err := io.ReadAll(out.Body)
	if err != nil {
		t.Fatalf("read %s: %v", key, err)
	}
	return b
}
