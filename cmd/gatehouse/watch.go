package main

import (
	"context"
	"crypto/sha256"
	"os"
	"time"
)

// watchEvery is how often the watched files are read. They are small, and a change is loaded only
// once it has stood unchanged for one more round: editors truncate first and write then.
const watchEvery = time.Second

// fingerprint is the content of some files at one moment; a missing file counts as empty.
type fingerprint [sha256.Size]byte

// watch calls changed once the content of the files has changed and settled, and at each wake-up
// call. It compares content, not events: a ConfigMap is renewed by swapping a symbolic link two
// folders up, and an editor may replace the file (RULE-17). It returns when ctx is done.
func watch(ctx context.Context, files func() []string, wake <-chan os.Signal, changed func()) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	loaded := contentOf(files())
	last := loaded
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
			changed()
			loaded = contentOf(files())
			last = loaded
		case <-ticker.C:
			now := contentOf(files())
			if now == last && now != loaded {
				changed()
				loaded = now
			}
			last = now
		}
	}
}

func contentOf(files []string) fingerprint {
	sum := sha256.New()
	for _, name := range files {
		content, _ := os.ReadFile(name) // missing is a content too; loading will say so
		part := sha256.Sum256(content)
		sum.Write([]byte(name))
		sum.Write([]byte{0})
		sum.Write(part[:])
	}
	return fingerprint(sum.Sum(nil))
}
