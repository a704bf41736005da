package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store"
)

const (
	ttl = time.Hour
	// overEach: of so many sessions one is over, for the sweep.
	overEach = 11
	// crowdEach: of so many sessions one belongs to the user that scripts share.
	crowdEach = 10
	crowd     = "scripts@corp.test"
)

// bench is a database that is filled, and what is measured in it.
type bench struct {
	db    *store.SQL
	hand  *sql.DB // what the store does not offer: filling, and reading statistics
	live  int
	rows  int // live ones and those that are over
	heard *listener
	deaf  atomic.Int64    // polls of the feed that failed
	slid  int             // sessions that moved
	steps []time.Duration // of the last session end-all
}

// newBench migrates an empty database and fills it.
func newBench(ctx context.Context, url string, live int) (*bench, error) {
	b := &bench{live: live, rows: live * overEach / (overEach - 1)}
	db, err := store.Open(ctx, store.Options{Database: url, Observe: func(tier, _, result string, _ time.Duration) {
		if tier == "feed" && result != "ok" {
			b.deaf.Add(1)
		}
	}})
	if err != nil {
		return nil, err
	}
	b.db = db
	if b.hand, err = sql.Open("pgx", url); err == nil {
		if err = db.Migrate(ctx); err == nil {
			err = b.fill(ctx)
		}
	}
	if err != nil {
		b.close()
		return nil, fmt.Errorf("fill: %w", err)
	}
	return b, nil
}

// fill writes users and sessions as a long day would have left them: made at any time of the last ten
// hours, used within the last forty minutes. There are five live sessions a user, more or less.
func (b *bench) fill(ctx context.Context) error {
	users := max(b.live/5, 10)
	for _, step := range []struct {
		text string
		args []any
	}{
		{"INSERT INTO users (email, issuer, subject, name, roles) VALUES ('" + crowd + "', 'https://accounts.google.com', '0', 'Scripts', 'staff')", nil},
		{"INSERT INTO users (email, issuer, subject, name, roles) SELECT 'user' || g || '@corp.test', 'https://accounts.google.com', g::text, 'User ' || g, 'staff' FROM generate_series(2, $1::bigint) g", []any{users}},
		{`INSERT INTO sessions (token_hash, user_id, created_at, expires_at, ends_at, last_seen, ip, user_agent)
			SELECT sha256(convert_to('session ' || g, 'UTF8')),
				CASE WHEN g % $2 = 1 THEN 1 ELSE 2 + (g * 7919) % ($3::bigint - 1) END,
				now() - random() * interval '10 hours',
				CASE WHEN g % $4 = 0 THEN now() - interval '1 hour' ELSE now() + interval '20 minutes' + random() * interval '30 minutes' END,
				now() + interval '2 hours' + random() * interval '10 hours', now(), '192.0.2.7',
				'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36'
			FROM generate_series(1, $1::bigint) g`, []any{b.rows, int64(crowdEach), users, int64(overEach)}},
		{"VACUUM ANALYZE", nil},
		{"CHECKPOINT", nil},
	} {
		if _, err := b.hand.ExecContext(ctx, step.text, step.args...); err != nil {
			return err
		}
	}
	return nil
}

// key is the key of a live session that fill wrote, any of them.
func (b *bench) key() auth.Key {
	for {
		if g := 1 + rand.IntN(b.rows); g%overEach != 0 { //nolint:gosec // which session it is need not be a secret
			return sha256.Sum256(fmt.Appendf(nil, "session %d", g))
		}
	}
}

// keys is n different ones.
func (b *bench) keys(n int) []auth.Key {
	seen := map[auth.Key]bool{}
	for len(seen) < n {
		seen[b.key()] = true
	}
	keys := make([]auth.Key, 0, n)
	for k := range seen {
		keys = append(keys, k)
	}
	return keys
}

func (b *bench) close() {
	if b.heard != nil {
		b.heard.stop()
	}
	if b.hand != nil {
		_ = b.hand.Close()
	}
	_ = b.db.Close()
}
