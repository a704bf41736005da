package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// listenQuiet is how long nothing may be heard before the connection is tried out.
const listenQuiet = 5 * time.Second

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
	for ring(bell); rung(ctx, conn); {
		ring(bell)
	}
}

// rung waits for a notification, and reports false once none can come any more. A server that froze or
// went without a word says nothing, as one does of which nobody has signed out: so it is asked.
func rung(ctx context.Context, conn *pgx.Conn) bool {
	for {
		quiet, cancel := context.WithTimeout(ctx, listenQuiet)
		_, err := conn.WaitForNotification(quiet)
		cancel()
		if err == nil {
			return true
		}
		if conn.IsClosed() || ctx.Err() != nil || !answers(ctx, conn) {
			return false
		}
	}
}

func ring(bell chan<- struct{}) {
	select {
	case bell <- struct{}{}:
	default: // it rings already
	}
}
