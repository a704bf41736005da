package main

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-auth/gatehouse/store"
)

// crowded makes a directory with a SQLite file in which one user has n live sessions, and says where
// the configuration is.
func crowded(t *testing.T, n int) (config string) {
	t.Helper()
	dir := t.TempDir()
	db, err := store.Open(t.Context(), store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	account, err := db.AddUser(t.Context(), "ann@example.com", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	hand, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "gatehouse.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hand.Close() }()
	now := time.Now()
	_, err = hand.ExecContext(t.Context(), `WITH RECURSIVE g (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < ?)
		INSERT INTO sessions (token_hash, user_id, created_at, expires_at, ends_at, last_seen, user_agent) SELECT randomblob(32), ?, ?, ?, ?, ?, '<b>&' FROM g`,
		n, account.ID, now.UnixMicro(), now.Add(time.Hour).UnixMicro(), now.Add(time.Hour).UnixMicro(), now.UnixMicro())
	if err != nil {
		t.Fatal(err)
	}
	config = filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(config, []byte("store: {dir: "+dir+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return config
}

// Lists are read and printed a page at a time, and nothing is lost or told twice where pages meet.
func TestSessionPages(t *testing.T) {
	t.Parallel()
	config := crowded(t, 2*sessionPage+500)
	for name, c := range map[string]struct {
		limit, after, want int
		more               string // where the next list begins
	}{
		"all":                {limit: 1 << 30, want: 2*sessionPage + 500},
		"all, exactly":       {limit: 2*sessionPage + 500, want: 2*sessionPage + 500},
		"a page, and more":   {limit: sessionPage, want: sessionPage, more: "--after 1000\n"},
		"two and a bit":      {limit: 2*sessionPage + 1, want: 2*sessionPage + 1, more: "--after 2001\n"},
		"behind the second":  {limit: sessionPage, after: 2 * sessionPage, want: 500},
		"behind the last":    {limit: 10, after: 1 << 30, want: 0},
		"less than one page": {limit: 3, after: 997, want: 3, more: "--after 1000\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := []string{"session", "ls", "--config", config, "--limit", fmt.Sprint(c.limit), "--after", fmt.Sprint(c.after)}
			var out, errw bytes.Buffer
			if code := run(t.Context(), append(args, "--json"), nil, &out, &errw); code != 0 {
				t.Fatalf("exit %d: %s", code, &errw)
			}
			var lines []sessionLine
			if err := json.Unmarshal(out.Bytes(), &lines); err != nil || len(lines) != c.want {
				t.Fatalf("%d sessions, %v, want %d", len(lines), err, c.want)
			}
			for i, line := range lines {
				if line.ID != int64(c.after+i+1) || line.UserAgent != "<b>&" {
					t.Fatalf("element %d is %+v", i, line)
				}
			}
			if !strings.HasSuffix(errw.String(), c.more) || (c.more == "") != (errw.Len() == 0) {
				t.Errorf("told %q, want %q", &errw, c.more)
			}
			out.Reset()
			if code := run(t.Context(), args, nil, &out, io.Discard); code != 0 || strings.Count(out.String(), "ann@example.com") != c.want {
				t.Errorf("exit %d, %d lines in the table, want %d", code, strings.Count(out.String(), "ann@example.com"), c.want)
			}
		})
	}
	// What --json prints is what an encoder would make of the whole.
	var out bytes.Buffer
	if code := run(t.Context(), []string{"session", "ls", "--config", config, "--limit", "2", "--json"}, nil, &out, io.Discard); code != 0 {
		t.Fatalf("exit %d", code)
	}
	var lines []sessionLine
	var whole bytes.Buffer
	if err := json.Unmarshal(out.Bytes(), &lines); err != nil {
		t.Fatal(err)
	}
	if err := toJSON(&whole, lines); err != nil || whole.String() != out.String() {
		t.Errorf("printed\n%swant\n%s%v", &out, &whole, err)
	}
}

func TestSessionEndAllCrowd(t *testing.T) {
	t.Parallel()
	config := crowded(t, 2500)
	var out, errw bytes.Buffer
	if code := run(t.Context(), []string{"session", "end-all", "--yes", "--config", config}, nil, &out, &errw); code != 0 || out.String() != "2500 sessions of everybody ended\n" {
		t.Fatalf("exit %d, %q", code, &out)
	}
	if errw.Len() > 0 {
		t.Errorf("no terminal, and told %q", &errw)
	}
}

// Somebody who waits sees that something goes on; what is quick says nothing.
func TestProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := &progress{out: &out, next: time.Now().Add(progressAfter)}
		p.say("0")
		time.Sleep(progressAfter - time.Millisecond)
		p.say("1")
		if p.end(); out.Len() > 0 {
			t.Fatalf("told %q within a second", &out)
		}
		for n := range 1000 {
			time.Sleep(time.Millisecond)
			p.say(fmt.Sprint(n))
		}
		p.end()
		if want := "\r\x1b[K0\r\x1b[K250\r\x1b[K500\r\x1b[K750\r\x1b[K"; out.String() != want {
			t.Errorf("told %q, want %q", &out, want)
		}
	})
}
