package main

import (
	"strings"
	"testing"
)

// What is derived fits into what the process may open: a connection to each client, and one to an app for
// each request and stream.
func TestDerivedLimits(t *testing.T) {
	for _, c := range []struct {
		name  string
		files uint64
		given LimitsConfig
		want  LimitsConfig
	}{
		{"1,024 files", 1024, LimitsConfig{}, LimitsConfig{Connections: 256, ClientConnections: 64, Requests: 128, Streams: 128}},
		{"20,000 files", 20_000, LimitsConfig{}, LimitsConfig{Connections: 9744, ClientConnections: 2436, Requests: 4872, Streams: 4872}},
		{"any number", 1 << 63, LimitsConfig{}, LimitsConfig{Connections: 16384, ClientConnections: 4096, Requests: 8192, Streams: 8192}},
		{"hardly any", 64, LimitsConfig{}, LimitsConfig{Connections: 128, ClientConnections: 32, Requests: 64, Streams: 64}},
		{"given", 20_000, LimitsConfig{Connections: 100, Streams: 7}, LimitsConfig{Connections: 100, ClientConnections: 25, Requests: 50, Streams: 7}},
	} {
		if got := c.given.settled(c.files); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestLimitsAreJudged(t *testing.T) {
	cfg := Defaults()
	cfg.Limits = LimitsConfig{Connections: -1, Requests: 1 << 40}
	faults, _ := cfg.Validate()
	found := map[string]bool{}
	for _, f := range faults {
		found[f.Key] = true
	}
	if !found["limits.connections"] || !found["limits.requests"] || found["limits.streams"] {
		t.Errorf("faults %v", faults)
	}
	cfg.Limits = LimitsConfig{Connections: 10}
	if _, warnings := cfg.Validate(); !strings.Contains(strings.Join(warnings, "\n"), "limits.connections: only 10") {
		t.Errorf("warnings %q", warnings)
	}
}
