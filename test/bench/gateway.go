package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store"
)

// gateway is one running Gatehouse and a session in it.
type gateway struct {
	address string
	cookie  string
	pid     int
}

// setup is what differs between the gateways of a run.
type setup struct {
	name   string
	redis  string // its address; empty: none
	engine string // proxy.engine
}

// gateway starts Gatehouse before the app, with one user who is signed in.
func (s *stage) gateway(binary, app string, kind setup) (gateway, error) {
	dir := filepath.Join(s.dir, strings.ReplaceAll(kind.name, " ", "-"))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return gateway{}, err
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	token, err := signIn(s.ctx, dir, secret)
	if err != nil {
		return gateway{}, err
	}
	port, err := freePort(s.ctx)
	if err != nil {
		return gateway{}, err
	}
	g := gateway{address: "http://localhost:" + port, cookie: "gate=" + string(token)}
	config, err := configure(dir, port, app, kind, secret)
	if err != nil {
		return gateway{}, err
	}
	cmd := exec.CommandContext(s.ctx, binary, "serve", "--config", config) //nolint:gosec // our own build
	logs, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return gateway{}, err
	}
	defer logs.Close()
	cmd.Stderr = logs
	if err := s.start(cmd); err != nil {
		return gateway{}, err
	}
	g.pid = cmd.Process.Pid
	if err := await(s.ctx, func() error { return g.answers(s.ctx) }); err != nil {
		text, _ := os.ReadFile(logs.Name())
		return gateway{}, fmt.Errorf("%w: %s", err, text)
	}
	return g, nil
}

// configure writes the files of a gateway and returns the name of its configuration.
func configure(dir, port, app string, kind setup, secret []byte) (string, error) {
	const text = `
server: {listen: "127.0.0.1:%[1]s", public_url: "http://localhost:%[1]s", drain_delay: 0s, trusted_proxies: [{from: 127.0.0.1, headers: [for, proto, host, uri, method]}]}
admin: {listen: "127.0.0.1:0"}
secret: {keys_file: "%[2]s/keys"}
login: {issuer: "http://127.0.0.1:9", client_id: bench, client_secret: bench-bench-bench}
store: {dir: "%[2]s/data", redis: "%[3]s"}
log: {format: json}
forward_auth: [nginx, envoy]
proxy: {engine: %[5]s}
routes: [{host: "localhost:%[1]s", path: /, upstream: "%[4]s"}]
`
	if err := os.WriteFile(filepath.Join(dir, "keys"), []byte(base64.StdEncoding.EncodeToString(secret)+"\n"), 0o600); err != nil {
		return "", err
	}
	config := filepath.Join(dir, "config.yaml")
	return config, os.WriteFile(config, fmt.Appendf(nil, text, port, dir, kind.redis, app, kind.engine), 0o600)
}

// signIn makes the database, a user and a session, as a sign-in would have, and returns its token.
func signIn(ctx context.Context, dir string, secret []byte) (auth.Token, error) {
	keys, err := auth.NewKeyring([][]byte{secret})
	if err != nil {
		return "", err
	}
	db, err := store.Open(ctx, store.Options{Dir: filepath.Join(dir, "data")})
	if err != nil {
		return "", err
	}
	defer db.Close()
	if err := db.Migrate(ctx); err != nil {
		return "", err
	}
	user, err := db.AddUser(ctx, "alice@corp.test", "Alice", []string{"staff"})
	if err != nil {
		return "", err
	}
	token, now := keys.Mint(), time.Now().UTC()
	return token, db.Create(ctx, auth.Session{
		Key: token.Key(), User: user.User, CreatedAt: now,
		ExpiresAt: now.Add(time.Hour), EndsAt: now.Add(12 * time.Hour), UserAgent: "bench",
	})
}

// answers reports whether the gateway knows the session.
func (g gateway) answers(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.address+"/_gate/me", http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Cookie", g.cookie)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the gateway answers %s", res.Status)
	}
	return nil
}
