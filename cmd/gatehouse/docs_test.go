package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// repository is the work tree, seen from this package's folder, where go test runs.
const repository = "../.."

// claims are what a page may say that can be held against the repository: each finds what is claimed
// as its only group.
var claims = []struct {
	what  string
	found *regexp.Regexp
	holds func(t *testing.T, claimed string) bool
}{
	{"test", regexp.MustCompile(`\b((?:Test|Fuzz)[A-Z]\w*)`), isTest},
	{"metric", regexp.MustCompile("`(gatehouse_[a-z]+_[a-z_]+)"), isMetric},
	{"key", regexp.MustCompile("`((?:server|admin|limits|secret|cookie|login|session|store|upload|proxy|log)\\.[a-z_.]+)`"), isKey},
	{"target of make", regexp.MustCompile("`make ([a-z-]+)"), isTarget},
	{"file", regexp.MustCompile("`((?:auth|cmd|docs|proxy|store|test|upload|web)/[^`\\s]+)`"), isFile},
	{"command", regexp.MustCompile("`gatehouse ([a-z-][^`]*)`"), isCommand},
}

var (
	// shell finds the blocks that people copy into a terminal, and typed what they would run of ours.
	shell = regexp.MustCompile("(?s)```sh\n(.*?)```")
	typed = regexp.MustCompile(`(?m)^\s*(?:gatehouse|go run \./cmd/gatehouse) (.+)$`)
)

// TestDocs: a page that names what is not there sends people into the void, and nobody notices.
func TestDocs(t *testing.T) {
	pages := below(t, "docs", ".md")
	pages = append(pages, filepath.Join(repository, "README.md"))
	for _, page := range pages {
		t.Run(filepath.Base(page), func(t *testing.T) {
			text := contents(t, page)
			for _, claim := range claims {
				for _, found := range claim.found.FindAllStringSubmatch(text, -1) {
					if !claim.holds(t, found[1]) {
						t.Errorf("%s: there is no %s %s", page, claim.what, found[1])
					}
				}
			}
			for _, block := range shell.FindAllStringSubmatch(text, -1) {
				for _, line := range typed.FindAllStringSubmatch(block[1], -1) {
					if !isCommand(t, line[1]) {
						t.Errorf("%s: there is no command %s", page, line[1])
					}
				}
			}
			wantLinks(t, page, text)
		})
	}
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// wantLinks follows every link that stays within the repository.
func wantLinks(t *testing.T, page, text string) {
	t.Helper()
	for _, found := range link.FindAllStringSubmatch(text, -1) {
		if strings.Contains(found[1], "://") {
			continue
		}
		name, anchor, _ := strings.Cut(found[1], "#")
		target := filepath.Join(filepath.Dir(page), name)
		if name == "" {
			target = page
		}
		if _, err := os.Stat(target); err != nil {
			t.Errorf("%s: the link %s leads nowhere", page, found[1])
		} else if anchor != "" && !slices.Contains(anchors(contents(t, target)), anchor) {
			t.Errorf("%s: the link %s leads to no heading", page, found[1])
		}
	}
}

var (
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	dropped = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are the names by which links reach the headings of a page, as GitHub makes them.
func anchors(text string) (names []string) {
	for _, found := range heading.FindAllStringSubmatch(text, -1) {
		names = append(names, strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(found[1]), ""), " ", "-"))
	}
	return names
}

func isTest(t *testing.T, claimed string) bool {
	t.Helper()
	return slices.ContainsFunc(below(t, ".", "_test.go"), func(file string) bool {
		return strings.Contains(contents(t, file), "\nfunc "+claimed+"(")
	})
}

func isMetric(t *testing.T, claimed string) bool {
	t.Helper()
	name := strings.TrimSuffix(strings.TrimSuffix(claimed, "_count"), "_bucket")
	return slices.ContainsFunc(below(t, "web", ".go"), func(file string) bool {
		return strings.Contains(contents(t, file), `"`+name+`"`)
	})
}

// isKey takes the name of a section for a key too.
func isKey(_ *testing.T, claimed string) bool {
	at := reflect.TypeFor[Config]()
	for part := range strings.SplitSeq(claimed, ".") {
		if at.Kind() != reflect.Struct {
			return false
		}
		found := false
		for f := range fields(at) {
			if f.Tag.Get("yaml") == part {
				at, found = f.Type, true
			}
		}
		if !found {
			return false
		}
	}
	return true
}

func isTarget(t *testing.T, claimed string) bool {
	t.Helper()
	return strings.Contains(contents(t, filepath.Join(repository, "Makefile")), "\n"+claimed+": ")
}

func isFile(_ *testing.T, claimed string) bool {
	found, err := filepath.Glob(filepath.Join(repository, claimed))
	return err == nil && len(found) > 0
}

// isCommand looks for the command and each of its flags. What a shell makes of the rest of a line is
// its own.
func isCommand(_ *testing.T, claimed string) bool {
	line, _, _ := strings.Cut(strings.NewReplacer(";", "#", ">", "#", "|", "#").Replace(claimed), "#")
	cmd, rest, err := new(app).commands().Find(strings.Fields(line))
	if err != nil || cmd.HasSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		return false
	}
	cmd.InitDefaultHelpFlag()
	return !slices.ContainsFunc(rest, func(word string) bool {
		name, _, _ := strings.Cut(strings.TrimPrefix(word, "--"), "=")
		return strings.HasPrefix(word, "--") && cmd.Flag(name) == nil
	})
}

// below lists the files under a folder of the repository whose names end so.
func below(t *testing.T, dir, ending string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(repository, dir), func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git") {
			return fs.SkipDir
		}
		if err == nil && strings.HasSuffix(name, ending) {
			files = append(files, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func contents(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
