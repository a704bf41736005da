package auth

import (
	"bytes"
	"compress/flate"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	// attemptLife is how long a browser may take from the start of a login to the callback.
	attemptLife = 10 * time.Minute
	// clockSlack is how far the clocks of two replicas, or of us and the provider, may differ.
	clockSlack = 2 * time.Minute
	// maxAttempts and maxAttemptBytes bound what a browser that never finishes a login piles up.
	// Front proxies refuse Cookie headers beyond 8 KiB (oauth2-proxy#2163).
	maxAttempts     = 5
	maxAttemptBytes = 6 << 10
	// maxAttemptValue keeps each Set-Cookie below 4096 bytes, above which browsers drop it.
	maxAttemptValue = 3584
	// maxStateNext is how long an address may be to travel in the state as well.
	maxStateNext = 512
)

// errAttempt says that there is no login to finish: the state or the cookie is missing, forged or
// too old.
var errAttempt = errors.New("no login under way")

// attempt is one login under way. It lives in a cookie of its own, sealed, so that two tabs do not
// disturb each other and no store is asked before a login has succeeded.
type attempt struct {
	ID       string `json:"-"` // part of the cookie's name, and bound to its content
	State    []byte `json:"s"` // SHA-256 of the state parameter that was sent out
	Nonce    string `json:"n"`
	Verifier string `json:"v"` // PKCE, RFC 7636
	Next     string `json:"x"`
	Started  int64  `json:"t"` // Unix seconds
}

// ticket is what the state parameter seals. It is no proof that this browser started the login (that
// is the cookie's part), but tells a late or doubled callback where its user wanted to go.
type ticket struct {
	ID      string `json:"i"`
	Next    string `json:"x,omitempty"`
	Started int64  `json:"t"`
}

// attempts makes and reads the cookies of logins under way.
type attempts struct {
	keys   *Keyring
	prefix string // of the cookies' names
	secure bool
}

func newAttempts(keys *Keyring, site Site) attempts {
	if site.Secure() {
		return attempts{keys: keys, prefix: "__Host-" + attemptName, secure: true}
	}
	return attempts{keys: keys, prefix: attemptName}
}

// begin makes an attempt, its state parameter and the value of its cookie.
func (a attempts) begin(next string, now time.Time) (one attempt, state, value string) {
	one = attempt{
		ID: rand.Text(), Nonce: rand.Text(), Verifier: rand.Text() + rand.Text(), // 52 unreserved characters, 260 bits
		Next: next, Started: now.Unix(),
	}
	about := ticket{ID: one.ID, Started: one.Started}
	if len(next) <= maxStateNext {
		about.Next = next
	}
	state = a.seal(PurposeState, about, nil)
	sum := sha256.Sum256([]byte(state))
	one.State = sum[:]
	value = a.seal(PurposeAttempt, one, []byte(one.ID))
	for _, shorter := range []string{pathOf(next), frontPage} {
		if len(value) <= maxAttemptValue {
			break
		}
		one.Next = shorter
		value = a.seal(PurposeAttempt, one, []byte(one.ID))
	}
	return one, state, value
}

// seal packs v: JSON, compressed, sealed, base64url. Compression cannot betray the secrets beside the
// address (as in CRIME): they are new in every attempt.
func (a attempts) seal(purpose string, v any, associated []byte) string {
	plain, _ := json.Marshal(v) // strings, bytes and integers: never fails
	var packed bytes.Buffer
	press, _ := flate.NewWriter(&packed, flate.BestCompression) // fails on an unknown level only
	_, _ = press.Write(plain)                                   // into memory
	_ = press.Close()
	return base64.RawURLEncoding.EncodeToString(a.keys.Seal(purpose, packed.Bytes(), associated))
}

func (a attempts) unseal(purpose, text string, associated []byte, v any) error {
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return errAttempt
	}
	packed, err := a.keys.Open(purpose, sealed, associated)
	if err != nil {
		return fmt.Errorf("%w: %w", errAttempt, err)
	}
	plain, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), 4*maxNext))
	if err != nil {
		return fmt.Errorf("%w: %w", errAttempt, err)
	}
	if err := json.Unmarshal(plain, v); err != nil {
		return fmt.Errorf("%w: %w", errAttempt, err)
	}
	return nil
}

// open reads a cookie. An attempt that is too old is no attempt.
func (a attempts) open(id, value string, now time.Time) (attempt, error) {
	var one attempt
	if err := a.unseal(PurposeAttempt, value, []byte(id), &one); err != nil {
		return attempt{}, err
	}
	one.ID = id
	age := now.Sub(time.Unix(one.Started, 0))
	if age > attemptLife+clockSlack || age < -clockSlack {
		return attempt{}, errAttempt
	}
	return one, nil
}

// ticket reads a state parameter, however old. An error means that nobody with our keys made it.
func (a attempts) ticket(state string) (ticket, error) {
	var about ticket
	err := a.unseal(PurposeState, state, nil, &about)
	return about, err
}

// find returns the attempt that a state parameter belongs to, out of the cookies of the request.
// Several cookies may have the same name, planted by a neighbour or left by a proxy: the one that
// fits counts (oauth2-proxy#2606).
func (a attempts) find(h http.Header, about ticket, state string, now time.Time) (attempt, error) {
	sum := sha256.Sum256([]byte(state))
	for name, value := range pairs(h) {
		if name != a.prefix+about.ID {
			continue
		}
		one, err := a.open(about.ID, value, now)
		if err == nil && subtle.ConstantTimeCompare(one.State, sum[:]) == 1 {
			return one, nil
		}
	}
	return attempt{}, errAttempt
}

// set gives the browser the cookie of a new attempt, and takes away the oldest others where they
// become too many, with those that are over or cannot be opened.
func (a attempts) set(w http.ResponseWriter, h http.Header, id, value string, now time.Time) {
	type kept struct {
		name    string
		size    int
		started int64
	}
	var others []kept
	for name, value := range pairs(h) {
		other, found := strings.CutPrefix(name, a.prefix)
		if !found {
			continue
		}
		one, _ := a.open(other, value, now) // not to be opened: as old as can be
		others = append(others, kept{name, len(name) + len(value), one.Started})
	}
	slices.Reverse(others) // browsers send the oldest first (RFC 6265, 5.4), and seconds are coarse
	slices.SortStableFunc(others, func(x, y kept) int { return int(y.started - x.started) })
	size := len(a.prefix) + len(id) + len(value)
	for i, other := range others {
		if size += other.size; i >= maxAttempts-1 || size > maxAttemptBytes || other.started == 0 {
			a.write(w, other.name, "", -1)
		}
	}
	a.write(w, a.prefix+id, value, int(attemptLife/time.Second))
}

// clear takes away the cookie of one attempt.
func (a attempts) clear(w http.ResponseWriter, id string) { a.write(w, a.prefix+id, "", -1) }

// clearAll takes away every attempt that the request carries.
func (a attempts) clearAll(w http.ResponseWriter, h http.Header) {
	for name := range pairs(h) {
		if strings.HasPrefix(name, a.prefix) {
			a.write(w, name, "", -1)
		}
	}
}

func (a attempts) write(w http.ResponseWriter, name, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: maxAge,
		// Lax, whatever the session's: the callback is a navigation that comes from the provider.
		Secure: a.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}
