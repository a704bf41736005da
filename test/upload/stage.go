package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// What the S3 servers are opened with.
const (
	bucket    = "files"
	accessKey = "AKIAGATEHOUSEBENCH"
	secretKey = "gatehouse-bench-secret"
)

// stage holds the processes of a run and the folder that they keep their data in.
type stage struct {
	ctx       context.Context //nolint:containedctx // the run's own, shared by all its steps
	dir       string
	processes []*exec.Cmd
}

// build builds what is compared. The SDK's uploader has a module of its own, so that nothing else
// depends on it.
func (s *stage) build() error {
	for name, from := range map[string]string{"gatehouse": ".", "sdk": "test/upload/sdk"} {
		target := "./cmd/gatehouse"
		if name == "sdk" {
			target = "."
		}
		cmd := exec.CommandContext(s.ctx, "go", "build", "-o", filepath.Join(s.dir, name), target) //nolint:gosec // our own paths
		cmd.Dir = from
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w: %s", name, err, out)
		}
	}
	return nil
}

// set starts what is wanted before one kind of S3, and lists what is to be measured.
func (s *stage) set(store string, wanted func(name string) bool) ([]subject, error) {
	endpoint, err := s.s3(store)
	if err != nil {
		return nil, err
	}
	subjects, err := s.floors()
	if err != nil {
		return nil, err
	}
	for _, ways := range []struct {
		name string
		open func(name string) (subject, error)
	}{
		{"Gatehouse", func(name string) (subject, error) { return s.gateway(name, store, endpoint, "sha256") }},
		{"Gatehouse, digest: none", func(name string) (subject, error) { return s.gateway(name, store, endpoint, "none") }},
		{"tusd", func(name string) (subject, error) { return s.tusd(name, endpoint) }},
		{"SDK uploader, direct", func(name string) (subject, error) { return s.sdk(name, endpoint), nil }},
	} {
		if !wanted(ways.name) {
			continue
		}
		opened, err := ways.open(ways.name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ways.name, err)
		}
		subjects = append(subjects, opened)
	}
	return subjects, nil
}

// s3 starts what stands for S3 and returns its address.
func (s *stage) s3(kind string) (string, error) {
	switch kind {
	case "null":
		address, _, err := s.peer("null")
		return "http://" + address, err
	case "versitygw":
		return s.versity()
	}
	return "", fmt.Errorf("%q stands for no S3: null or versitygw", kind)
}

func (s *stage) versity() (string, error) {
	address, err := freeAddress(s.ctx)
	if err != nil {
		return "", err
	}
	// Both names begin otherwise: versitygw takes "versitygw-side" for a folder inside "versitygw".
	data, side := filepath.Join(s.dir, "versitygw"), filepath.Join(s.dir, "notes")
	for _, dir := range []string{filepath.Join(data, bucket), side} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", err
		}
	}
	cmd := exec.CommandContext(s.ctx, "versitygw", "--quiet", "--keep-alive", "--port", address, "--access", accessKey, "--secret", secretKey, //nolint:gosec // our own arguments
		"posix", "--sidecar", side, data)
	cmd.Stdout = io.Discard
	return "http://" + address, s.startAt(cmd, address)
}

// floors starts the bare relays and their sink.
func (s *stage) floors() ([]subject, error) {
	target, _, err := s.peer("sink")
	if err != nil {
		return nil, err
	}
	var floors []subject
	for _, name := range []string{"relay-sha256", "relay"} {
		address, pid, err := s.peer(name, target)
		if err != nil {
			return nil, err
		}
		floors = append(floors, subject{name: name, pid: pid, floor: name, put: func(ctx context.Context, _ int, _ int64, body io.Reader) error {
			return pour(ctx, address, body)
		}})
	}
	return floors, nil
}

// pour sends a file to a relay, and waits until it is through.
func pour(ctx context.Context, address string, body io.Reader) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if _, err := io.CopyBuffer(struct{ io.Writer }{conn}, body, make([]byte, piece)); err != nil {
		return err
	}
	if half, ok := conn.(*net.TCPConn); ok {
		if err := half.CloseWrite(); err != nil {
			return err
		}
	}
	_, err = io.Copy(io.Discard, conn)
	return err
}

// sdk is the uploader of the AWS SDK, which reads from memory and sends straight to S3. It runs anew
// for each measurement.
func (s *stage) sdk(name, endpoint string) subject {
	return subject{name: name, floor: "relay-sha256", batch: func(ctx context.Context, l load) (time.Duration, int64, error) {
		cmd := exec.CommandContext(ctx, filepath.Join(s.dir, "sdk"), //nolint:gosec // our own build
			"-endpoint", endpoint, "-bucket", bucket, "-access", accessKey, "-secret", secretKey,
			"-size", fmt.Sprint(l.size), "-count", fmt.Sprint(l.count), "-at-once", fmt.Sprint(l.atOnce))
		if out, err := cmd.CombinedOutput(); err != nil {
			return 0, 0, fmt.Errorf("%w: %s", err, out)
		}
		used, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		if !ok {
			return 0, 0, errors.New("no resource usage on this system")
		}
		return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), used.Maxrss << 10, nil
	}}
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

// startAt starts a server and waits until somebody listens at its address.
func (s *stage) startAt(cmd *exec.Cmd, address string) error {
	if err := s.start(cmd); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, 20*time.Second)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", filepath.Base(cmd.Path), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stop ends all that was started, the last first.
func (s *stage) stop() {
	for i := len(s.processes) - 1; i >= 0; i-- {
		_ = s.processes[i].Process.Signal(syscall.SIGTERM)
		_ = s.processes[i].Wait() // it was told to end: how it says so does not matter
	}
	s.processes = nil
}

func freeAddress(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}
