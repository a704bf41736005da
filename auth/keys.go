package auth

import (
	"bufio"
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"golang.org/x/crypto/chacha20poly1305"
)

// minSecret is the least number of bytes that a key of the key file decodes to.
const minSecret = 32

// The purposes for which a key is derived. Two uses never share one (RFC 5869, section 3.2).
const (
	PurposeToken   = "gatehouse token tag v1"
	PurposeKid     = "gatehouse kid v1"
	PurposeAttempt = "gatehouse login attempt v1"
	PurposeState   = "gatehouse oauth state v1"
	PurposeRecord  = "gatehouse redis record v1"
)

// ErrSealed says that something sealed could not be opened: made with another key, for another
// purpose or context, or changed on the way.
var ErrSealed = errors.New("cannot open: sealed with another key, for another use, or changed")

// Keyring holds the secrets of this installation. The first key signs and seals; every key
// verifies and opens, so that keys can be replaced without signing anybody out. It is safe for
// concurrent use, and Replace takes effect for the next call.
type Keyring struct {
	keys atomic.Pointer[[]secret]
}

// secret is one line of the key file with what is derived from it.
type secret struct {
	kid  byte
	tag  tagger                 // of tokens
	seal map[string]cipher.AEAD // by purpose
}

// NewKeyring derives a ring from secrets of at least 32 bytes each, the signing one first.
func NewKeyring(secrets [][]byte) (*Keyring, error) {
	k := new(Keyring)
	if err := k.Replace(secrets); err != nil {
		return nil, err
	}
	return k, nil
}

// Replace puts other secrets in the place of the ring's. After an error the ring is as it was.
func (k *Keyring) Replace(secrets [][]byte) error {
	if len(secrets) == 0 {
		return errors.New("no key: a key ring needs at least one")
	}
	keys := make([]secret, 0, len(secrets))
	for i, raw := range secrets {
		if len(raw) < minSecret {
			return fmt.Errorf("key %d has %d bytes, at least %d are needed", i+1, len(raw), minSecret)
		}
		s, err := derive(raw)
		if err != nil {
			return fmt.Errorf("key %d: %w", i+1, err)
		}
		keys = append(keys, s)
	}
	k.keys.Store(&keys)
	return nil
}

func derive(raw []byte) (secret, error) {
	kid, err := hkdf.Key(sha256.New, raw, nil, PurposeKid, 1)
	if err != nil {
		return secret{}, err
	}
	tag, err := hkdf.Key(sha256.New, raw, nil, PurposeToken, sha256.Size)
	if err != nil {
		return secret{}, err
	}
	s := secret{kid: kid[0], tag: newTagger(tag), seal: map[string]cipher.AEAD{}}
	for _, purpose := range []string{PurposeAttempt, PurposeState, PurposeRecord} {
		sub, err := hkdf.Key(sha256.New, raw, nil, purpose, chacha20poly1305.KeySize)
		if err != nil {
			return secret{}, err
		}
		if s.seal[purpose], err = chacha20poly1305.NewX(sub); err != nil {
			return secret{}, err
		}
	}
	return s, nil
}

// Seal encrypts and authenticates plain for one purpose. The associated data is bound to the
// result without being part of it; Open needs the same.
func (k *Keyring) Seal(purpose string, plain, associated []byte) []byte {
	aead := (*k.keys.Load())[0].seal[purpose]
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plain)+aead.Overhead())
	rand.Read(nonce) // never fails since Go 1.24: it ends the process instead
	return aead.Seal(nonce, nonce, plain, associated)
}

// Open returns what Seal was given, or ErrSealed. Every key of the ring is tried.
func (k *Keyring) Open(purpose string, sealed, associated []byte) ([]byte, error) {
	for _, s := range *k.keys.Load() {
		aead := s.seal[purpose]
		if len(sealed) < aead.NonceSize() {
			break
		}
		nonce, box := sealed[:aead.NonceSize()], sealed[aead.NonceSize():]
		if plain, err := aead.Open(nil, nonce, box, associated); err == nil {
			return plain, nil
		}
	}
	return nil, ErrSealed
}

// sampleSecrets are texts that stand in examples; whoever copies one has no secret at all.
var sampleSecrets = []string{"change", "example", "secret", "sample", "insecure"}

// ParseKeys reads a key file: one base64 key (standard or URL alphabet) of at least 32 bytes a
// line; blank lines and lines that begin with # are skipped. Errors name the line, never the key.
func ParseKeys(file []byte) ([][]byte, error) {
	var keys [][]byte
	var faults []error
	lines := bufio.NewScanner(bytes.NewReader(file))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := parseKey(line)
		if err != nil {
			faults = append(faults, fmt.Errorf("line %d: %w", n, err))
			continue
		}
		keys = append(keys, key)
	}
	if lines.Err() != nil {
		faults = append(faults, errors.New("a line is too long to be a key"))
	}
	if len(keys) == 0 && len(faults) == 0 {
		faults = append(faults, errors.New("holds no key"))
	}
	return keys, errors.Join(faults...)
}

func parseKey(line string) ([]byte, error) {
	plain := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(line, "="))
	key, err := base64.RawStdEncoding.DecodeString(plain)
	if err != nil {
		return nil, errors.New("not base64")
	}
	if len(key) < minSecret {
		return nil, fmt.Errorf("%d bytes, at least %d are needed (head -c 32 /dev/urandom | base64)", len(key), minSecret)
	}
	if weak(key) {
		return nil, errors.New("a sample value, not a secret (head -c 32 /dev/urandom | base64)")
	}
	return key, nil
}

// weak recognises keys that nobody made at random: text from an example, or few distinct bytes.
func weak(key []byte) bool {
	var seen [256]bool
	distinct := 0
	for _, b := range key {
		if !seen[b] {
			seen[b] = true
			distinct++
		}
	}
	if distinct < 12 {
		return true
	}
	lower := strings.ToLower(string(key))
	for _, word := range sampleSecrets {
		if strings.Contains(lower, word) {
			return true
		}
	}
	return false
}
