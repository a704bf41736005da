package storetest

import (
	"bytes"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startLimit is how long a server may take to answer: generous, for a busy machine.
const startLimit = 60 * time.Second

// server is a program that a test starts, stops and freezes. It dies with the test.
type server struct {
	t    testing.TB
	name string
	make func() *exec.Cmd
	up   func() bool // answers

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
	out  *bytes.Buffer
}

// Start starts the server, if it is not running, and waits until it answers.
func (s *server) Start() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		return
	}
	s.out, s.done = new(bytes.Buffer), make(chan struct{})
	cmd, done := s.make(), s.done
	cmd.Stdout, cmd.Stderr = s.out, s.out
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("start %s: %v", s.name, err)
	}
	s.cmd = cmd
	go func() { _ = cmd.Wait(); close(done) }()
	for end := time.Now().Add(startLimit); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		select {
		case <-done:
			s.cmd = nil
			s.t.Fatalf("%s ended at once:\n%s", s.name, s.out)
		default:
		}
		if s.up() {
			return
		}
	}
	s.t.Fatalf("%s does not answer", s.name)
}

// Stop ends the server with sig, as it would end itself or be killed, and waits for that.
func (s *server) stop(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGCONT)
	_ = s.cmd.Process.Signal(sig)
	select {
	case <-s.done:
	case <-time.After(20 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.done
	}
	s.cmd = nil
}

func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		s.t.Fatalf("%s is not running", s.name)
	}
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatalf("signal %s: %v", s.name, err)
	}
}

// program finds a server's program, or ends the test with what to install: a skipped test proves
// nothing.
func program(t testing.TB, name, pkg string, elsewhere ...string) string {
	t.Helper()
	for _, path := range elsewhere {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is needed and was not found: apt-get install %s", name, pkg)
	}
	return path
}

// humble lets cmd run as nobody in particular when the test runs as root, which Postgres refuses.
func humble(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	uid, gid, needed := servant(t)
	if needed {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
	}
}

// servant names the user for servers; needed only for root.
func servant(t testing.TB) (uid, gid uint32, needed bool) {
	t.Helper()
	if os.Getuid() != 0 {
		return 0, 0, false
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			return number(t, u.Uid), number(t, u.Gid), true
		}
	}
	t.Fatal("running as root, and there is neither a user postgres nor nobody to run Postgres as")
	return 0, 0, false
}

func number(t testing.TB, text string) uint32 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

// room makes a directory that the server may write to. It is not t.TempDir(), whose parents are
// closed to other users, and whose path may be too long for a socket.
func room(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gate")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	hand(t, dir)
	return dir
}

// hand gives a file or directory to the user that servers run as.
func hand(t testing.TB, path string) {
	t.Helper()
	if uid, gid, needed := servant(t); needed {
		if err := os.Chown(path, int(uid), int(gid)); err != nil {
			t.Fatal(err)
		}
	}
}

// FreePort finds a port of the loopback that nobody listens on, for a server that is started right after.
// It is below those that systems give to outgoing connections (32768 and up on Linux, 49152 and up by RFC
// 6335): one of them may be taken again by another test's client before the server listens.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 20000 + rand.IntN(12000)                                               //nolint:gosec // no secret
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))) //nolint:noctx // gone at once
		if err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no port of a hundred is free")
	return 0
}
