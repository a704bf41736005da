package store

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// TestModel puts one replica into a world of others that end the same sessions, of a Redis that
// forgets, of a database that goes away, and of polls and look-ups that take their time, in any order.
// Whatever comes, no Find that begins after an End returned finds that session, and no live session is
// reported absent. An End elsewhere counts once a poll that was sent after it has come back, and three
// seconds after it in any case.
func TestModel(t *testing.T) {
	t.Parallel()
	hits := 0
	synctest.Test(t, func(t *testing.T) {
		// The wrapper hides from rapid that a test has a deadline, which may not be asked for in here.
		for range 10 {
			rapid.Check(struct{ rapid.TB }{t}, func(t *rapid.T) { newMachine(&hits).run(t) })
		}
	})
	if hits == 0 {
		t.Error("the process tier never answered")
	}
}

// bound is what is promised, whatever fails.
const bound = 3 * time.Second

// machine is the replica in its world. It looks at the world only while everybody else waits.
type machine struct {
	world
	cached    *Cached
	feed      *Feed
	poll      *reading // under way; nil: none
	questions map[*question]struct{}
}

// question is one Find, and what may come of it by what was so when it began.
type question struct {
	row        *row
	dead, live bool
	done       bool
	s          auth.Session
	err        error
}

// reading is a poll that was sent: what it will bring is settled, how it ends is not.
type reading struct {
	sent  time.Time
	found tidings
	upTo  int
}

func newMachine(hits *int) *machine {
	m := &machine{questions: map[*question]struct{}{}}
	m.world = world{rows: map[auth.Key]*row{}, records: map[auth.Key]auth.Session{}, held: map[*load]struct{}{}}
	m.feed = NewFeed(FeedConfig{TTL: time.Hour, MaxUnverified: bound})
	m.cached = NewCached(nil, &m.world, m.feed, func() { *hits++ })
	m.cached.redis = forgetting{&m.world}
	return m
}

func (m *machine) run(t *rapid.T) {
	defer m.drain()
	m.create(t)
	m.pollNow(t)
	actions := map[string]func(*rapid.T){
		"create": m.create, "find": m.find, "find, all at once": m.findNow, "touch": m.touch,
		"a look-up reads": m.reads, "a look-up answers": m.answers,
		"end here": m.endHere, "end elsewhere": m.endElsewhere,
		"poll": m.pollNow, "a poll is sent": m.sendPoll, "a poll comes back": m.endPoll,
		"Redis is flushed": func(*rapid.T) { clear(m.records) },
		"Redis":            func(*rapid.T) { m.deaf = !m.deaf },
		"database":         func(*rapid.T) { m.down = !m.down },
		"time passes":      m.wait,
		"":                 m.judge,
	}
	for range 3 { // about thirty steps each
		t.Repeat(actions)
	}
}

// drain lets everybody go home.
func (m *machine) drain() {
	m.settle()
	m.cached.Close()
}

// settle lets every look-up that is held go on to its end.
func (m *machine) settle() {
	for held := m.waiting(); len(held) > 0; held = m.waiting() {
		held[0].step()
		synctest.Wait()
	}
}

// waiting lists the look-ups that are held, in the order in which they began.
func (m *machine) waiting() (held []*load) {
	m.locked(func() { held = slices.Collect(maps.Keys(m.held)) })
	slices.SortFunc(held, func(a, b *load) int { return a.number - b.number })
	return held
}

func (m *machine) create(t *rapid.T) {
	s := testSession(keyIn(byte(len(m.rows)), len(m.rows)))
	s.ID = int64(len(m.rows) + 1)
	s.ExpiresAt = s.CreatedAt.Add(time.Duration(rapid.SampledFrom([]int{20, 3, 1}).Draw(t, "life")) * time.Second)
	s.EndsAt = s.CreatedAt.Add(40 * time.Second)
	_ = m.cached.Create(context.Background(), s)
}

// any draws one of the last two sessions.
func (m *machine) any(t *rapid.T) *row {
	n := rapid.IntRange(max(1, len(m.rows)-1), len(m.rows)).Draw(t, "session")
	for one := range maps.Values(m.rows) {
		if one.number == n {
			return one
		}
	}
	panic("a session without a number")
}

func (m *machine) find(t *rapid.T) {
	one := m.any(t)
	q := &question{row: one, dead: one.mustBeRefused(), live: one.alive()}
	m.questions[q] = struct{}{}
	go func() {
		s, err := m.cached.Find(context.Background(), one.Key)
		m.locked(func() { q.s, q.err, q.done = s, err, true })
	}()
	synctest.Wait()
}

func (m *machine) findNow(t *rapid.T) {
	m.find(t)
	m.settle()
}

// touch uses a session, which slides it if its last use was long enough ago.
func (m *machine) touch(t *rapid.T) {
	one := m.any(t)
	go func() { _ = m.cached.Touch(context.Background(), one.Key, 20*time.Second) }()
	synctest.Wait()
}

func (m *machine) reads(t *rapid.T)   { m.step(t, false) }
func (m *machine) answers(t *rapid.T) { m.step(t, true) }

// step lets one look-up that is held go on, which has read or has not.
func (m *machine) step(t *rapid.T, hasRead bool) {
	held := slices.DeleteFunc(m.waiting(), func(l *load) bool { return l.read != hasRead })
	if len(held) > 0 {
		rapid.SampledFrom(held).Draw(t, "look-up").step()
		synctest.Wait()
	}
}

func (m *machine) endHere(t *rapid.T) {
	if one := m.any(t); m.cached.End(context.Background(), one.Key) == nil {
		one.here = true
	}
}

// endElsewhere is another replica's End, whose tombstone may be lost on its way to Redis.
func (m *machine) endElsewhere(t *rapid.T) {
	if one := m.any(t); m.End(context.Background(), one.Key) == nil && rapid.Bool().Draw(t, "tombstone") {
		_ = forgetting{&m.world}.Bury(context.Background(), one.Key)
	}
}

func (m *machine) pollNow(t *rapid.T) {
	m.sendPoll(t)
	m.endPoll(t)
}

func (m *machine) sendPoll(*rapid.T) {
	if m.poll == nil {
		m.poll = &reading{sent: time.Now(), upTo: len(m.revoked), found: tidings{rows: slices.Clone(m.revoked[m.place:]), anew: m.place == 0}}
	}
}

// endPoll lets a poll come back, unless the database is away or it took too long: then it fails, and
// the next one reads everything.
func (m *machine) endPoll(*rapid.T) {
	p := m.poll
	m.poll = nil
	switch {
	case p == nil:
	case m.down, time.Since(p.sent) > pollLimit:
		m.place = 0
		m.feed.miss(errLate)
	default:
		m.place = p.upTo
		m.feed.learn(context.Background(), p.found, p.sent)
		for _, r := range m.revoked[:p.upTo] {
			m.rows[r.key].heard = true
		}
	}
}

func (m *machine) wait(t *rapid.T) {
	time.Sleep(time.Duration(rapid.SampledFrom([]int{50, 700, 1500, 3000, 6000}).Draw(t, "ms")) * time.Millisecond)
	synctest.Wait()
}

// judge looks at the answers that have come.
func (m *machine) judge(t *rapid.T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for q := range m.questions {
		if !q.done {
			q.live = q.live && q.row.alive()
			continue
		}
		delete(m.questions, q)
		if q.err == nil && (q.dead || q.s.Key != q.row.Key) {
			t.Fatalf("session %d was found by a Find that began after its end, or another was", q.row.number)
		}
		if errors.Is(q.err, auth.ErrNoSession) && q.live && q.row.alive() {
			t.Fatalf("session %d is live and was reported absent", q.row.number)
		}
	}
}

// Whoever joins a look-up that has read already does not get a session that was over when he asked, and
// one that was used elsewhere meanwhile is found all the same.
func TestOverWhileLookedUp(t *testing.T) {
	t.Parallel()
	for name, used := range map[string]bool{"RULE-05/over": false, "RULE-05/used elsewhere": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hits := 0
				m := newMachine(&hits)
				defer m.drain()
				s := testSession(keyIn(0, 0))
				s.ExpiresAt, s.EndsAt = s.CreatedAt.Add(time.Second), s.CreatedAt.Add(time.Minute)
				_ = m.cached.Create(t.Context(), s)
				type answer struct {
					s   auth.Session
					err error
				}
				answers := make(chan answer, 2)
				ask := func() {
					go func() { s, err := m.cached.Find(context.Background(), s.Key); answers <- answer{s, err} }()
					synctest.Wait()
				}
				ask()
				m.waiting()[0].step() // it has read
				time.Sleep(500 * time.Millisecond)
				if used {
					_, _ = m.Slide(t.Context(), s.Key, 20*time.Second)
				}
				time.Sleep(time.Second)
				ask()
				m.settle()
				for range 2 {
					got := <-answers
					if used && (got.err != nil || !got.s.Live(time.Now())) {
						t.Errorf("Find = until %v, %v, want the session", got.s.ExpiresAt, got.err)
					}
					if !used && !errors.Is(got.err, auth.ErrNoSession) {
						t.Errorf("Find = until %v, %v, want ErrNoSession", got.s.ExpiresAt, got.err)
					}
				}
			})
		})
	}
}

var errAway = errors.New("cannot be asked")

// world is the database and Redis. It answers look-ups in two steps, so that anything may come between
// the reading and the answer.
type world struct {
	mu      sync.Mutex // of those who ask
	down    bool       // the database cannot be asked
	deaf    bool       // Redis cannot be asked
	rows    map[auth.Key]*row
	revoked []revocation
	place   int                       // up to where the feed has read
	records map[auth.Key]auth.Session // Redis; one without an ID is a tombstone
	held    map[*load]struct{}
	loads   int
}

// row is a session, and what became of it.
type row struct {
	auth.Session
	number int
	over   time.Time // when an End returned; zero: none has
	here   bool      // it was ended at this replica
	heard  bool      // a poll that was sent after the end has come back
}

func (r *row) alive() bool { return r.over.IsZero() && r.Live(time.Now()) }

func (r *row) mustBeRefused() bool {
	return !r.Live(time.Now()) || !r.over.IsZero() && (r.here || r.heard || time.Since(r.over) >= bound)
}

// load is a look-up that is held before it reads, and before it answers.
type load struct {
	number int
	read   bool
	next   chan struct{}
}

func (l *load) step() { l.next <- struct{}{} }

// look is one look-up of either store; it fails with its context.
func (w *world) look(ctx context.Context, read func()) error {
	one := &load{next: make(chan struct{})}
	w.locked(func() {
		w.loads++
		one.number = w.loads
		w.held[one] = struct{}{}
	})
	defer w.locked(func() { delete(w.held, one) })
	for _, then := range []func(){func() { read(); one.read = true }, func() {}} {
		select {
		case <-one.next:
			w.locked(then)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (w *world) locked(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) Find(ctx context.Context, k auth.Key) (s auth.Session, err error) {
	fault := w.look(ctx, func() {
		switch one := w.rows[k]; {
		case w.down:
			err = errAway
		case !one.alive():
			err = auth.ErrNoSession
		default:
			s = one.Session
		}
	})
	return s, errors.Join(fault, err)
}

func (w *world) Create(_ context.Context, s auth.Session) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rows[s.Key] = &row{Session: s, number: len(w.rows) + 1}
	return nil
}

func (w *world) Touch(ctx context.Context, k auth.Key, ttl time.Duration) error {
	_, err := w.Slide(ctx, k, ttl)
	return err
}

func (w *world) Slide(_ context.Context, k auth.Key, ttl time.Duration) (end time.Time, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		return time.Time{}, errAway
	}
	one := w.rows[k]
	if !one.alive() || time.Until(one.ExpiresAt) > ttl-ttl/12 {
		return time.Time{}, nil
	}
	one.ExpiresAt = time.Now().UTC().Add(min(ttl, time.Until(one.EndsAt)))
	return one.ExpiresAt, nil
}

func (w *world) End(_ context.Context, k auth.Key) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		return errAway
	}
	if one := w.rows[k]; one.over.IsZero() {
		one.over = time.Now()
		w.revoked = append(w.revoked, revocation{id: int64(len(w.revoked) + 1), key: k})
	}
	return nil
}

// forgetting is Redis.
type forgetting struct{ *world }

func (f forgetting) Get(ctx context.Context, k auth.Key) (s auth.Session, err error) {
	fault := f.look(ctx, func() {
		if s = f.records[k]; f.deaf {
			err = errAway
		} else if s.ID == 0 {
			err = ErrNotCached
		}
	})
	return s, errors.Join(fault, err)
}

func (f forgetting) Fill(_ context.Context, s auth.Session) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.records[s.Key]; !ok && !f.deaf {
		f.records[s.Key] = s
	}
	return nil
}

func (f forgetting) Bury(_ context.Context, keys ...auth.Key) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.deaf {
		return errAway
	}
	for _, k := range keys {
		f.records[k] = auth.Session{}
	}
	return nil
}
