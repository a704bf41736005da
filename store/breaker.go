package store

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// tripAfter failures in a row the breaker opens.
	tripAfter = 5
	// coolDown is how long it stays open before one call may try again.
	coolDown = time.Second
)

// errOpen says that Redis failed so lately and so often that it is not asked.
var errOpen = errors.New("redis: not asked, it has been failing")

// breaker spares requests the wait for a dead Redis. It is a hook, not go-redis's Limiter, which
// exists on one kind of client only and is handed the caller's leaving as a failure.
//
// Failures are what no answer came of in time, and answers by which Redis is of no use: READONLY,
// LOADING, OOM, NOAUTH and the like. A call that the caller gave up is neither failure nor success.
type breaker struct {
	mu     sync.Mutex
	failed int       // in a row
	until  time.Time // open until then; zero: closed
}

// DialHook leaves dialling alone: a call that had to dial fails with it.
func (b *breaker) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook guards one command.
func (b *breaker) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if !ours(cmd) {
			return next(ctx, cmd)
		}
		if !b.allow() {
			cmd.SetErr(errOpen)
			return errOpen
		}
		err := next(ctx, cmd)
		b.note(ctx, err)
		return err
	}
}

// ProcessPipelineHook guards a batch of commands.
func (b *breaker) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if len(cmds) > 0 && !ours(cmds[0]) {
			return next(ctx, cmds)
		}
		if !b.allow() {
			for _, cmd := range cmds {
				cmd.SetErr(errOpen)
			}
			return errOpen
		}
		err := next(ctx, cmds)
		b.note(ctx, err)
		return err
	}
}

// ours tells the commands of this package from those with which go-redis greets a new connection.
// Those pass through the same hooks, and the one call that may try again needs them.
func ours(cmd redis.Cmder) bool {
	switch cmd.Name() {
	case "get", "set", "del", "eval", "ping":
		return true
	}
	return false
}

// allow lets calls through while the breaker is closed, and when it has cooled down one in each
// further span, whose outcome decides.
func (b *breaker) allow() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	switch {
	case b.until.IsZero():
		return true
	case now.Before(b.until):
		return false
	}
	b.until = now.Add(coolDown)
	return true
}

func (b *breaker) note(ctx context.Context, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err == nil, errors.Is(err, redis.Nil), wrongType(err):
		b.failed, b.until = 0, time.Time{}
	case ctx.Err() != nil && !errors.Is(context.Cause(ctx), errSlow): // the caller left
	default:
		if b.failed++; b.failed >= tripAfter {
			b.until = time.Now().Add(coolDown)
		}
	}
}
