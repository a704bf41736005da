package storetest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// RedisServer is a real Redis for one test, empty, without persistence.
type RedisServer struct {
	server
	URL      string   // redis://127.0.0.1:port, without the password
	Addr     string   // 127.0.0.1:port
	password string   // for Do
	more     []string // on its command line, from the next start on
}

// Redis starts a Redis server on a private port; args go on its command line ("--requirepass", "x").
// It ends with the test.
func Redis(t testing.TB, args ...string) *RedisServer {
	t.Helper()
	return redisAs(t, room(t), append([]string{"--save", "", "--appendonly", "no"}, args...)...)
}

// redisAs starts the program in dir with a whole command line but for where it listens.
func redisAs(t testing.TB, dir string, args ...string) *RedisServer {
	t.Helper()
	path := program(t, "redis-server", "redis-server")
	port := strconv.Itoa(FreePort(t))
	r := &RedisServer{Addr: net.JoinHostPort("127.0.0.1", port)}
	r.URL = "redis://" + r.Addr
	if i := slices.Index(args, "--requirepass"); i >= 0 {
		r.password = args[i+1]
	}
	r.server = server{t: t, name: "redis-server", make: func() *exec.Cmd {
		line := slices.Concat(args, []string{"--port", port, "--bind", "127.0.0.1", "--dir", dir}, r.more)
		cmd := exec.Command(path, line...) //nolint:gosec,noctx // our own arguments; it lives as long as the test
		humble(t, cmd)
		return cmd
	}}
	r.up = func() bool {
		reply, err := r.ask("PING")
		return err == nil && reply == "+PONG"
	}
	r.Start()
	t.Cleanup(r.Stop)
	return r
}

// Stop ends the server; what it held is gone.
func (r *RedisServer) Stop() { r.stop(syscall.SIGKILL) }

// Freeze stops the server without closing anything: it accepts connections and never answers.
func (r *RedisServer) Freeze() { r.t.Helper(); r.signal(syscall.SIGSTOP) }

// Thaw lets a frozen server go on.
func (r *RedisServer) Thaw() { r.t.Helper(); r.signal(syscall.SIGCONT) }

// Do runs a command whose words hold no spaces ("CONFIG SET maxmemory 1") and returns the first line
// of the reply in Redis's protocol ("+OK", ":1", "*2", "-ERR …"), or the text if the reply is one.
func (r *RedisServer) Do(command string) string {
	r.t.Helper()
	reply, err := r.ask(command)
	if err != nil {
		r.t.Fatalf("redis %s: %v", command, err)
	}
	return reply
}

// Leads reports whether the server is a master by now. One that becomes it drops its connections, which
// is no answer yet and no failure.
func (r *RedisServer) Leads() bool {
	reply, err := r.ask("INFO replication")
	return err == nil && strings.Contains(reply, "role:master")
}

// Lock has it ask for a password, and ends all connections.
func (r *RedisServer) Lock() {
	r.t.Helper()
	r.Do("CONFIG SET requirepass " + RedisPassword)
	r.password = RedisPassword
	r.Do("CLIENT KILL TYPE normal SKIPME yes")
}

// Unlock has it ask for none any more.
func (r *RedisServer) Unlock() {
	r.t.Helper()
	r.Do(`CONFIG SET requirepass ""`)
	r.password = ""
}

// Load restarts it from what it had on disk, which takes it ten seconds, or until it is told to hurry.
func (r *RedisServer) Load() (hurry func()) {
	r.t.Helper()
	r.Do(`EVAL "for i = 1, 5000 do redis.call('SET', 'filler' .. i, i) end" 0`)
	r.Do("SAVE")
	r.Stop()
	r.more = []string{"--key-load-delay", "2000", "--loading-process-events-interval-bytes", "1024"}
	ready := r.up
	r.up = func() bool {
		reply, err := r.ask("PING")
		return err == nil && strings.HasPrefix(reply, "-LOADING")
	}
	r.Start()
	return func() {
		r.t.Helper()
		r.more, r.up = nil, ready
		r.Do("CONFIG SET key-load-delay 0")
		soon(r.t, "Redis has loaded", ready)
	}
}

// Shrink leaves it hardly more memory than it uses now.
func (r *RedisServer) Shrink() {
	r.t.Helper()
	r.Do("CONFIG SET maxmemory " + strconv.Itoa(r.info("memory", "used_memory")+4<<10))
}

// Evicted is how many keys it has thrown out.
func (r *RedisServer) Evicted() int { r.t.Helper(); return r.info("stats", "evicted_keys") }

func (r *RedisServer) info(section, name string) int {
	r.t.Helper()
	_, after, _ := strings.Cut(r.Do("INFO "+section), name+":")
	text, _, _ := strings.Cut(after, "\r\n")
	n, err := strconv.Atoi(text)
	if err != nil {
		r.t.Fatalf("INFO %s: %s: %v", section, name, err)
	}
	return n
}

// Follow starts a replica, and returns when it has what r has. It ends with the test.
func (r *RedisServer) Follow() (replica *RedisServer) {
	r.t.Helper()
	replica = Redis(r.t)
	host, port := split(r.t, r.Addr)
	replica.Do("REPLICAOF " + host + " " + port)
	soon(r.t, "the replica has caught up", func() bool {
		return strings.Contains(replica.Do("INFO replication"), "master_link_status:up")
	})
	return replica
}

// ask speaks the inline protocol, so that this package needs no client.
func (r *RedisServer) ask(command string) (string, error) {
	conn, err := net.DialTimeout("tcp", r.Addr, time.Second) //nolint:noctx // one second
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	in := bufio.NewReader(conn)
	if r.password != "" {
		if reply, err := exchange(conn, in, "AUTH "+r.password); err != nil || reply != "+OK" {
			return reply, err
		}
	}
	return exchange(conn, in, command)
}

func exchange(out io.Writer, in *bufio.Reader, command string) (string, error) {
	if _, err := fmt.Fprintf(out, "%s\r\n", command); err != nil {
		return "", err
	}
	reply, err := in.ReadString('\n')
	if err != nil {
		return "", err
	}
	reply = strings.TrimSpace(reply)
	var size int
	if n, _ := fmt.Sscanf(reply, "$%d", &size); n == 0 || size < 0 {
		return reply, nil
	}
	text := make([]byte, size)
	_, err = io.ReadFull(in, text)
	return string(text), err
}
