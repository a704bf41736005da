// Package revocation measures how long a session that was ended is let in still: by three gateways,
// real processes on one Postgres and one Redis, each with its own memory.
//
// The story. Somebody signs in through the whole of OpenID Connect, every gateway comes to know the
// session, one of them signs it out, and all are asked without a pause until each refuses. The clock
// starts when the sign-out was answered. The same is done with a DELETE typed into psql, and then while
// Postgres or Redis is frozen, cut off, refused or restarted, or a gateway itself is suspended.
//
// A few rounds are part of every test run. `make bench-revocation` makes a thousand, adds the faults,
// prints the table and holds the figures against what docs/operations.md promises.
package revocation

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse-auth/gatehouse/test/stage"
)

var (
	rounds = flag.Int("rounds", 3, "rounds of signing out, and as many of deleting by hand")
	faults = flag.Int("faults", 0, "rounds of each fault, six seconds and more each")
	strict = flag.Bool("strict", false, "fail if a promise is missed, not only if something hangs")
)

const (
	// usual is what 99 of 100 sign-outs take at most where nothing fails.
	usual = 20 * time.Millisecond
	// promised is what none takes longer than, whatever fails.
	promised = 3 * time.Second
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// play is what happens on a stage, in one test.
type play struct {
	*stage.Stage
	t *testing.T
}

func TestRevocation(t *testing.T) {
	s := &play{stage.New(t, stage.Plan{Root: "../..", Users: []string{account}}), t}
	t.Run("RULE-01/signed out at one gateway", func(t *testing.T) {
		report(t, usual, repeat(*rounds, func() time.Duration {
			b := s.signIn(t)
			s.warm(t, b)
			b.signOut(t)
			return s.refused(t, b)
		}))
	})
	t.Run("RULE-01/deleted in psql", func(t *testing.T) {
		sql := s.Prompt(t)
		report(t, usual, repeat(*rounds, func() time.Duration {
			b := s.signIn(t)
			s.warm(t, b)
			sql("DELETE FROM sessions;")
			return s.refused(t, b)
		}))
	})
	if *faults == 0 {
		return
	}
	for _, f := range s.faults() {
		t.Run("RULE-04/"+f.name, func(t *testing.T) {
			report(t, promised, repeat(*faults, func() time.Duration {
				s.Well(t)
				b := s.signIn(t)
				s.warm(t, b)
				f.before()
				defer f.heal()
				b.signOut(t)
				ended := time.Now()
				f.after()
				return s.lastLetIn(t, b, ended)
			}))
		})
	}
}

func repeat(n int, round func() time.Duration) []time.Duration {
	all := make([]time.Duration, n)
	for i := range all {
		all[i] = round()
	}
	return all
}

// report prints a line of the table and judges it: the 99th percentile in normal running, the longest
// where something failed.
func report(t *testing.T, bar time.Duration, all []time.Duration) {
	t.Helper()
	if len(all) == 0 {
		return
	}
	slices.Sort(all)
	p50, p99, longest := all[(len(all)-1)/2], all[(len(all)-1)*99/100], all[len(all)-1]
	fmt.Printf("%-58s %5d rounds   p50 %9s   p99 %9s   max %9s\n", t.Name(), len(all), round(p50), round(p99), round(longest))
	judged := p99
	if bar == promised {
		judged = longest
	}
	if longest > stage.Hung || *strict && (judged > bar || longest > promised) {
		t.Errorf("%s and at most %s, want %s and at most %s", round(judged), round(longest), bar, promised)
	}
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
