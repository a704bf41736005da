package web

import (
	"encoding/base32"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"time"
)

// maxID bounds a request id that a peer gives, so that it cannot fill our log.
const maxID = 64

// idText keeps the order of the bytes and is easy to read out: digits and lower-case letters.
var idText = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// newID makes a request id of 16 characters: 48 bits of time in milliseconds, so that ids sort as
// they were made, and 32 bits of chance, so that replicas do not collide. It is a name, not a secret:
// the runtime's generator (ChaCha8, seeded by the system) costs no call into it.
func newID(now time.Time) string {
	var raw [12]byte
	binary.BigEndian.PutUint64(raw[:], uint64(now.UnixMilli())<<16)
	binary.BigEndian.PutUint32(raw[6:], rand.Uint32()) //nolint:gosec // a name
	var text [16]byte
	idText.Encode(text[:], raw[:10])
	return string(text[:])
}

// requestID returns the id that a trusted peer gave, or nothing if it gave several or one that could
// spoil a log or a page (RULE-29).
func requestID(lines []string) string {
	if len(lines) != 1 || len(lines[0]) > maxID || strings.ContainsFunc(lines[0], notOfID) {
		return ""
	}
	return lines[0]
}

func notOfID(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-'
}
