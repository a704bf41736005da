package store

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// FuzzRecord plays whoever can write to Redis, with raw, and another release of ours, which seals other
// text than this one, with plain.
//
// Of raw nothing may come but "not from here": nobody without our keys makes a record. What opens must be
// the very session that was sealed: written again and read again it is the same, it has the key that it
// was asked for by, and it is no larger than what it came from, but for bytes that are no UTF-8, of which
// each becomes three. A record that opens does so under its own key, installation, version and secret
// alone, and not with any byte changed.
func FuzzRecord(f *testing.F) {
	mine := recordsOf(f, "0123456789abcdefghijklmnopqrstuv-fuzz", "install")
	strangers := map[string]records{
		"another installation": recordsOf(f, "0123456789abcdefghijklmnopqrstuv-fuzz", "other"),
		"another secret":       recordsOf(f, "0123456789abcdefghijklmnopqrstuv-else", "install"),
	}
	k, other := auth.Key{1}, auth.Key{2}
	whole := testSession(other) // one of ours, but not for the key that is asked for
	whole.User.Roles, whole.UserAgent = []string{"staff", "admin"}, "Mozilla/5.0"
	moved := mine.write(whole)
	f.Add(moved, []byte(`{"id":1,"user":2,"email":"alice@corp.test","times":[1,2,3],"ip":"::1"}`), uint(0))
	f.Add([]byte(tombstone), []byte(`{"times":[9223372036854775807,-9223372036854775808,0]}`), uint(1))
	f.Add([]byte{recordVersion}, []byte(`{"roles":["","",""],"ip":"fe80::1%eth0"}`), uint(30))
	f.Add([]byte{recordVersion + 1, 0}, []byte(`{"id":1e3}`), uint(2))
	f.Add([]byte{0}, []byte("{\"email\":\"\xff\\ud800\"}"), uint(3))
	f.Add([]byte("garbage"), []byte(`[1]`), uint(4))
	f.Fuzz(func(t *testing.T, raw, plain []byte, at uint) {
		if s, result := mine.read(k, string(raw)); result == "hit" {
			t.Fatalf("%q passes for %+v", raw, s)
		}
		sealed := append([]byte{recordVersion}, mine.seal.Seal(auth.PurposeRecord, plain, mine.associated(k))...)
		s, result := mine.read(k, string(sealed))
		switch {
		case result == "corrupt":
			if !reflect.DeepEqual(s, auth.Session{}) {
				t.Errorf("corrupt, and yet %+v", s)
			}
			return
		case result != "hit" || s.Key != k:
			t.Fatalf("%q: %s with key %s", plain, result, s.Key)
		}
		if len(s.User.Roles) == 0 {
			s.User.Roles = nil // an empty list is none
		}
		if again, result := mine.read(k, string(mine.write(s))); result != "hit" || !reflect.DeepEqual(again, s) {
			t.Errorf("%q was read as %+v, and written again as %+v (%s)", plain, s, again, result)
		}
		if text, _ := json.Marshal(s.User); len(s.User.Email)+len(s.User.Name)+len(s.User.Picture)+len(s.UserAgent) > 3*len(plain) {
			t.Errorf("%d bytes became %s", len(plain), text)
		}
		if _, result := mine.read(other, string(sealed)); result == "hit" {
			t.Errorf("%q opens under another key", plain)
		}
		for name, stranger := range strangers {
			if _, result := stranger.read(k, string(sealed)); result == "hit" {
				t.Errorf("%q opens for %s", plain, name)
			}
		}
		changed := bytes.Clone(sealed)
		changed[at%uint(len(changed))] ^= 1 + byte(at>>8)%255
		if _, result := mine.read(k, string(changed)); result == "hit" {
			t.Errorf("%q opens with byte %d changed", plain, at%uint(len(changed)))
		}
		if _, result := mine.read(k, string(sealed[:at%uint(len(sealed))])); result == "hit" {
			t.Errorf("%q opens with %d bytes", plain, at%uint(len(sealed)))
		}
	})
}

func recordsOf(f *testing.F, secret, install string) records {
	f.Helper()
	ring, err := auth.NewKeyring([][]byte{[]byte(secret)})
	if err != nil {
		f.Fatal(err)
	}
	return records{seal: ring, install: install}
}
