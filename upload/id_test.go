package upload

import (
	"testing"
	"time"
)

func TestIDsSortByTime(t *testing.T) {
	start := time.Date(2026, 11, 25, 3, 4, 5, 999_999_000, time.UTC)
	last := ""
	for i := range 5000 {
		id := newID(start.Add(time.Duration(i) * time.Microsecond))
		if !IsID(id) || id[14] != '7' || id <= last {
			t.Fatalf("%q comes after %q", id, last)
		}
		last = id
	}
	for _, name := range []string{"", "page.js", last + "0", last[1:], "0199000-00000-7000-8000-0000000000001", "0199000G-0000-7000-8000-000000000001"} {
		if IsID(name) {
			t.Errorf("%q is taken for an id", name)
		}
	}
}
