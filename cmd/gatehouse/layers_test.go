package main_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the import path that all of ours begin with.
const module = "github.com/gatehouse-auth/gatehouse"

// root is the work tree, seen from this package's folder, where go test runs.
const root = "../.."

// layers says which of our packages each of our packages may import outside its tests. What is not
// listed may import none of ours. Proxy, upload and store do not know one another, auth never sees
// where sessions are kept, and web knows nothing of any of them: so each can be read, and changed,
// by itself.
var layers = map[string][]string{
	"cmd/gatehouse":   {"auth", "auth/standin", "proxy", "store", "upload", "web"},
	"proxy":           {"auth", "web"},
	"upload":          {"auth", "web"},
	"auth":            {"web"},
	"auth/standin":    {"auth", "web"},
	"store":           {"auth", "upload", "store/migrations"},
	"store/storetest": {"auth", "upload"}, // never store, or the fakes would share its mistakes
	"test/bench":      {"auth", "auth/standin", "store"},
	"test/upload":     {"auth", "store", "store/storetest"}, // the null S3
	"test/sessions":   {"auth", "store"},
	"test/stage":      {"auth/standin", "store/storetest"},                  // gateways are processes there
	"test/chaos":      {"store", "store/storetest", "test/stage", "upload"}, // the janitor
}

// testLayers adds what their tests may import: the fakes and throwaway servers.
var testLayers = map[string][]string{
	"cmd/gatehouse": {"store/storetest"},
	"proxy":         {"store/storetest", "auth/standin"},
	"upload":        {"store/storetest"},
	"auth":          {"store/storetest", "auth/standin"},
	"store":         {"store/storetest"},

	"test/revocation": {"test/stage"},
	"test/overload":   {"test/stage"},
}

// homes names, for each package of somebody else that our own code imports, the files it may be
// imported from. One home means that it can be replaced, or its traps looked up, in one place. A
// name that ends in a slash is a folder.
var homes = map[string][]string{
	"github.com/gorilla/mux":               {"cmd/gatehouse/serve.go"},
	"github.com/spf13/viper":               {"cmd/gatehouse/config.go"},
	"github.com/spf13/cobra":               {"cmd/gatehouse/"},
	"golang.org/x/oauth2":                  {"auth/provider.go"},
	"github.com/coreos/go-oidc":            {"auth/provider.go"},
	"github.com/uptrace/bun":               {"store/"},
	"github.com/jackc/pgx":                 {"store/"},
	"modernc.org/sqlite":                   {"store/"},
	"github.com/redis/go-redis":            {"store/redis.go", "store/breaker.go", "store/address.go"},
	"github.com/aws/aws-sdk-go-v2":         s3Files,
	"github.com/aws/smithy-go":             s3Files,
	"github.com/prometheus":                {"web/metrics.go", "web/metrics_upload.go", "web/metrics_janitor.go", "web/metrics_load.go"},
	"golang.org/x/crypto/chacha20poly1305": {"auth/keys.go"},
	"github.com/go-jose/go-jose":           {"auth/standin/"},
	"go.yaml.in/yaml/v3":                   {"cmd/gatehouse/config_file.go"},
	"github.com/go-viper/mapstructure/v2":  {"cmd/gatehouse/config.go"},
	"golang.org/x/net/publicsuffix":        {"cmd/gatehouse/config_host.go"},
	"golang.org/x/net/http/httpguts":       {"proxy/", "web/load.go"},
	"golang.org/x/sync/errgroup":           {"cmd/gatehouse/run.go"},
	"golang.org/x/sys/unix":                {"cmd/gatehouse/drain_linux.go"},
	"golang.org/x/text/unicode/norm":       {"upload/name.go"},
	"golang.org/x/term":                    {"web/log.go", "cmd/gatehouse/admin.go"},
}

// s3Files are the one type that speaks to S3.
var s3Files = []string{
	"store/s3.go", "store/s3_client.go", "store/s3_put.go", "store/s3_multi.go", "store/s3_part.go",
	"store/s3_sums.go", "store/s3_attic.go", "store/s3_fault.go", "store/s3_presign.go", "store/s3_brief.go",
}

// source is one Go file, as far as its imports go.
type source struct {
	file    string // from the root, with slashes
	imports []string
}

func (s source) dir() string { return path.Dir(s.file) }
func (s source) test() bool  { return strings.HasSuffix(s.file, "_test.go") }
func (s source) suite() bool { return s.dir() == "store/storetest" }
func (s source) bench() bool { return strings.HasPrefix(s.file, "test/") }

// sources parses the imports of every Go file of this module.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		file := filepath.ToSlash(strings.TrimPrefix(name, root+string(filepath.Separator)))
		if d.IsDir() {
			if skipped(file) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") {
			return nil
		}
		s, err := parse(name, file)
		all = append(all, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// skipped reports whether a folder holds no code of this module.
func skipped(dir string) bool {
	base := path.Base(dir)
	return base == "testdata" || base == "node_modules" || (strings.HasPrefix(base, ".") && base != "..")
}

func parse(name, file string) (source, error) {
	tree, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
	if err != nil {
		return source{}, err
	}
	s := source{file: file}
	for _, spec := range tree.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return source{}, err
		}
		s.imports = append(s.imports, imported)
	}
	return s, nil
}

// ours returns the folder of one of our own packages.
func ours(imported string) (dir string, ok bool) {
	if imported == module {
		return ".", true
	}
	return strings.CutPrefix(imported, module+"/")
}

// foreign reports whether an import is neither ours nor Go's.
func foreign(imported string) bool {
	_, mine := ours(imported)
	host, _, _ := strings.Cut(imported, "/")
	return !mine && strings.Contains(host, ".")
}

// TestLayers keeps the directions between our packages (docs/architecture.md).
func TestLayers(t *testing.T) {
	for _, s := range sources(t) {
		allowed := layers[s.dir()]
		if s.test() {
			allowed = slices.Concat(allowed, testLayers[s.dir()], []string{s.dir()})
		}
		for _, imported := range s.imports {
			if dir, mine := ours(imported); mine && !slices.Contains(allowed, dir) {
				t.Errorf("%s imports %s: %s may import only %v", s.file, dir, s.dir(), allowed)
			}
		}
	}
}

// TestOneHome keeps each package of somebody else in its place. Tests, the suites for them and the
// benchmark may import what they like.
func TestOneHome(t *testing.T) {
	used := map[string]bool{}
	for _, s := range sources(t) {
		if s.test() || s.suite() || s.bench() {
			continue
		}
		for _, imported := range s.imports {
			if !foreign(imported) {
				continue
			}
			name, files := home(imported)
			used[name] = true
			if !lives(s.file, files) {
				t.Errorf("%s imports %s, whose home is %v", s.file, imported, files)
			}
		}
	}
	for name := range homes {
		if !used[name] {
			t.Errorf("%s has a home in the table and nobody imports it", name)
		}
	}
}

// home finds the longest entry of the table that an import falls under.
func home(imported string) (name string, files []string) {
	for have, where := range homes {
		if (imported == have || strings.HasPrefix(imported, have+"/")) && len(have) > len(name) {
			name, files = have, where
		}
	}
	return name, files
}

func lives(file string, files []string) bool {
	return slices.ContainsFunc(files, func(where string) bool {
		return file == where || (strings.HasSuffix(where, "/") && strings.HasPrefix(file, where))
	})
}

// TestNoTestIsSkipped: a test that is skipped proves nothing, and nobody looks for it. What a test
// needs and does not find is a failure that says what to install.
func TestNoTestIsSkipped(t *testing.T) {
	for _, s := range sources(t) {
		text, err := os.ReadFile(filepath.Join(root, s.file))
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range []string{"Skip(", "SkipNow(", "Skipf("} {
			if strings.Contains(string(text), "t."+call) {
				t.Errorf("%s calls t.%s)", s.file, call)
			}
		}
	}
}
