package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
)

// TestMain lets this test binary also be the program "gatehouse", which the scripts run.
func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"gatehouse": main})
}

// leakChecked are tests after which no goroutine may be left. It does what goleak.VerifyTestMain does,
// which like testscript.Main would end the process itself.
type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, "left behind:", err)
		return 1
	}
	return code
}

// TestScripts runs what an operator types (testdata/script), each script in a directory of its own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", RequireExplicitExec: true, RequireUniqueNames: true})
}
