package auth_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/gatehouse-auth/gatehouse/auth"
)

var somebody = mustKeys("0123456789abcdefghijklmnopqrstuv-other")

func mustKeys(secrets ...string) *auth.Keyring {
	var raw [][]byte
	for _, s := range secrets {
		raw = append(raw, []byte(s))
	}
	keys, err := auth.NewKeyring(raw)
	if err != nil {
		panic(err)
	}
	return keys
}

// newToken is a token of another installation: well-formed, and random.
func newToken() string { return string(somebody.Mint()) }

func TestToken(t *testing.T) {
	keys := mustKeys("0123456789abcdefghijklmnopqrstuv-first")
	token := keys.Mint()
	t.Run("LG-06/random", func(t *testing.T) {
		seen := map[auth.Token]bool{}
		for range 1000 {
			seen[keys.Mint()] = true
		}
		is(t, "distinct tokens", len(seen), 1000)
		raw, err := base64.RawURLEncoding.DecodeString(string(token))
		if err != nil || len(raw) < 1+128/8 {
			t.Errorf("%d bytes, %v", len(raw), err)
		}
	})
	t.Run("hidden", func(t *testing.T) {
		for _, verb := range []string{"%v", "%s", "%q", "%#v", "%+v", "%x", "%d"} {
			if printed := fmt.Sprintf(verb, token); strings.Contains(printed, string(token)[:12]) {
				t.Errorf("%s prints the token", verb)
			}
		}
	})
	t.Run("hidden/json", func(t *testing.T) {
		text, err := json.Marshal(map[string]any{"token": token})
		if err != nil || strings.Contains(string(text), string(token)) {
			t.Errorf("%s, %v", text, err)
		}
	})
	t.Run("key", func(t *testing.T) {
		is(t, "key", token.Key() == auth.Token(string(token)).Key(), true)
		is(t, "other key", token.Key() == keys.Mint().Key(), false)
		is(t, "hex", len(token.Key().String()), 64)
	})
	t.Run("judge", func(t *testing.T) {
		is(t, "own", keys.Judge(string(token)), auth.Ours)
		is(t, "empty", keys.Judge(""), auth.Forged)
		is(t, "padded", keys.Judge(string(token)+"="), auth.Forged)
		is(t, "line end", keys.Judge(string(token)[:43]+"\n"), auth.Forged)
	})
}

func TestTokenRotation(t *testing.T) {
	first, second := "0123456789abcdefghijklmnopqrstuv-first", "0123456789abcdefghijklmnopqrstuv-later"
	keys := mustKeys(first)
	old := keys.Mint()
	if err := keys.Replace([][]byte{[]byte(second), []byte(first)}); err != nil {
		t.Fatal(err)
	}
	is(t, "the old key's token", keys.Judge(string(old)), auth.Ours)
	is(t, "the new key's token", keys.Judge(string(keys.Mint())), auth.Ours)
	if err := keys.Replace([][]byte{[]byte(second)}); err != nil {
		t.Fatal(err)
	}
	is(t, "a removed key's token", keys.Judge(string(old)), auth.Foreign)
	if err := keys.Replace(nil); err == nil {
		t.Error("an empty ring passes")
	}
	is(t, "after a refused change", keys.Judge(string(keys.Mint())), auth.Ours)
}

// A change of any one byte makes a token forged, or, in its first byte, foreign: never ours.
func TestTokenTamper(t *testing.T) {
	keys := mustKeys("0123456789abcdefghijklmnopqrstuv-first")
	rapid.Check(t, func(t *rapid.T) {
		raw, _ := base64.RawURLEncoding.DecodeString(string(keys.Mint()))
		at := rapid.IntRange(0, len(raw)-1).Draw(t, "at")
		raw[at] ^= rapid.ByteRange(1, 255).Draw(t, "flip")
		standing := keys.Judge(base64.RawURLEncoding.EncodeToString(raw))
		if standing == auth.Ours || at > 0 && standing != auth.Forged {
			t.Fatalf("byte %d changed: standing %d", at, standing)
		}
	})
}

func FuzzToken(f *testing.F) {
	keys := mustKeys("0123456789abcdefghijklmnopqrstuv-first", "0123456789abcdefghijklmnopqrstuv-later")
	for range 3 {
		f.Add(newToken())
	}
	f.Add("")
	f.Add(strings.Repeat("A", 44))
	f.Add(strings.Repeat("_", 43) + "=")
	f.Add(strings.Repeat("é", 22))
	f.Fuzz(func(t *testing.T, value string) {
		standing := keys.Judge(value)
		if standing == auth.Ours {
			t.Errorf("%q passes for a token of ours", value)
		}
		raw, err := base64.RawURLEncoding.Strict().DecodeString(value)
		if standing == auth.Foreign && (err != nil || len(raw) != 33) {
			t.Errorf("%q is not well-formed", value)
		}
	})
}

func TestParseKeys(t *testing.T) {
	good := "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY="
	for name, row := range map[string]struct{ file, fault string }{
		"one":        {good, ""},
		"url-safe":   {strings.Repeat("-_8B", 2) + "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY", ""},
		"comments":   {"# made today\n\n" + good + "\r\n" + good, ""},
		"empty":      {"\n# nothing\n", "holds no key"},
		"short":      {"MDEyMzQ1Njc4OWFiY2RlZg==", "line 1: 16 bytes"},
		"not-base64": {good + "\nnot base64!", "line 2: not base64"},
		"zeros":      {strings.Repeat("A", 44), "sample value"},
		"sample":     {base64.StdEncoding.EncodeToString([]byte("please-CHANGE-me-0123456789abcdefghijk")), "sample value"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := auth.ParseKeys([]byte(row.file))
			if (err == nil) != (row.fault == "") || err != nil && !strings.Contains(err.Error(), row.fault) {
				t.Fatalf("error is %v, want %q", err, row.fault)
			}
			if err != nil && strings.Contains(err.Error(), strings.TrimSpace(row.file)) && row.file != "" {
				t.Errorf("the error shows the key: %v", err)
			}
		})
	}
}

func TestSeal(t *testing.T) {
	keys := mustKeys("0123456789abcdefghijklmnopqrstuv-first")
	sealed := keys.Seal(auth.PurposeState, []byte("text"), []byte("about"))
	open := func(purpose string, box, associated []byte) string {
		plain, err := keys.Open(purpose, box, associated)
		if err != nil {
			return err.Error()
		}
		return string(plain)
	}
	is(t, "opened", open(auth.PurposeState, sealed, []byte("about")), "text")
	is(t, "for another purpose", open(auth.PurposeAttempt, sealed, []byte("about")), auth.ErrSealed.Error())
	is(t, "in another place", open(auth.PurposeState, sealed, []byte("other")), auth.ErrSealed.Error())
	is(t, "cut short", open(auth.PurposeState, sealed[:10], []byte("about")), auth.ErrSealed.Error())
	sealed[len(sealed)-1] ^= 1
	is(t, "changed", open(auth.PurposeState, sealed, []byte("about")), auth.ErrSealed.Error())
}
