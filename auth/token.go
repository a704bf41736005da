package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
)

const (
	randomSize = 24 // 192 random bits
	tagSize    = 8
	tokenSize  = 1 + randomSize + tagSize
	tokenChars = tokenSize / 3 * 4 // 33 bytes: no spare bits, so one token has one spelling
)

// Token is the secret in the session cookie: key id (1 byte) ‖ 24 random bytes ‖ an 8-byte HMAC tag
// over both, in base64url without padding. The tag is no second secret: it lets a forged cookie be
// refused without asking a store.
type Token string

// String hides the token, so that no log line or error can carry it.
func (Token) String() string { return "[token]" }

// Format hides the token from every verb of fmt, also those that print a string as it is.
func (t Token) Format(out fmt.State, _ rune) { _, _ = io.WriteString(out, t.String()) }

// MarshalText hides the token from JSON, and so from structured logs.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// Key is the SHA-256 of a token's bytes: all that a store ever sees. Who reads the store cannot
// make a cookie of it.
type Key [sha256.Size]byte

// String is the key in lower-case hex.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// Key returns the key under which a store keeps the token's session.
func (t Token) Key() Key { return sha256.Sum256([]byte(t)) }

// Standing is what a keyring can tell of a token without asking a store.
type Standing int

const (
	// Forged is no token, or one whose tag is wrong under a key that we have.
	Forged Standing = iota
	// Foreign is a well-formed token under a key that we do not have: another replica's, perhaps.
	Foreign
	// Ours is a token that this installation made.
	Ours
)

// Mint makes a new random token under the signing key.
func (k *Keyring) Mint() Token {
	signer := (*k.keys.Load())[0]
	raw := make([]byte, 1+randomSize, tokenSize)
	raw[0] = signer.kid
	rand.Read(raw[1:])
	raw = append(raw, signer.sign(raw)...)
	return Token(base64.RawURLEncoding.EncodeToString(raw))
}

// Judge tells the standing of a cookie's value. It does no I/O.
func (k *Keyring) Judge(value string) Standing {
	if len(value) != tokenChars {
		return Forged
	}
	var buf [tokenSize]byte
	if n, err := base64.RawURLEncoding.Decode(buf[:], []byte(value)); err != nil || n != tokenSize {
		return Forged
	}
	body, tag := buf[:1+randomSize], buf[1+randomSize:]
	candidates := k.tagsFor(buf[0], body)
	if len(candidates) == 0 {
		return Foreign
	}
	for _, want := range candidates {
		if hmac.Equal(tag, want) {
			return Ours
		}
	}
	return Forged
}
