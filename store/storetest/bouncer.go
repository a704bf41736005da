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

// Bouncer starts a pgbouncer in transaction mode before p and returns the URL that leads through it:
// each transaction may meet another connection of the server, so whatever a session would remember is
// lost. It ends with the test.
func Bouncer(t testing.TB, p *PostgresServer) (url string) {
	t.Helper()
	path := program(t, "pgbouncer", "pgbouncer", "/usr/sbin/pgbouncer")
	dir, port := room(t), strconv.Itoa(FreePort(t))
	host, upstream, err := net.SplitHostPort(p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "pgbouncer.ini")
	config := fmt.Sprintf("[databases]\n* = host=%s port=%s user=gate\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %s\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 5\nserver_round_robin = 1\n", host, upstream, port)
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil { //nolint:gosec // the server's user reads it
		t.Fatal(err)
	}
	addr := net.JoinHostPort("127.0.0.1", port)
	s := &server{t: t, name: "pgbouncer", make: func() *exec.Cmd {
		cmd := exec.Command(path, file) //nolint:gosec,noctx // our own arguments; it lives as long as the test
		humble(t, cmd)
		return cmd
	}}
	s.up = func() bool {
		conn, err := net.DialTimeout("tcp", addr, time.Second) //nolint:noctx // one second
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}
	s.Start()
	t.Cleanup(func() { s.stop(syscall.SIGQUIT) })
	return strings.Replace(p.URL, p.Addr, addr, 1)
}
