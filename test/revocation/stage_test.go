package revocation

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/gatehouse-auth/gatehouse/auth/standin"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// stage is three gateways and what they stand on. Each reaches Postgres and Redis by ways of its own,
// so that one can be cut off while the others are not.
type stage struct {
	t        *testing.T
	postgres *storetest.PostgresServer
	redis    *storetest.RedisServer
	public   string // the address that browsers know; the first gateway listens there
	gates    []*gate
}

// gate is one gateway, a process of its own.
type gate struct {
	at, admin      string // http://127.0.0.1:port
	toSQL, toRedis *toxiproxy.Proxy
	process        *os.Process
	client         *http.Client
	binary, config string
}

const configuration = `
server: {listen: "127.0.0.1:%[1]s", public_url: %[2]q, drain_delay: 0s, drain_timeout: 5s}
admin: {listen: "127.0.0.1:%[3]s"}
secret: {keys_file: %[4]q}
login: {issuer: %[5]q, client_id: revocation, client_secret: revocation-s3cret}
store: {database: %[6]q, redis: "redis://%[7]s"}
log: {format: json}
routes: [{host: %[8]q, path: /, upstream: "http://127.0.0.1:9"}]
`

// newStage starts everything; it ends with the test.
func newStage(t *testing.T) *stage {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "gatehouse")
	command(t, "go", "build", "-o", binary, "../../cmd/gatehouse")
	keys := filepath.Join(dir, "keys")
	secret := make([]byte, 32)
	rand.Read(secret)
	if err := os.WriteFile(keys, []byte(base64.StdEncoding.EncodeToString(secret)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, postgres: storetest.Postgres(t), redis: storetest.Redis(t), public: "http://localhost:" + freePort(t)}
	issuer, ports := provider(t), []string{strings.TrimPrefix(s.public, "http://localhost:"), freePort(t), freePort(t)}
	for i, port := range ports {
		g := &gate{at: "http://127.0.0.1:" + port, binary: binary, config: filepath.Join(dir, fmt.Sprintf("gate%d.yaml", i+1))}
		g.toSQL, g.toRedis = way(t, fmt.Sprintf("sql%d", i), s.postgres.Addr), way(t, fmt.Sprintf("redis%d", i), s.redis.Addr)
		admin := freePort(t)
		g.admin = "http://127.0.0.1:" + admin
		text := fmt.Sprintf(configuration, port, s.public, admin, keys, issuer,
			strings.Replace(s.postgres.URL, s.postgres.Addr, g.toSQL.Listen, 1), g.toRedis.Listen, strings.TrimPrefix(s.public, "http://"))
		if err := os.WriteFile(g.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{MaxIdleConnsPerHost: 4}
		t.Cleanup(transport.CloseIdleConnections)
		g.client = &http.Client{Transport: transport, Timeout: hung}
		s.gates = append(s.gates, g)
	}
	command(t, binary, "migrate", "--config", s.gates[0].config)
	command(t, binary, "user", "add", account, "--config", s.gates[0].config)
	for _, g := range s.gates {
		g.serve(t)
	}
	s.well(t)
	return s
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(name), err, out)
	}
}

// provider is a stand-in for Google.
func provider(t *testing.T) (issuer string) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	issuer = "http://" + server.Listener.Addr().String()
	server.Config.Handler = standin.New(issuer, []standin.Account{{Email: account, Name: "Alice"}})
	server.Start()
	t.Cleanup(server.Close)
	return issuer
}

// way is a connection that can be cut.
func way(t *testing.T, name, to string) *toxiproxy.Proxy {
	t.Helper()
	p := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), name, "127.0.0.1:0", to)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

func freePort(t *testing.T) string { return strconv.Itoa(storetest.FreePort(t)) }

// serve runs the gateway until the test ends. What it logged is shown if the test failed.
func (g *gate) serve(t *testing.T) {
	t.Helper()
	logs, err := os.Create(g.config + ".log")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(g.binary, "serve", "--config", g.config)
	cmd.Stderr = logs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	g.process = cmd.Process
	t.Cleanup(func() {
		_ = g.process.Signal(syscall.SIGCONT)
		_ = g.process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		_ = logs.Close()
		if t.Failed() {
			text, _ := os.ReadFile(logs.Name())
			t.Logf("%s: %s", logs.Name(), text[max(0, len(text)-4000):])
		}
	})
}

// well waits until every gateway says that nothing is amiss.
func (s *stage) well(t *testing.T) {
	t.Helper()
	for _, g := range s.gates {
		wait(t, "a gateway is well", func() bool {
			_, body := get(t.Context(), g.client, g.admin+"/readyz", "", "")
			return strings.Contains(body, `"status":"ready","degraded":[]`)
		})
	}
}

func wait(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(hung); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so after %s: %s", hung, what)
		}
	}
}

// get asks, and returns the status, zero where no answer came, and the body.
func get(ctx context.Context, client *http.Client, address, host, cookie string) (status int, body string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return 0, ""
	}
	req.Host = host
	if cookie != "" {
		req.Header.Set("Cookie", cookie)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, ""
	}
	return resp.StatusCode, string(text)
}

// psql is a prompt at which somebody sits: it returns once the server has said that it is done.
func (s *stage) psql(t *testing.T) func(statement string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "psql", "-qAtX", s.postgres.URL)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	lines := bufio.NewReader(out)
	return func(statement string) {
		t.Helper()
		if _, err := fmt.Fprintf(in, "%s\n\\echo done\n", statement); err != nil {
			t.Fatal(err)
		}
		if line, err := lines.ReadString('\n'); err != nil || line != "done\n" {
			t.Fatalf("psql: %q, %v", line, err)
		}
	}
}

// each runs f for every gateway at once.
func (s *stage) each(f func(i int, g *gate)) {
	var all sync.WaitGroup
	for i, g := range s.gates {
		all.Go(func() { f(i, g) })
	}
	all.Wait()
}
