package main

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Fault is one thing that is wrong with the configuration.
type Fault struct {
	Key    string `json:"key,omitempty"`    // session.ttl, routes[2].allow.roles
	Value  string `json:"value,omitempty"`  // as given; never a secret
	Source string `json:"source,omitempty"` // config.yaml:12, GATEHOUSE_SESSION_TTL, --set
	Text   string `json:"problem"`
	Fix    string `json:"fix,omitempty"`

	whole bool // the file could not be read at all, so that nothing can be said of its keys
}

// Error says all of it on one line, with control characters escaped: values come from a file, and
// the line goes to a terminal.
func (f Fault) Error() string {
	var b strings.Builder
	if f.Source != "" {
		fmt.Fprintf(&b, "%s: ", f.Source)
	}
	if f.Key != "" {
		b.WriteString(f.Key)
		if f.Value != "" {
			fmt.Fprintf(&b, " %q", f.Value)
		}
		b.WriteString(": ")
	}
	b.WriteString(f.Text)
	if f.Fix != "" {
		fmt.Fprintf(&b, " (%s)", f.Fix)
	}
	return printable(b.String())
}

// Faults is everything that is wrong with the configuration, so that it can be mended in one go.
type Faults []Fault

func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// orNil is fs as an error; a nil Faults in an error would not be nil.
func (fs Faults) orNil() error {
	if len(fs) == 0 {
		return nil
	}
	return fs
}

// shown is a value as a message may show it. An address with credentials is left out whole:
// url.Parse and most drivers would print the password with it (RULE-29).
func shown(value string) string {
	if strings.Contains(value, "@") && strings.ContainsAny(value, ":=") {
		return "(not shown)"
	}
	if scheme, rest, ok := strings.Cut(value, "://"); ok {
		if at := strings.IndexAny(rest, "?#"); at >= 0 {
			return scheme + "://" + rest[:at] + "…" // a query may hold a token
		}
	}
	if len(value) > 200 {
		return value[:200] + "…"
	}
	return value
}

// shownPath is a file name as a message may show it. Whoever writes the secret itself where its
// file should be named must not find it in a log, so a text that neither looks like a path nor names
// a file is left out.
func shownPath(path string) string {
	if filepath.IsAbs(path) || strings.HasPrefix(path, ".") || filepath.Ext(path) != "" || !missing(path) {
		return shown(path)
	}
	return "(not shown)"
}

// closest is the known word that a misspelt one was meant to be, or "".
func closest(word string, known []string) string {
	best, least := "", len(word)/3+1
	for _, k := range known {
		if d := distance(word, k); d <= least && (best == "" || d < least) {
			best, least = k, d
		}
	}
	return best
}

// distance is Levenshtein's: how many single-byte edits lead from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
