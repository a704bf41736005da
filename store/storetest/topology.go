package storetest

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	// RedisPassword is what the servers of Sentinel and Cluster ask for. In a URL it must be escaped.
	RedisPassword = "p@ss/w:rd"
	// sentinelName is what sentinels call the master.
	sentinelName = "gate"
)

// RedisSentinel is a master with one replica, watched by sentinels, all real processes.
type RedisSentinel struct {
	Master, Replica *RedisServer
	URL             string // redis+sentinel://:password@…?master_name=gate, database 0
}

// Sentinel starts them, and returns when each knows of all the others. A master that does not answer
// for half a second is replaced if most of the watchers (1 or 3) say so. They end with the test.
func Sentinel(t testing.TB, watchers int) *RedisSentinel {
	t.Helper()
	secret := []string{"--requirepass", RedisPassword, "--masterauth", RedisPassword}
	s := &RedisSentinel{Master: Redis(t, append(secret, "--repl-diskless-sync-delay", "0")...)}
	host, port := split(t, s.Master.Addr)
	s.Replica = Redis(t, append(secret, "--replicaof", host+" "+port)...)
	// Sentinels learn of replicas from the master, and ask it seldom: it must know first.
	soon(t, "the replica follows", func() bool { return strings.Contains(s.Replica.Do("INFO replication"), "master_link_status:up") })
	soon(t, "the master knows its replica", func() bool { return strings.Contains(s.Master.Do("INFO replication"), "state=online") })
	sentinels := make([]*RedisServer, watchers)
	addrs := make([]string, watchers)
	for i := range sentinels {
		sentinels[i] = sentinel(t, s.Master.Addr, watchers/2+1)
		addrs[i] = sentinels[i].Addr
	}
	for _, one := range sentinels {
		soon(t, "a sentinel knows the replica", func() bool { return one.Do("SENTINEL REPLICAS "+sentinelName) == "*1" })
		soon(t, "a sentinel knows the others", func() bool {
			return one.Do("SENTINEL SENTINELS "+sentinelName) == "*"+strconv.Itoa(watchers-1)
		})
	}
	s.URL = severalAt("redis+sentinel", addrs, "master_name="+sentinelName)
	return s
}

// sentinel starts one watcher. Its file is its memory, which it rewrites.
func sentinel(t testing.TB, master string, quorum int) *RedisServer {
	t.Helper()
	dir := room(t)
	host, port := split(t, master)
	file := filepath.Join(dir, "sentinel.conf")
	config := fmt.Sprintf("sentinel monitor %[1]s %[2]s %[3]s %[4]d\nsentinel auth-pass %[1]s %[5]s\nsentinel down-after-milliseconds %[1]s 500\nsentinel failover-timeout %[1]s 5000\n",
		sentinelName, host, port, quorum, RedisPassword)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	hand(t, file)
	return redisAs(t, dir, file, "--sentinel")
}

// RedisCluster is three masters that share the slots and a replica of each, all real processes.
type RedisCluster struct {
	Masters, Replicas []*RedisServer // the replica of a master has its number
	URL               string         // redis+cluster://:password@…
}

// Cluster starts them, and returns when each says that all slots are served and each replica follows.
// A master that does not answer for two seconds is replaced by its replica. They end with the test.
func Cluster(t testing.TB) *RedisCluster {
	t.Helper()
	const slots, masters = 16384, 3
	nodes, addrs := make([]*RedisServer, 2*masters), make([]string, 2*masters)
	for i := range nodes {
		bus := strconv.Itoa(FreePort(t))
		nodes[i] = Redis(t, "--requirepass", RedisPassword, "--masterauth", RedisPassword, "--repl-diskless-sync-delay", "0",
			"--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", "2000", "--cluster-replica-validity-factor", "0")
		addrs[i] = nodes[i].Addr
		nodes[i].must(fmt.Sprintf("CLUSTER SET-CONFIG-EPOCH %d", i+1))
		if i < masters {
			nodes[i].must(fmt.Sprintf("CLUSTER ADDSLOTSRANGE %d %d", i*slots/masters, (i+1)*slots/masters-1))
		}
		if i > 0 {
			host, port := split(t, nodes[i].Addr)
			nodes[0].must(fmt.Sprintf("CLUSTER MEET %s %s %s", host, port, bus))
		}
	}
	whole(t, nodes)
	for i, replica := range nodes[masters:] {
		replica.must("CLUSTER REPLICATE " + nodes[i].Do("CLUSTER MYID"))
	}
	for i, replica := range nodes[masters:] {
		soon(t, "the replica follows", func() bool { return strings.Contains(replica.Do("INFO replication"), "master_link_status:up") })
		soon(t, "its master knows it", func() bool { return strings.Contains(nodes[i].Do("INFO replication"), "state=online") })
	}
	whole(t, nodes)
	return &RedisCluster{Masters: nodes[:masters], Replicas: nodes[masters:], URL: severalAt("redis+cluster", addrs)}
}

// whole waits until each node of a cluster knows all the others and that all slots are served.
func whole(t testing.TB, nodes []*RedisServer) {
	t.Helper()
	known := "cluster_known_nodes:" + strconv.Itoa(len(nodes))
	for _, one := range nodes {
		soon(t, "the cluster is whole", func() bool {
			info := one.Do("CLUSTER INFO")
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, known)
		})
	}
}

func (r *RedisServer) must(command string) {
	r.t.Helper()
	if reply := r.Do(command); reply != "+OK" {
		r.t.Fatalf("redis %s: %s", command, reply)
	}
}

// severalAt writes the URL of several servers: the first as the host, the others as addr=.
func severalAt(scheme string, addrs []string, options ...string) string {
	for _, addr := range addrs[1:] {
		options = append(options, "addr="+addr)
	}
	return scheme + "://:" + url.QueryEscape(RedisPassword) + "@" + addrs[0] + "?" + strings.Join(options, "&")
}

func split(t testing.TB, addr string) (host, port string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}

// soon waits until servers have found each other.
func soon(t testing.TB, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(startLimit); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if so() {
			return
		}
	}
	t.Fatalf("not so after %v: %s", startLimit, what)
}
