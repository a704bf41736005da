package main

import (
	"bytes"
	"embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"

	"github.com/spf13/cobra"
)

// snippets are what other proxies have to be told so that they ask Gatehouse. docs/deploy shows what
// they print for docs/deploy/config.yaml, and the tests start the proxies with what they print.
//
//go:embed snippet
var snippets embed.FS

// frontKind is a kind of proxy: the template of its configuration, the dialect in which it asks, and the
// kinds of address to which it (or our template for it) can connect.
type frontKind struct{ file, dialect, speaks string }

var frontKinds = map[string]frontKind{
	"nginx":         {"nginx.conf", "nginx", "http https unix"},
	"traefik":       {"traefik.yaml", "traefik", "http https h2c"},
	"caddy":         {"Caddyfile", "caddy", "http https h2c unix"},
	"haproxy":       {"haproxy.cfg", "haproxy", "http https unix"},
	"envoy":         {"envoy.yaml", "envoy", "http https unix"},
	"ingress-nginx": {"ingress-nginx.yaml", "nginx", "http https"},
}

// order is which snippet is wanted, as the command line says it.
type order struct {
	proxy    string
	app      string // a host; empty: all of them, and what they share
	at       string // where the proxy reaches Gatehouse; empty: as server.listen says
	upstream string // for hosts whose routes name none
	lua      bool
}

func (a *app) snippetCommand() *cobra.Command {
	var o order
	names := slices.Sorted(maps.Keys(frontKinds))
	cmd := &cobra.Command{
		Use:   "snippet " + strings.Join(names, "|"),
		Short: "Print the configuration of a proxy that asks Gatehouse about its requests",
		Long: `Print the configuration of a proxy that asks Gatehouse about its requests (forward auth), made of
this configuration: public_url, prefix, identity headers, hosts and upstreams of the routes. Nothing
is changed. docs/deploy has a page for each proxy.`,
		Example:   "  gatehouse snippet nginx > /etc/nginx/conf.d/gatehouse.conf\n  gatehouse snippet haproxy --lua > /etc/haproxy/gatehouse.lua\n  gatehouse snippet traefik --at gatehouse:8080",
		ValidArgs: names,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		RunE: func(_ *cobra.Command, args []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			o.proxy = args[0]
			text, err := snippet(cfg, o)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(a.out, text)
			return err
		},
	}
	cmd.Flags().StringVar(&o.app, "app", "", "only the part of this host, to be added to what is there")
	cmd.Flags().StringVar(&o.at, "at", "", "where the proxy reaches Gatehouse: host:port or unix:/path (default: server.listen)")
	cmd.Flags().StringVar(&o.upstream, "upstream", "", "where the app is, for a host whose routes name no upstream")
	cmd.Flags().BoolVar(&o.lua, "lua", false, "for haproxy: print the script that its configuration loads")
	return cmd
}

// snippet prints one.
func snippet(cfg Config, o order) (string, error) {
	kind := frontKinds[o.proxy]
	if !slices.Contains(cfg.ForwardAuth, kind.dialect) {
		return "", fmt.Errorf("forward_auth does not name %s, so its checks would not be answered: add forward_auth: [%s]", kind.dialect, kind.dialect)
	}
	if o.lua {
		if o.proxy != "haproxy" {
			return "", fmt.Errorf("--lua is for haproxy (%w)", errUsage)
		}
		kind.file = "haproxy.lua"
	}
	s, err := newSheet(cfg, o)
	if err != nil {
		return "", err
	}
	t, err := template.ParseFS(snippets, "snippet/"+kind.file)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, s); err != nil {
		return "", fmt.Errorf("snippet %s: %w", o.proxy, err)
	}
	return strings.Trim(out.String(), "\n") + "\n", nil
}
