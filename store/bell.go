package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// listen rings the bell at each notification, and whenever one may have been missed, until the
// context ends. It has its own connection, which must not pass a pool that hands out another server
// connection with each transaction: LISTEN is lost there, and the feed is left with its polls.
func listen(ctx context.Context, address string, bell chan<- struct{}) {
	const shortest, longest = time.Second, 10 * time.Second
	for wait := shortest; ctx.Err() == nil; {
		began := time.Now()
		hearken(ctx, address, bell)
		ring(bell)
		if time.Since(began) > longest {
			wait = shortest
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, longest)
	}
}

// hearken listens on one connection until that fails. What the notification says is not looked at: it
// means "read the table" and nothing else (RULE-03).
func hearken(ctx context.Context, address string, bell chan<- struct{}) {
	config, err := postgresConfig(address, "store.listen_url")
	if err != nil {
		return
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "LISTEN gatehouse"); err != nil {
		return
	}
	for {
		ring(bell)
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return
		}
	}
}

func ring(bell chan<- struct{}) {
	select {
	case bell <- struct{}{}:
	default: // it rings already
	}
}
