package stage

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"testing"
)

// Prompt is a prompt of psql at which somebody sits: it returns once the server has said that it is done.
func (s *Stage) Prompt(t testing.TB) func(statement string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "psql", "-qAtX", s.Postgres.URL) //nolint:gosec // our own server
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	lines := bufio.NewReader(out)
	return func(statement string) {
		t.Helper()
		if _, err := fmt.Fprintf(in, "%s\n\\echo done\n", statement); err != nil {
			t.Fatal(err)
		}
		if line, err := lines.ReadString('\n'); err != nil || line != "done\n" {
			t.Fatalf("psql: %q, %v", line, err)
		}
	}
}

// Psql runs one statement and returns what it printed, a line a row, with | between columns. The
// connection is not the gateways', and goes past their ways.
func (s *Stage) Psql(ctx context.Context, statement string) (out string, err error) {
	text, err := exec.CommandContext(ctx, "psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", statement, s.Postgres.URL).Output() //nolint:gosec // our own statements
	if err != nil {
		return "", fmt.Errorf("psql: %w", err)
	}
	return string(text), nil
}
