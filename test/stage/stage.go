// Package stage sets up what an installation is in earnest, for tests of a whole one: three gateways, each
// a process of its own, one Postgres, one Redis, an S3 if files are taken, and a provider to sign in with.
//
// The story. Every gateway reaches each store by a way of its own, which a test can cut, block or slow
// down while the others stay whole. What was started can be frozen, killed and started again, and ends
// with the test. Browsers know one address; which gateway takes a request is the test's choice, as it
// is a balancer's in life.
package stage

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth/standin"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// Hung is when something is broken, however busy the machine is.
const Hung = 30 * time.Second

// Stage is three gateways and what they stand on.
type Stage struct {
	Postgres *storetest.PostgresServer
	Redis    *storetest.RedisServer
	S3       *storetest.S3Server // nil: no files are taken
	S3Front  *storetest.S3Front  // stands before S3, behind all ways to it
	Public   string              // the address that browsers know: http://localhost:port
	Gates    []*Gate
}

// Plan says what the stage is to have.
type Plan struct {
	Root  string       // the repository, seen from the package under test
	Tree  string       // the folder whose gateway is built; empty: Root
	Build []string     // arguments for go build, such as -race
	Users []string     // e-mails of those who may come in
	App   http.Handler // behind /; nil: nobody is there
	Files bool         // /upload takes files, into S3
}

// configuration is that of every gateway. Forward auth is served to whoever asks from this machine.
const configuration = `
server:
  listen: %[1]q
  public_url: %[2]q
  drain_delay: 500ms
  drain_timeout: 5s
  trusted_proxies: [{from: 127.0.0.1, headers: [for, proto, host, uri, method]}]
admin: {listen: %[3]q}
secret: {keys_file: %[4]q}
login: {issuer: %[5]q, client_id: stage, client_secret: stage-s3cret}
store: {database: %[6]q, redis: "redis://%[7]s"}
log: {format: json}
forward_auth: [traefik]
`

// New starts everything, and returns when each gateway says that nothing is amiss.
func New(t testing.TB, plan Plan) *Stage {
	t.Helper()
	dir := t.TempDir()
	binary := build(t, plan, dir)
	s := &Stage{Postgres: storetest.Postgres(t), Redis: storetest.Redis(t), Public: "http://localhost:" + freePort(t)}
	if plan.Files {
		s.S3 = storetest.S3(t)
		s.S3Front = storetest.Front(t, s.S3)
	}
	common := common{keys: keys(t, dir), issuer: provider(t), routes: s.routes(t, plan)}
	for i := range 3 {
		s.Gates = append(s.Gates, s.newGate(t, binary, filepath.Join(dir, fmt.Sprintf("gate%d.yaml", i+1)), common))
	}
	first := s.Gates[0]
	command(t, binary, "migrate", "--config", first.config)
	for _, user := range plan.Users {
		command(t, binary, "user", "add", user, "--config", first.config)
	}
	for _, g := range s.Gates {
		g.Start()
	}
	s.Well(t)
	return s
}

// Well waits until every gateway says that nothing is amiss.
func (s *Stage) Well(t testing.TB) {
	t.Helper()
	for _, g := range s.Gates {
		Wait(t, "a gateway is well", func() bool { return g.Well(t.Context()) })
	}
}

// common is what the configurations of all gateways share.
type common struct{ keys, issuer, routes string }

func (s *Stage) newGate(t testing.TB, binary, config string, c common) *Gate {
	t.Helper()
	listen, admin := "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t)
	g := &Gate{Admin: "http://" + admin, Listen: listen, Client: clientOf(t, s.Public, listen), t: t, binary: binary, config: config}
	g.ToSQL, g.ToRedis = newWay(t, "sql", s.Postgres.Addr), newWay(t, "redis", s.Redis.Addr)
	text := fmt.Sprintf(configuration, listen, s.Public, admin, c.keys, c.issuer,
		strings.Replace(s.Postgres.URL, s.Postgres.Addr, g.ToSQL.Listen(), 1), g.ToRedis.Listen())
	if s.S3 != nil {
		g.ToS3 = newWay(t, "s3", strings.TrimPrefix(s.S3Front.Endpoint, "http://"))
		text += fmt.Sprintf("upload: {bucket: \"s3://%s/files\", endpoint: \"http://%s\", path_style: true, region: %s, access_key: %s, secret_key: %s, part_size: 5MiB}\n",
			storetest.S3Bucket, g.ToS3.Listen(), storetest.S3Region, storetest.S3AccessKey, storetest.S3SecretKey)
	}
	if err := os.WriteFile(config, []byte(text+c.routes), 0o600); err != nil {
		t.Fatal(err)
	}
	return g
}

// routes writes those of all gateways.
func (s *Stage) routes(t testing.TB, plan Plan) string {
	t.Helper()
	host, upstream := strings.TrimPrefix(s.Public, "http://"), "http://127.0.0.1:9"
	if plan.App != nil {
		app := httptest.NewServer(plan.App)
		t.Cleanup(app.Close)
		upstream = app.URL
	}
	text := fmt.Sprintf("routes:\n  - {host: %q, path: /, upstream: %q}\n", host, upstream)
	if plan.Files {
		text += fmt.Sprintf("  - {host: %q, path: /upload, upload: true}\n", host)
	}
	return text
}

func build(t testing.TB, plan Plan, dir string) (binary string) {
	t.Helper()
	binary, tree := filepath.Join(dir, "gatehouse"), plan.Tree
	if tree == "" {
		tree = plan.Root
	}
	args := append([]string{"-C", tree, "build", "-o", binary}, plan.Build...)
	command(t, "go", append(args, "./cmd/gatehouse")...)
	return binary
}

func keys(t testing.TB, dir string) (file string) {
	t.Helper()
	file = filepath.Join(dir, "keys")
	secret := make([]byte, 32)
	rand.Read(secret)
	if err := os.WriteFile(file, []byte(base64.StdEncoding.EncodeToString(secret)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// provider is a stand-in for Google.
func provider(t testing.TB) (issuer string) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	issuer = "http://" + server.Listener.Addr().String()
	server.Config.Handler = standin.New(issuer, nil)
	server.Start()
	t.Cleanup(server.Close)
	return issuer
}

func command(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil { //nolint:gosec // our own arguments
		t.Fatalf("%s: %v\n%s", filepath.Base(name), err, out)
	}
}

func freePort(t testing.TB) string { return strconv.Itoa(storetest.FreePort(t)) }

// Wait polls until something is so, and fails the test if it never is.
func Wait(t testing.TB, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(Hung); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so after %s: %s", Hung, what)
		}
	}
}
