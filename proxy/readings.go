package proxy

import (
	"errors"
	"net/url"
	"slices"
	"strings"
)

// maxReadings bounds the readings of one path, so that a hostile one costs little. Paths that people
// use have one or two; the worst honest ones (a wiki title with parameters and encoded slashes) have
// a dozen or so.
const maxReadings = 64

// errReadings says that a path can be read in too many ways to be judged.
var errReadings = errors.New("the path can be read in too many ways")

// views are the ways in which servers are known to see a path, besides decoding it. Letter case is
// folded by the table.
var views = []func(string) string{
	mergeSlashes,   // nginx, most frameworks
	dropParameters, // Java servers: /..;/ is /../
	turnSlashes,    // Windows
	resolveDots,    // RFC 3986, section 5.2.4
	trimTails,      // Windows: /admin. and "/admin " are /admin
	cutAgain,       // whoever parses a decoded target once more
}

// readingsOf returns every path that an app may take a raw path for, itself first: any sequence of
// views, with percent-decoding at any point of it, at most twice. A path may be forwarded unchanged
// because each of these was judged (SK-02).
func readingsOf(path string) ([]string, error) {
	if plain(path) {
		return []string{path}, nil
	}
	type reading struct {
		path    string
		decoded int
	}
	all := []reading{{path: path}}
	seen := map[reading]bool{all[0]: true}
	for i := 0; i < len(all); i++ {
		next := make([]reading, 0, len(views)+1)
		for _, view := range views {
			next = append(next, reading{view(all[i].path), all[i].decoded})
		}
		if all[i].decoded < 2 {
			next = append(next, reading{decode(all[i].path), all[i].decoded + 1})
		}
		for _, one := range next {
			if !seen[one] {
				seen[one] = true
				all = append(all, one)
			}
		}
		if len(all) > 3*maxReadings {
			return nil, errReadings
		}
	}
	var paths []string
	for _, one := range all {
		if hasControl(one.path) {
			return nil, errors.New("the path decodes to a control byte")
		}
		if !slices.Contains(paths, one.path) {
			paths = append(paths, one.path)
		}
	}
	if len(paths) > maxReadings {
		return nil, errReadings
	}
	return paths, nil
}

// plain reports whether a path has one reading only.
func plain(path string) bool {
	return !strings.ContainsAny(path, `%;\`) && !strings.Contains(path, "//") && !strings.Contains(path, "/.") &&
		!strings.Contains(path, "./") && !strings.HasSuffix(path, ".")
}

func mergeSlashes(path string) string {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return path
}

func dropParameters(path string) string {
	if !strings.Contains(path, ";") {
		return path
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";")
	}
	return strings.Join(segments, "/")
}

// trimTails drops the dots and blanks at the end of a segment, as Windows does with file names. Of a
// segment that is nothing else, a dot segment is left: ".. " is taken for "..".
func trimTails(path string) string {
	if !strings.ContainsAny(path, ". ") {
		return path
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		segments[i] = strings.TrimRight(s, ". ")
		if segments[i] == "" {
			segments[i] = ".."[:min(strings.Count(s, "."), 2)]
		}
	}
	return strings.Join(segments, "/")
}

func turnSlashes(path string) string { return strings.ReplaceAll(path, `\`, "/") }

// resolveDots removes dot segments without merging slashes: /a//../b is /a/b to some and /b to others,
// and both are readings.
func resolveDots(path string) string {
	if !strings.Contains(path, "/.") {
		return path
	}
	var kept []string
	segments := strings.Split(path, "/")[1:]
	for i, s := range segments {
		last := i == len(segments)-1
		switch {
		case s == "." && last, s == ".." && last && len(kept) == 0:
			kept = append(kept, "")
		case s == ".":
		case s == ".." && last:
			kept[len(kept)-1] = ""
		case s == "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, s)
		}
	}
	return "/" + strings.Join(kept, "/")
}

func cutAgain(path string) string {
	if at := strings.IndexAny(path, "?#"); at > 0 {
		return path[:at]
	}
	return path
}

// decode percent-decodes what can be decoded and leaves the rest, as lenient servers do.
func decode(path string) string {
	if !strings.Contains(path, "%") {
		return path
	}
	out := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		if path[i] == '%' && i+2 < len(path) {
			hi, hex := unhex(path[i+1])
			lo, both := unhex(path[i+2])
			if hex && both {
				out = append(out, hi<<4|lo)
				i += 2
				continue
			}
		}
		out = append(out, path[i])
	}
	return string(out)
}

func unhex(c byte) (digit byte, ok bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// within reports whether a path is a prefix or lies below it, by whole segments.
func within(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/' || prefix == "/")
}

// sendable reports whether url.URL sends a path with exactly these bytes when it is asked to parse it.
func sendable(path string) bool {
	u, err := url.ParseRequestURI(path)
	return err == nil && u.EscapedPath() == path
}
