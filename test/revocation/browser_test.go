package revocation

import (
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/test/stage"
)

const account = "alice@corp.test"

// browser is somebody who is signed in.
type browser struct {
	s      *play
	cookie string
}

// signIn goes the whole way, by the first gateway.
func (s *play) signIn(t *testing.T) browser {
	t.Helper()
	cookie, err := s.MustSignIn(t.Context(), s.Gates[0], account)
	if err != nil {
		t.Fatal(err)
	}
	return browser{s, cookie}
}

// signOut signs out at the first gateway, and tries again until it is told that it is done: while
// Postgres restarts, it is not.
func (b browser) signOut(t *testing.T) {
	t.Helper()
	stage.Wait(t, "signed out", func() bool {
		status, err := b.s.SignOut(t.Context(), b.s.Gates[0], b.cookie)
		return err == nil && status < http.StatusBadRequest
	})
}

// letIn asks one gateway.
func (b browser) letIn(t *testing.T, g *stage.Gate) bool {
	status, _ := stage.Get(t.Context(), g.Client, b.s.Public+"/_gate/me", b.cookie)
	return status == http.StatusOK
}

// warm asks each gateway twice, so that each keeps the session itself.
func (s *play) warm(t *testing.T, b browser) {
	t.Helper()
	s.each(func(_ int, g *stage.Gate) {
		for range 2 {
			if !b.letIn(t, g) {
				t.Errorf("a live session is refused at %s", g.Admin)
			}
		}
	})
}

// refused asks every gateway until it refuses, and returns when the last one did, counted from now.
func (s *play) refused(t *testing.T, b browser) time.Duration {
	t.Helper()
	ended, took := time.Now(), make([]time.Duration, len(s.Gates))
	s.each(func(i int, g *stage.Gate) {
		for b.letIn(t, g) && time.Since(ended) < stage.Hung {
		}
		took[i] = time.Since(ended)
	})
	return slices.Max(took)
}

// watched is for how long a session must stay out, once it is ended while something fails.
const watched = 5 * time.Second

// lastLetIn goes on asking every gateway, and returns when the last answer came that let in. Refusals
// that take their time, because a store hangs, are none.
func (s *play) lastLetIn(t *testing.T, b browser, ended time.Time) time.Duration {
	t.Helper()
	last := make([]time.Duration, len(s.Gates))
	s.each(func(i int, g *stage.Gate) {
		for time.Since(ended) < watched {
			if b.letIn(t, g) {
				last[i] = time.Since(ended)
			}
			time.Sleep(time.Millisecond)
		}
	})
	return slices.Max(last)
}

// each runs f for every gateway at once.
func (s *play) each(f func(i int, g *stage.Gate)) {
	var all sync.WaitGroup
	for i, g := range s.Gates {
		all.Go(func() { f(i, g) })
	}
	all.Wait()
}
