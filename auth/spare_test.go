package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// What is written by hand to spare allocations is compared with the plain way of writing it.

func TestTagIsHMAC(t *testing.T) {
	for range 50 {
		key := make([]byte, sha256.Size)
		rand.Read(key)
		var body [bodySize]byte
		rand.Read(body[:])
		plain := hmac.New(sha256.New, key)
		plain.Write(body[:])
		made := newTagger(key)
		if got := made.of(body); !hmac.Equal(got[:], plain.Sum(nil)[:tagSize]) {
			t.Fatalf("key %x, body %x: tag %x", key, body, got)
		}
	}
}

func TestKeyIsTheHashOfTheToken(t *testing.T) {
	for _, text := range []string{"", "x", strings.Repeat("a", tokenChars-1), strings.Repeat("a", tokenChars), strings.Repeat("a", tokenChars+1)} {
		if got := Token(text).Key(); got != sha256.Sum256([]byte(text)) {
			t.Errorf("%q: %s", text, got)
		}
	}
}

// cookieLines are Cookie headers with our cookies, others' and neither in every order.
func cookieLines(t *rapid.T) []string {
	part := rapid.SampledFrom([]string{"gate=x", " gate=y", "gate", "__Host-gate=z ", " a=b", "a=b", "", " ", "gate-attempt-1=q", "=", "gates=1", "\tgate =v", "b=c; gate=w"})
	return rapid.SliceOfN(rapid.Map(rapid.SliceOfN(part, 1, 6), func(parts []string) string { return strings.Join(parts, ";") }), 0, 3).Draw(t, "lines")
}

func TestStripLeavesTheRestAsItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := cookieLines(t)
		var want []string
		for _, line := range lines {
			var kept []string
			for _, part := range strings.Split(line, ";") {
				if name, _, _ := strings.Cut(part, "="); !Mine(strings.TrimSpace(name)) {
					kept = append(kept, part)
				}
			}
			if rest := strings.Trim(strings.Join(kept, ";"), " \t"); rest != "" {
				want = append(want, rest)
			}
		}
		h := http.Header{"Cookie": lines}
		if got := Others(h); got != strings.Join(want, "; ") {
			t.Fatalf("others of %q are %q, want %q", lines, got, want)
		}
		Strip(h)
		if got := h["Cookie"]; strings.Join(got, "\n") != strings.Join(want, "\n") || len(got) != len(want) {
			t.Fatalf("%q became %q, want %q", lines, got, want)
		}
	})
}

func TestTokensAreReadInOrderAndOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines, c := cookieLines(t), Cookies{name: "gate"}
		var want []string
		seen := map[string]bool{}
		for name, value := range pairs(http.Header{"Cookie": lines}) {
			if name == c.name && !seen[value] && len(want) < 3 {
				seen[value], want = true, append(want, value)
			}
		}
		got := c.tokens(http.Header{"Cookie": lines}, make([]string, 0, 3))
		if strings.Join(got, "\n") != strings.Join(want, "\n") || len(got) != len(want) {
			t.Fatalf("tokens of %q are %q, want %q", lines, got, want)
		}
	})
}

// The work on a cookie allocates nothing: it is done for every request, and for every one that somebody
// makes up.
func TestNothingIsAllocatedForACookie(t *testing.T) {
	keys, err := NewKeyring([][]byte{[]byte("0123456789abcdef0123456789ABCDEF-tests")})
	if err != nil {
		t.Fatal(err)
	}
	token := keys.Mint()
	h, c := http.Header{"Cookie": {"theme=dark; gate=" + string(token)}}, Cookies{name: "gate"}
	for name, work := range map[string]func(){
		"scan": func() {
			var most [maxTokens + 1]string
			if got := c.tokens(h, most[:0]); len(got) != 1 || got[0] != string(token) {
				t.Errorf("found %d", len(got))
			}
		},
		"judge": func() {
			if keys.Judge(string(token)) != Ours {
				t.Error("not ours")
			}
		},
		"key":    func() { _ = token.Key() },
		"others": func() { _ = Others(h) },
	} {
		if n := testing.AllocsPerRun(100, work); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkCookie(b *testing.B) {
	keys, err := NewKeyring([][]byte{[]byte("0123456789abcdef0123456789ABCDEF-tests")})
	if err != nil {
		b.Fatal(err)
	}
	token := keys.Mint()
	h, c := http.Header{"Cookie": {"theme=dark; gate=" + string(token)}}, Cookies{name: "gate"}
	for name, work := range map[string]func(){
		"scan":   func() { var most [maxTokens + 1]string; c.tokens(h, most[:0]) },
		"judge":  func() { keys.Judge(string(token)) },
		"key":    func() { token.Key() },
		"others": func() { Others(h) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				work()
			}
		})
	}
}
