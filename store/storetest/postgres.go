package storetest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// PostgresServer is a real Postgres for one test, with one empty database. It trusts whoever reaches
// its private port.
type PostgresServer struct {
	server
	bin, port string
	data      string
	databases atomic.Int64
	URL       string // postgres://gate@127.0.0.1:port/postgres?sslmode=disable
	Addr      string // 127.0.0.1:port
}

// Postgres starts a Postgres server on a private port; settings are lines of its configuration
// ("synchronous_commit=off"). It ends with the test. It does not sync to disk unless a setting says
// fsync=on: no test pulls the plug.
func Postgres(t testing.TB, settings ...string) *PostgresServer {
	t.Helper()
	bin, data := postgresBin(t), filepath.Join(room(t), "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "gate", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync") //nolint:gosec,noctx // our own arguments
	humble(t, initdb)
	initdb.Dir = filepath.Dir(data)
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	return postgresOn(t, bin, data, settings...)
}

// postgresOn starts a server on a directory that holds a database.
func postgresOn(t testing.TB, bin, data string, settings ...string) *PostgresServer {
	t.Helper()
	port := strconv.Itoa(FreePort(t))
	p := &PostgresServer{Addr: net.JoinHostPort("127.0.0.1", port), bin: bin, port: port, data: data}
	p.URL = p.at("postgres")
	p.server = server{t: t, name: "postgres", make: func() *exec.Cmd {
		line := []string{"-D", p.data, "-p", port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "max_connections=200", "-c", "log_min_messages=fatal"}
		for _, setting := range settings {
			line = append(line, "-c", setting)
		}
		cmd := exec.Command(filepath.Join(bin, "postgres"), line...) //nolint:gosec,noctx // our own arguments; it lives as long as the test
		humble(t, cmd)
		cmd.Dir = filepath.Dir(p.data)
		return cmd
	}}
	p.up = func() bool {
		ready := exec.Command(filepath.Join(bin, "pg_isready"), "-q", "-h", "127.0.0.1", "-p", port) //nolint:gosec,noctx // our own arguments
		return ready.Run() == nil
	}
	p.Start()
	t.Cleanup(p.Stop)
	return p
}

// Database makes another empty database in the server and returns its URL. That is much faster than
// another server.
func (p *PostgresServer) Database() (url string) {
	p.t.Helper()
	name := "gate" + strconv.FormatInt(p.databases.Add(1), 10)
	create := exec.Command(filepath.Join(p.bin, "createdb"), "-h", "127.0.0.1", "-p", p.port, "-U", "gate", "-T", "template0", name) //nolint:gosec,noctx // our own arguments
	if out, err := create.CombinedOutput(); err != nil {
		p.t.Fatalf("createdb: %v\n%s", err, out)
	}
	return p.at(name)
}

func (p *PostgresServer) at(database string) string {
	return fmt.Sprintf("postgres://gate@%s/%s?sslmode=disable", p.Addr, database)
}

// Stop ends the server as an administrator does who is in a hurry: connections are cut.
func (p *PostgresServer) Stop() { p.stop(syscall.SIGINT) }

// Crash kills every process of the server; what was not committed is gone.
func (p *PostgresServer) Crash() { p.stop(syscall.SIGQUIT) }

// Freeze stops the server's processes without closing anything: connections are accepted by the
// kernel and nobody answers.
func (p *PostgresServer) Freeze() { p.t.Helper(); p.tree(syscall.SIGSTOP) }

// Thaw lets a frozen server go on.
func (p *PostgresServer) Thaw() { p.t.Helper(); p.tree(syscall.SIGCONT) }

// tree signals the server and its children, one for each connection.
func (p *PostgresServer) tree(sig syscall.Signal) {
	p.t.Helper()
	p.signal(sig) // first, so that no child is born in between
	p.mu.Lock()
	pid := strconv.Itoa(p.cmd.Process.Pid)
	p.mu.Unlock()
	children, err := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
	if err != nil {
		p.t.Fatalf("children of postgres: %v", err)
	}
	for _, child := range strings.Fields(string(children)) {
		if n, err := strconv.Atoi(child); err == nil {
			_ = syscall.Kill(n, sig) // it may have ended by itself
		}
	}
	time.Sleep(10 * time.Millisecond)
}

// postgresBin finds the directory of the server's programs: Debian keeps them out of PATH.
func postgresBin(t testing.TB) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	slices.Sort(found)
	slices.Reverse(found) // the newest first
	return filepath.Dir(program(t, "postgres", "postgresql", found...))
}
