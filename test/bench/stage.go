package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stage holds the processes of a run and the folder that they keep their data in.
type stage struct {
	ctx       context.Context //nolint:containedctx // the run's own, shared by all its steps
	dir       string
	processes []*exec.Cmd
	onStop    []func()
}

// set starts everything and lists what is to be measured, each after what it is compared with.
func (s *stage) set() ([]subject, error) {
	app, _, err := s.peer("app")
	if err != nil {
		return nil, err
	}
	floor, floorPID, err := s.peer("floor")
	if err != nil {
		return nil, err
	}
	relay, relayPID, err := s.peer("relay", app)
	if err != nil {
		return nil, err
	}
	binary := filepath.Join(s.dir, "gatehouse")
	if out, err := exec.CommandContext(s.ctx, "go", "build", "-o", binary, "./cmd/gatehouse").CombinedOutput(); err != nil { //nolint:gosec // our own path
		return nil, fmt.Errorf("build gatehouse: %w: %s", err, out)
	}
	subjects := []subject{
		{name: "bare net/http, one cookie, 202", url: floor, cookie: "gate=x", pid: floorPID, against: 0},
		{name: "bare httputil.ReverseProxy", url: relay, pid: relayPID, against: 1},
	}
	redis, err := s.redis()
	if err != nil {
		return nil, err
	}
	var g gateway
	for _, kind := range []setup{{"SQLite", "", "stdlib"}, {"SQLite, lean", "", "lean"}, {"Redis before SQLite", redis, "stdlib"}, {"Redis before SQLite, lean", redis, "lean"}} {
		g, err = s.gateway(binary, app, kind)
		if err != nil {
			return nil, err
		}
		if kind.engine == "stdlib" { // a check is carried nowhere
			subjects = append(subjects, subject{name: "session check /_gate/me, " + kind.name, url: g.address + "/_gate/me", cookie: g.cookie, pid: g.pid, against: 0})
		}
		subjects = append(subjects, subject{name: "signed-in and proxied, " + kind.name, url: g.address + "/", cookie: g.cookie, pid: g.pid, against: 1})
	}
	checks, err := s.compareChecks(len(subjects), g, redis)
	return append(subjects, checks...), err
}

// peer starts this program again, as one of its servers, and returns the address that it prints.
func (s *stage) peer(args ...string) (address string, pid int, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", 0, err
	}
	cmd := exec.CommandContext(s.ctx, self, args...) //nolint:gosec // this very program
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", 0, err
	}
	if err := s.start(cmd); err != nil {
		return "", 0, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	return strings.TrimSpace(line), cmd.Process.Pid, err
}

func (s *stage) start(cmd *exec.Cmd) error {
	if cmd.Stderr == nil {
		cmd.Stderr = os.Stderr
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		return err
	}
	s.processes = append(s.processes, cmd)
	return nil
}

// stop ends all that was started, the last first.
func (s *stage) stop() {
	for i := len(s.processes) - 1; i >= 0; i-- {
		_ = s.processes[i].Process.Signal(syscall.SIGTERM)
		_ = s.processes[i].Wait() // it was told to end: how it says so does not matter
	}
	for _, end := range s.onStop {
		end()
	}
}

// redis starts a server that keeps nothing, and returns its URL.
func (s *stage) redis() (string, error) {
	socket := filepath.Join(s.dir, "redis.sock")
	cmd := exec.CommandContext(s.ctx, "redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--dir", s.dir) //nolint:gosec // our own path
	if err := s.start(cmd); err != nil {
		return "", err
	}
	return "unix://" + socket, await(s.ctx, func() error {
		conn, err := new(net.Dialer).DialContext(s.ctx, "unix", socket)
		if err != nil {
			return err
		}
		return conn.Close()
	})
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

// await tries until it works, for at most ten seconds.
func await(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
