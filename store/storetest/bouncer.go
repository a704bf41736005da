package storetest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BouncerServer is a pgbouncer in transaction mode: each transaction may meet another connection of the
// server, so whatever a session would remember is lost.
type BouncerServer struct {
	*server
	URL string // that leads through it

	file, port string // its configuration, and where it listens
}

// Bouncer starts one before p. It ends with the test.
func Bouncer(t testing.TB, p *PostgresServer) *BouncerServer {
	t.Helper()
	path := program(t, "pgbouncer", "pgbouncer", "/usr/sbin/pgbouncer")
	b := &BouncerServer{file: filepath.Join(room(t), "pgbouncer.ini"), port: strconv.Itoa(FreePort(t))}
	addr := net.JoinHostPort("127.0.0.1", b.port)
	b.URL = strings.Replace(p.URL, p.Addr, addr, 1)
	b.server = &server{t: t, name: "pgbouncer", make: func() *exec.Cmd {
		cmd := exec.Command(path, b.file) //nolint:gosec,noctx // our own arguments; it lives as long as the test
		humble(t, cmd)
		return cmd
	}}
	b.up = func() bool {
		conn, err := net.DialTimeout("tcp", addr, time.Second) //nolint:noctx // one second
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}
	b.configure(p)
	b.Start()
	t.Cleanup(func() { b.stop(syscall.SIGQUIT) })
	return b
}

// Move has it talk to another server from the next transaction on. Its clients keep their connections,
// and hear nothing of it.
func (b *BouncerServer) Move(p *PostgresServer) {
	b.t.Helper()
	b.configure(p)
	b.signal(syscall.SIGHUP)
}

func (b *BouncerServer) configure(p *PostgresServer) {
	b.t.Helper()
	host, port := split(b.t, p.Addr)
	config := fmt.Sprintf("[databases]\n* = host=%s port=%s user=gate\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %s\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 5\nserver_round_robin = 1\n", host, port, b.port)
	if err := os.WriteFile(b.file, []byte(config), 0o644); err != nil { //nolint:gosec // the server's user reads it
		b.t.Fatal(err)
	}
}
