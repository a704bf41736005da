package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store"
)

// users is how many people upload: one may have a quarter of the memory at most.
const users = 200

// client sends the files. It asks for no answer before the body, as curl does with small ones.
var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: users, WriteBufferSize: piece, DisableCompression: true}}

// gateway starts Gatehouse before S3, with many users who are signed in. Files go to it as a form, as
// browsers send them.
func (s *stage) gateway(name, store, endpoint, digest string) (subject, error) {
	dir := filepath.Join(s.dir, "gatehouse-"+store+"-"+digest)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return subject{}, err
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	cookies, err := signIn(s.ctx, dir, secret)
	if err != nil {
		return subject{}, err
	}
	address, err := freeAddress(s.ctx)
	if err != nil {
		return subject{}, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return subject{}, err
	}
	config, err := configure(dir, port, endpoint, digest, secret)
	if err != nil {
		return subject{}, err
	}
	cmd := exec.CommandContext(s.ctx, filepath.Join(s.dir, "gatehouse"), "serve", "--config", config) //nolint:gosec // our own build
	logs, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return subject{}, err
	}
	defer logs.Close()
	cmd.Stderr = logs
	if err := s.startAt(cmd, address); err != nil {
		text, _ := os.ReadFile(logs.Name())
		return subject{}, fmt.Errorf("%w: %s", err, text)
	}
	floor := "relay-sha256"
	if digest == "none" {
		floor = "relay"
	}
	return subject{name: name, pid: cmd.Process.Pid, floor: floor, put: func(ctx context.Context, user int, size int64, body io.Reader) error {
		return postForm(ctx, "http://localhost:"+port+"/upload", cookies[user%users], size, body)
	}}, nil
}

// configure writes the files of a gateway and returns the name of its configuration.
func configure(dir, port, endpoint, digest string, secret []byte) (string, error) {
	const text = `
server: {listen: "127.0.0.1:%[1]s", public_url: "http://localhost:%[1]s", drain_delay: 0s}
admin: {listen: "127.0.0.1:0"}
secret: {keys_file: "%[2]s/keys"}
login: {issuer: "http://127.0.0.1:9", client_id: bench, client_secret: bench-bench-bench}
store: {dir: "%[2]s/data"}
log: {format: json}
upload: {bucket: "s3://%[3]s", endpoint: "%[4]s", path_style: true, region: us-east-1, access_key: %[5]s, secret_key: %[6]s, digest: %[7]s}
routes: [{host: "localhost:%[1]s", path: /upload, upload: true}]
`
	if err := os.WriteFile(filepath.Join(dir, "keys"), []byte(base64.StdEncoding.EncodeToString(secret)+"\n"), 0o600); err != nil {
		return "", err
	}
	config := filepath.Join(dir, "config.yaml")
	return config, os.WriteFile(config, fmt.Appendf(nil, text, port, dir, bucket, endpoint, accessKey, secretKey, digest), 0o600)
}

// signIn makes the database, users and a session of each, as sign-ins would have, and returns cookies.
func signIn(ctx context.Context, dir string, secret []byte) (cookies []string, err error) {
	keys, err := auth.NewKeyring([][]byte{secret})
	if err != nil {
		return nil, err
	}
	db, err := store.Open(ctx, store.Options{Dir: filepath.Join(dir, "data")})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.Migrate(ctx); err != nil {
		return nil, err
	}
	for i := range users {
		user, err := db.AddUser(ctx, fmt.Sprintf("user%d@corp.test", i), "User", nil)
		if err != nil {
			return nil, err
		}
		token, now := keys.Mint(), time.Now().UTC()
		err = db.Create(ctx, auth.Session{
			Key: token.Key(), User: user.User, CreatedAt: now,
			ExpiresAt: now.Add(time.Hour), EndsAt: now.Add(12 * time.Hour), UserAgent: "bench",
		})
		if err != nil {
			return nil, err
		}
		cookies = append(cookies, "gate="+string(token))
	}
	return cookies, nil
}

// postForm sends one file in a form.
func postForm(ctx context.Context, address, cookie string, size int64, body io.Reader) error {
	const (
		head = "--bench-boundary-7MA4YWxkTrZu0gW\r\nContent-Disposition: form-data; name=\"file\"; filename=\"bench.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n"
		tail = "\r\n--bench-boundary-7MA4YWxkTrZu0gW--\r\n"
	)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, io.MultiReader(strings.NewReader(head), body, strings.NewReader(tail)))
	if err != nil {
		return err
	}
	req.ContentLength = int64(len(head)) + size + int64(len(tail))
	req.Header.Set("Content-Type", "multipart/form-data; boundary=bench-boundary-7MA4YWxkTrZu0gW")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Cookie", cookie)
	_, err = answered(req, http.StatusCreated)
	return err
}

// tusd starts it with the settings that its documentation gives for S3.
func (s *stage) tusd(name, endpoint string) (subject, error) {
	address, err := freeAddress(s.ctx)
	if err != nil {
		return subject{}, err
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return subject{}, err
	}
	cmd := exec.CommandContext(s.ctx, "tusd", "-host", host, "-port", port, "-base-path", "/files/", //nolint:gosec // our own arguments
		"-s3-bucket", bucket, "-s3-endpoint", endpoint, "-s3-disable-ssl", "-s3-log-api-calls=false", "-verbose=false", "-enable-experimental-protocol=false")
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+accessKey, "AWS_SECRET_ACCESS_KEY="+secretKey, "AWS_REGION=us-east-1", "TMPDIR="+s.dir)
	cmd.Stdout, cmd.Stderr = io.Discard, io.Discard
	if err := s.startAt(cmd, address); err != nil {
		return subject{}, err
	}
	return subject{name: name, pid: cmd.Process.Pid, floor: "relay-sha256", put: func(ctx context.Context, _ int, size int64, body io.Reader) error {
		return patch(ctx, "http://"+address+"/files/", size, body)
	}}, nil
}

// patch sends one file as tus has it: a request that announces it, and one with its bytes.
func patch(ctx context.Context, address string, size int64, body io.Reader) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Tus-Resumable", "1.0.0")
	req.Header.Set("Upload-Length", fmt.Sprint(size))
	h, err := answered(req, http.StatusCreated)
	if err != nil {
		return err
	}
	req, err = http.NewRequestWithContext(ctx, http.MethodPatch, h.Get("Location"), body)
	if err != nil {
		return err
	}
	req.ContentLength = size
	req.Header.Set("Tus-Resumable", "1.0.0")
	req.Header.Set("Upload-Offset", "0")
	req.Header.Set("Content-Type", "application/offset+octet-stream")
	_, err = answered(req, http.StatusNoContent)
	return err
}

// busy is a server's wish that the client come again later.
type busy struct {
	after time.Duration
	why   string
}

func (b busy) Error() string { return b.why }

// answered sends a request and demands a status. The error is busy if the server has no room right now
// and says when it may have.
func answered(req *http.Request, want int) (http.Header, error) {
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, mib))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != want {
		why := fmt.Sprintf("%s %s answers %s: %s", req.Method, req.URL, resp.Status, text)
		if after, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && resp.StatusCode == http.StatusServiceUnavailable {
			return nil, busy{time.Duration(after) * time.Second, why}
		}
		return nil, errors.New(why)
	}
	return resp.Header, nil
}
