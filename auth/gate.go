package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

const (
	// touchAtOnce bounds the slides under way. They wait a moment for one another and become one
	// statement, so that with few at once a million sessions in use would slide too rarely.
	touchAtOnce = 1024
	// touchLimit is how long each may take.
	touchLimit = 2 * time.Second
	// foreignAtOnce bounds the look-ups for tokens under keys that we do not have. They cannot be
	// told from forged ones, so an attacker can ask for any number of them.
	foreignAtOnce = 4
)

// Gate tells who is asking.
type Gate struct {
	keys     *Keyring
	cookies  Cookies
	sessions Sessions
	life     Lifetime
	foreign  chan struct{}
	touches  chan struct{} // taken by each write that is under way, and all by Close
}

// NewGate makes a gate. Close it once to wait for what it still writes.
func NewGate(keys *Keyring, cookies Cookies, sessions Sessions, life Lifetime) *Gate {
	return &Gate{
		keys: keys, cookies: cookies, sessions: sessions, life: life,
		foreign: make(chan struct{}, foreignAtOnce),
		touches: make(chan struct{}, touchAtOnce),
	}
}

// Close waits until no write is under way. None begins from then on: a tunnel may note a use of its session
// when its handler has returned already.
func (g *Gate) Close() {
	for range cap(g.touches) {
		g.touches <- struct{}{}
	}
}

// Who returns the session of a request.
//
// ErrNoSession: the request is certainly nobody's; as ErrDeadCookie if it carries cookies of our name
// that will never open anything. ErrTwoUsers: it carries live sessions of different users. Any other
// error: could not find out, which is neither.
func (g *Gate) Who(ctx context.Context, h http.Header) (Session, error) {
	var found Session
	var unsure error
	dead, foreign := ErrNoSession, false
	var most [maxTokens + 1]string
	values := g.cookies.tokens(h, most[:0])
	for _, value := range values[:min(len(values), maxTokens)] {
		s, err := g.session(ctx, value)
		switch {
		case errors.Is(err, ErrDeadCookie):
			dead = err
		case errors.Is(err, ErrNoSession):
			foreign = true // clearing the dead one beside it would clear this one too
		case err != nil:
			unsure = err
		case found.ID != 0 && found.User.ID != s.User.ID:
			return Session{}, ErrTwoUsers
		case found.ID == 0:
			found = s
		}
	}
	// A cookie that could not be looked up may be another user's: with it open, a session that was
	// found is no answer yet.
	if unsure != nil {
		return Session{}, unsure
	}
	if found.ID == 0 && foreign {
		return Session{}, ErrNoSession
	}
	if found.ID == 0 {
		return Session{}, dead
	}
	// So is one beside cookies that were not looked at: a neighbour who plants many of his own with a
	// long path, which browsers send first, would push the user's out of sight (RULE-07).
	if len(values) > maxTokens {
		return Session{}, ErrTwoUsers
	}
	g.Used(ctx, found)
	return found, nil
}

// session looks up one cookie value.
func (g *Gate) session(ctx context.Context, value string) (Session, error) {
	standing := g.keys.Judge(value)
	if standing == Forged {
		return Session{}, ErrDeadCookie
	}
	if standing == Foreign {
		select {
		case g.foreign <- struct{}{}:
			defer func() { <-g.foreign }()
		default:
			return Session{}, fmt.Errorf("tokens under unknown keys: %w", ErrTooMany)
		}
	}
	s, err := g.sessions.Find(ctx, Token(value).Key())
	if errors.Is(err, ErrNoSession) && standing == Ours {
		return Session{}, ErrDeadCookie
	}
	if err != nil {
		return Session{}, fmt.Errorf("find session: %w", err)
	}
	return s, nil
}

// endAll ends every session that a request carries a token of. The first failure is returned, and
// means that some may be alive still.
//
// A token under an unknown key is looked up first: each End is a write to every store, and a key that
// every replica remembers for an hour, which nobody may cause with tokens that he made up (RULE-30).
func (g *Gate) endAll(ctx context.Context, h http.Header) error {
	for _, value := range g.cookies.tokens(h, make([]string, 0, maxEnded)) {
		standing := g.keys.Judge(value)
		if standing == Forged {
			continue
		}
		if standing == Foreign {
			if _, err := g.session(ctx, value); errors.Is(err, ErrNoSession) {
				continue
			} else if err != nil {
				return err
			}
		}
		if err := g.sessions.End(ctx, Token(value).Key()); err != nil {
			return fmt.Errorf("end session: %w", err)
		}
	}
	return nil
}

// Used slides a session's idle end if that is due. It does not wait for the write and does not fail
// with it: a session is no less live because its use could not be noted, and the next use tries
// again. Bytes that move on a long stream are use too, so streams call it as they go.
func (g *Gate) Used(ctx context.Context, s Session) {
	if g.life.due(&s, time.Now()) {
		g.touch(ctx, s.Key)
	}
}

// touch is apart from Used so that a session which is not due is not copied to the heap.
func (g *Gate) touch(ctx context.Context, k Key) {
	select {
	case g.touches <- struct{}{}:
	default:
		return
	}
	go func() {
		defer func() { <-g.touches }()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), touchLimit)
		defer cancel()
		_ = g.sessions.Touch(ctx, k, g.life.TTL) // counted by the store's metrics
	}()
}

// due reports whether enough of the idle span has passed to be worth a write: a twelfth.
func (l Lifetime) due(s *Session, now time.Time) bool {
	return s.ExpiresAt.Before(s.EndsAt) && s.ExpiresAt.Sub(now) < l.TTL-l.TTL/12
}
