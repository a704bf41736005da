package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/web"
)

// stores is what remembers: the database, Redis in front of it if there is one, and the feed of
// revocations, without which no cache may answer.
type stores struct {
	sql      *store.SQL
	redis    *store.Redis // nil without store.redis
	feed     *store.Feed
	sessions *store.Cached // what the gate asks: its own memory, redis if there is one, and then sql
	unlock   func() error
}

// openStores connects to the database, brings it up to date under a lock, and makes what stands
// before it. The database must answer within openLimit; Redis may be down.
func openStores(ctx context.Context, cfg Config, keys *auth.Keyring, metrics *web.Metrics, heard hearing) (*stores, error) {
	ctx, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	observe := observeStore(metrics)
	sql, err := store.Open(ctx, store.Options{
		Database: cfg.Store.Database, Dir: cfg.Store.Dir, ListenURL: cfg.Store.ListenURL, Observe: observe,
	})
	if err != nil {
		return nil, scrub(err, cfg)
	}
	s := &stores{sql: sql, unlock: func() error { return nil }}
	hit := func() { metrics.Lookup("process", "hit") }
	if err := s.prepare(ctx, cfg, keys, observe, heard, hit); err != nil {
		return nil, errors.Join(scrub(err, cfg), s.close())
	}
	return s, nil
}

func (s *stores) prepare(ctx context.Context, cfg Config, keys *auth.Keyring, observe store.Observe, heard hearing, hit func()) (err error) {
	unlock, err := s.sql.LockServe()
	if err != nil {
		return err
	}
	s.unlock = unlock
	if err := s.sql.Migrate(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if cfg.Store.Redis != "" {
		install, err := s.sql.InstallID(ctx)
		if err != nil {
			return err
		}
		if s.redis, err = store.NewRedis(cfg.Store.Redis, keys, install, cfg.Session.TTL, observe); err != nil {
			return err
		}
	}
	s.feed = store.NewFeed(store.FeedConfig{
		SQL: s.sql, Redis: s.redis, TTL: cfg.Session.TTL, MaxUnverified: cfg.Session.MaxUnverified,
		On: heard.one, OnAll: heard.all,
	})
	s.sessions = store.NewCached(s.redis, s.sql, s.feed, hit)
	return nil
}

// hearing is who must be told of revocations: of one, or that any may have been missed.
type hearing struct {
	one func(auth.Key)
	all func()
}

// run keeps the stores in order until ctx is done: it hears of revocations and sweeps out what is over.
func (s *stores) run(ctx context.Context, ttl time.Duration) error {
	var all sync.WaitGroup
	all.Go(func() { s.feed.Run(ctx) })
	all.Go(func() { s.sql.RunSweeper(ctx, ttl) })
	all.Wait()
	return nil
}

// errDeaf says that Redis may not be believed, because revocations could not be heard for too long.
var errDeaf = errors.New("revocations cannot be heard")

// vouches tells whether Redis may answer: for session.max_unverified after revocations were last heard.
func (s *stores) vouches(context.Context) error {
	if !s.feed.Vouches() {
		return errDeaf
	}
	return nil
}

// hears tells whether this process may answer from its own memory, and if not why: a database that is
// up but lags behind, or is another one, shows nowhere else.
func (s *stores) hears(context.Context) error { return s.feed.Lapsed() }

// observeStore counts what the stores do: every operation by its time, and look-ups of sessions by
// the tier that was asked.
func observeStore(m *web.Metrics) store.Observe {
	return func(tier, op, result string, d time.Duration) {
		m.Store(tier, op, result, d)
		if op == "find" {
			m.Lookup(tier, result)
		}
	}
}

func (s *stores) close() error {
	var faults []error
	if s.sessions != nil {
		s.sessions.Close()
	}
	if s.redis != nil {
		faults = append(faults, s.redis.Close())
	}
	return errors.Join(append(faults, s.sql.Close(), s.unlock())...)
}
