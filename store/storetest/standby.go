package storetest

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// PostgresPair is a primary and a standby that has all that the primary has confirmed.
type PostgresPair struct {
	Primary, Standby *PostgresServer
	URL              string // of both, the primary first
}

// Replicated starts them, and returns when the primary waits for the standby with each commit. They end
// with the test.
func Replicated(t testing.TB) *PostgresPair {
	t.Helper()
	pair := &PostgresPair{Primary: Postgres(t)}
	pair.Standby = pair.Primary.Follow()
	pair.URL = fmt.Sprintf("postgres://gate@%s,%s/postgres?sslmode=disable&target_session_attrs=read-write", pair.Primary.Addr, pair.Standby.Addr)
	return pair
}

// Follow starts a standby, and returns when p waits for it with each commit. It ends with the test.
func (p *PostgresServer) Follow() (standby *PostgresServer) {
	p.t.Helper()
	host, port := split(p.t, p.Addr)
	copied := filepath.Join(room(p.t), "data")
	p.tool("pg_basebackup", "-h", host, "-p", port, "-U", "gate", "-D", copied, "-R", "-X", "stream", "-c", "fast", "--no-sync")
	standby = postgresOn(p.t, p.bin, copied)
	for _, setting := range []string{"ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"} {
		p.sql(setting)
	}
	soon(p.t, "the standby confirms", func() bool {
		return strings.Contains(p.sql("SELECT sync_state FROM pg_stat_replication"), "sync")
	})
	return standby
}

// TakeOver makes the standby of p, which is gone, the primary, at the address of p: as whoever watches both
// moves an address that belongs to neither.
func (p *PostgresServer) TakeOver(standby *PostgresServer) {
	p.t.Helper()
	p.Stop()
	standby.promote()
	standby.Stop()
	p.data = standby.data
	p.Start()
}

// Promote makes the standby the primary, as whoever watches both does when the other is gone.
func (p *PostgresPair) Promote() {
	p.Standby.t.Helper()
	p.Standby.promote()
}

func (p *PostgresServer) promote() {
	p.t.Helper()
	p.tool("pg_ctl", "promote", "-w", "-D", p.data)
}

// Lag has the standby go on receiving what the primary confirms, and show none of it.
func (p *PostgresPair) Lag() {
	p.Standby.t.Helper()
	p.Standby.sql("SELECT pg_wal_replay_pause()")
	soon(p.Standby.t, "the standby stands still", func() bool {
		return strings.Contains(p.Standby.sql("SELECT pg_get_wal_replay_pause_state()"), "paused")
	})
}

// sql runs one statement and returns what psql prints of it, without names and frames.
func (p *PostgresServer) sql(statement string) string {
	p.t.Helper()
	return p.tool("psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement, p.URL)
}

// tool runs one of the programs that come with the server, as the user that the server runs as.
func (p *PostgresServer) tool(name string, args ...string) (output string) {
	p.t.Helper()
	cmd := exec.Command(filepath.Join(p.bin, name), args...) //nolint:gosec,noctx // our own arguments
	humble(p.t, cmd)
	cmd.Dir = filepath.Dir(p.data)
	out, err := cmd.CombinedOutput()
	if err != nil {
		p.t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}
