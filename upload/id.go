package upload

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// newID makes a UUID of version 7 (RFC 9562, section 5.7): milliseconds first and then their fractions
// (section 6.2, method 3), so that the files that somebody sends one after the other sort so, and then
// chance. It names a file and opens nothing.
func newID(now time.Time) string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	fraction := now.UnixNano() % int64(time.Millisecond) << 12 / int64(time.Millisecond)
	binary.BigEndian.PutUint64(id[:], uint64(now.UnixMilli())<<16|0x7000|uint64(fraction))
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// IsID reports whether a text has the form of a file's id. Clients send any text as one, and a database
// may take neither NUL nor broken UTF-8.
func IsID(text string) bool {
	if len(text) != 36 || strings.Trim(text, "0123456789abcdef-") != "" {
		return false
	}
	for i, c := range text {
		if (c == '-') != (i == 8 || i == 13 || i == 18 || i == 23) {
			return false
		}
	}
	return true
}
