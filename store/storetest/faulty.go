package storetest

import (
	"context"
	"sync"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// Op names a method of the contracts.
type Op string

// The methods that Faulty knows.
const (
	SignIn Op = "SignIn"
	Create Op = "Create"
	Find   Op = "Find"
	Touch  Op = "Touch"
	End    Op = "End"
)

// Faulty is any store with faults on command. Without a command it passes everything on. The zero
// value with its two stores set is ready; a store that the test does not use may stay nil.
type Faulty struct {
	Users    auth.Users
	Sessions auth.Sessions

	mu     sync.Mutex
	before map[Op]error
	after  map[Op]error
	gates  map[Op]chan struct{}
	calls  map[Op]int
}

// Fail lets op fail with err before it acts: the store could not be asked.
func (f *Faulty) Fail(op Op, err error) { f.set(&f.before, op, err) }

// FailAfter lets op act and then fail with err: applied, but reported failed, as when the answer to
// a commit is lost.
func (f *Faulty) FailAfter(op Op, err error) { f.set(&f.after, op, err) }

// Heal lets op work again. A call that is blocked goes on only by its own release.
func (f *Faulty) Heal(op Op) {
	f.set(&f.before, op, nil)
	f.set(&f.after, op, nil)
}

// Block holds calls of op, before they act, until release is called or their context ends.
func (f *Faulty) Block(op Op) (release func()) {
	gate := make(chan struct{})
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gates == nil {
		f.gates = map[Op]chan struct{}{}
	}
	f.gates[op] = gate
	return sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.gates[op] == gate {
			delete(f.gates, op)
		}
		close(gate)
	})
}

// Calls tells how often op was begun, faulty or not.
func (f *Faulty) Calls(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// SignIn passes on to Users.
func (f *Faulty) SignIn(ctx context.Context, p auth.Profile) (u auth.User, err error) {
	err = f.run(ctx, SignIn, func() (err error) { u, err = f.Users.SignIn(ctx, p); return err })
	return u, err
}

// Create passes on to Sessions.
func (f *Faulty) Create(ctx context.Context, s auth.Session) error {
	return f.run(ctx, Create, func() error { return f.Sessions.Create(ctx, s) })
}

// Find passes on to Sessions.
func (f *Faulty) Find(ctx context.Context, k auth.Key) (s auth.Session, err error) {
	err = f.run(ctx, Find, func() (err error) { s, err = f.Sessions.Find(ctx, k); return err })
	return s, err
}

// Touch passes on to Sessions.
func (f *Faulty) Touch(ctx context.Context, k auth.Key, ttl time.Duration) error {
	return f.run(ctx, Touch, func() error { return f.Sessions.Touch(ctx, k, ttl) })
}

// End passes on to Sessions.
func (f *Faulty) End(ctx context.Context, k auth.Key) error {
	return f.run(ctx, End, func() error { return f.Sessions.End(ctx, k) })
}

func (f *Faulty) run(ctx context.Context, op Op, act func() error) error {
	f.mu.Lock()
	if f.calls == nil {
		f.calls = map[Op]int{}
	}
	f.calls[op]++
	gate := f.gates[op]
	f.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.mu.Lock()
	before, after := f.before[op], f.after[op]
	f.mu.Unlock()
	if before != nil {
		return before
	}
	if err := act(); err != nil || after == nil {
		return err
	}
	return after
}

func (f *Faulty) set(faults *map[Op]error, op Op, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if *faults == nil {
		*faults = map[Op]error{}
	}
	(*faults)[op] = err
}
