package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatehouse-auth/gatehouse/auth"
)

const (
	// callLimit bounds one call with its retry: a Redis that is slower than this is no help.
	callLimit = 200 * time.Millisecond
	// waitLimit bounds one write or read, so that a retry still fits into a call.
	waitLimit = 150 * time.Millisecond
	// connectLimit bounds the making of a connection, which goes on when the call has given up.
	connectLimit = 500 * time.Millisecond
	// buryAtOnce is how many tombstones travel together.
	buryAtOnce = 500
)

// ErrNotCached says that Redis answered and has nothing to say about a key: no record, a tombstone,
// or a record that this process cannot read. Ask the database.
var ErrNotCached = errors.New("not cached")

// errSlow is the cause when it was our own limit that ended a call, which is Redis's failure, and not
// the caller's leaving, which is nobody's.
var errSlow = errors.New("redis: no answer in time")

// Redis is a cache of sessions that may lose anything at any time. It is safe for concurrent use.
type Redis struct {
	client  redis.UniversalClient
	records records
	bury    time.Duration // how long a tombstone stands
	observe Observe
}

// NewRedis makes the client of an address: redis://, rediss:// (TLS), unix://, redis+sentinel:// with
// master_name=, or redis+cluster://. It does not connect: a Redis that is down keeps nobody out.
// Install is the id of this installation, to which records are bound; ttl is session.ttl.
func NewRedis(url string, seal Sealer, install string, ttl time.Duration, observe Observe) (*Redis, error) {
	quiet()
	client, err := newClient(url)
	if err != nil {
		return nil, err
	}
	client.AddHook(new(breaker))
	return &Redis{client: client, records: records{seal: seal, install: install}, bury: window(ttl), observe: observe}, nil
}

// quiet stops go-redis from writing to the process's standard error: each failed dial would be a line
// there, thousands of them while Redis is down. The fault is in the metrics and in readyz.
var quiet = sync.OnceFunc(func() { redis.SetLogger(silence{}) })

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// Ping tells whether Redis answers. It too is refused at once while the breaker is open.
func (r *Redis) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, callLimit, errSlow)
	defer cancel()
	return r.client.Ping(ctx).Err()
}

// Close closes all connections.
func (r *Redis) Close() error { return r.client.Close() }

// Get returns the record of a key. ErrNotCached: there is none to go by. Any other error: Redis could
// not be asked.
func (r *Redis) Get(ctx context.Context, k auth.Key) (s auth.Session, err error) {
	result := "error"
	defer func(start time.Time) { r.observe.note("redis", "find", start, result) }(time.Now())
	ctx, cancel := context.WithTimeoutCause(ctx, callLimit, errSlow)
	defer cancel()
	raw, err := r.client.Get(ctx, redisKey(k)).Result()
	switch {
	case errors.Is(err, redis.Nil):
		result = "miss"
		return auth.Session{}, ErrNotCached
	case wrongType(err):
		result = "corrupt"
		return auth.Session{}, r.discard(ctx, k, "")
	case errors.Is(err, errOpen):
		result = "open"
		return auth.Session{}, err
	case err != nil:
		return auth.Session{}, fmt.Errorf("redis get: %w", err)
	}
	switch s, result = r.records.read(k, raw); result {
	case "hit":
		return s, nil
	case "corrupt":
		return auth.Session{}, r.discard(ctx, k, raw)
	}
	return auth.Session{}, ErrNotCached
}

// discard removes what cannot be read, so that it does not stand in the way of a good record; but
// only that: a tombstone that has come meanwhile stays.
func (r *Redis) discard(ctx context.Context, k auth.Key, seen string) error {
	const script = `local v = redis.pcall('GET', KEYS[1])
if type(v) == 'table' or v == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0`
	if err := r.client.Eval(ctx, script, []string{redisKey(k)}, seen).Err(); err != nil {
		return fmt.Errorf("redis discard: %w", err)
	}
	return ErrNotCached
}

// Fill keeps a session that the database gave, unless there is a record or a tombstone already: a
// reader that is late must not put back what has ended. The record outlives neither the session's
// known end nor one hour.
func (r *Redis) Fill(ctx context.Context, s auth.Session) (err error) {
	defer func(start time.Time) { r.observe.note("redis", "fill", start, result(err)) }(time.Now())
	life := min(time.Until(s.ExpiresAt), time.Until(s.EndsAt), maxCached)
	if life < time.Millisecond {
		return nil // Redis counts milliseconds, and takes none at all for "for ever"
	}
	ctx, cancel := context.WithTimeoutCause(ctx, callLimit, errSlow)
	defer cancel()
	err = r.client.SetArgs(ctx, redisKey(s.Key), r.records.write(s), redis.SetArgs{Mode: "NX", TTL: life.Truncate(time.Millisecond)}).Err()
	if err != nil && !errors.Is(err, redis.Nil) { // Nil: something was there
		return fmt.Errorf("redis fill: %w", err)
	}
	return nil
}

// Bury puts tombstones over keys, which say "not from here" for as long as a copy could live. An
// error means that some may not be buried.
func (r *Redis) Bury(ctx context.Context, keys ...auth.Key) (err error) {
	defer func(start time.Time) { r.observe.note("redis", "bury", start, result(err)) }(time.Now())
	for len(keys) > 0 {
		n := min(len(keys), buryAtOnce)
		if err := r.buryBatch(ctx, keys[:n]); err != nil {
			return fmt.Errorf("redis bury: %w", err)
		}
		keys = keys[n:]
	}
	return nil
}

func (r *Redis) buryBatch(ctx context.Context, keys []auth.Key) error {
	ctx, cancel := context.WithTimeoutCause(ctx, callLimit, errSlow)
	defer cancel()
	_, err := r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, k := range keys {
			p.Set(ctx, redisKey(k), tombstone, r.bury)
		}
		return nil
	})
	if err == nil || !redis.IsOOMError(err) {
		return err
	}
	// A full Redis takes no tombstone, but it lets go. What a late reader might put back meanwhile,
	// every replica's feed knows of.
	_, err = r.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, k := range keys {
			p.Del(ctx, redisKey(k))
		}
		return nil
	})
	return err
}

func redisKey(k auth.Key) string { return "session:" + k.String() }

func wrongType(err error) bool { return redis.HasErrorPrefix(err, "WRONGTYPE") }

func result(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, errOpen):
		return "open"
	}
	return "error"
}
