package store_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// people sign in, work and sign out all the time at the replicas of one installation, whatever happens to
// the servers below. Nobody may be told no while he is signed in (RULE-05), nor be let in once his
// sign-out was confirmed: at once where he signed out, and everywhere within the bound (RULE-01, RULE-04).
type people struct {
	replicas []*replica
	first    auth.Session // of one who stays
	lives    atomic.Int64 // lived whole, from a confirmed sign-in to a confirmed sign-out

	mu   sync.Mutex
	in   []auth.Key // who stays signed in
	left []leaving
}

// leaving is a sign-out that was confirmed.
type leaving struct {
	key   auth.Key
	where *replica
	when  time.Time
}

// heardWithin is the three seconds that are promised, and as much for a machine that has no time.
const heardWithin = 6 * time.Second

// peopleAt lets some people sign in who stay.
func peopleAt(t *testing.T, s *store.SQL, replicas ...*replica) *people {
	t.Helper()
	first := signedIn(t, s, replicas[0])
	p := &people{replicas: replicas, first: first, in: []auth.Key{first.Key}}
	for range 20 { // enough to meet every node of a cluster
		made := storetest.NewSession(p.first.User)
		if err := replicas[0].Create(t.Context(), made); err != nil {
			t.Fatal(err)
		}
		p.in = append(p.in, made.Key)
	}
	return p
}

// come lets people come until they are told to leave. Whoever was promised something is looked up then.
func (p *people) come(t *testing.T) (leave func()) {
	t.Helper()
	var all sync.WaitGroup
	stop := make(chan struct{})
	for n := range 4 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond):
					p.live(t, p.replicas[n%len(p.replicas)], p.replicas[(n+1)%len(p.replicas)])
				}
			}
		})
	}
	leave = sync.OnceFunc(func() { close(stop); all.Wait(); p.audit(t) })
	t.Cleanup(leave)
	return leave
}

// more waits until so many more have come and gone.
func (p *people) more(t *testing.T, lives int64) {
	t.Helper()
	want := p.lives.Load() + lives
	waitLong(t, time.Minute, "people come and go", func() bool { return p.lives.Load() >= want })
}

// live is one life: signed in here, seen here and there, and mostly signed out here.
func (p *people) live(t *testing.T, here, there *replica) {
	t.Helper()
	s := storetest.NewSession(p.first.User)
	if !p.sure(t, "sign-in", here.Create(t.Context(), s)) {
		return
	}
	for range 3 {
		p.see(t, here, s.Key)
		p.see(t, there, s.Key)
	}
	if rand.IntN(8) == 0 {
		p.mu.Lock()
		p.in = append(p.in, s.Key)
		p.mu.Unlock()
		return
	}
	if !p.sure(t, "sign-out", here.End(t.Context(), s.Key)) {
		return
	}
	gone := leaving{key: s.Key, where: here, when: time.Now()}
	p.mu.Lock()
	p.left = append(p.left, gone)
	old := p.left[rand.IntN(len(p.left))]
	p.mu.Unlock()
	p.lives.Add(1)
	gone.check(t, here)
	old.check(t, there)
}

// sure reports whether a call was answered with yes; no is never the answer.
func (p *people) sure(t *testing.T, what string, err error) bool {
	t.Helper()
	switch {
	case err == nil:
		return true
	case errors.Is(err, auth.ErrNoSession), errors.Is(err, auth.ErrNoUser):
		t.Errorf("RULE-05: %s of one who is signed in, or may be: %v", what, err)
	}
	return false // could not find out
}

func (p *people) see(t *testing.T, r *replica, k auth.Key) {
	t.Helper()
	if s, err := r.Find(t.Context(), k); p.sure(t, "look-up", err) && (s.Key != k || s.User.ID != p.first.User.ID) {
		t.Errorf("asked for %v, got %v of user %d", k, s.Key, s.User.ID)
	}
}

// check demands that one who left is not let in where that must be known by now.
func (l leaving) check(t *testing.T, r *replica) {
	t.Helper()
	since := time.Since(l.when)
	if r != l.where && since < heardWithin {
		return
	}
	if _, err := r.Find(t.Context(), l.key); err == nil {
		t.Errorf("RULE-01: let in %v after the sign-out was confirmed", since)
	}
}

// audit looks everybody up, now that all can be asked.
func (p *people) audit(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.replicas {
		waitFor(t, "the feed vouches", r.feed.Leased)
		for _, k := range p.in {
			waitFor(t, "who was signed in is found", func() bool {
				_, err := r.Find(t.Context(), k)
				return p.sure(t, "look-up", err)
			})
		}
		for _, one := range p.left {
			waitFor(t, "who left is refused", func() bool {
				_, err := r.Find(t.Context(), one.key)
				return errors.Is(err, auth.ErrNoSession)
			})
		}
	}
}

// cached waits until Redis answers for everybody who was in from the start, on each replica.
func (p *people) cached(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	first := slices.Clone(p.in[:20])
	p.mu.Unlock()
	for _, r := range p.replicas {
		for _, k := range first {
			waitFor(t, "the cache is used", func() bool { return r.hit(t, k) })
		}
	}
}
