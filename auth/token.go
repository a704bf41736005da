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
	bodySize   = 1 + randomSize
	tagSize    = 8
	tokenSize  = bodySize + tagSize
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
func (t Token) Key() Key {
	if len(t) != tokenChars {
		return sha256.Sum256([]byte(t)) // no token: it has no session either
	}
	var text [tokenChars]byte // a copy that needs no allocation
	copy(text[:], t)
	return sha256.Sum256(text[:])
}

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
	signer := &(*k.keys.Load())[0]
	var raw [tokenSize]byte
	raw[0] = signer.kid
	rand.Read(raw[1:bodySize])
	tag := signer.tag.of([bodySize]byte(raw[:bodySize]))
	copy(raw[bodySize:], tag[:])
	return Token(base64.RawURLEncoding.EncodeToString(raw[:]))
}

// Judge tells the standing of a cookie's value. It does no I/O and allocates nothing. The key id is one
// byte, so that two keys may share it.
func (k *Keyring) Judge(value string) Standing {
	if len(value) != tokenChars {
		return Forged
	}
	var text [tokenChars]byte
	copy(text[:], value)
	var raw [tokenSize]byte
	if n, err := base64.RawURLEncoding.Decode(raw[:], text[:]); err != nil || n != tokenSize {
		return Forged
	}
	body, standing := [bodySize]byte(raw[:bodySize]), Foreign
	keys := *k.keys.Load()
	for i := range keys {
		if keys[i].kid != raw[0] {
			continue
		}
		if want := keys[i].tag.of(body); hmac.Equal(raw[bodySize:], want[:]) {
			return Ours
		}
		standing = Forged
	}
	return standing
}

// tagger is HMAC-SHA-256 (RFC 2104) for messages of a token's size, cut to the size of a tag. crypto/hmac
// allocates four times for each use, which is as much as all the rest of a session check. Its two halves
// are plain hashes of a block, which comes of the key, and what follows it.
type tagger struct {
	inner, outer [sha256.BlockSize]byte // the key with ipad and with opad
}

func newTagger(key []byte) (t tagger) {
	for i := range t.inner {
		t.inner[i], t.outer[i] = 0x36, 0x5c
	}
	for i, b := range key { // derived, 32 bytes
		t.inner[i] ^= b
		t.outer[i] ^= b
	}
	return t
}

func (t *tagger) of(body [bodySize]byte) [tagSize]byte {
	var inner [sha256.BlockSize + bodySize]byte
	copy(inner[:], t.inner[:])
	copy(inner[sha256.BlockSize:], body[:])
	half := sha256.Sum256(inner[:])
	var outer [sha256.BlockSize + sha256.Size]byte
	copy(outer[:], t.outer[:])
	copy(outer[sha256.BlockSize:], half[:])
	whole := sha256.Sum256(outer[:])
	return [tagSize]byte(whole[:tagSize])
}
