package auth

import "sync/atomic"

// Kept is where whoever uses a session keeps what they built from it, so that it is built once and not
// for every request: the values of identity headers, say. A store that hands out one snapshot many times
// gives it a Kept, and all copies of that snapshot share it; a new snapshot, made because the user or the
// session changed, gets a new one. So nothing that is kept outlives what it was built from.
//
// It is safe for concurrent use. A nil Kept keeps nothing: then everything is built anew, and a store
// need not know of it.
type Kept struct {
	last atomic.Pointer[keepsake]
}

// keepsake is one thing with what it was made by. There is one place only: one installation has one set
// of identity headers, and after a reload the new one takes the old one's.
type keepsake struct {
	by, thing any
}

// By returns what was kept by the same maker, or nil. A maker is compared with ==, as a pointer is.
func (k *Kept) By(maker any) any {
	if k == nil {
		return nil
	}
	if one := k.last.Load(); one != nil && one.by == maker {
		return one.thing
	}
	return nil
}

// Keep keeps a thing in the place of what was kept before. The thing is shared from then on, and never
// changed again.
func (k *Kept) Keep(maker, thing any) {
	if k != nil {
		k.last.Store(&keepsake{maker, thing})
	}
}
