package main

import (
	"crypto/tls"
	"net"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/proxy"
)

// judge goes over a configuration and collects what is wrong with it (faults) and what is allowed
// but odd (warnings). It opens key and certificate files and nothing else: servers are tried by
// "gatehouse check --connect".
type judge struct {
	*Config
	faults   Faults
	warnings []string
}

// Validate says everything that is wrong with the configuration, and what should be seen though it
// is allowed.
func (c *Config) Validate() (Faults, []string) {
	j := &judge{Config: c}
	j.server()
	j.atOnce()
	j.secrets()
	j.cookie()
	j.login()
	j.session()
	j.store()
	j.forwardAuth()
	j.identity()
	j.routes()
	j.oneOf("proxy.engine", j.Proxy.Engine, proxy.EngineLean, proxy.EngineStdlib)
	j.upload()
	j.log()
	return j.faults, j.warnings
}

// fault is a fault of a key, with the place its value came from. A key of a list without a source
// of its own has its list's.
func (c *Config) fault(key, value, text, fix string) Fault {
	source := c.sources[key]
	for at := key; source == "" && strings.Contains(at, "]"); {
		at = at[:max(strings.LastIndexByte(at, '.'), 0)]
		source = c.sources[at]
	}
	return Fault{Key: key, Value: value, Source: source, Text: text, Fix: fix}
}

func (j *judge) bad(key, value, text, fix string) {
	j.faults = append(j.faults, j.fault(key, shown(value), text, fix))
}

func (j *judge) warn(key, text string) {
	j.warnings = append(j.warnings, key+": "+text)
}

func (j *judge) server() {
	s := j.Server
	j.listen("server.listen", s.Listen)
	j.listen("admin.listen", j.Admin.Listen)
	if s.Listen == j.Admin.Listen {
		j.bad("admin.listen", j.Admin.Listen, "the same address as server.listen", "give it another port")
	}
	j.publicURL()
	if !strings.HasPrefix(s.Prefix, "/") || path.Clean(s.Prefix) != s.Prefix || s.Prefix == "/" || strings.Trim(s.Prefix, pathLetters) != "" {
		j.bad("server.prefix", s.Prefix, "not a path of our own", "write /_gate, or another one with plain letters, no slash at its end")
	}
	j.keyPair("server.tls", s.TLS.CertFile, s.TLS.KeyFile)
	j.atLeast("server.drain_delay", s.DrainDelay, 0)
	j.atLeast("server.drain_timeout", s.DrainTimeout, 0)
	j.trustedProxies()
}

const pathLetters = "/abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~"

func (j *judge) listen(key, address string) {
	if socket, ok := strings.CutPrefix(address, "unix:"); ok {
		if !filepath.IsAbs(socket) {
			j.bad(key, address, "not the path of a socket", "write unix:/run/gatehouse.sock")
		}
		return
	}
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		j.bad(key, address, "not an address to listen on", "write :8080, 127.0.0.1:8080 or unix:/run/gatehouse.sock")
	}
}

// publicURL checks the one address on which everything else rests: it decides the callback, the
// scheme, the name of the cookie and whether it is Secure.
func (j *judge) publicURL() {
	const key, fix = "server.public_url", "write https://auth.example.com: the address at which browsers reach Gatehouse"
	raw := j.Server.PublicURL
	if raw == "" {
		j.bad(key, "", "is required", fix)
		return
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || (u.Scheme != "https" && u.Scheme != "http") || !validHost(u.Host):
		j.bad(key, raw, "not an http or https address", fix)
	case u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		j.bad(key, raw, "has more than a scheme and a host", fix)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		j.warn(key, "plain http: everybody on the way can read and take over sessions. Use https outside of tests.")
	}
}

// site is the public URL and the prefix of our own endpoints. It is the zero Site while the public
// URL does not parse.
func (c *Config) site() auth.Site {
	u, err := url.Parse(c.Server.PublicURL)
	if err != nil || u.Host == "" {
		return auth.Site{Public: new(url.URL)}
	}
	return auth.Site{Public: &url.URL{Scheme: u.Scheme, Host: canonicalHost(u.Host, u.Scheme)}, Prefix: c.Server.Prefix}
}

// keyPair checks a pair of files: both or neither, and they belong together.
func (j *judge) keyPair(key, cert, private string) {
	if (cert == "") != (private == "") {
		j.bad(key, "", "needs cert_file and key_file, or neither", "")
		return
	}
	if cert == "" {
		return
	}
	if _, err := tls.LoadX509KeyPair(cert, private); err != nil {
		j.bad(key, shownPath(cert), cause(err), "name a PEM certificate and its private key")
	}
}

func (j *judge) atLeast(key string, d, least time.Duration) {
	if d < least {
		j.bad(key, d.String(), "too short", "at least "+least.String())
	}
}

func (j *judge) secrets() {
	if j.Secret.KeysFile == "" && j.embedded() {
		if _, err := j.Keys(); err == nil || !missing(j.keysFile()) { // missing: serve makes it
			j.keyFile()
		}
		return
	}
	if j.Secret.KeysFile == "" {
		j.bad("secret.keys_file", "", "is required with store.database: all replicas share one key file", "head -c 32 /dev/urandom | base64 > keys; chmod 600 keys")
		return
	}
	j.keyFile()
}

func (j *judge) keyFile() {
	const key = "secret.keys_file"
	before := len(j.Warnings)
	text, err := j.readSecret(key, j.keysFile())
	j.warnings, j.Warnings = append(j.warnings, j.Warnings[before:]...), j.Warnings[:before]
	if err != nil {
		j.bad(key, shownPath(j.keysFile()), cause(err), "head -c 32 /dev/urandom | base64 > FILE; chmod 600 FILE")
		return
	}
	if _, err := auth.ParseKeys(text); err != nil {
		j.bad(key, shownPath(j.keysFile()), strings.ReplaceAll(err.Error(), "\n", "; "), "one key a line, the newest first")
	}
}

func (j *judge) session() {
	s := j.Session
	// Browsers keep no cookie for longer (RFC 6265bis, section 5.5).
	const longest = 400 * 24 * time.Hour
	j.atLeast("session.ttl", s.TTL, time.Second)
	// Readings of the revocations come a second apart, and late ones later. Zero would not mean never.
	j.atLeast("session.max_unverified", s.MaxUnverified, 5*time.Second)
	if s.TTL > s.MaxLifetime {
		j.bad("session.ttl", s.TTL.String(), "longer than session.max_lifetime "+s.MaxLifetime.String(), "the idle end must not come after the absolute one")
	}
	if s.MaxLifetime > longest {
		j.bad("session.max_lifetime", s.MaxLifetime.String(), "longer than browsers keep a cookie", "at most 9600h, which is 400 days")
	}
}

// store checks the kinds of the addresses alone. No message shows one: they hold passwords.
func (j *judge) store() {
	s := j.Store
	if j.embedded() && s.Dir == "" {
		j.bad("store.dir", "", "is required without store.database", "write ./data")
	}
	if !j.embedded() && !hasScheme(s.Database, "postgres", "postgresql") {
		j.bad("store.database", "", "not a Postgres address", "postgres://user:password@host:5432/name; leave it out for an SQLite file in store.dir")
	}
	if s.Redis != "" && !hasScheme(s.Redis, "redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster") {
		j.bad("store.redis", "", "not a Redis address", "redis://host:6379/0, rediss://…, unix:///path, redis+sentinel://host:26379/0?master_name=…, redis+cluster://host:6379")
	}
	if s.ListenURL == "" {
		return
	}
	if j.embedded() {
		j.bad("store.listen_url", "", "needs store.database", "remove it: an SQLite file is not listened to")
	} else if !hasScheme(s.ListenURL, "postgres", "postgresql") {
		j.bad("store.listen_url", "", "not a Postgres address", "postgres://user:password@host:5432/name, past pgbouncer")
	}
}

func hasScheme(address string, schemes ...string) bool {
	scheme, rest, ok := strings.Cut(address, "://")
	return ok && rest != "" && slices.Contains(schemes, scheme)
}

func (j *judge) log() {
	j.oneOf("log.level", j.Log.Level, "debug", "info", "warn", "error")
	j.oneOf("log.format", j.Log.Format, "auto", "json", "text")
}

func (j *judge) oneOf(key, value string, words ...string) {
	if !slices.Contains(words, value) {
		j.bad(key, value, "not one of "+strings.Join(words, ", "), "")
	}
}
