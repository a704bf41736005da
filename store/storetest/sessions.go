package storetest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// Sessions runs the suite of auth.Sessions. Each subtest opens an empty store.
func Sessions(t *testing.T, open func(*testing.T) Ground) {
	for name, test := range map[string]func(*testing.T, Ground){
		"create, then find":             sessionsRoundTrip,
		"absent":                        sessionsAbsent,
		"over":                          sessionsOver,
		"LG-06c":                        sessionsEnd,
		"RULE-02":                       sessionsUserChanges,
		"RULE-08/create after disable":  sessionsDisabledUser,
		"RULE-08/create while disabled": sessionsDisableRace,
		"touch":                         sessionsTouch,
		"touch, many at once":           sessionsTouchRace,
		"a key is used once":            sessionsKeyOnce,
		"hostile user agent":            sessionsHostileText,
		"caller has gone":               sessionsCancelled,
		"ids are never reused":          sessionsIDs,
		"many at once":                  sessionsCrossTalk,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func sessionsRoundTrip(t *testing.T, g Ground) {
	u := g.addUser(t, "alice@corp.test", "admin", "staff")
	want := g.create(t, u)
	for range 3 { // from below, then perhaps from a cache
		got, err := g.Sessions.Find(t.Context(), want.Key)
		if err != nil {
			t.Fatalf("Find: %v", err)
		}
		sameSession(t, got, want)
	}
}

func sameSession(t *testing.T, got, want auth.Session) {
	t.Helper()
	if got.ID == 0 || got.Key != want.Key || got.IP != want.IP || got.UserAgent != want.UserAgent {
		t.Errorf("found %+v, want %+v", got, want)
	}
	if got.User.ID != want.User.ID || got.User.Email != want.User.Email || !slices.Equal(got.User.Roles, want.User.Roles) {
		t.Errorf("found user %+v, want %+v", got.User, want.User)
	}
	for _, pair := range [][2]time.Time{{got.CreatedAt, want.CreatedAt}, {got.ExpiresAt, want.ExpiresAt}, {got.EndsAt, want.EndsAt}} {
		if !pair[0].Equal(pair[1]) || pair[0].Location() != time.UTC {
			t.Errorf("found time %v, want %v", pair[0], pair[1])
		}
	}
}

func sessionsAbsent(t *testing.T, g Ground) {
	u := g.addUser(t, "alice@corp.test")
	s := NewSession(u)
	wantNoSession(t, g, s.Key)
	if err := g.Sessions.End(t.Context(), s.Key); err != nil {
		t.Errorf("End of an absent session: %v", err)
	}
	if err := g.Sessions.Touch(t.Context(), s.Key, time.Hour); err != nil {
		t.Errorf("Touch of an absent session: %v", err)
	}
}

func sessionsOver(t *testing.T, g Ground) {
	u := g.addUser(t, "alice@corp.test")
	past := time.Now().UTC().Add(-time.Second)
	for name, edit := range map[string]func(*auth.Session){
		"idle":     func(s *auth.Session) { s.CreatedAt, s.ExpiresAt = past.Add(-time.Hour), past },
		"absolute": func(s *auth.Session) { s.CreatedAt, s.ExpiresAt, s.EndsAt = past.Add(-time.Hour), past, past },
	} {
		t.Run(name, func(t *testing.T) {
			s := g.create(t, u, edit)
			if err := g.Sessions.Touch(t.Context(), s.Key, time.Hour); err != nil {
				t.Errorf("Touch of a session that is over: %v", err)
			}
			wantNoSession(t, g, s.Key)
		})
	}
}

func sessionsEnd(t *testing.T, g Ground) {
	u := g.addUser(t, "alice@corp.test")
	s, other := g.create(t, u), g.create(t, u)
	for range 2 { // so that a cache, if there is one, holds it
		wantSession(t, g, s.Key)
	}
	for range 2 { // the second time it is absent, which is no error
		if err := g.Sessions.End(t.Context(), s.Key); err != nil {
			t.Fatalf("End: %v", err)
		}
		wantNoSession(t, g, s.Key)
	}
	wantSession(t, g, other.Key)
	wantNoSession(t, g, s.Key)
}

// sessionsUserChanges: nobody stays admin because a cache says so.
func sessionsUserChanges(t *testing.T, g Ground) {
	u := g.addUser(t, "alice@corp.test", "admin")
	s := g.create(t, u)
	wantSession(t, g, s.Key)
	if err := g.Operator.SetRoles(t.Context(), "alice@corp.test", []string{"staff"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new roles are seen", func() bool {
		got, err := g.Sessions.Find(t.Context(), s.Key)
		return err == nil && slices.Equal(got.User.Roles, []string{"staff"})
	})
	if ended, err := g.Operator.DisableUser(t.Context(), "alice@corp.test"); err != nil || ended != 1 {
		t.Fatalf("DisableUser = %d, %v, want 1 session ended", ended, err)
	}
	eventually(t, "the session is over", func() bool {
		_, err := g.Sessions.Find(t.Context(), s.Key)
		return errors.Is(err, auth.ErrNoSession)
	})
}

func sessionsDisabledUser(t *testing.T, g Ground) {
	u := g.addUser(t, "alice@corp.test")
	if _, err := g.Operator.DisableUser(t.Context(), u.Email); err != nil {
		t.Fatal(err)
	}
	s := NewSession(u)
	wantNoUser(t, g.Sessions.Create(t.Context(), s))
	wantNoSession(t, g, s.Key)
	bob := g.addUser(t, "bob@corp.test")
	if _, err := g.Operator.RemoveUser(t.Context(), bob.Email); err != nil {
		t.Fatal(err)
	}
	wantNoUser(t, g.Sessions.Create(t.Context(), NewSession(bob)))
}

// sessionsDisableRace disables a user while he signs in; whichever comes first, no session lives.
func sessionsDisableRace(t *testing.T, g Ground) {
	u := g.addUser(t, "alice@corp.test")
	keys := make([]auth.Key, 12)
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			s := NewSession(u)
			keys[i] = s.Key
			if err := g.Sessions.Create(t.Context(), s); err != nil && !errors.Is(err, auth.ErrNoUser) {
				t.Errorf("Create: %v", err)
			}
		})
	}
	all.Go(func() {
		if _, err := g.Operator.DisableUser(t.Context(), u.Email); err != nil {
			t.Errorf("DisableUser: %v", err)
		}
	})
	all.Wait()
	for _, k := range keys {
		wantNoSession(t, g, k)
	}
}

func sessionsTouch(t *testing.T, g Ground) {
	u := g.addUser(t, "alice@corp.test")
	ttl := time.Hour
	for name, c := range map[string]struct {
		left, absolute time.Duration // until the ends
		want           time.Duration // left after the touch
	}{
		"fresh":               {left: ttl - ttl/24, absolute: 12 * ttl, want: ttl - ttl/24},
		"due":                 {left: ttl / 2, absolute: 12 * ttl, want: ttl},
		"to the end, no more": {left: ttl / 4, absolute: ttl / 2, want: ttl / 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := g.create(t, u, func(s *auth.Session) {
				s.ExpiresAt, s.EndsAt = s.CreatedAt.Add(c.left), s.CreatedAt.Add(c.absolute)
			})
			if err := g.Sessions.Touch(t.Context(), s.Key, ttl); err != nil {
				t.Fatalf("Touch: %v", err)
			}
			got, err := g.Sessions.Find(t.Context(), s.Key)
			if err != nil {
				t.Fatalf("Find: %v", err)
			}
			off := got.ExpiresAt.Sub(s.CreatedAt.Add(c.want))
			if off < 0 || off > time.Minute || got.ExpiresAt.After(got.EndsAt) {
				t.Errorf("idle end %v after it was made, want %v", got.ExpiresAt.Sub(s.CreatedAt), c.want)
			}
		})
	}
}

func sessionsTouchRace(t *testing.T, g Ground) {
	u := g.addUser(t, "alice@corp.test")
	s := g.create(t, u, func(s *auth.Session) { s.ExpiresAt = s.CreatedAt.Add(time.Minute) })
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if err := g.Sessions.Touch(t.Context(), s.Key, time.Hour); err != nil {
				t.Errorf("Touch: %v", err)
			}
		})
	}
	all.Wait()
	got, err := g.Sessions.Find(t.Context(), s.Key)
	if err != nil || got.ExpiresAt.Sub(s.CreatedAt) < time.Hour {
		t.Errorf("Find = idle end %v after it was made, %v, want an hour", got.ExpiresAt.Sub(s.CreatedAt), err)
	}
}

func sessionsKeyOnce(t *testing.T, g Ground) {
	if _, fake := g.Sessions.(*Memory); fake {
		return // it fails the test, which is the better answer of a fake
	}
	u := g.addUser(t, "alice@corp.test")
	bob := g.addUser(t, "bob@corp.test")
	s := g.create(t, u)
	taken := NewSession(bob)
	taken.Key = s.Key
	if err := g.Sessions.Create(t.Context(), taken); err == nil {
		t.Error("two sessions under one key")
	}
	if got := wantSession(t, g, s.Key); got.User.ID != u.ID {
		t.Errorf("the session went to user %d", got.User.ID)
	}
}

func sessionsHostileText(t *testing.T, g Ground) {
	u := g.addUser(t, "alice@corp.test")
	for _, agent := range []string{"a\x00b", "\xff\xfe", `\'; DROP TABLE sessions; --`, "a?b ?0", strings.Repeat("é", 4000)} {
		s := g.create(t, u, func(s *auth.Session) { s.UserAgent = agent })
		if got := wantSession(t, g, s.Key); len(got.UserAgent) > 256 && len(agent) > 256 && !isMemory(g) {
			t.Errorf("a user agent of %d bytes was kept", len(got.UserAgent))
		}
	}
}

// sessionsCancelled: a caller that leaves is "could not find out", and spoils nothing for the next.
func sessionsCancelled(t *testing.T, g Ground) {
	u := g.addUser(t, "alice@corp.test")
	s := g.create(t, u)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.Sessions.Find(gone, s.Key); err == nil || errors.Is(err, auth.ErrNoSession) {
		t.Errorf("Find for a caller that has gone: %v, want could not find out", err)
	}
	if err := g.Sessions.End(gone, s.Key); err == nil {
		t.Error("End for a caller that has gone reports success")
	}
	wantSession(t, g, s.Key)
}

func sessionsIDs(t *testing.T, g Ground) {
	u := g.addUser(t, "alice@corp.test")
	first := g.create(t, u)
	id := wantSession(t, g, first.Key).ID
	if err := g.Sessions.End(t.Context(), first.Key); err != nil {
		t.Fatal(err)
	}
	if next := wantSession(t, g, g.create(t, u).Key); next.ID <= id {
		t.Errorf("session %d came after session %d: a log line would name two", next.ID, id)
	}
	if _, err := g.Operator.RemoveUser(t.Context(), u.Email); err != nil {
		t.Fatal(err)
	}
	if again := g.addUser(t, "alice@corp.test"); again.ID <= u.ID {
		t.Errorf("user %d came after user %d", again.ID, u.ID)
	}
}

// sessionsCrossTalk looks many users up at once, with callers that leave: each answer is about the
// key that was asked for. A store may say that there are too many at once, which is no answer, but not
// to all of them.
func sessionsCrossTalk(t *testing.T, g Ground) {
	var made []auth.Session
	for _, email := range []string{"a@corp.test", "b@corp.test", "c@corp.test", "d@corp.test"} {
		made = append(made, g.create(t, g.addUser(t, email)))
	}
	var (
		all      sync.WaitGroup
		answered atomic.Int32
	)
	for i := range 200 {
		want := made[i%len(made)]
		all.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			if i%5 == 0 {
				time.AfterFunc(time.Duration(i)*10*time.Microsecond, cancel)
			}
			defer cancel()
			got, err := g.Sessions.Find(ctx, want.Key)
			switch {
			case err == nil && (got.Key != want.Key || got.User.ID != want.User.ID):
				t.Errorf("asked for user %d, got user %d", want.User.ID, got.User.ID)
			case err == nil:
				answered.Add(1)
			case errors.Is(err, auth.ErrTooMany):
			case ctx.Err() == nil || errors.Is(err, auth.ErrNoSession):
				t.Errorf("Find: %v", err)
			}
		})
	}
	all.Wait()
	if answered.Load() == 0 {
		t.Error("nobody was answered")
	}
	for _, s := range made {
		wantSession(t, g, s.Key)
	}
}

func isMemory(g Ground) bool { _, yes := g.Sessions.(*Memory); return yes }

func wantSession(t *testing.T, g Ground, k auth.Key) auth.Session {
	t.Helper()
	s, err := g.Sessions.Find(t.Context(), k)
	if err != nil {
		t.Fatalf("Find: %v, want the session", err)
	}
	return s
}

func wantNoSession(t *testing.T, g Ground, k auth.Key) {
	t.Helper()
	if _, err := g.Sessions.Find(t.Context(), k); !errors.Is(err, auth.ErrNoSession) {
		t.Errorf("Find: %v, want ErrNoSession", err)
	}
}

// eventually waits until what is so, for as long as no machine needs.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if so() {
			return
		}
	}
	t.Fatalf("not so after 15 s: %s", what)
}
