package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"github.com/gatehouse-auth/gatehouse/upload"
)

const (
	// attempts is how often one request is put to the server before it counts as failed.
	attempts = 5
	// backoff is the most that is waited between two of them.
	backoff = 5 * time.Second
	// connLimit bounds the making of a connection, and once more its TLS handshake.
	connLimit = 10 * time.Second
	// wire is how much is read from and written to a socket at once.
	wire = 64 << 10
)

// retried are the answers, beside those that the SDK knows, after which the same bytes may well get
// through: they were damaged on the way (UP-09 d), or not all of them came.
var retried = retry.RetryableErrorCode{Codes: map[string]struct{}{
	"BadDigest":                   {},
	"XAmzContentChecksumMismatch": {},
	"IncompleteBody":              {},
	"OperationAborted":            {}, // another request on the same key was in the way
}}

// options turns the SDK from what suits a program on AWS into what suits a relay before any server.
func (c S3Config) options(ctx context.Context) (s3.Options, error) {
	client, err := c.httpClient()
	if err != nil {
		return s3.Options{}, err
	}
	shared, err := c.shared(ctx)
	if err != nil {
		return s3.Options{}, err
	}
	o := s3.Options{
		Region: shared.Region, Credentials: shared.Credentials, UsePathStyle: c.PathStyle, HTTPClient: client, AppID: "gatehouse",
		// The default adds trailing checksums, which some servers refuse and some store inside the
		// object. Ours are made while the bytes come in, and travel in a header.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
		// Expect: 100-continue costs a round trip for every part.
		ContinueHeaderThresholdBytes: -1,
		// The SDK's own bucket of retries is one for all requests: one bad minute, and those that
		// could still succeed are not tried again.
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.MaxBackoff, o.RateLimiter = attempts, backoff, ratelimit.None
			o.Retryables = append(o.Retryables, retried)
		}),
		// Over http the SDK would read each part twice, once for a hash. The checksum header is signed.
		APIOptions: []func(*middleware.Stack) error{v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware, c.watch},
	}
	if c.Endpoint != "" {
		o.BaseEndpoint = aws.String(c.Endpoint)
	}
	return o, nil
}

// shared reads region and credentials from the usual places where the configuration has none. It asks
// no server: the machine's own role is asked for when the first request is signed, and a request has
// a time limit.
func (c S3Config) shared(ctx context.Context) (aws.Config, error) {
	var load []func(*config.LoadOptions) error
	if c.Region != "" {
		load = append(load, config.WithRegion(c.Region))
	}
	if c.AccessKey != "" {
		load = append(load, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(c.AccessKey, c.SecretKey, c.SessionToken)))
	}
	found, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("s3: read the settings of the AWS SDK: %w", err)
	}
	if found.Region == "" {
		found.Region = defaultRegion
	}
	return found, nil
}

// visitors signs addresses for browsers, who may know the server by another name than we do.
func (c S3Config) visitors(o s3.Options) *s3.PresignClient {
	o.APIOptions = nil
	if c.PublicEndpoint != "" {
		o.BaseEndpoint = aws.String(c.PublicEndpoint)
	}
	return s3.NewPresignClient(s3.New(o))
}

func (c S3Config) httpClient() (*patientClient, error) {
	roots, err := c.roots()
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: connLimit}
	return &patientClient{patience: c.Patience, client: http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment,
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := dialer.DialContext(ctx, network, address)
				if err != nil {
					return nil, err
				}
				return &patientConn{Conn: conn, patience: c.Patience}, nil
			},
			TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:   connLimit,
			ResponseHeaderTimeout: c.Patience,
			MaxIdleConns:          c.Slots,
			MaxIdleConnsPerHost:   c.Slots,
			IdleConnTimeout:       55 * time.Second,
			ReadBufferSize:        wire,
			WriteBufferSize:       wire,
			DisableCompression:    true,
		},
		// A redirect leads to another region's server: that is a fault in the configuration.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (c S3Config) roots() (*x509.CertPool, error) {
	if c.CAFile == "" {
		return nil, nil //nolint:nilnil // what crypto/tls takes for the system's own
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("s3: %s holds no certificate", c.CAFile)
	}
	return pool, nil
}

// watch adds what tells Observe of every attempt: the retries are seen where they happen.
func (c S3Config) watch(stack *middleware.Stack) error {
	if c.Observe == nil {
		return nil
	}
	note := func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
		start := time.Now()
		out, metadata, err := next.HandleFinalize(ctx, in)
		c.Observe.note("s3", awsmiddleware.GetOperationName(ctx), start, answered(err))
		return out, metadata, err
	}
	return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("GatehouseObserve", note), "Retry", middleware.After)
}

// answered names how an attempt went.
func answered(err error) string {
	switch {
	case err == nil:
		return "ok"
	case absent(err):
		return "none"
	case soonOver(err):
		return "error"
	}
	return "refused"
}

// patientClient gives up when the server is silent for too long. A time limit for a whole request would
// cut off a server that is slow and does its work; without any, one that dies in the middle of an
// answer would be waited for for ever. The transport itself limits how long an answer's head may take.
type patientClient struct {
	client   http.Client
	patience time.Duration
}

// Do sends a request. The body of the answer fails when nothing comes while somebody reads.
func (c *patientClient) Do(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	resp, err := c.client.Do(req.WithContext(ctx)) //nolint:gosec // where to is the operator's choice
	if err != nil {
		cancel(nil)
		return nil, err
	}
	resp.Body = &patientBody{ReadCloser: resp.Body, cancel: cancel, patience: c.patience}
	return resp, nil
}

type patientBody struct {
	io.ReadCloser
	cancel   context.CancelCauseFunc
	patience time.Duration
}

func (b *patientBody) Read(p []byte) (int, error) {
	late := time.AfterFunc(b.patience, func() { b.cancel(errSilent) })
	defer late.Stop()
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: read what the server answers: %w", upload.ErrUnavailable, err)
	}
	return n, err
}

func (b *patientBody) Close() error {
	defer b.cancel(nil)
	return b.ReadCloser.Close()
}

// patientConn gives up when the server takes nothing for too long.
type patientConn struct {
	net.Conn
	patience time.Duration
}

func (c *patientConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.patience)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
