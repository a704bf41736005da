package auth_test

import (
	"errors"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

var (
	plain   = auth.Site{Public: &url.URL{Scheme: "http", Host: "gw.test"}, Prefix: "/_gate"}
	anHour  = auth.Lifetime{TTL: time.Hour, Max: 12 * time.Hour}
	errDown = errors.New("the database is down")
)

// bench is a gate with a store, and no HTTP around it.
type bench struct {
	keys  *auth.Keyring
	users *storetest.Memory
	store *storetest.Faulty
	gate  *auth.Gate
}

func newBench(t *testing.T) *bench {
	memory := storetest.NewMemory(t)
	b := &bench{keys: newKeys(t), users: memory, store: &storetest.Faulty{Users: memory, Sessions: memory}}
	b.gate = auth.NewGate(b.keys, auth.NewCookies(plain, "", anHour.Max), b.store, anHour)
	return b
}

// open makes a session of a new user and returns its token.
func (b *bench) open(t *testing.T, email string) (auth.Token, auth.Session) {
	t.Helper()
	u, err := b.users.AddUser(t.Context(), email, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	token, now := b.keys.Mint(), time.Now().UTC()
	s := auth.Session{Key: token.Key(), User: u, CreatedAt: now, ExpiresAt: now.Add(anHour.TTL), EndsAt: now.Add(anHour.Max)}
	if err := b.users.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	s, err = b.users.Find(t.Context(), s.Key)
	if err != nil {
		t.Fatal(err)
	}
	return token, s
}

func carrying(values ...string) http.Header {
	h := http.Header{}
	for _, v := range values {
		h.Add("Cookie", "gate="+v)
	}
	return h
}

func TestWho(t *testing.T) {
	b := newBench(t)
	token, s := b.open(t, alice)
	dead, foreign := string(b.keys.Mint()), newToken()
	for name, row := range map[string]struct {
		cookies []string
		want    error
		clear   bool // the cookie may be cleared
	}{
		"live":                  {[]string{string(token)}, nil, false},
		"none":                  {nil, auth.ErrNoSession, false},
		"forged":                {[]string{"x"}, auth.ErrNoSession, true},
		"ended":                 {[]string{dead}, auth.ErrNoSession, true},
		"another-replica's-key": {[]string{foreign}, auth.ErrNoSession, false},
		"dead-beside-foreign":   {[]string{dead, foreign}, auth.ErrNoSession, false},
		"live-beside-the-rest":  {[]string{"x", dead, foreign, string(token)}, nil, false},
		"RULE-07/out-of-sight":  {[]string{string(token), "a", "b", "c", "d"}, auth.ErrTwoUsers, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := b.gate.Who(t.Context(), carrying(row.cookies...))
			is(t, "answer", errors.Is(err, row.want), true)
			is(t, "may be cleared", errors.Is(err, auth.ErrDeadCookie), row.clear)
			if row.want == nil {
				is(t, "session", got.ID, s.ID)
			}
		})
	}
	t.Run("could-not-find-out", func(t *testing.T) {
		b.store.Fail(storetest.Find, errDown)
		defer b.store.Heal(storetest.Find)
		for _, cookies := range [][]string{{string(token)}, {"x", dead}, {foreign}} {
			_, err := b.gate.Who(t.Context(), carrying(cookies...))
			is(t, "a no", errors.Is(err, auth.ErrNoSession), false)
			is(t, "the cause", errors.Is(err, errDown), true)
		}
		_, err := b.gate.Who(t.Context(), carrying("x"))
		is(t, "a forged one needs no store", errors.Is(err, auth.ErrDeadCookie), true)
	})
}

// Tokens under unknown keys cannot be told from forged ones: only a few are looked up at once, and
// the rest learn that nobody knows.
func TestForeignBound(t *testing.T) {
	b := newBench(t)
	release := b.store.Block(storetest.Find)
	var waiting sync.WaitGroup
	for range 4 {
		waiting.Go(func() { _, _ = b.gate.Who(t.Context(), carrying(newToken())) })
	}
	for b.store.Calls(storetest.Find) < 4 {
		time.Sleep(time.Millisecond)
	}
	_, err := b.gate.Who(t.Context(), carrying(newToken()))
	is(t, "a fifth is refused", err != nil && !errors.Is(err, auth.ErrNoSession), true)
	is(t, "look-ups", b.store.Calls(storetest.Find), 4)
	release()
	waiting.Wait()
}

// Whoever signs out with tokens that he made up causes no write anywhere; a session under another
// replica's key ends all the same.
func TestForeignSignOut(t *testing.T) {
	w := newWorld(t)
	user := w.addUser("dora@corp.test")
	token, now := auth.Token(newToken()), time.Now().UTC()
	if err := w.users.Create(t.Context(), auth.Session{
		Key: token.Key(), User: user, CreatedAt: now, ExpiresAt: now.Add(time.Hour), EndsAt: now.Add(time.Hour),
	}); err != nil {
		t.Fatal(err)
	}
	b := w.browser(t)
	b.http.Jar = nil
	leave := func(values ...string) int {
		return b.do(http.MethodPost, b.gate("/logout"), "", func(h http.Header) { h["Cookie"] = carrying(values...)["Cookie"] }).StatusCode
	}
	before := w.store.Calls(storetest.End)
	is(t, "RULE-30: status", leave(newToken(), newToken(), newToken()), http.StatusSeeOther)
	is(t, "RULE-30: writes", w.store.Calls(storetest.End)-before, 0)
	// Nor do planted cookies keep the user's own from being ended (RULE-07).
	is(t, "status", leave("a", "b", "c", "d", newToken(), string(token)), http.StatusSeeOther)
	is(t, "sessions", w.users.Live(), 0)
}

// A session slides with use, seldom and without making anybody wait.
func TestSlide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		token, s := b.open(t, alice)
		use := func() {
			t.Helper()
			if _, err := b.gate.Who(t.Context(), carrying(string(token))); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		use()
		is(t, "writes at once", b.store.Calls(storetest.Touch), 0)
		time.Sleep(6 * time.Minute) // more than a twelfth
		use()
		is(t, "writes after 6 minutes", b.store.Calls(storetest.Touch), 1)
		use()
		is(t, "ST-05: writes right after", b.store.Calls(storetest.Touch), 1)
		b.store.Fail(storetest.Touch, errDown)
		time.Sleep(10 * time.Minute)
		use() // no less live because its use could not be noted
		b.store.Heal(storetest.Touch)
		for range 15 { // its use keeps it alive, up to the absolute end
			time.Sleep(45 * time.Minute)
			use()
		}
		time.Sleep(time.Until(s.EndsAt))
		_, err := b.gate.Who(t.Context(), carrying(string(token)))
		is(t, "after the absolute end", errors.Is(err, auth.ErrDeadCookie), true)
		b.gate.Close()
	})
}

func TestIdleEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		token, _ := b.open(t, alice)
		time.Sleep(time.Hour)
		_, err := b.gate.Who(t.Context(), carrying(string(token)))
		is(t, "after an idle hour", errors.Is(err, auth.ErrDeadCookie), true)
	})
}

// Writes that slide sessions are bounded: with a frozen store they do not pile up.
func TestSlideBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		token, _ := b.open(t, alice)
		time.Sleep(30 * time.Minute)
		release := b.store.Block(storetest.Touch)
		for range 2000 {
			if _, err := b.gate.Who(t.Context(), carrying(string(token))); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		is(t, "writes under way", b.store.Calls(storetest.Touch), 1024)
		time.Sleep(3 * time.Second) // each gives up by itself
		b.gate.Close()
		release()
	})
}
