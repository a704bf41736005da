package upload

import "testing"

// RULE-23: what an upload of unknown length reserves grows with what it may become.
func TestUnknown(t *testing.T) {
	const mib = 1 << 20
	for name, test := range map[string]struct {
		limits Limits
		want   int64
	}{
		"RULE-23/a bound that the least parts hold":    {Limits{MaxFileSize: 5 << 30}, 8 * mib},
		"RULE-23/a bound that takes larger parts":      {Limits{MaxFileSize: 200 << 30}, 21 * mib},
		"RULE-23/a bound of the request":               {Limits{MaxRequestSize: 1 << 30}, 8 * mib},
		"RULE-23/no bound: one user's share, but page": {Limits{}, 63 * mib},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.limits.Unknown(256 * mib); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

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
