package main_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// cases are the names of what must not go wrong. Each was distilled from public reports about
// gateways like this one; a test carries it in its name, or docs/security.md says why Gatehouse
// decides otherwise. The letters:
//
//	RD return-to targets   FA forward auth          ID identity headers   SK skipping sign-in, paths
//	CK cookies             LG signing in            US who is the user    ST stores
//	LO signing out         PX proxying              SD stopping           CF configuration
//	UP uploads
const cases = `
RD-01 RD-02 RD-04
FA-01 FA-02 FA-04 FA-05 FA-06
ID-01 ID-02 ID-03
SK-01 SK-02 SK-03 SK-05 SK-06
CK-01 CK-03 CK-04
LG-01 LG-02 LG-04 LG-05 LG-06 LG-08
US-01 US-02 US-03 US-05
ST-01 ST-02 ST-03 ST-05 ST-07 ST-08
LO-01 LO-02
PX-01 PX-02 PX-03 PX-04 PX-06 PX-07 PX-08 PX-09 PX-10 PX-12 PX-13 PX-14
SD-01
CF-01 CF-03 CF-04
UP-01 UP-02 UP-03 UP-04 UP-05 UP-06 UP-07 UP-09 UP-11 UP-12
`

// rules are the lessons of an attack on the design.
const rules = `
RULE-01 RULE-02 RULE-03 RULE-04 RULE-05 RULE-06
RULE-07 RULE-08 RULE-09 RULE-10 RULE-11 RULE-12
RULE-13 RULE-14 RULE-15 RULE-16 RULE-17 RULE-18
RULE-19 RULE-20 RULE-21
RULE-22 RULE-23 RULE-24 RULE-25 RULE-26
RULE-27 RULE-28 RULE-29 RULE-30
`

// id matches a case or a rule that a test is named after.
var id = regexp.MustCompile(`\b(RD|FA|ID|SK|CK|LG|US|ST|LO|PX|SD|CF|UP|RULE)-[0-9]{2}`)

// TestEveryCaseHasATest: a case that no test is named after is not known to hold.
func TestEveryCaseHasATest(t *testing.T) {
	where := map[string]string{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		file := filepath.ToSlash(strings.TrimPrefix(name, root+string(filepath.Separator)))
		if d.IsDir() {
			if skipped(file) && filepath.Base(file) != "testdata" {
				return fs.SkipDir
			}
			return nil
		}
		if !proves(file) {
			return nil
		}
		text, err := os.ReadFile(name)
		for _, found := range id.FindAllString(string(text), -1) {
			where[found] = file
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range strings.Fields(cases + rules) {
		if where[want] == "" {
			t.Errorf("%s: no test is named after it, and docs/security.md does not explain it", want)
		}
	}
}

// proves reports whether a file holds tests, or the reasons for deciding otherwise. This file only
// lists the names.
func proves(file string) bool {
	switch {
	case file == "cmd/gatehouse/cases_test.go":
		return false
	case file == "docs/security.md", strings.HasPrefix(file, "store/storetest/"):
		return true
	}
	return strings.HasSuffix(file, "_test.go") || strings.HasSuffix(file, ".test.mjs") ||
		(strings.Contains(file, "testdata/script/") && strings.HasSuffix(file, ".txt"))
}
