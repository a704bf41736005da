package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/web"
)

// Target says where an upstream is and how it wants to be spoken to.
type Target struct {
	URL    string // http://host:port, https://host:port, h2c://host:port or unix:/path/to/socket
	Host   string // the Host it gets: "client" (the default) the one that was asked for, "upstream" its own, or any other name
	Engine string // EngineLean or EngineStdlib (the default): what carries requests without a body
	Strip  string // a path prefix that it does not know: cut off, and told in X-Forwarded-Prefix
	TLS    ClientTLS
	Dial   time.Duration // until a connection stands, and again until TLS does; 0: 3 s
	Header time.Duration // until its response headers, after the request was sent; 0: 60 s
	Idle   time.Duration // how long an idle connection is kept; 0: 55 s, just below the 60 s that many apps keep theirs
	Stall  time.Duration // how long a client may neither send nor take bytes while it is its turn; 0: 60 s
}

// ClientTLS is how an https upstream is verified, and how we show it who we are. Files are PEM.
type ClientTLS struct {
	CAFile     string // certificates that sign its own; empty: the system's
	CertFile   string // client certificate; empty: none
	KeyFile    string // key of CertFile
	ServerName string // the name its certificate must have; empty: the host of URL
}

// The bounds that are not worth a setting.
const (
	continueWait   = time.Second // for "100 Continue", after which the body is sent anyway (RFC 9110, section 10.1.1)
	idleConns      = 512         // kept to one upstream; net/http's default of two makes every burst dial anew
	bufferSize     = 64 << 10
	maxHeaderBytes = 256 << 10 // of a response
)

// Upstream carries requests to one app. As a http.Handler it serves only what a Proxy let through.
type Upstream struct {
	target    Target
	name      string // as the log and the metrics have it
	url       *url.URL
	transport *http.Transport
	proxy     *httputil.ReverseProxy
	lean      *lean // nil: not for this app
	names     names
}

// NewUpstream makes an upstream. It connects to nothing. The error names the setting that is wrong.
func NewUpstream(t Target) (*Upstream, error) {
	t.Dial, t.Header = or(t.Dial, 3*time.Second), or(t.Header, 60*time.Second)
	t.Idle, t.Stall = or(t.Idle, 55*time.Second), or(t.Stall, 60*time.Second)
	u := &Upstream{target: t}
	var err error
	if u.url, u.transport, err = transport(t); err != nil {
		return nil, err
	}
	u.name = nameOf(t, u.url)
	switch t.Engine {
	case "", EngineStdlib:
	case EngineLean:
		u.lean = newLean(t, u.transport, u.url.Host)
	default:
		return nil, fmt.Errorf("engine %q: write %s or %s", t.Engine, EngineLean, EngineStdlib)
	}
	u.proxy = &httputil.ReverseProxy{
		Rewrite:        u.rewrite,
		ModifyResponse: u.received,
		ErrorHandler:   u.failed,
		Transport:      u.transport,
		BufferPool:     buffers{},
		ErrorLog:       log.New(io.Discard, "", 0), // the record has the cause; nothing is logged on the way
	}
	return u, nil
}

// Close closes the connections that are idle. Those in use go on.
func (u *Upstream) Close() {
	u.transport.CloseIdleConnections()
	if u.lean != nil {
		u.lean.pool.close()
	}
}

// String is the upstream as the log and the metrics have it.
func (u *Upstream) String() string { return u.name }

func nameOf(t Target, u *url.URL) string {
	if strings.HasPrefix(t.URL, "unix:") {
		return t.URL
	}
	return u.Scheme + "://" + u.Host
}

func or(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// transport makes the client's side of an upstream.
func transport(t Target) (*url.URL, *http.Transport, error) {
	tr := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: t.Dial, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:    t.Dial,
		ResponseHeaderTimeout:  t.Header,
		ExpectContinueTimeout:  continueWait,
		IdleConnTimeout:        t.Idle,
		MaxIdleConns:           idleConns,
		MaxIdleConnsPerHost:    idleConns,
		DisableCompression:     true, // or gzip would be asked for and undone, and bytes would change
		ReadBufferSize:         bufferSize,
		WriteBufferSize:        bufferSize,
		MaxResponseHeaderBytes: maxHeaderBytes,
		Protocols:              new(http.Protocols),
	}
	if path, ok := strings.CutPrefix(t.URL, "unix:"); ok {
		if !strings.HasPrefix(path, "/") {
			return nil, nil, fmt.Errorf("upstream %q: write unix:/path/to/socket", t.URL)
		}
		tr.Protocols.SetHTTP1(true)
		tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: t.Dial}).DialContext(ctx, "unix", path)
		}
		return &url.URL{Scheme: "http", Host: "localhost"}, tr, nil
	}
	address, err := parseTarget(t.URL)
	if err != nil {
		return nil, nil, err
	}
	switch address.Scheme {
	case "http":
		tr.Protocols.SetHTTP1(true)
	case "h2c":
		tr.Protocols.SetUnencryptedHTTP2(true)
		address.Scheme = "http"
	case "https":
		tr.Protocols.SetHTTP1(true)
		tr.Protocols.SetHTTP2(true)
		tr.TLSClientConfig, err = t.TLS.config()
	}
	return address, tr, err
}

func parseTarget(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.User != nil {
		return nil, errors.New("upstream is no URL, or one with credentials in it") // which must not be printed
	}
	switch u.Scheme {
	case "http", "https", "h2c":
	default:
		return nil, fmt.Errorf("upstream %q: write http://, https://, h2c:// or unix:/path/to/socket", raw)
	}
	// A base path could be left again with dot segments, after the route was judged.
	if u.Host == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("upstream %q: only scheme, host and port can be given, no path or query", raw)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

func (t ClientTLS) config() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the upstream's CA: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no PEM certificate", t.CAFile)
		}
	}
	if t.CertFile != "" || t.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("load the client certificate for the upstream: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// buffers hands out the buffers in which response bodies are copied.
type buffers struct{}

var bufferPool = sync.Pool{New: func() any { return new([bufferSize]byte) }}

func (buffers) Get() []byte  { return bufferPool.Get().(*[bufferSize]byte)[:] }
func (buffers) Put(b []byte) { bufferPool.Put((*[bufferSize]byte)(b)) }

// ServeHTTP carries a request that a Proxy let through to the app and its answer back.
func (u *Upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	pass, ok := r.Context().Value(passageKey{}).(*passage)
	if !ok {
		web.Answer(w, r, errors.New("an upstream was asked for something that no proxy let through"))
		return
	}
	if u.strays(pass.ask) {
		web.Answer(w, r, badRequest("The address of this request leads out of the app.", errors.New("a path leaves the prefix that is cut off")))
		return
	}
	// HTTP/2 has no request line that a blank could end, HTTP/1.1 has: an app may take "/admin HTTP/1.1",
	// which was judged as a path of its own, for /admin.
	if strings.Contains(pass.ask.Path, " ") || strings.Contains(pass.ask.Query, " ") {
		web.Answer(w, r, badRequest("The address of this request is malformed.", errors.New("a blank in the target")))
		return
	}
	f := newFlow(w, r, pass, u.target.Stall)
	f.rec.Whereto.Upstream = u.name
	// A client that does not read would hold up the end of its session until the stall time is over.
	stop := context.AfterFunc(r.Context(), f.cut)
	defer stop()
	defer f.finish()
	defer f.broken()
	if u.lean.takes(r) && u.carry(f) {
		return
	}
	u.proxy.ServeHTTP(f, r.WithContext(context.WithValue(r.Context(), flowKey{}, f)))
}

// received prepares an answer of the app for the client.
func (u *Upstream) received(res *http.Response) error {
	f := flowOf(res.Request.Context())
	f.arrived()
	if res.StatusCode == http.StatusSwitchingProtocols {
		return f.switching(res)
	}
	own(res.Header)
	keepPrivate(res.Header, f.pass.decision.Route)
	f.call(res.Header)
	// With a length, HTTP/1.1 has no place for trailers; without one it chunks.
	if f.r.ProtoMajor == 1 && f.r.Method != http.MethodHead && mayTrail(f.r, res) {
		res.Header.Del("Content-Length")
	}
	if kind, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";"); res.ContentLength > 0 && !strings.EqualFold(kind, "text/event-stream") {
		res.Body = &outflow{ReadCloser: res.Body, flow: f}
	}
	return nil
}

// failed answers where the app gave no answer that could be passed on. The causes are for us.
func (u *Upstream) failed(_ http.ResponseWriter, r *http.Request, err error) {
	f := flowOf(r.Context())
	f.arrived()
	f.fail(err)
}

// fail answers in the place of the app. It does not write through the flow, which sends nothing more once
// the session is over.
func (f *flow) fail(err error) {
	_ = f.ctl.SetWriteDeadline(time.Now().Add(f.stall))
	web.Answer(f.ResponseWriter, f.r, explain(f.r.Context(), f, err))
}

func explain(ctx context.Context, f *flow, err error) error {
	var late net.Error
	switch {
	case errors.Is(context.Cause(ctx), auth.ErrRevoked):
		return web.Fail(http.StatusUnauthorized, "Your session ended while this request was under way.", auth.ErrRevoked)
	case errors.Is(f.in.failure(), os.ErrDeadlineExceeded):
		return web.Fail(http.StatusRequestTimeout, "The request's body did not arrive in time.", os.ErrDeadlineExceeded)
	case ours(ctx) != nil:
		return &web.Error{Status: http.StatusServiceUnavailable, Text: "This server is being stopped. Please try again.", Cause: context.Cause(ctx), RetryAfter: time.Second}
	case ctx.Err() != nil:
		return fmt.Errorf("client went away: %w", context.Canceled)
	case f.in.failure() != nil:
		return web.Fail(http.StatusBadRequest, "The request's body broke off.", f.in.failure())
	case errors.As(err, &late) && late.Timeout():
		return &web.Error{Status: http.StatusGatewayTimeout, Title: "The app is slow", Text: "The app behind Gatehouse did not answer in time. Please try again.", Cause: err}
	}
	return &web.Error{Status: http.StatusBadGateway, Title: "The app is not there", Text: "The app behind Gatehouse could not be reached or gave no proper answer. Please try again in a moment.", Cause: err}
}
