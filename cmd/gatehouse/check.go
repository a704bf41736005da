package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store"
)

// errReported ends a command whose report has already said what is wrong.
var errReported = errors.New("reported")

// tryLimit bounds one try of "check --connect". All run at once.
const tryLimit = 10 * time.Second

// report is what check found.
type report struct {
	OK       bool     `json:"ok"`
	Faults   Faults   `json:"faults"`
	Warnings []string `json:"warnings"`
	Servers  []probed `json:"servers,omitempty"`
}

// probed is how one server answered.
type probed struct {
	Name  string `json:"name"` // the key that names it; never its address if that may hold a password
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
	Took  int64  `json:"took_ms"`
}

func (a *app) checkCommand() *cobra.Command {
	var connect bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Judge the configuration and say all that is wrong with it",
		Long: `Judge the configuration and say all that is wrong with it, as serve would. With --connect
also try each server: database, Redis, provider, bucket, upstreams. Nothing is changed: what is put into
the bucket for a try is removed again.

Exit codes: 0 all is well · 1 a server did not answer · 2 the configuration has faults`,
		Example: "  gatehouse check --config config.yaml\n  gatehouse check --connect --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, r, err := a.judged()
			if err == nil && connect {
				r.Servers = a.tryAll(cmd.Context(), cfg)
			}
			return a.conclude(r, err)
		},
	}
	cmd.Flags().BoolVar(&connect, "connect", false, "try each server")
	return a.withJSON(cmd)
}

// judged loads the configuration and prints what is to be said of it.
func (a *app) judged() (Config, report, error) {
	cfg, err := a.load()
	r := report{Faults: Faults{}, Warnings: append([]string{}, cfg.Warnings...)}
	errors.As(err, &r.Faults)
	a.line(r.lines()...)
	if err == nil {
		a.line("✓ configuration")
	}
	return cfg, r, err
}

// conclude prints the report for programs and turns it into an exit code.
func (a *app) conclude(r report, err error) error {
	r.OK = err == nil && !slices.ContainsFunc(r.Servers, func(s probed) bool { return !s.OK })
	if a.json {
		if err := toJSON(a.out, r); err != nil {
			return err
		}
	}
	if r.OK {
		return nil
	}
	return errors.Join(errReported, err)
}

func (r report) lines() (lines []string) {
	for _, f := range r.Faults {
		lines = append(lines, "✗ "+f.Error())
	}
	for _, w := range r.Warnings {
		lines = append(lines, "! "+w)
	}
	return lines
}

// line prints lines for people; programs get the report at the end.
func (a *app) line(lines ...string) {
	if a.json {
		return
	}
	for _, text := range lines {
		fmt.Fprintln(a.out, printable(text))
	}
}

// trial is one server to try.
type trial struct {
	name string
	try  func(context.Context) error
}

// tryAll tries all servers at once and prints each in its order as soon as it is known.
func (a *app) tryAll(ctx context.Context, cfg Config) []probed {
	trials := trialsOf(cfg)
	answers := make([]chan probed, len(trials))
	for i, p := range trials {
		answers[i] = make(chan probed, 1)
		go func() { answers[i] <- p.run(ctx, cfg) }()
	}
	found := make([]probed, len(trials))
	for i := range trials {
		found[i] = <-answers[i]
		a.line(found[i].String())
	}
	return found
}

func (p trial) run(ctx context.Context, cfg Config) probed {
	ctx, cancel := context.WithTimeout(ctx, tryLimit)
	defer cancel()
	start := time.Now()
	err := p.try(ctx)
	out := probed{Name: p.name, OK: err == nil, Took: time.Since(start).Milliseconds()}
	if err != nil {
		out.Error = printable(scrub(err, cfg).Error())
	}
	return out
}

func (p probed) String() string {
	if p.OK {
		return fmt.Sprintf("✓ %s (%d ms)", p.Name, p.Took)
	}
	return fmt.Sprintf("✗ %s: %s", p.Name, p.Error)
}

func trialsOf(cfg Config) []trial {
	trials := []trial{{"store.database", cfg.tryDatabase}}
	if cfg.embedded() {
		trials[0].name = "store.dir"
	}
	if cfg.Store.Redis != "" {
		trials = append(trials, trial{"store.redis", cfg.tryRedis})
	}
	trials = append(trials, trial{"login.issuer " + shown(cfg.Login.Issuer), cfg.tryProvider})
	if cfg.uploads() {
		trials = append(trials, trial{"upload.bucket", cfg.tryBucket})
	}
	seen := map[string]bool{}
	for _, r := range cfg.Routes {
		if r.Upstream != "" && !seen[r.Upstream] {
			seen[r.Upstream] = true
			trials = append(trials, trial{"upstream " + shown(r.Upstream), r.tryUpstream})
		}
	}
	return trials
}

// tryDatabase does not make a file that is not there: a check changes nothing.
func (c *Config) tryDatabase(ctx context.Context) error {
	if c.embedded() && missing(c.Store.Dir) {
		return nil // made at the first start
	}
	db, err := openStore(ctx, *c)
	if err != nil {
		return err
	}
	return errors.Join(db.Ping(ctx), db.Close())
}

func (c *Config) tryRedis(ctx context.Context) error {
	// A ping seals nothing, and the key file may not be made yet: any key will do.
	ring, err := auth.NewKeyring([][]byte{make([]byte, 32)})
	if err != nil {
		return err
	}
	redis, err := store.NewRedis(c.Store.Redis, ring, "check", c.Session.TTL, nil)
	if err != nil {
		return err
	}
	return errors.Join(redis.Ping(ctx), redis.Close())
}

func (c *Config) tryProvider(ctx context.Context) error {
	p := auth.NewProvider(auth.ProviderConfig{
		Issuer: c.Login.Issuer, ClientID: c.Login.ClientID, ClientSecret: c.Login.ClientSecret, Redirect: c.site().Callback(),
	})
	defer p.Close()
	return p.Discover(ctx)
}

// tryUpstream connects, shakes hands where there is TLS, and sends nothing: we do not know what a
// request would do there.
func (r RouteConfig) tryUpstream(ctx context.Context) error {
	var d net.Dialer
	if path, ok := strings.CutPrefix(r.Upstream, "unix:"); ok {
		conn, err := d.DialContext(ctx, "unix", path)
		return closed(conn, err)
	}
	u, err := url.Parse(r.Upstream)
	if err != nil {
		return errors.New("not a URL") // the cause would repeat it
	}
	if u.Scheme != "https" {
		conn, err := d.DialContext(ctx, "tcp", withPort(u, "80"))
		return closed(conn, err)
	}
	settings, err := r.TLS.client()
	if err != nil {
		return err
	}
	conn, err := (&tls.Dialer{Config: settings}).DialContext(ctx, "tcp", withPort(u, "443"))
	return closed(conn, err)
}

func closed(conn net.Conn, err error) error {
	if err != nil {
		return err
	}
	return conn.Close()
}

func withPort(u *url.URL, otherwise string) string {
	if u.Port() != "" {
		return u.Host
	}
	return net.JoinHostPort(u.Hostname(), otherwise)
}
