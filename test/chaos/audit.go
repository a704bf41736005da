package chaos

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
	"github.com/gatehouse-auth/gatehouse/upload"
)

const (
	// settled is for how long what a gateway holds is given to go back to what is usual.
	settled = 30 * time.Second
	// abandoned is after what time without a sign of life the janitor gives up a file here, when nobody
	// sends any more. It is a quarter of an hour in earnest.
	abandoned = time.Second
)

// audit looks over what is left when nobody works any more and all is well.
func (n *nemesis) audit() error {
	n.history.Lives = n.lives()
	for i, g := range n.stage.Gates {
		if g.Died() {
			n.history.Remains.Broken = append(n.history.Remains.Broken, fmt.Sprintf("gateway %d ended by itself", i+1))
		}
		for _, word := range []string{"DATA RACE", "panic", "fatal error"} {
			if before, _, found := strings.Cut(g.Log(), word); found {
				n.history.Remains.Broken = append(n.history.Remains.Broken, fmt.Sprintf("gateway %d: %s, after %d bytes of its log", i+1, word, len(before)))
			}
		}
	}
	if err := n.sweep(n.t.Context()); err != nil {
		return err
	}
	return n.remains(n.t.Context())
}

// lives waits until what the gateways hold is no more than in the beginning, or for as long as that may
// take, and returns what it is.
func (n *nemesis) lives() (all []Life) {
	for end := time.Now().Add(settled); ; sleep(n.t.Context(), time.Second) {
		all = nil
		for gate := range gates {
			all = append(all, Life{gate, n.first[gate], n.gauge(gate)})
		}
		if len(lives(&History{Lives: all, Shadows: n.history.Shadows})) == 0 || time.Now().After(end) {
			return all
		}
	}
}

// sweep has a janitor do his work, who waits for nothing: the first sweep gives up and removes, a later
// one removes again and drops the rows.
func (n *nemesis) sweep(ctx context.Context) error {
	db, err := store.Open(ctx, store.Options{Database: n.stage.Postgres.URL})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	bucket, err := store.NewS3(ctx, store.S3Config{
		Bucket: storetest.S3Bucket, Prefix: "files", Endpoint: n.stage.S3.Endpoint, PathStyle: true,
		Region: storetest.S3Region, AccessKey: storetest.S3AccessKey, SecretKey: storetest.S3SecretKey,
	})
	if err != nil {
		return err
	}
	defer func() { _ = bucket.Close() }()
	install, err := db.InstallID(ctx)
	if err != nil {
		return err
	}
	j := upload.NewJanitor(upload.JanitorParts{Attic: bucket, Rows: db, Prefix: install + "/", Stale: abandoned})
	for range 3 {
		sleep(ctx, abandoned+abandoned/2)
		s, err := j.Sweep(ctx)
		if err != nil {
			return err
		}
		n.t.Logf("the janitor gave up %d rows, removed %d, aborted %d unfinished uploads", s.Claimed, s.Removed, s.Aborted)
	}
	return nil
}

// remains lists rows and bucket.
func (n *nemesis) remains(ctx context.Context) error {
	r := &n.history.Remains
	r.Rows, r.Objects = map[string]File{}, map[string]File{}
	out, err := n.stage.Psql(ctx, "SELECT key, id, size, sha256, state FROM uploads")
	if err != nil {
		return err
	}
	for line := range strings.Lines(out) {
		row := strings.Split(strings.TrimSpace(line), "|")
		size, err := strconv.ParseInt(row[2], 10, 64)
		if err != nil {
			return err
		}
		r.Rows[row[0]] = File{ID: row[1], Size: size, SHA256: row[3]}
		if row[4] != string(upload.Kept) {
			r.Unsettled = append(r.Unsettled, row[1]+", "+row[4])
		}
	}
	for _, key := range n.stage.S3.Left(n.t) {
		if what, found := strings.CutPrefix(key, "unfinished: "); found {
			r.Unfinished = append(r.Unfinished, what)
			continue
		}
		content := n.stage.S3.Content(n.t, key)
		sum := sha256.Sum256(content)
		r.Objects[strings.TrimPrefix(key, "files/")] = File{Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:])}
	}
	return nil
}
