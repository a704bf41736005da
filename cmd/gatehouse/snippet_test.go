package main

import (
	"cmp"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// update rewrites the pages of docs/deploy: go test ./cmd/gatehouse -run TestDeployPages -update
var update = flag.Bool("update", false, "write what the commands print into docs/deploy")

const deployDir = "../../docs/deploy"

// printed is a place of a page that shows what a command prints: the command in a comment, and the
// fence that follows it.
var printed = regexp.MustCompile("(?s)(<!-- gatehouse (snippet [^>]*?)(?: with ([a-z/.]+))? -->\n```[a-z]*\n).*?```\n")

// What the pages show is what the command prints for the configuration that they show.
func TestDeployPages(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(deployDir, "*", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(filepath.Join(deployDir, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, page := range append(pages, more...) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		renewed := printed.ReplaceAllStringFunc(string(text), func(block string) string {
			found := printed.FindStringSubmatch(block)
			args := strings.Fields(found[2])
			shown[args[1]] = true
			return found[1] + example(t, cmp.Or(found[3], "config.yaml"), args...) + "```\n"
		})
		if renewed == string(text) {
			continue
		}
		if !*update {
			t.Errorf("%s does not show what the command prints: go test ./cmd/gatehouse -run TestDeployPages -update", page)
		} else if err := os.WriteFile(page, []byte(renewed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name := range frontKinds {
		if !shown[name] {
			t.Errorf("no page of docs/deploy shows what gatehouse snippet %s prints", name)
		}
	}
}

// example runs a command with a configuration of docs/deploy, whose secret stands beside a copy of it.
func example(t *testing.T, config string, args ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(deployDir, config))
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	r.write(strings.ReplaceAll(string(text), "client_secret_file:", "client_secret: made-up-s3cret # "))
	if !strings.Contains(string(text), "client_secret") {
		t.Setenv("GATEHOUSE_LOGIN_CLIENT_SECRET", "made-up-s3cret")
	}
	code, out := r.run(args...)
	if code != exitOK {
		t.Fatalf("%v with %s: exit %d: %s", args, config, code, out)
	}
	return out
}

// The page that all others begin from shows the configuration that they are about.
func TestDeployConfig(t *testing.T) {
	config, err := os.ReadFile(filepath.Join(deployDir, "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(deployDir, "README.md"))
	if err != nil || !strings.Contains(string(page), "<!-- config.yaml -->\n```yaml\n"+string(config)+"```\n") {
		t.Errorf("docs/deploy/README.md does not show docs/deploy/config.yaml as it is (%v)", err)
	}
}

// Everything that claims to be YAML is.
func TestSnippetsAreYAML(t *testing.T) {
	manifests, err := filepath.Glob(filepath.Join(deployDir, "kubernetes", "*.yaml"))
	if err != nil || len(manifests) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	for _, name := range manifests {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		isYAML(t, name, string(text))
	}
	for _, c := range []struct{ config, name string }{{"config.yaml", "traefik"}, {"config.yaml", "envoy"}, {"kubernetes/config.yaml", "ingress-nginx"}} {
		isYAML(t, c.name, example(t, c.config, "snippet", c.name))
	}
}

func isYAML(t *testing.T, name, text string) {
	t.Helper()
	in := yaml.NewDecoder(strings.NewReader(text))
	for documents := 0; ; documents++ {
		err := in.Decode(new(map[string]any))
		if errors.Is(err, io.EOF) && documents > 0 {
			return
		}
		if err != nil {
			t.Fatalf("%s: not YAML after %d documents: %v", name, documents, err)
		}
	}
}

// What cannot work is said, and nothing is printed.
func TestSnippetRefusals(t *testing.T) {
	for _, c := range []struct {
		name string
		edit []string // what becomes what
		args []string
		says string
	}{
		{"dialect not served", []string{"[nginx, traefik, caddy, haproxy, envoy]", "[caddy]"}, []string{"nginx"}, "add forward_auth: [nginx]"},
		{"unknown proxy", nil, []string{"apache"}, `invalid argument "apache"`},
		{"no such host", nil, []string{"nginx", "--app", "shop.example.com"}, "no route is for the host shop.example.com"},
		{"nowhere to go", []string{`, upstream: "http://127.0.0.1:3001"`, ""}, []string{"caddy"}, "--upstream"},
		{"h2c", []string{"http://127.0.0.1:3001", "h2c://127.0.0.1:3001"}, []string{"nginx"}, "knows only http, https, unix"},
		{"another port", []string{"grafana.example.com", "grafana.example.com:8443"}, []string{"haproxy"}, "another port"},
		{"an address for a Service", nil, []string{"ingress-nginx"}, "name of its Service"},
		{"a header that proxies drop", []string{"cookie:", "identity: [{header: X_User, value: user}]\ncookie:"}, []string{"nginx"}, "drop or confuse"},
		{"--lua", nil, []string{"nginx", "--lua"}, "--lua is for haproxy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			text, err := os.ReadFile(filepath.Join(deployDir, "config.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			r.write(strings.ReplaceAll(string(text), "client_secret_file:", "client_secret: made-up-s3cret # "))
			if c.edit != nil {
				r.edit(c.edit[0], c.edit[1])
			}
			code, out := r.run(append([]string{"snippet"}, c.args...)...)
			if code == exitOK || !strings.Contains(out, c.says) || strings.Contains(out, "s3cret") {
				t.Errorf("exit %d: %s; want a refusal that says %q", code, out, c.says)
			}
		})
	}
}

// A part for one app repeats nothing of what all share, so that it can be added.
func TestSnippetForOneApp(t *testing.T) {
	for name := range frontKinds {
		if name == "ingress-nginx" || name == "envoy" {
			continue // one file holds it all
		}
		text := example(t, "config.yaml", "snippet", name, "--app", "grafana.example.com")
		for _, other := range []string{"wiki.example.com", "upstream gatehouse {", "(gatehouse_check)", "frontend gatehouse", "middlewares:\n    gatehouse:"} {
			if strings.Contains(text, other) {
				t.Errorf("%s: the part for one app holds %q", name, other)
			}
		}
		if !strings.Contains(text, "grafana.example.com") {
			t.Errorf("%s: not there: %s", name, text)
		}
	}
}

// Where Gatehouse is reached comes from its listeners, or from --at.
func TestSnippetAddresses(t *testing.T) {
	for _, c := range []struct{ listen, at, want string }{
		{"127.0.0.1:8080", "", "server 127.0.0.1:8080;"},
		{":8080", "", "server 127.0.0.1:8080;"},
		{"unix:/run/gatehouse.sock", "", "server unix:/run/gatehouse.sock;"},
		{":8080", "gatehouse:8080", "server gatehouse:8080;"},
		{"[::1]:8080", "", "server [::1]:8080;"},
		{"127.0.0.1:8080, check_listen: \"127.0.0.1:8181\"", "", "server 127.0.0.1:8181;"},
		{"127.0.0.1:8080, check_listen: \"127.0.0.1:8181\"", "gatehouse:8080", "server gatehouse:8181;"},
	} {
		r := newRig(t)
		listen, rest, _ := strings.Cut(c.listen, ",")
		if rest != "" {
			rest = "," + rest
		}
		r.write(`server: {listen: "` + listen + `"` + rest + `, public_url: "https://auth.example.com", trusted_proxies: [{from: 127.0.0.1, headers: [for, proto, host, uri, method]}, {from: unix, headers: [for, proto, host, uri, method]}]}
cookie: {domain: example.com}
login: {client_id: x, client_secret: made-up-s3cret}
forward_auth: [nginx]
routes: [{host: wiki.example.com, upstream: "http://127.0.0.1:3000"}]
`)
		args := []string{"snippet", "nginx"}
		if c.at != "" {
			args = append(args, "--at", c.at)
		}
		code, out := r.run(args...)
		if lines := strings.Split(out, "\n"); code != exitOK || !slices.ContainsFunc(lines, func(l string) bool { return strings.TrimSpace(l) == c.want }) {
			t.Errorf("%+v: exit %d, and no line %q:\n%.600s", c, code, c.want, out)
		}
	}
}
