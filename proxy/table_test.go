package proxy

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/auth"
)

var nowhere = http.NotFoundHandler()

func TestCollisionsAreReportedAtOnce(t *testing.T) {
	_, err := NewTable([]Route{
		{Host: "a.test", Path: "/x", Next: nowhere},
		{Host: "a.test", Path: "/x/", Methods: []string{"GET"}, Next: nowhere},
		{Host: "a.test", Path: "/y", Methods: []string{"GET", "POST"}, Next: nowhere},
		{Host: "a.test", Path: "/y", Methods: []string{"POST"}, Next: nowhere},
		{Host: "B.test", Path: "/", Next: nowhere},
		{Host: "a.test", Path: "/a/../b", Next: nowhere},
		{Host: "a.test", Path: "no", Next: nowhere},
		{Host: "a.test", Path: "/%41", Next: nowhere},
		{Host: "a.test", Path: "/m", Methods: []string{"get"}, Next: nowhere},
		{Host: "a.test", Path: "/o", Origins: []string{"https://ui.test/"}, Next: nowhere},
		{Host: "a.test", Path: "/e", Allow: Allow{Roles: []string{}}, Next: nowhere},
		{Host: "a.test", Path: "/p", Access: Public, Allow: Allow{Roles: []string{"x"}}, Next: nowhere},
		{Host: "a.test", Path: "/n"},
	})
	if err == nil {
		t.Fatal("the table was taken")
	}
	for _, part := range []string{
		"a.test/x: another route", "for GET", "a.test/y: another route", "for POST", `host "B.test"`, `"/a/../b"`, `path "no"`, `"/%41"`,
		`method "get"`, `origin "https://ui.test/"`, "allow.roles is empty", "a.test/p: a public route", "a.test/n: leads nowhere",
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("no word of %q in:\n%v", part, err)
		}
	}
}

func TestLaxWarnings(t *testing.T) {
	table, err := NewTable([]Route{
		{Host: "a.test", Path: "/", Allow: Allow{Roles: []string{"staff"}}, Next: nowhere},
		{Host: "a.test", Path: "/all", Next: nowhere},
		{Host: "a.test", Path: "/strict", Allow: Allow{Roles: []string{"staff"}}, Next: nowhere},
		{Host: "a.test", Path: "/strict/open", Access: Public, Next: nowhere},
		{Host: "a.test", Path: "/wide", Allow: Allow{Roles: []string{"staff"}, Domains: []string{"x.test"}}, Next: nowhere},
		{Host: "b.test", Path: "/", Access: Public, Next: nowhere},
		{Host: "b.test", Path: "/in", Next: nowhere},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(table.Lax(), "\n")
	for path, want := range map[string]bool{"a.test/all ": true, "a.test/strict ": false, "a.test/strict/open ": true, "a.test/wide ": true, "b.test/in ": false} {
		if strings.Contains(got, "route "+path) != want {
			t.Errorf("warned of %s: %v, want %v\n%s", path, !want, want, got)
		}
	}
}

func TestAllow(t *testing.T) {
	alice := auth.User{Email: "alice@corp.test", Roles: []string{"staff"}}
	for _, one := range []struct {
		allow Allow
		want  bool
	}{
		{Allow{}, true},
		{Allow{Roles: []string{"admin"}}, false},
		{Allow{Roles: []string{"admin", "staff"}}, true},
		{Allow{Roles: []string{"admin"}, Domains: []string{"corp.test"}}, true},
		{Allow{Domains: []string{"p.test", "test"}}, false},
		{Allow{Emails: []string{"alice@corp.test"}}, true},
		{Allow{Emails: []string{"bob@corp.test"}}, false},
	} {
		if got := one.allow.admits(alice); got != one.want {
			t.Errorf("%+v admits alice: %v", one.allow, got)
		}
	}
}

// Strictest over all readings: a path that may mean several routes needs the leave of each.
func TestEveryReadingMustAdmit(t *testing.T) {
	table, err := NewTable([]Route{
		{Host: "a.test", Path: "/", Access: Public, Next: nowhere},
		{Host: "a.test", Path: "/staff", Allow: Allow{Roles: []string{"staff"}}, Next: nowhere},
		{Host: "a.test", Path: "/Admin", Allow: Allow{Roles: []string{"admin"}}, Next: nowhere},
		{Host: "a.test", Path: "/api", Methods: []string{"GET"}, Next: nowhere},
	})
	if err != nil {
		t.Fatal(err)
	}
	staff, both := auth.User{Roles: []string{"staff"}}, auth.User{Roles: []string{"staff", "admin"}}
	for path, want := range map[string]struct {
		access      Access
		staff, both Verdict
	}{
		"/x":                      {Public, Allowed, Allowed},
		"/staff/x":                {SignedIn, Allowed, Allowed},
		"/staff/../x":             {SignedIn, Allowed, Allowed},
		"/staff/%2e%2e/Admin":     {SignedIn, Forbidden, Allowed},
		"/staff/..;a/ADMIN":       {SignedIn, Forbidden, Allowed},
		"/x/..%5cadmin":           {SignedIn, Forbidden, Allowed},
		"/ADMIN":                  {SignedIn, Forbidden, Allowed},
		"/;x/admin":               {SignedIn, Forbidden, Allowed},
		"/admin%3fx":              {SignedIn, Forbidden, Allowed},
		"/group%2Fproject":        {Public, Allowed, Allowed},
		"/wiki/C%23;x=1/%E9t%E9/": {Public, Allowed, Allowed},
	} {
		m, err := table.match(asked(t, "GET", path))
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if m.access != want.access || m.judge(staff) != want.staff || m.judge(both) != want.both {
			t.Errorf("%s: access %v, staff %v, both %v; want %+v", path, m.access, m.judge(staff), m.judge(both), want)
		}
	}
	if _, err := table.match(asked(t, "POST", "/x/../api")); err == nil {
		t.Error("a method that one reading's route does not list was let through")
	}
}

func asked(t testing.TB, method, path string) Ask {
	t.Helper()
	a := Ask{Method: method, Host: "a.test"}
	if err := a.target(path); err != nil {
		t.Fatalf("%q: %v", path, err)
	}
	return a
}

func TestFrames(t *testing.T) {
	stream := slices.Concat(
		[]byte{0x81, 2, 'h', 'i'},
		[]byte{0x82, 126, 1, 0}, make([]byte, 256),
		[]byte{0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0}, make([]byte, 65536),
		[]byte{0x89, 0}, []byte{0x81, 0x81, 1, 2, 3, 4, 'x'},
	)
	ends := map[int]bool{0: true, 4: true, 264: true, 65810: true, 65812: true, 65819: true}
	for _, step := range []int{1, 3, 1000, len(stream)} {
		var f frames
		for at := 0; at <= len(stream); at += step {
			if f.between() != ends[at] {
				t.Fatalf("by %d: between frames after %d bytes: %v", step, at, f.between())
			}
			f.follow(stream[at:min(at+step, len(stream))])
		}
	}
}

// A hostile path is refused or judged quickly: the number of readings is bounded.
func TestReadingsAreBounded(t *testing.T) {
	for _, piece := range []string{"%252e%252e%252f", "/..;a//", `\..%5c%2f;`, "/%2525", "//", "/./", "/../", ";/", "%3f/..;%23//"} {
		path := "/" + strings.Repeat(piece, 8000/len(piece))
		if all, err := readingsOf(path); err == nil && len(all) > maxReadings {
			t.Errorf("%.20s: %d readings", path, len(all))
		}
	}
	if all, err := readingsOf("/wiki/Foo;bar=1/C%23%2FD//e/../%E9"); err != nil {
		t.Errorf("an honest path has too many readings: %d, %v", len(all), err)
	}
}

// FuzzTable compares find with a reference that tries every route.
func FuzzTable(f *testing.F) {
	f.Add("/a\n/a/b\n/\n/A", "/a/b/c")
	f.Add("/x", "/xy")
	f.Add("/a/b/c\n/a", "/a/b/cd")
	f.Fuzz(func(t *testing.T, prefixes, path string) {
		table := Table{zones: map[string]*zone{}}
		for p := range strings.SplitSeq(prefixes, "\n") {
			if settled(p) && (p == "/" || !strings.HasSuffix(p, "/")) {
				table.add(&Route{Host: "a.test", Path: p, Next: nowhere})
			}
		}
		z := table.zones["a.test"]
		if z == nil || !strings.HasPrefix(path, "/") {
			return
		}
		want := ""
		for _, rt := range table.all {
			if (path+"/" == rt.Path+"/" || rt.Path == "/" || strings.HasPrefix(path, rt.Path+"/")) && len(rt.Path) > len(want) {
				want = rt.Path
			}
		}
		got := ""
		if found := find(z.exact, path, z.depth); found != nil {
			got = found[0].Path
		}
		if got != want {
			t.Errorf("%q among %q: got %q, want %q", path, prefixes, got, want)
		}
	})
}

// FuzzAsk looks for a path that is let through without a session although some app could read it as
// one outside the public prefix. The reader here is written apart from the one under test: it applies
// its own steps in the order that the fuzzer chooses.
func FuzzAsk(f *testing.F) {
	for _, path := range []string{
		"/public/../admin", "/public/%2e%2e/admin", "/public/..%2fadmin", "/public//../admin", "/public/..;/admin", "/public/.;/../admin",
		"/public/%252e%252e/admin", `/public/..\admin`, "/public/..%5cadmin", "/public%2f..%2fadmin", "//public/x", "/./public/x", "/PUBLIC/x", "/public/a%3f/../../b",
	} {
		f.Add(path, "dpmbs")
		f.Add(path, "sdbpmd")
	}
	table, err := NewTable([]Route{{Host: "a.test", Path: "/", Next: nowhere}, {Host: "a.test", Path: "/public", Access: Public, Next: nowhere}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path, steps string) {
		a := Ask{Method: "GET", Host: "a.test"}
		if a.target(path) != nil {
			return
		}
		m, err := table.match(a)
		if err != nil || m.access != Public {
			return
		}
		read := naive(a.Path, steps)
		if read != "/public" && !strings.HasPrefix(read, "/public/") {
			t.Errorf("%q is let through, and %q reads it as %q", path, steps, read)
		}
	})
}

// naive reads a path as some app would: d decodes (twice at most), p drops parameters, m merges
// slashes, b turns backslashes, s resolves dot segments.
func naive(path, steps string) string {
	decoded := 0
	for _, step := range steps {
		segments := strings.Split(path, "/")
		switch step {
		case 'd':
			if decoded++; decoded <= 2 {
				path = naiveDecode(path)
			}
		case 'p':
			for i := range segments {
				segments[i] = strings.Split(segments[i], ";")[0]
			}
			path = strings.Join(segments, "/")
		case 'm':
			kept := slices.DeleteFunc(slices.Clone(segments[1:]), func(s string) bool { return s == "" })
			path = "/" + strings.Join(kept, "/")
		case 'b':
			path = strings.Map(func(r rune) rune {
				if r == '\\' {
					return '/'
				}
				return r
			}, strings.ToValidUTF8(path, "?"))
		case 's':
			var stack []string
			for _, s := range segments[1:] {
				if s == ".." && len(stack) > 0 {
					stack = stack[:len(stack)-1]
				} else if s != "." && s != ".." {
					stack = append(stack, s)
				}
			}
			path = "/" + strings.Join(stack, "/")
		}
	}
	return path
}

func naiveDecode(s string) string {
	var out strings.Builder
	for s != "" {
		var b byte
		if len(s) >= 3 && s[0] == '%' && strings.Contains("0123456789abcdefABCDEF", s[1:2]) && strings.Contains("0123456789abcdefABCDEF", s[2:3]) {
			for _, c := range strings.ToLower(s[1:3]) {
				b = b<<4 | byte(strings.IndexRune("0123456789abcdef", c))
			}
			s = s[3:]
		} else {
			b, s = s[0], s[1:]
		}
		out.WriteByte(b)
	}
	return out.String()
}
