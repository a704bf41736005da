package main

import (
	"cmp"
	"fmt"
	"math"
	"syscall"
)

// LimitsConfig is what one process takes on at once. Zero is what settled makes of it.
type LimitsConfig struct {
	Connections       int64 `yaml:"connections"`
	ClientConnections int64 `yaml:"client_connections"`
	Requests          int64 `yaml:"requests"`
	Streams           int64 `yaml:"streams"`
	SessionRequests   int64 `yaml:"session_requests"` // zero: any number
}

const (
	// mostConnections is where the default ends, however many files there may be: idle connections of
	// that number take some 400 MiB.
	mostConnections = 16384
	// ownFiles are those of the database, Redis, S3, the provider, the log and the probes.
	ownFiles = 512
	// fewConnections is what browsers of a small team open at once.
	fewConnections = 256
	// mostOfAny is what nobody means.
	mostOfAny = 1 << 24
)

// settled fills in what is derived. A client's connection may need another one to an app, and a request
// over HTTP/2 needs one as well: so connections are half of the files, and requests and streams together
// are as many as connections.
func (l LimitsConfig) settled(files uint64) LimitsConfig {
	free := int64(min(files, 1<<20)) - ownFiles
	l.Connections = cmp.Or(l.Connections, max(min(free/2, mostConnections), fewConnections/2))
	l.ClientConnections = cmp.Or(l.ClientConnections, max(l.Connections/4, 1))
	l.Requests = cmp.Or(l.Requests, max(l.Connections/2, 1))
	l.Streams = cmp.Or(l.Streams, max(l.Connections/2, 1))
	return l
}

// fileLimit is how many files the process may open. Go has raised it to what the system allows.
func fileLimit() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return math.MaxUint64
	}
	return limit.Cur
}

func (j *judge) atOnce() {
	l, files := j.Limits, fileLimit()
	for _, one := range []struct {
		key string
		n   int64
	}{
		{"limits.connections", l.Connections},
		{"limits.client_connections", l.ClientConnections},
		{"limits.requests", l.Requests},
		{"limits.streams", l.Streams},
		{"limits.session_requests", l.SessionRequests},
	} {
		if one.n < 0 || one.n > mostOfAny {
			j.bad(one.key, fmt.Sprint(one.n), "not a number of things that can be under way at once",
				fmt.Sprintf("write 1 to %d, or 0, which means what config.yaml says of this key", mostOfAny))
		}
	}
	settled := l.settled(files)
	if l.Connections > 0 && uint64(max(settled.Connections, 0))+ownFiles > files {
		j.warn("limits.connections", fmt.Sprintf("more than this process can have, which may open %d files; raise ulimit -n", files))
	}
	switch {
	case settled.Connections >= fewConnections:
	case l.Connections > 0:
		j.warn("limits.connections", fmt.Sprintf("only %d: the browsers of a small team open more; raise it, or write 0", l.Connections))
	default:
		j.warn("limits.connections", fmt.Sprintf("only %d: this process may open %d files; raise ulimit -n, or LimitNOFILE= in the unit", settled.Connections, files))
	}
}
