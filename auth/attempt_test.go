package auth

import (
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func testAttempts(secret string) attempts {
	keys, err := NewKeyring([][]byte{[]byte(secret)})
	if err != nil {
		panic(err)
	}
	return newAttempts(keys, Site{Public: &url.URL{Scheme: "https", Host: "gw.test"}, Prefix: "/_gate"})
}

const testSecret = "0123456789abcdefghijklmnopqrstuv-attempt"

// jar is the Cookie header of a browser that holds one attempt.
func jar(a attempts, id, value string) http.Header {
	return http.Header{"Cookie": {a.prefix + id + "=" + value}}
}

func TestAttempt(t *testing.T) {
	a := testAttempts(testSecret)
	now := time.Unix(1_800_000_000, 0)
	one, state, value := a.begin("/a?b", now)
	about, err := a.ticket(state)
	if err != nil || about.ID != one.ID || about.Next != "/a?b" {
		t.Fatalf("ticket: %+v, %v", about, err)
	}
	if len(one.Verifier) < 43 || len(one.Verifier) > 128 { // RFC 7636, section 4.1
		t.Errorf("the verifier has %d characters", len(one.Verifier))
	}
	for name, row := range map[string]struct {
		at   time.Duration // on the clock of the replica that opens it
		good bool
	}{
		"at-once": {0, true}, "ST-08/slow-replica": {-90 * time.Second, true}, "ST-08/fast-replica": {attemptLife + 90*time.Second, true},
		"much-too-old": {attemptLife + time.Hour, false}, "from-the-future": {-time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := a.find(jar(a, one.ID, value), about, state, now.Add(row.at))
			if (err == nil) != row.good {
				t.Fatalf("opened: %v, want %v", err, row.good)
			}
			if row.good && (got.Next != "/a?b" || got.Verifier != one.Verifier || got.Nonce != one.Nonce) {
				t.Errorf("it holds %+v", got)
			}
		})
	}
	t.Run("another-name", func(t *testing.T) { // a cookie cannot be passed off as another attempt's
		if _, err := a.open("other", value, now); err == nil {
			t.Error("opens under another name")
		}
	})
	t.Run("another-state", func(t *testing.T) {
		other := a.seal(PurposeState, ticket{ID: one.ID, Started: one.Started}, nil)
		if _, err := a.find(jar(a, one.ID, value), about, other, now); err == nil {
			t.Error("a second state for the same attempt passes")
		}
	})
	t.Run("another-key", func(t *testing.T) {
		if _, err := testAttempts(testSecret + "-other").ticket(state); err == nil {
			t.Error("opens with another key")
		}
	})
	t.Run("cookie-as-state", func(t *testing.T) {
		if _, err := a.ticket(value); err == nil {
			t.Error("a cookie passes for a state")
		}
	})
}

// Whatever the address: the attempt opens again, its Set-Cookie fits, and where it leads is the
// address, or a shorter form of it.
func TestAttemptSize(t *testing.T) {
	a := testAttempts(testSecret)
	rapid.Check(t, func(t *rapid.T) {
		letters := rapid.RuneFrom([]rune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789&=%/-_"))
		path := "/" + rapid.StringOfN(letters, 0, 6000, -1).Draw(t, "path")
		next := path + "?" + rapid.StringOfN(letters, 0, 8000, -1).Draw(t, "query")
		now := time.Now()
		one, state, value := a.begin(next, now)
		w := httptest.NewRecorder()
		a.set(w, http.Header{}, one.ID, value, now)
		if line := w.Header().Get("Set-Cookie"); len(line) > 4096 {
			t.Fatalf("Set-Cookie has %d bytes", len(line))
		}
		about, err := a.ticket(state)
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.find(jar(a, one.ID, value), about, state, now)
		if err != nil || got.Next != next && got.Next != path && got.Next != frontPage {
			t.Fatalf("opened as %+v, %v", got, err)
		}
		if about.Next != "" && about.Next != next {
			t.Fatalf("the state leads to %q", about.Next)
		}
	})
}

func FuzzAttempt(f *testing.F) {
	a := testAttempts(testSecret)
	for _, next := range []string{"/", "/a?b=c", "https://app.test/" + strings.Repeat("x", 700)} {
		_, state, value := a.begin(next, time.Unix(1_800_000_000, 0))
		f.Add("ID", state, value)
		f.Add("ID", value, state)
	}
	f.Add("", "", "")
	f.Add("ID", "====", "AAAA")
	real, realState, realValue := a.begin("/real", time.Now())
	about, err := a.ticket(realState)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, id, state, value string) {
		// Nobody but us makes a state or a cookie. (The seeds are of another process, with the same key.)
		got, err := a.open(id, value, time.Now())
		if err == nil && (got.Verifier == "" || got.Nonce == "" || len(got.State) != sha256.Size) {
			t.Errorf("%q opened as %+v", value, got)
		}
		if one, err := a.find(jar(a, id, value), about, realState, time.Now()); err == nil && (id != real.ID || value != realValue) {
			t.Errorf("%q under %q passes for %+v", value, id, one)
		}
		if _, err := a.find(jar(a, real.ID, realValue), about, state, time.Now()); err == nil && state != realState {
			t.Errorf("state %q passes", state)
		}
		// Whatever cookies there are, a new attempt is among the answer's.
		w := httptest.NewRecorder()
		a.set(w, http.Header{"Cookie": {id + "=" + value, state}}, real.ID, realValue, time.Now())
		lines := w.Header().Values("Set-Cookie")
		if len(lines) == 0 || !strings.HasPrefix(lines[len(lines)-1], a.prefix+real.ID+"=") {
			t.Errorf("the new attempt is not set: %q", lines)
		}
	})
}

// With Google a domain is welcome only as the account's organisation (DESIGN.md, section 4).
func TestWelcomeGoogle(t *testing.T) {
	for name, row := range map[string]struct {
		issuer, hosted string
		want           bool
	}{
		"US-03/google-hosted":   {google, "Corp.test", true},
		"US-03/google-consumer": {google, "", false},
		"US-03/google-other":    {google, "other.test", false},
		"US-03/others":          {"https://idp.test", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			p := NewProvider(ProviderConfig{Issuer: row.issuer, AutoCreate: []string{"corp.test"}})
			info := claims{"sub": "1", "email": "new@corp.test", "email_verified": true}
			if row.hosted != "" {
				info["hd"] = row.hosted
			}
			got, err := p.profile(claims{"sub": "1"}, info)
			if err != nil || got.Welcome != row.want {
				t.Errorf("welcome is %v, %v, want %v", got.Welcome, err, row.want)
			}
		})
	}
}

func TestAuthStyle(t *testing.T) {
	for name, row := range map[string]struct {
		secret  string
		methods []string
		want    string
	}{
		"unsaid": {"s", nil, "header"}, "basic": {"s", []string{"client_secret_post", "client_secret_basic"}, "header"},
		"post": {"s", []string{"client_secret_post"}, "params"}, "public": {"", []string{"none"}, "params"},
	} {
		t.Run(name, func(t *testing.T) {
			style := NewProvider(ProviderConfig{ClientSecret: row.secret}).authStyle(row.methods)
			if got := map[int]string{1: "params", 2: "header"}[int(style)]; got != row.want {
				t.Errorf("sent by %q, want %q", got, row.want)
			}
		})
	}
}
