package stage

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Gate is one gateway, a process of its own.
type Gate struct {
	Admin                string       // http://127.0.0.1:port
	Listen               string       // 127.0.0.1:port
	ToSQL, ToRedis, ToS3 *Way         // ToS3 is nil where no files are taken
	Client               *http.Client // reaches this gateway by the public address, and everybody else by theirs

	t              testing.TB
	binary, config string

	mu   sync.Mutex
	run  *run // nil: never started
	logs *os.File
}

// run is one life of the process.
type run struct {
	process *os.Process
	done    chan struct{} // closed when it has ended
	meant   bool          // somebody here ended it
}

// clientOf makes a client that takes a gateway for the public address. It follows no redirect, and
// waits for an answer as long as its caller's context does, and for Hung at the most.
func clientOf(t testing.TB, public, listen string) *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 32}
	at := strings.TrimPrefix(public, "http://")
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == at {
			address = listen
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: Hung, CheckRedirect: stay}
}

func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Start starts the process; it ends with the test. What it logged is shown if the test failed.
func (g *Gate) Start() {
	g.t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.logs == nil {
		g.open()
	}
	cmd := exec.Command(g.binary, "serve", "--config", g.config) //nolint:gosec,noctx // our own arguments; it lives as long as the test
	cmd.Stderr = g.logs
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	r := &run{process: cmd.Process, done: make(chan struct{})}
	go func() { defer close(r.done); _ = cmd.Wait() }()
	g.run = r
}

// open makes the file for what the process says, and sees to the end of both.
func (g *Gate) open() {
	logs, err := os.Create(g.config + ".log")
	if err != nil {
		g.t.Fatal(err)
	}
	g.logs = logs
	g.t.Cleanup(func() {
		g.Signal(syscall.SIGCONT)
		g.Stop()
		_ = logs.Close()
		if text := g.Log(); g.t.Failed() {
			g.t.Logf("%s: %s", logs.Name(), text[max(0, len(text)-4000):])
		}
	})
}

// Stop ends the process as an orchestrator does, and waits for it.
func (g *Gate) Stop() { g.end(syscall.SIGTERM) }

// Kill ends it at once.
func (g *Gate) Kill() { g.end(syscall.SIGKILL) }

func (g *Gate) end(sig syscall.Signal) {
	g.mu.Lock()
	r := g.run
	r.meant = true
	g.mu.Unlock()
	_ = r.process.Signal(sig)
	select {
	case <-r.done:
	case <-time.After(Hung):
		_ = r.process.Kill()
		<-r.done
		g.t.Errorf("%s did not end within %s of signal %v", g.config, Hung, sig)
	}
}

// Signal sends the process a signal.
func (g *Gate) Signal(sig syscall.Signal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = g.run.process.Signal(sig) // it may have ended
}

// Pid is the id of the process.
func (g *Gate) Pid() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.run.process.Pid
}

// Died reports whether the process ended by itself.
func (g *Gate) Died() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.run.done:
		return !g.run.meant
	default:
		return false
	}
}

// Log is all that the process, in all its lives, has said.
func (g *Gate) Log() string {
	text, err := os.ReadFile(g.config + ".log")
	if err != nil {
		g.t.Error(err)
	}
	return string(text)
}

// Degraded asks the gateway which of its parts cannot be asked, and reports whether it is ready at all.
func (g *Gate) Degraded(ctx context.Context) (parts []string, ready bool) {
	status, body := Get(ctx, g.Client, g.Admin+"/readyz", "")
	var told struct{ Degraded []string }
	if status != http.StatusOK || json.Unmarshal([]byte(body), &told) != nil {
		return nil, false
	}
	return told.Degraded, true
}

// Well reports whether the gateway says that nothing is amiss.
func (g *Gate) Well(ctx context.Context) bool {
	parts, ready := g.Degraded(ctx)
	return ready && len(parts) == 0
}
