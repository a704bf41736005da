package main

import (
	"time"

	"github.com/gatehouse-auth/gatehouse/proxy"
)

// Config is every key of config.yaml. A key's name is the path of yaml tags that leads to it:
// session.max_lifetime. Load fills it; Validate says what is wrong with it.
//
// After Load the secrets that were given as files stand in their value fields (Store.Database for
// store.database_file), so nobody else opens those files. The keys of the key file are the
// exception, for they change while the process runs: ask Keys.
type Config struct {
	Server      ServerConfig     `yaml:"server"`
	Admin       AdminConfig      `yaml:"admin"`
	Limits      LimitsConfig     `yaml:"limits"`
	Secret      SecretConfig     `yaml:"secret"`
	Cookie      CookieConfig     `yaml:"cookie"`
	Login       LoginConfig      `yaml:"login"`
	Session     SessionConfig    `yaml:"session"`
	Store       StoreConfig      `yaml:"store"`
	ForwardAuth []string         `yaml:"forward_auth"`
	Compat      string           `yaml:"compat"`
	Identity    []IdentityConfig `yaml:"identity"`
	Routes      []RouteConfig    `yaml:"routes"`
	Proxy       ProxyConfig      `yaml:"proxy"`
	Upload      UploadConfig     `yaml:"upload"`
	Log         LogConfig        `yaml:"log"`

	// Warnings are what does not prevent a start but should be seen at it; Load makes them.
	Warnings []string `yaml:"-"`

	sources map[string]string // by key, where its value comes from: config.yaml:12
	file    string            // the configuration file; empty: none
}

// ServerConfig is the listener that browsers reach, and how it stops.
type ServerConfig struct {
	Listen         string              `yaml:"listen"`
	PublicURL      string              `yaml:"public_url"`
	Prefix         string              `yaml:"prefix"`
	TrustedProxies []TrustedPeerConfig `yaml:"trusted_proxies"`
	CheckListen    string              `yaml:"check_listen"`
	TLS            ServerTLSConfig     `yaml:"tls"`
	DrainDelay     time.Duration       `yaml:"drain_delay"`
	DrainTimeout   time.Duration       `yaml:"drain_timeout"`
}

// TrustedPeerConfig is a proxy whose forwarded headers count, and which of them.
type TrustedPeerConfig struct {
	From    string   `yaml:"from"`
	Headers []string `yaml:"headers"`
}

// ServerTLSConfig is the certificate of the listener; both files or neither.
type ServerTLSConfig struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

// AdminConfig is the listener for probes and metrics.
type AdminConfig struct {
	Listen string `yaml:"listen"`
}

// SecretConfig names the key file.
type SecretConfig struct {
	KeysFile string `yaml:"keys_file"`
}

// CookieConfig says how far the session cookie reaches.
type CookieConfig struct {
	Domain string `yaml:"domain"`
}

// LoginConfig is the OpenID provider and whom it may bring.
type LoginConfig struct {
	Issuer            string   `yaml:"issuer"`
	ClientID          string   `yaml:"client_id"`
	ClientSecret      string   `yaml:"client_secret" secret:"true"`
	ClientSecretFile  string   `yaml:"client_secret_file"`
	HostedDomain      string   `yaml:"hosted_domain"`
	AutoCreateDomains []string `yaml:"auto_create_domains"`
	ReturnHosts       []string `yaml:"return_hosts"`
	TrustEmail        bool     `yaml:"trust_email"`
}

// SessionConfig says how long a session lasts.
type SessionConfig struct {
	TTL           time.Duration `yaml:"ttl"`
	MaxLifetime   time.Duration `yaml:"max_lifetime"`
	MaxUnverified time.Duration `yaml:"max_unverified"`
}

// StoreConfig says where users and sessions are kept.
type StoreConfig struct {
	Dir           string `yaml:"dir"`
	Database      string `yaml:"database" secret:"true"`
	DatabaseFile  string `yaml:"database_file"`
	Redis         string `yaml:"redis" secret:"true"`
	RedisFile     string `yaml:"redis_file"`
	ListenURL     string `yaml:"listen_url" secret:"true"`
	ListenURLFile string `yaml:"listen_url_file"`
}

// IdentityConfig is one header that tells an app who is asking.
type IdentityConfig struct {
	Header string `yaml:"header"`
	Value  string `yaml:"value"`
}

// RouteConfig is where requests go, and who may.
type RouteConfig struct {
	Host           string          `yaml:"host"`
	Path           string          `yaml:"path"`
	Methods        []string        `yaml:"methods"`
	Upstream       string          `yaml:"upstream"`
	Upload         bool            `yaml:"upload"`
	Public         Public          `yaml:"public"`
	Allow          *AllowConfig    `yaml:"allow"` // nil: any signed-in user
	Origins        []string        `yaml:"origins"`
	AllowPreflight bool            `yaml:"allow_preflight"`
	StripPrefix    bool            `yaml:"strip_prefix"`
	UpstreamHost   string          `yaml:"upstream_host"`
	SharedCache    bool            `yaml:"shared_cache"`
	TLS            ClientTLSConfig `yaml:"tls"`
	Timeouts       TimeoutsConfig  `yaml:"timeouts"`
}

// Public is "false", "true" or "identify"; in YAML the first two are booleans.
type Public string

// AllowConfig says which signed-in users may. The kinds are OR-ed.
type AllowConfig struct {
	Roles   []string `yaml:"roles"`
	Emails  []string `yaml:"emails"`
	Domains []string `yaml:"domains"`
}

// ClientTLSConfig is how an https upstream is verified, and how we show who we are.
type ClientTLSConfig struct {
	CAFile     string `yaml:"ca_file"`
	CertFile   string `yaml:"cert_file"`
	KeyFile    string `yaml:"key_file"`
	ServerName string `yaml:"server_name"`
}

// TimeoutsConfig bounds the waits for one upstream.
type TimeoutsConfig struct {
	Dial   time.Duration `yaml:"dial"`
	Header time.Duration `yaml:"header"`
	Idle   time.Duration `yaml:"idle"`
	Stall  time.Duration `yaml:"stall"`
}

// ProxyConfig says how requests are carried to the apps.
type ProxyConfig struct {
	Engine string `yaml:"engine"`
}

// LogConfig says what is logged and how it looks.
type LogConfig struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}

// Defaults is the configuration of an empty file. It does not validate: public_url and the client
// at the provider have no sensible default.
func Defaults() Config {
	return Config{
		Server:  ServerConfig{Listen: ":8080", Prefix: "/_gate", DrainDelay: 5 * time.Second, DrainTimeout: 30 * time.Second},
		Admin:   AdminConfig{Listen: "127.0.0.1:9090"},
		Login:   LoginConfig{Issuer: "https://accounts.google.com"},
		Session: SessionConfig{TTL: time.Hour, MaxLifetime: 12 * time.Hour, MaxUnverified: 10 * time.Minute},
		Store:   StoreConfig{Dir: "./data"},
		Identity: []IdentityConfig{
			{"X-Auth-Request-User", "user"},
			{"X-Auth-Request-Email", "email"},
			{"X-Auth-Request-Preferred-Username", "preferred_username"},
			{"X-Auth-Request-Name", "name"},
			{"X-Auth-Request-Groups", "groups"},
		},
		Limits: LimitsConfig{SessionRequests: 256},
		Proxy:  ProxyConfig{Engine: proxy.EngineStdlib},
		Upload: defaultUpload(),
		Log:    LogConfig{Level: "info", Format: "auto"},
	}
}

// defaultRoute is a route of which nothing is given.
func defaultRoute() RouteConfig {
	return RouteConfig{
		Path: "/", Public: "false", UpstreamHost: "client",
		Timeouts: TimeoutsConfig{Dial: 3 * time.Second, Header: time.Minute, Idle: 55 * time.Second, Stall: 2 * time.Minute},
	}
}
