package auth_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

const grace = 10 * time.Minute

func allowed(auth.Session) bool { return true }

// revoked reports whether a stream ended because its session is over.
func revoked(ctx context.Context) bool { return errors.Is(context.Cause(ctx), auth.ErrRevoked) }

func TestStreams(t *testing.T) {
	// start makes a session with a stream on it.
	start := func(t *testing.T, still func(auth.Session) bool) (*bench, *auth.Streams, auth.Session, context.Context) {
		b := newBench(t)
		_, s := b.open(t, alice)
		streams := auth.NewStreams(b.store, grace)
		ctx, done := streams.Attach(t.Context(), s, still)
		t.Cleanup(done)
		return b, streams, s, ctx
	}
	end := func(t *testing.T, b *bench, s auth.Session) {
		if err := b.users.End(t.Context(), s.Key); err != nil {
			t.Fatal(err)
		}
	}
	bubble := func(name string, f func(t *testing.T)) {
		t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
	}

	bubble("RULE-16/ended", func(t *testing.T) {
		b, streams, s, ctx := start(t, allowed)
		end(t, b, s)
		streams.Heard(s.Key)
		synctest.Wait()
		is(t, "cut", revoked(ctx), true)
	})
	bubble("RULE-16/ended-while-judged", func(t *testing.T) {
		// The request was let through, the session ended and that was heard, and only then came Attach.
		for name, hear := range map[string]func(*auth.Streams, auth.Key){
			"one": (*auth.Streams).Heard,
			"all": func(st *auth.Streams, _ auth.Key) { st.HeardAll() },
		} {
			b := newBench(t)
			_, s := b.open(t, alice)
			streams := auth.NewStreams(b.store, grace)
			end(t, b, s)
			hear(streams, s.Key)
			ctx, done := streams.Attach(t.Context(), s, allowed)
			synctest.Wait()
			is(t, name+": cut", revoked(ctx), true)
			done()
		}
	})
	bubble("RULE-16/other-session", func(t *testing.T) {
		b, streams, s, ctx := start(t, allowed)
		end(t, b, s)
		streams.Heard(auth.Key{1})
		synctest.Wait()
		is(t, "cut", ctx.Err() != nil, false)
	})
	bubble("RULE-16/user-changed", func(t *testing.T) {
		// What was heard may be a change of the user only: the session is judged again.
		var may atomic.Bool
		may.Store(true)
		_, streams, s, ctx := start(t, func(auth.Session) bool { return may.Load() })
		streams.Heard(s.Key)
		synctest.Wait()
		is(t, "cut while still allowed", ctx.Err() != nil, false)
		may.Store(false)
		streams.Heard(s.Key)
		synctest.Wait()
		is(t, "cut", revoked(ctx), true)
	})
	bubble("RULE-17/all", func(t *testing.T) {
		_, streams, _, ctx := start(t, func(auth.Session) bool { return false })
		streams.HeardAll()
		synctest.Wait()
		is(t, "cut", revoked(ctx), true)
	})
	bubble("RULE-16/expires", func(t *testing.T) {
		_, _, _, ctx := start(t, allowed)
		time.Sleep(time.Hour - time.Second)
		is(t, "cut early", ctx.Err() != nil, false)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		is(t, "cut", revoked(ctx), true)
	})
	bubble("RULE-16/used", func(t *testing.T) {
		// The idle end moves while the session is used elsewhere; the absolute one does not.
		b, _, s, ctx := start(t, allowed)
		for range 13 {
			time.Sleep(50 * time.Minute)
			if err := b.users.Touch(t.Context(), s.Key, time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		is(t, "cut", ctx.Err() != nil, false)
		time.Sleep(time.Until(s.EndsAt) + time.Second)
		synctest.Wait()
		is(t, "cut at the absolute end", revoked(ctx), true)
	})
	bubble("RULE-05/outage", func(t *testing.T) {
		b, streams, s, ctx := start(t, allowed)
		b.store.Fail(storetest.Find, errDown)
		streams.Heard(s.Key)
		time.Sleep(grace - time.Second)
		is(t, "cut within the grace", ctx.Err() != nil, false)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		is(t, "cut after it", revoked(ctx), true)
	})
	bubble("RULE-05/deaf", func(t *testing.T) {
		// The database is away, and so nothing is heard: a quiet stream finds out by itself.
		b, _, _, ctx := start(t, allowed)
		b.store.Fail(storetest.Find, errDown)
		time.Sleep(grace - time.Second)
		is(t, "cut within the grace", ctx.Err() != nil, false)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		is(t, "cut after it", revoked(ctx), true)
	})
	bubble("RULE-05/missed", func(t *testing.T) {
		// An end of which nobody told is found as well, with the store at hand.
		b, _, s, ctx := start(t, allowed)
		end(t, b, s)
		time.Sleep(grace/4 + 2*time.Second)
		synctest.Wait()
		is(t, "cut", revoked(ctx), true)
	})
	bubble("RULE-05/healed", func(t *testing.T) {
		b, streams, s, ctx := start(t, allowed)
		b.store.Fail(storetest.Find, errDown)
		streams.Heard(s.Key)
		time.Sleep(grace / 2)
		b.store.Heal(storetest.Find)
		time.Sleep(2 * time.Second)
		b.store.Fail(storetest.Find, errDown) // the grace has begun anew, two seconds ago at most
		streams.Heard(s.Key)
		time.Sleep(grace - 3*time.Second)
		synctest.Wait()
		is(t, "cut", ctx.Err() != nil, false)
		end(t, b, s)
		b.store.Heal(storetest.Find)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		is(t, "cut once the store tells", revoked(ctx), true)
	})
	bubble("RULE-16/frozen", func(t *testing.T) {
		// A store that never answers counts as one that could not be asked.
		b, streams, s, ctx := start(t, allowed)
		release := b.store.Block(storetest.Find)
		streams.Heard(s.Key)
		time.Sleep(grace + 10*time.Second)
		synctest.Wait()
		is(t, "cut", revoked(ctx), true)
		release()
	})
	bubble("RULE-05/outage-at-the-end", func(t *testing.T) {
		// The grace does not reach past the session's absolute end.
		b := newBench(t)
		_, s := b.open(t, alice)
		s.EndsAt = s.ExpiresAt
		ctx, done := auth.NewStreams(b.store, grace).Attach(t.Context(), s, allowed)
		defer done()
		b.store.Fail(storetest.Find, errDown)
		time.Sleep(time.Hour + 3*time.Second)
		synctest.Wait()
		is(t, "cut", revoked(ctx), true)
	})
	bubble("RULE-16/heard-while-looking", func(t *testing.T) {
		// A look that read the session before it ended must not be the last one.
		b := newBench(t)
		_, s := b.open(t, alice)
		slow := &slowAnswer{Sessions: b.users, gate: make(chan struct{})}
		streams := auth.NewStreams(slow, grace)
		ctx, done := streams.Attach(t.Context(), s, allowed)
		defer done()
		streams.Heard(s.Key)
		synctest.Wait()
		end(t, b, s)
		streams.Heard(s.Key)
		close(slow.gate)
		synctest.Wait()
		is(t, "cut", revoked(ctx), true)
	})
	bubble("RULE-16/detached", func(t *testing.T) {
		b := newBench(t)
		_, s := b.open(t, alice)
		streams := auth.NewStreams(b.store, grace)
		ctx, done := streams.Attach(t.Context(), s, allowed)
		done()
		is(t, "cause", context.Cause(ctx), context.Canceled)
		streams.HeardAll()
		time.Sleep(13 * time.Hour)
		synctest.Wait()
		is(t, "look-ups", b.store.Calls(storetest.Find), 0)
	})
}

// Attach, Heard and detach at once, for the race detector; nothing may hang.
func TestStreamsRace(t *testing.T) {
	b := newBench(t)
	_, s := b.open(t, alice)
	streams := auth.NewStreams(b.store, grace)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for range 20 {
				ctx, done := streams.Attach(t.Context(), s, allowed)
				streams.Heard(s.Key)
				streams.HeardAll()
				done()
				<-ctx.Done()
			}
		})
	}
	all.Wait()
}

// slowAnswer reads at once and answers late.
type slowAnswer struct {
	auth.Sessions
	gate chan struct{}
}

func (s *slowAnswer) Find(ctx context.Context, k auth.Key) (auth.Session, error) {
	found, err := s.Sessions.Find(ctx, k)
	<-s.gate
	return found, err
}

// RULE-16: all streams of a session end, in whatever order others of it came and went.
func TestStreamsOfOneSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		_, s := b.open(t, alice)
		streams := auth.NewStreams(b.store, grace)
		var contexts [5]context.Context
		var done [5]func()
		for i := range contexts {
			contexts[i], done[i] = streams.Attach(t.Context(), s, allowed)
		}
		for _, i := range []int{2, 4, 2, 0} { // in the middle, the last, once more, the first
			done[i]()
		}
		if err := b.users.End(t.Context(), s.Key); err != nil {
			t.Fatal(err)
		}
		streams.Heard(s.Key)
		synctest.Wait()
		for i, ctx := range contexts {
			is(t, "revoked", revoked(ctx), i == 1 || i == 3)
			is(t, "over", ctx.Err() != nil, true)
			done[i]()
		}
	})
}
