package store

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// tombstone is what stands where a session was: "not from here". Its key and its meaning never
// change, for old and new releases run side by side (RULE-28). It needs no seal: whoever can write to
// Redis can make us forget, and nothing else.
const tombstone = "x"

// recordVersion is the first byte of a record. A release that changes the rest counts it up; what
// has a higher one belongs to a newer release and is left alone.
const recordVersion = 1

// Sealer encrypts and authenticates; *auth.Keyring is one.
type Sealer interface {
	Seal(purpose string, plain, associated []byte) []byte
	Open(purpose string, sealed, associated []byte) ([]byte, error)
}

// records turns sessions into what Redis keeps, and back: a version byte and a sealed JSON object.
// The seal is bound to version, installation and key, so that a record copied to another key, or
// from a staging server that shares the secret, does not open.
type records struct {
	seal    Sealer
	install string
}

// record is version 1. Times are microseconds since 1970.
type record struct {
	ID      int64    `json:"id"`
	User    int64    `json:"user"`
	Email   string   `json:"email"`
	Name    string   `json:"name,omitempty"`
	Picture string   `json:"picture,omitempty"`
	Roles   []string `json:"roles,omitempty"`
	Times   [3]int64 `json:"times"` // made, idle end, absolute end
	IP      string   `json:"ip,omitempty"`
	Agent   string   `json:"agent,omitempty"`
}

func (r records) write(s auth.Session) []byte {
	one := record{
		ID: s.ID, User: s.User.ID, Email: s.User.Email, Name: s.User.Name, Picture: s.User.Picture, Roles: s.User.Roles,
		Times: [3]int64{s.CreatedAt.UnixMicro(), s.ExpiresAt.UnixMicro(), s.EndsAt.UnixMicro()}, Agent: s.UserAgent,
	}
	if s.IP.IsValid() {
		one.IP = s.IP.String()
	}
	plain, err := json.Marshal(one)
	if err != nil {
		panic("store: a record of strings and numbers is not JSON: " + err.Error())
	}
	return append([]byte{recordVersion}, r.seal.Seal(auth.PurposeRecord, plain, r.associated(s.Key))...)
}

// read tells what stands under a key: "hit" with the session, "buried", "newer" (another release's,
// to be left alone) or "corrupt".
func (r records) read(k auth.Key, raw string) (s auth.Session, result string) {
	switch {
	case raw == tombstone:
		return auth.Session{}, "buried"
	case raw != "" && raw[0] > recordVersion && raw[0] < ' ':
		return auth.Session{}, "newer"
	case raw == "" || raw[0] != recordVersion:
		return auth.Session{}, "corrupt"
	}
	plain, err := r.seal.Open(auth.PurposeRecord, []byte(raw[1:]), r.associated(k))
	if err != nil {
		return auth.Session{}, "corrupt"
	}
	var one record
	if err := json.Unmarshal(plain, &one); err != nil {
		return auth.Session{}, "corrupt"
	}
	ip, _ := netip.ParseAddr(one.IP)
	return auth.Session{
		ID: one.ID, Key: k, IP: ip, UserAgent: one.Agent,
		User:      auth.User{ID: one.User, Email: one.Email, Name: one.Name, Picture: one.Picture, Roles: one.Roles},
		CreatedAt: time.UnixMicro(one.Times[0]).UTC(), ExpiresAt: time.UnixMicro(one.Times[1]).UTC(), EndsAt: time.UnixMicro(one.Times[2]).UTC(),
	}, "hit"
}

func (r records) associated(k auth.Key) []byte {
	return append(append([]byte{recordVersion}, r.install...), k[:]...)
}
