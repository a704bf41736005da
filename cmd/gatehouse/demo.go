package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth/standin"
	"github.com/gatehouse-auth/gatehouse/proxy"
)

// demo runs the whole of Gatehouse on one loopback address, with a stand-in for Google on the same
// listener, a small app behind the gate, and a throwaway directory. The stand-in is an ordinary
// OpenID provider to the gateway, which discovers it over loopback: the code is serve's. No key of a
// configuration leads here, so nothing that is served for real can reach the stand-in.
func demo(ctx context.Context, address string, out, errw io.Writer) (err error) {
	host, port, err := loopbackOnly(address)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "gatehouse-demo-")
	if err != nil {
		return fmt.Errorf("make a throwaway directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	app, err := listen(ctx, "127.0.0.1:0", nil, newDemoApp(), nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return fmt.Errorf("start the demo app: %w", err)
	}
	go app.serve() //nolint:errcheck // it ends with the demo
	defer app.drain(0, time.Second)

	public := "http://" + net.JoinHostPort(host, port)
	cfg := demoConfig(dir, address, public, app.listener.Addr().String())
	g, err := open(ctx, cfg, errw)
	if err != nil {
		return err
	}
	defer g.close()
	if _, err := g.stores.sql.AddUser(ctx, knownAccount.Email, knownAccount.Name, []string{"staff", "time-keepers"}); err != nil {
		return err
	}
	provider := standin.New(public+standinPath, []standin.Account{knownAccount, unknownAccount})
	g.extra = []proxy.Route{{Name: "stand-in", Host: cfg.site().Public.Host, Path: standinPath, Access: proxy.Public, Next: provider}}
	if err := g.renew(cfg); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s\n", public)
	fmt.Fprintf(errw, "Open the address above. %s may come in, %s may not. Ctrl-C ends the demo.\n", knownAccount.Email, unknownAccount.Email)
	return inUse(g.run(ctx, nil), address)
}

// standinPath is where the stand-in lives on the demo's listener.
const standinPath = "/stand-in"

var (
	knownAccount   = standin.Account{Subject: "1001", Email: "alice@example.com", Name: "Alice Archer"}
	unknownAccount = standin.Account{Subject: "1002", Email: "bob@example.com", Name: "Bob Baker"}
)

func demoConfig(dir, address, public, app string) Config {
	cfg := Defaults()
	cfg.Server.Listen = address
	cfg.Server.PublicURL = public
	cfg.Server.DrainDelay = 0
	cfg.Server.DrainTimeout = 2 * time.Second
	cfg.Admin.Listen = "127.0.0.1:0"
	cfg.Login.Issuer = public + standinPath
	cfg.Login.ClientID = "demo"
	cfg.Store.Dir = dir
	cfg.Log.Level = "warn"
	route := defaultRoute()
	route.Host = cfg.site().Public.Host
	route.Upstream = "http://" + app
	files := defaultRoute()
	files.Host, files.Path, files.Upload = route.Host, "/upload", true
	cfg.Routes = []RouteConfig{route, files}
	return cfg
}

// loopbackOnly refuses to show the demo to anybody else: its stand-in lets everybody in.
func loopbackOnly(address string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(address)
	if err != nil {
		return "", "", fmt.Errorf("--listen %q: write host:port, such as localhost:8080 (%w)", address, errUsage)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", "", fmt.Errorf("--listen %q: the demo shows itself to this machine only: localhost, 127.0.0.1 or [::1] (%w)", address, errUsage)
	}
	return host, port, nil
}

// inUse says what to do about a port that another program has.
func inUse(err error, address string) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is in use by another program: try gatehouse demo --listen localhost:8081", address)
	}
	return err
}
