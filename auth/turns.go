package auth

import "errors"

// Bounds on code exchanges with the provider (RULE-30). Whoever may start a login may also come back
// with any code, and each costs the provider a request and us a connection. While the addresses of the
// provider are not known, each login that starts waits for them, and takes its turn among these.
const (
	exchangesAtOnce    = 64
	exchangesPerClient = 8
)

// errBusy says that too much of the same is under way.
var errBusy = errors.New("too many sign-ins at once")

// ErrTooMany says that a session was not looked up, because too many others were at that moment. Like
// every error but ErrNoSession it is neither yes nor no.
var ErrTooMany = errors.New("too many look-ups at once")
