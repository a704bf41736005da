package chaos

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var (
	length = flag.Duration("for", 75*time.Second, "how long things fail")
	seed   = flag.Uint64("seed", 1, "what fails when; 0: something new each time")
	only   = flag.String("only", "", "let fail only what has this in its name")
	tree   = flag.String("tree", "", "whose gateways are tried; empty: those of this repository")
	build  = flag.String("build", "-race", "an argument for go build of the gateways")
	expect = flag.String("expect", "", "the rule that must be broken, and by more than nothing")
)

// A link of toxiproxy that is mended in the moment in which its connection ends can be left behind.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read"))
}

// TestCampaign is the short form, with the same faults each time. `make chaos` is the long one.
func TestCampaign(t *testing.T) {
	c := Campaign{Length: *length, Seed: *seed, Only: *only, Tree: *tree, Build: strings.Fields(*build)}
	if c.Seed == 0 {
		c.Seed = uint64(time.Now().UnixNano())
	}
	t.Logf("again with -seed=%d", c.Seed)
	h := c.Run(t)
	h.Figures(os.Stdout)
	judge(t, Check(h))
}

// judge demands that no rule is broken, or where one is expected to be, that it is.
func judge(t *testing.T, found []Violation) {
	t.Helper()
	counts := map[Rule]int{}
	for _, v := range found {
		if counts[v.Rule]++; counts[v.Rule] <= 10 {
			t.Logf("%s", v)
		}
	}
	t.Logf("violations: %v", counts)
	switch {
	case *expect == "" && len(found) > 0:
		t.Errorf("%d violations", len(found))
	case *expect != "" && counts[Rule(*expect)] == 0:
		t.Errorf("a broken build was not caught: no violation of %q", *expect)
	}
}
