package upload_test

import (
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/upload"
)

// heap tells by how many bytes the heap has grown at the most, garbage included, when its function is
// called.
func heap() (grown func() uint64) {
	read := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	runtime.GC()
	start, stop, peak := read(), make(chan struct{}), make(chan uint64)
	go func() {
		most := start
		for {
			select {
			case <-stop:
				peak <- most - start
				return
			case <-time.After(time.Millisecond):
				most = max(most, read())
			}
		}
	}()
	return func() uint64 { close(stop); return <-peak }
}

// UP-05: forms that are made to cost much are refused as they come, fifty at once in little memory and
// without a file on the disk; and whoever wants something else meanwhile gets it.
func TestHostileFormsAtOnce(t *testing.T) {
	const (
		start = "--b\r\nContent-Disposition: form-data; name=x"
		file  = start + "; filename=f\r\n\r\nx\r\n"
		field = start + "\r\n\r\n0123456789\r\n"
	)
	long := func(head string, size int64) func() io.Reader {
		return func() io.Reader { return io.MultiReader(strings.NewReader(head), io.LimitReader(zeros{}, size)) }
	}
	whole := func(text string) func() io.Reader { return func() io.Reader { return strings.NewReader(text) } }
	for name, body := range map[string]func() io.Reader{
		"UP-05/20,000 fields":     whole(strings.Repeat(field, 20_000) + "--b--\r\n"),
		"UP-05/15,000 lines":      whole("--b\r\n" + strings.Repeat("X: y\r\n", 15_000)),
		"UP-05/a head of 9 MB":    long(start+"\r\nX: ", 9<<20),
		"UP-05/a field of 200 MB": long(start+"\r\n\r\n", 200<<20),
		"UP-05/60 files":          whole(strings.Repeat(file, 60) + "--b--\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			temp := t.TempDir()
			t.Setenv("TMPDIR", temp)
			w := newWorld(t, func(w *world) { // files of unbounded size would have parts so large that one at a time has room
				w.limits, w.memory = upload.Limits{Part: mib, MaxFileSize: 256 * mib}, upload.NewMemory(512*mib)
			})
			grown := heap()
			var all sync.WaitGroup
			for range 50 {
				all.Go(func() {
					res, err := w.try("POST", "/upload", body(), header("Content-Type", "multipart/form-data; boundary=b"))
					if err != nil || res.status != 413 {
						t.Errorf("the answer is %d %s, %v, want 413", res.status, res.body, err)
					}
				})
			}
			if res := w.do("GET", "/upload/config", nil, as("bob")); res.status != 200 {
				t.Errorf("somebody else got %d meanwhile", res.status)
			}
			all.Wait()
			if n := grown(); n > 64*mib {
				t.Errorf("the heap grew by %d MiB", n/mib)
			}
			if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
				t.Errorf("on the disk is %v, %v", left, err)
			}
			w.nothing()
		})
	}
}
