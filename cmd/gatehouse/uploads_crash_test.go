package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// crashRounds is how often each kind of store is crashed; GATEHOUSE_CRASHES asks for more.
const crashRounds = 3

// TestUploadsCrash kills a process of its own, with SIGKILL, at a random moment of 50 uploads, again and
// again. Afterwards there is no row without an object, no object without a row, and no unfinished
// upload; and whoever was told 201 finds his file with its digest.
func TestUploadsCrash(t *testing.T) {
	for name, into := range map[string]func(*rig){
		"SQLite and a directory": func(*rig) {},
		"Postgres and S3": func(r *rig) {
			r.shared(storetest.Postgres(r.t).URL, "")
			r.intoS3(storetest.S3(r.t))
		},
	} {
		t.Run("UP-01/"+name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.uploading()
			r.edit("memory: 64MiB", "memory: 1GiB") // so that one user's 50 are under way at once
			into(r)
			r.start()
			c := r.client("alice@corp.test")
			r.stop() // from here on it is a process of its own
			kept := map[string]string{}
			for round := range rounds(t) {
				p := r.process("gatehouse") // TestMain puts it on the path
				told, cut := c.crash(p, 300*time.Millisecond+rand.N(1200*time.Millisecond))
				for id, sum := range told {
					kept[id] = sum
				}
				t.Logf("round %d: %d files were answered with 201, %d were cut", round+1, len(told), cut)
			}
			p := r.process("gatehouse")
			found := r.wantSound(t, 100*time.Millisecond)
			t.Logf("after %d rounds: %d rows, %d objects, %d abandoned, %d unfinished, %d orphans, %d missing",
				rounds(t), found.Rows, found.Objects, len(found.Abandoned), len(found.Unfinished), len(found.Orphans), len(found.Missing))
			for id, sum := range kept {
				if resp, got := c.do(http.MethodGet, "/upload/"+id, nil); resp.StatusCode != http.StatusOK || digest(got) != sum {
					t.Errorf("%s was answered with 201, and now: %s, %d bytes", id, resp.Status, len(got))
				}
			}
			p.kill()
		})
	}
}

func rounds(t *testing.T) (n int) {
	t.Helper()
	n = crashRounds
	if more := os.Getenv("GATEHOUSE_CRASHES"); more != "" {
		if _, err := fmt.Sscan(more, &n); err != nil {
			t.Fatalf("GATEHOUSE_CRASHES: %v", err)
		}
	}
	return n
}

// process is a serve that can be killed.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// process starts a program and waits until it is ready.
func (r *rig) process(program string) process {
	r.t.Helper()
	p := process{exec.Command(program, "serve", "--config", r.config), make(chan struct{})}
	p.cmd.Stderr = r.log
	if err := p.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	go func() { defer close(p.done); _ = p.cmd.Wait() }()
	r.t.Cleanup(p.kill)
	r.eventually("ready", func() bool { status, _ := r.get(r.admin + "/readyz"); return status == http.StatusOK })
	return p
}

func (p process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

// crash sends 50 files of all sizes at once and kills the process in the middle. It returns the digests
// of those that were answered with 201, by id, and how many were not.
func (c client) crash(p process, after time.Duration) (told map[string]string, cut int64) {
	c.r.t.Helper()
	told = map[string]string{}
	var mu sync.Mutex
	var all sync.WaitGroup
	var lost atomic.Int64
	for i := range 50 {
		size := []int{0, 1000, 2 << 20, 6<<20 + 1, 11 << 20}[i%5]
		all.Go(func() {
			time.Sleep(rand.N(time.Second))
			content := someBytes(size)
			id := c.put(fmt.Sprintf("f%d", i), content)
			mu.Lock()
			defer mu.Unlock()
			if id == "" {
				lost.Add(1)
				return
			}
			told[id] = digest(content)
		})
	}
	time.Sleep(after)
	p.kill()
	all.Wait()
	return told, lost.Load()
}

// put sends one file, and returns its id if the answer was 201.
func (c client) put(name string, content []byte) string {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, c.r.at+"/upload/"+name, bytes.NewReader(content))
	if err != nil {
		return ""
	}
	req.Host = c.r.host()
	req.Header.Set("Cookie", c.cookie)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	var f sentFile
	if resp.StatusCode != http.StatusCreated || json.NewDecoder(resp.Body).Decode(&f) != nil {
		return ""
	}
	return f.ID
}
