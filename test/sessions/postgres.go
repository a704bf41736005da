package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver's name is pgx
)

// postgres is a server that ends with the run, and its folder with it.
type postgres struct {
	dir  string
	port string
	cmd  *exec.Cmd
}

// startPostgres starts a server on a private port. Its programs must be in the PATH (test/ci/env.sh).
func startPostgres(ctx context.Context) (*postgres, error) {
	dir, err := os.MkdirTemp("", "gate-sessions-")
	if err != nil {
		return nil, err
	}
	p := &postgres{dir: dir}
	if err := p.start(ctx); err != nil {
		p.stop()
		return nil, fmt.Errorf("postgres: %w", err)
	}
	return p, nil
}

func (p *postgres) start(ctx context.Context) error {
	attributes, err := humble(p.dir)
	if err != nil {
		return err
	}
	if p.port, err = freePort(ctx); err != nil {
		return err
	}
	data := filepath.Join(p.dir, "data")
	initdb := exec.CommandContext(ctx, "initdb", "-D", data, "-U", "gate", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8") //nolint:gosec // our own path
	initdb.Dir, initdb.SysProcAttr = p.dir, attributes
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	p.cmd = exec.Command("postgres", "-D", data, "-p", p.port, //nolint:gosec,noctx // our own arguments; stop ends it
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "shared_buffers=512MB", "-c", "max_wal_size=4GB", "-c", "log_min_messages=fatal")
	p.cmd.Dir, p.cmd.SysProcAttr, p.cmd.Stderr = p.dir, attributes, os.Stderr
	if err := p.cmd.Start(); err != nil {
		p.cmd = nil
		return err
	}
	return p.await(ctx)
}

func (p *postgres) await(ctx context.Context) error {
	db, err := sql.Open("pgx", p.url("postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	for end := time.Now().Add(time.Minute); ; {
		err := db.PingContext(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(end) {
			return err
		}
	}
}

func (p *postgres) url(database string) string {
	return "postgres://gate@127.0.0.1:" + p.port + "/" + database + "?sslmode=disable"
}

// database makes an empty database for a size and returns its address.
func (p *postgres) database(ctx context.Context, size int) (string, error) {
	db, err := sql.Open("pgx", p.url("postgres"))
	if err != nil {
		return "", err
	}
	defer db.Close()
	name := "gate" + strconv.Itoa(size)
	_, err = db.ExecContext(ctx, "CREATE DATABASE "+name)
	return p.url(name), err
}

// stop ends the server and removes what it kept.
func (p *postgres) stop() {
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(syscall.SIGINT)
		_ = p.cmd.Wait() // it was told to end: how it says so does not matter
	}
	_ = os.RemoveAll(p.dir)
}

// humble gives a folder to a user who is not root, as whom Postgres insists to run.
func humble(dir string) (*syscall.SysProcAttr, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		attributes := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		return attributes, os.Chown(dir, int(uid), int(gid))
	}
	return nil, errors.New("running as root, and there is neither a user postgres nor nobody to run Postgres as")
}

func freePort(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return port, err
}
