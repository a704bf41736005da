package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // what an operator types into psql

	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// Two replicas on one Postgres and one Redis, as production has it: what one does, the other knows.
func TestReplicas(t *testing.T) {
	pg, red := storetest.Postgres(t), storetest.Redis(t)
	one := newRig(t)
	one.shared(pg.URL, red.URL)
	one.start()
	two := one.replica()
	signIn := func(t *testing.T) (*browser, string) {
		t.Helper()
		b := one.browser()
		if resp, body := b.signIn(one.public+"/", "alice@corp.test"); !strings.Contains(body, "user=alice@corp.test") {
			t.Fatalf("sign in: %s: %s", resp.Status, body)
		}
		for _, r := range []*rig{one, two, one, two} { // twice: the second answer is Redis's
			if resp := r.ask(b.cookie(), "/"); resp.StatusCode != http.StatusOK {
				t.Fatalf("a live session at a replica: %s", resp.Status)
			}
		}
		return b, b.cookie()
	}
	// ended waits for the bound of HOTPATH.md; the table of `make bench` has the real figures.
	ended := func(t *testing.T, cookie string) {
		t.Helper()
		began := time.Now()
		for _, r := range []*rig{one, two} {
			r.eventually("the session is refused", func() bool { return r.ask(cookie, "/").StatusCode == http.StatusUnauthorized })
		}
		t.Logf("refused everywhere after %s", time.Since(began).Round(time.Millisecond))
	}

	t.Run("RULE-01/logout at one replica holds at the other", func(t *testing.T) {
		b, cookie := signIn(t)
		if resp, _ := b.do(http.MethodPost, one.public+"/_gate/logout", url.Values{}, map[string]string{"Origin": one.public, "Accept": "text/html"}); resp.StatusCode != http.StatusOK {
			t.Fatalf("logout: %s", resp.Status)
		}
		if resp := one.ask(cookie, "/"); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("LO-01: at the replica that answered the logout: %s, want 401 at once", resp.Status)
		}
		ended(t, cookie)
	})
	t.Run("RULE-01/a DELETE typed by hand is a logout", func(t *testing.T) {
		_, cookie := signIn(t)
		db, err := sql.Open("pgx", pg.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.ExecContext(t.Context(), "DELETE FROM sessions"); err != nil {
			t.Fatal(err)
		}
		ended(t, cookie)
	})
	t.Run("RULE-02/roles taken away count at once", func(t *testing.T) {
		_, cookie := signIn(t)
		if code, out := one.run("user", "disable", "alice@corp.test"); code != exitOK {
			t.Fatalf("disable: %d %s", code, out)
		}
		ended(t, cookie)
		if code, out := one.run("user", "enable", "alice@corp.test"); code != exitOK {
			t.Fatalf("enable: %d %s", code, out)
		}
	})
	t.Run("PX-06/a stream ends with its session, at the other replica", func(t *testing.T) {
		one.answer(slow(0).ServeHTTP)
		defer one.answer(echo)
		b, cookie := signInTo(t, one)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, two.at+"/events", nil)
		req.Host = two.host()
		req.Header.Set("Cookie", cookie)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b.do(http.MethodPost, one.public+"/_gate/logout", url.Values{}, map[string]string{"Origin": one.public})
		buf := make([]byte, 4096)
		for err == nil {
			_, err = resp.Body.Read(buf)
		}
		if ctx.Err() != nil {
			t.Error("the event stream went on after the logout")
		}
	})
	t.Run("ST-05/stampede on a cold cache", func(t *testing.T) {
		_, cookie := signIn(t)
		red.Do("FLUSHALL")
		var all sync.WaitGroup
		for range 250 { // one session may have 256 at once
			all.Go(func() {
				if resp := two.ask(cookie, "/"); resp.StatusCode != http.StatusOK {
					t.Errorf("%s", resp.Status)
				}
			})
		}
		all.Wait()
	})
}

// signInTo signs alice in where the app does not echo.
func signInTo(t *testing.T, r *rig) (*browser, string) {
	t.Helper()
	b := r.browser()
	b.signIn(r.public+"/_gate/login?next=/_gate/me", "alice@corp.test")
	if b.cookie() == "" {
		t.Fatal("not signed in")
	}
	return b, b.cookie()
}

// ST-01, ST-07, RULE-05: what fails signs nobody out and lets nobody in.
func TestOutages(t *testing.T) {
	pg, red := storetest.Postgres(t), storetest.Redis(t)
	r := newRig(t)
	r.shared(pg.URL, red.URL)
	r.start()
	b := r.browser()
	b.signIn(r.public+"/", "alice@corp.test")
	cookie := b.cookie()
	all := func(t *testing.T, n, want int) {
		t.Helper()
		for i := range n {
			if resp := r.ask(cookie, "/"); resp.StatusCode != want || len(resp.Header["Set-Cookie"]) > 0 {
				t.Fatalf("request %d: %s, Set-Cookie %q; want %d and none", i, resp.Status, resp.Header["Set-Cookie"], want)
			}
		}
	}
	degraded := func(t *testing.T, want string) {
		t.Helper()
		r.eventually("readyz says degraded: "+want, func() bool {
			status, body := r.get(r.admin + "/readyz")
			return status == http.StatusOK && strings.Contains(body, `"degraded":[`+want+`]`)
		})
	}
	loginAndOut := func(t *testing.T) {
		t.Helper()
		other, old := signInTo(t, r)
		other.do(http.MethodPost, r.public+"/_gate/logout", url.Values{}, map[string]string{"Origin": r.public})
		if resp := r.ask(old, "/"); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("after logout: %s", resp.Status)
		}
	}

	t.Run("ST-01/a refuses", func(t *testing.T) {
		red.Stop()
		all(t, 50, http.StatusOK)
		degraded(t, `"redis"`)
		// The log looks once a second; without waiting, every outage here may fall between two looks.
		r.eventually("the log says so", func() bool { return strings.Contains(r.log.String(), `cannot be asked","part":"redis"`) })
		loginAndOut(t)
		red.Start()
		degraded(t, ``)
		all(t, 10, http.StatusOK)
	})
	t.Run("ST-01/b black-holes", func(t *testing.T) {
		red.Freeze()
		all(t, 50, http.StatusOK)
		degraded(t, `"redis"`)
		loginAndOut(t)
		red.Thaw()
		degraded(t, ``)
	})
	for name, command := range map[string]string{"d OOM": "CONFIG SET maxmemory 1", "f NOAUTH": "CONFIG SET requirepass x"} {
		t.Run("ST-01/"+name, func(t *testing.T) {
			red.Do(command)
			red.Do("CLIENT KILL TYPE normal")
			all(t, 50, http.StatusOK)
			loginAndOut(t)
			red.Stop() // comes back as it was configured
			red.Start()
			all(t, 10, http.StatusOK)
		})
	}
	t.Run("RULE-05/database down: Redis answers for whom it knows, nobody else", func(t *testing.T) {
		degraded(t, ``)
		all(t, 3, http.StatusOK) // into Redis
		pg.Stop()
		all(t, 20, http.StatusOK)
		degraded(t, `"database","memory"`) // the lease lapses within three seconds
		unknown := "gate=" + strings.Repeat("A", 44)
		if resp := r.ask(unknown, "/"); resp.StatusCode == http.StatusOK {
			t.Errorf("an unknown token: %s", resp.Status)
		}
		if resp, body := b.do(http.MethodPost, r.public+"/_gate/logout", url.Values{}, map[string]string{"Origin": r.public, "Accept": "text/html"}); resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "still signed in") || b.cookie() == "" {
			t.Errorf("ST-02: logout with the database down: %s, cookie kept: %v", resp.Status, b.cookie() != "")
		}
	})
	t.Run("ST-01/both down: 503 with Retry-After", func(t *testing.T) {
		red.Stop()
		resp := r.ask(cookie, "/")
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || len(resp.Header["Set-Cookie"]) > 0 {
			t.Errorf("%s, Retry-After %q, Set-Cookie %q", resp.Status, resp.Header.Get("Retry-After"), resp.Header["Set-Cookie"])
		}
		navigation, _ := b.navigate(r.public + "/")
		if navigation.StatusCode != http.StatusServiceUnavailable || navigation.Request.URL.Path != "/" {
			t.Errorf("a navigation got %s at %s, want 503 in place", navigation.Status, navigation.Request.URL.Path)
		}
	})
	t.Run("ST-07/a both back: the same cookie opens the same session", func(t *testing.T) {
		pg.Start()
		red.Start()
		r.eventually("the session is found again", func() bool { return r.ask(cookie, "/").StatusCode == http.StatusOK })
		all(t, 20, http.StatusOK)
		loginAndOut(t)
	})
	t.Run("the log tells of each outage once", func(t *testing.T) {
		for _, part := range []string{"redis", "database"} {
			is := func(text string) int { return strings.Count(r.log.String(), text+`","part":"`+part+`"`) }
			r.eventually(part+" went and came back", func() bool { return is("cannot be asked") > 0 && is("cannot be asked") == is("can be asked again") })
			if n := is("cannot be asked"); n > 12 { // eight outages at most, and a moment of doubt after some
				t.Errorf("%d lines for %s", n, part)
			}
		}
	})
	r.stop() // with which all of the log is written
	for _, secret := range []string{strings.TrimPrefix(cookie, "gate="), pg.URL} {
		if strings.Contains(r.log.String(), secret) {
			t.Errorf("RULE-29: the log holds %q", secret)
		}
	}
}

// RULE-05: while the database is away, /readyz and Redis go through the steps that docs/operations.md tells
// of: the process answers, then Redis, and after session.max_unverified nobody.
func TestUnverified(t *testing.T) {
	t.Parallel() // it waits for seconds
	pg, red := storetest.Postgres(t), storetest.Redis(t)
	r := newRig(t)
	r.shared(pg.URL, red.URL)
	r.edit("log: {format: json}", "log: {format: json}\nsession: {max_unverified: 8s}")
	r.start()
	b := r.browser()
	b.signIn(r.public+"/", "alice@corp.test")
	degraded := func(want string) func() bool {
		return func() bool {
			status, body := r.get(r.admin + "/readyz")
			return status == http.StatusOK && strings.Contains(body, `"degraded":[`+want+`]`)
		}
	}
	answers := func(want int) {
		t.Helper()
		resp := r.ask(b.cookie(), "/")
		if resp.StatusCode != want || len(resp.Header["Set-Cookie"]) > 0 {
			t.Errorf("%s, Set-Cookie %q; want %d and none", resp.Status, resp.Header["Set-Cookie"], want)
		}
	}
	r.eventually("nothing is degraded", degraded(``))
	answers(http.StatusOK) // and Redis has it
	pg.Stop()
	r.eventually("the lease lapses", degraded(`"database","memory"`))
	answers(http.StatusOK)
	r.eventually("Redis is no longer believed", degraded(`"database","memory","revocations"`))
	answers(http.StatusServiceUnavailable)
	pg.Start()
	r.eventually("all is well again", degraded(``))
	answers(http.StatusOK)
}

// CF-04: a wrong password of Redis is found by check, not by the first sign-in. Gatehouse itself starts,
// for Redis may be down at any time, and says what is degraded.
func TestWrongRedisPassword(t *testing.T) {
	red := storetest.Redis(t, "--requirepass", "right-one")
	r := newRig(t)
	r.edit("store: {dir:", fmt.Sprintf("store: {redis: %q, dir:", strings.Replace(red.URL, "redis://", "redis://:wrong-one@", 1)))
	code, out := r.run("check", "--connect")
	if code != exitFailure || !strings.Contains(out, "✗ store.redis") || !strings.Contains(out, "WRONGPASS") || strings.Contains(out, "wrong-one") {
		t.Errorf("CF-04: check --connect: exit %d: %s", code, out)
	}
	r.start()
	r.eventually("degraded", func() bool {
		status, body := r.get(r.admin + "/readyz")
		return status == http.StatusOK && strings.Contains(body, `"redis"`)
	})
	if _, body := r.browser().signIn(r.public+"/", "alice@corp.test"); !strings.Contains(body, "user=alice@corp.test") {
		t.Errorf("CF-04: a sign-in without Redis: %s", body)
	}
	r.stop() // with which all of the log is written
	if strings.Contains(r.log.String(), "wrong-one") {
		t.Error("RULE-29: the log holds the password")
	}
}
