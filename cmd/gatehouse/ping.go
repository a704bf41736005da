package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatehouse-auth/gatehouse/web"
)

func (a *app) pingCommand() *cobra.Command {
	var live bool
	var limit time.Duration
	cmd := &cobra.Command{
		Use:   "ping",
		Short: "Ask a running gateway on this machine whether it is well, for HEALTHCHECK",
		Long: `Ask the admin listener of a gateway on this machine for /readyz, or with --live for /livez.

Exit codes: 0 well · 1 not well, or no answer · 2 wrong usage or configuration`,
		Example: "  gatehouse ping\n  gatehouse ping --live --timeout 2s",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), limit)
			defer cancel()
			return a.ping(ctx, map[bool]string{false: "/readyz", true: "/livez"}[live])
		},
	}
	cmd.Flags().BoolVar(&live, "live", false, "ask only whether the process answers")
	cmd.Flags().DurationVar(&limit, "timeout", 5*time.Second, "wait at most so long")
	return cmd
}

// ping reads no more of the configuration than where the listener is: a fault elsewhere is not
// what a health check asks about.
func (a *app) ping(ctx context.Context, path string) error {
	cfg, faults := read(a.source())
	j := &judge{Config: &cfg}
	j.listen("admin.listen", cfg.Admin.Listen)
	if err := append(faults, j.faults...).about("admin.listen").orNil(); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+nearby(cfg.Admin.Listen)+path, nil)
	if err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy: it is this machine
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	if err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", path, res.Status, strings.TrimSpace(string(text)))
	}
	_, err = fmt.Fprintln(a.out, printableLines(strings.TrimSpace(string(text))))
	return err
}

// about are the faults of one key.
func (fs Faults) about(key string) (out Faults) {
	for _, f := range fs {
		if f.Key == key {
			out = append(out, f)
		}
	}
	return out
}

// nearby is where a listener is reached from its own machine.
func nearby(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// version is what the release build writes here through the linker (see the Makefile); it stays empty
// in a binary that `go install` or `go run` made.
var version string

// build is what the linker and the Go tool wrote into the binary.
func build() web.Build {
	b := web.Build{Version: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Version = cmp.Or(version, info.Main.Version)
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.Revision = s.Value
		}
	}
	return b
}

func (a *app) versionCommand() *cobra.Command {
	return a.withJSON(&cobra.Command{
		Use:     "version",
		Short:   "Say which release this is",
		Example: "  gatehouse version --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := build()
			return a.say(struct {
				Version  string `json:"version"`
				Revision string `json:"revision"`
				Go       string `json:"go"`
				Platform string `json:"platform"`
			}{b.Version, b.Revision, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH},
				fmt.Sprintf("gatehouse %s (%s, %s/%s)", b.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH))
		},
	})
}
