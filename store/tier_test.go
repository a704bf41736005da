package store

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
)

func always() bool { return true }

// keyIn makes the n-th key of a shard.
func keyIn(shard byte, n int) (k auth.Key) {
	k[0] = shard
	binary.BigEndian.PutUint64(k[8:], uint64(n))
	return k
}

func TestTier(t *testing.T) {
	t.Parallel()
	now := time.Now()
	t.Run("memory is bounded", func(t *testing.T) {
		var x tier
		for n := range 10 * tierHalf {
			x.put(testSession(keyIn(3, n)), 1, always)
		}
		s := &x.shards[3]
		if held := len(s.young) + len(s.old); held > 2*tierHalf {
			t.Errorf("%d sessions in a shard, want at most %d", held, 2*tierHalf)
		}
		if x.get(keyIn(3, 10*tierHalf-1), 1, now) == nil {
			t.Error("the last one is not there")
		}
	})
	t.Run("what is used stays", func(t *testing.T) {
		var x tier
		used := keyIn(3, 0)
		x.put(testSession(used), 1, always)
		for n := 1; n < 10*tierHalf; n++ {
			x.put(testSession(keyIn(3, n)), 1, always)
			if x.get(used, 1, now) == nil {
				t.Fatalf("gone after %d others", n)
			}
		}
	})
	t.Run("what is forgotten does not come back from the old generation", func(t *testing.T) {
		var x tier
		k := keyIn(3, 0)
		x.put(testSession(k), 1, always)
		s := &x.shards[3]
		s.old, s.young = s.young, nil
		one := s.old[k]
		x.forget(k)
		s.renew(k, one) // a reader that had found it just before
		if x.get(k, 1, now) != nil {
			t.Error("it is back")
		}
	})
	t.Run("RULE-05/over is no answer", func(t *testing.T) {
		var x tier
		over := testSession(keyIn(3, 0))
		over.ExpiresAt = now.Add(-time.Second)
		x.put(over, 1, always)
		if x.get(over.Key, 1, now) != nil {
			t.Error("a session that is over was found")
		}
	})
	t.Run("RULE-04/another epoch", func(t *testing.T) {
		var x tier
		x.put(testSession(keyIn(3, 0)), 1, always)
		if x.get(keyIn(3, 0), 2, now) != nil {
			t.Error("found in an epoch in which it was not loaded")
		}
	})
	t.Run("RULE-05/a slide", func(t *testing.T) {
		var x tier
		first := x.put(testSession(keyIn(3, 0)), 1, always)
		end := first.ExpiresAt.Add(time.Minute)
		for name, c := range map[string]struct {
			key   auth.Key
			epoch uint64
			end   time.Time
			want  bool
		}{
			"that met no row":     {first.Key, 1, time.Time{}, false},
			"of what is not kept": {keyIn(3, 1), 1, end, false},
			"in another epoch":    {first.Key, 2, end, false},
			"to an earlier end":   {first.Key, 1, first.CreatedAt, true},
		} {
			if got := x.slide(c.key, c.epoch, c.end); got != c.want || !x.get(first.Key, 1, now).ExpiresAt.Equal(first.ExpiresAt) {
				t.Errorf("%s: noted %v, want %v; ends %v", name, got, c.want, x.get(first.Key, 1, now).ExpiresAt)
			}
		}
		if !x.slide(first.Key, 1, end) || !x.get(first.Key, 1, now).ExpiresAt.Equal(end) || x.get(first.Key, 1, now).Kept == first.Kept {
			t.Error("the slide is not seen")
		}
	})
	t.Run("a late loader does not undo a slide", func(t *testing.T) {
		var x tier
		slid := testSession(keyIn(3, 0))
		early := slid
		early.ExpiresAt = slid.ExpiresAt.Add(-time.Minute)
		first := x.put(slid, 1, always)
		if got := x.put(early, 1, always); !got.ExpiresAt.Equal(slid.ExpiresAt) || got.Kept != first.Kept {
			t.Errorf("kept until %v, want %v, and what was built from it", got.ExpiresAt, slid.ExpiresAt)
		}
	})
}

// TestTierMemory tells what 100,000 sessions weigh here, with names of common length: with -v.
func TestTierMemory(t *testing.T) {
	const n = 100_000
	var x tier
	before := heap()
	for i := range n {
		k := keyIn(byte(i), i)
		s := testSession(k)
		s.User.Email, s.User.Name = fmt.Sprintf("somebody.%d@example.com", i), fmt.Sprintf("Some Body %d", i)
		s.User.Picture = "https://lh3.example.com/a/" + strings.Repeat("p", 60)
		s.User.Roles, s.UserAgent = []string{strings.Clone("staff")}, strings.Repeat("u", 110)
		x.put(s, 1, always)
	}
	used := int64(heap()) - int64(before)
	runtime.KeepAlive(&x)
	t.Logf("100,000 sessions take %.1f MiB, %d bytes each", float64(used)/(1<<20), used/n)
	if used < 20<<20 || used > 200<<20 {
		t.Errorf("100,000 sessions take %d bytes", used)
	}
}

// heap tells what is alive. What the tests before left takes several collections to go: pools keep
// theirs for one more, and finalizers let go of what they hold only after they ran.
func heap() uint64 {
	var m runtime.MemStats
	for before := uint64(math.MaxUint64); ; before = m.HeapAlloc {
		runtime.GC()
		runtime.ReadMemStats(&m)
		if m.HeapAlloc+1<<20 > before {
			return m.HeapAlloc
		}
	}
}
