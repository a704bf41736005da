package upload

import "testing"

// UP-06: what is told at the start is where a file of unknown length ends.
func TestLargest(t *testing.T) {
	const mib = 1 << 20
	for name, test := range map[string]struct {
		limits Limits
		memory int64
		want   int64
	}{
		"UP-06/defaults: a quarter of the memory":  {Limits{}, 256 * mib, 63 * mib * 10_000},
		"UP-06/parts larger than a quarter":        {Limits{Parts: 20}, 17 * mib, 8 * mib * 20},
		"UP-06/parts are whole pages":              {Limits{Parts: 3, Part: mib + 1}, 8 * mib, 2 * mib * 3},
		"UP-06/the bound of a file is not asked":   {Limits{Parts: 3, Part: mib, MaxFileSize: 1}, 8 * mib, 3 * mib},
		"UP-06/no more than an object of S3 holds": {Limits{}, 1 << 40, unbounded},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.limits.Largest(test.memory); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}
