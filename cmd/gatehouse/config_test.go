package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// least is the shortest configuration without a fault.
const least = `
server: {public_url: "https://auth.corp.test"}
login: {client_id: id, client_secret: hush-hush}
`

// cleanEnv takes every variable of ours out of the environment of a test.
func cleanEnv(t *testing.T) {
	t.Helper()
	for _, pair := range os.Environ() {
		if name, value, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "GATEHOUSE_") {
			t.Setenv(name, value) // puts it back at the end
			os.Unsetenv(name)
		}
	}
}

// write makes a configuration file.
func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// loaded loads a configuration that must be without a fault.
func loaded(t *testing.T, text string, set ...string) Config {
	t.Helper()
	cfg, err := Load(Source{File: write(t, text), Set: set})
	if err != nil {
		t.Fatalf("unexpected faults:\n%v", err)
	}
	return cfg
}

// faultsOf loads a configuration that must have faults.
func faultsOf(t *testing.T, text string, set ...string) Faults {
	t.Helper()
	_, err := Load(Source{File: write(t, text), Set: set})
	var faults Faults
	if !errors.As(err, &faults) {
		t.Fatalf("want faults, got %v", err)
	}
	return faults
}

// fault finds the one fault of a key.
func (fs Faults) of(t *testing.T, key string) Fault {
	t.Helper()
	found := fs.about(key)
	if len(found) != 1 {
		t.Fatalf("want one fault of %s, got:\n%v", key, fs)
	}
	return found[0]
}

// reference is config.yaml, with and without its examples in the place of what they explain.
func reference(t *testing.T) (plain, examples string) {
	t.Helper()
	text, err := os.ReadFile("../../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	plain = string(text)
	groups := regexp.MustCompile(`(?m)(?:^ *#: ?.*\n)+`)
	examples = groups.ReplaceAllStringFunc(plain, func(group string) string {
		return regexp.MustCompile(`(?m)^( *)#: ?`).ReplaceAllString(group, "$1")
	})
	examples = strings.Replace(examples, regexp.MustCompile(`(?m)^  trusted_proxies: \[\].*\n`).FindString(examples), "", 1)
	examples = strings.Replace(examples, regexp.MustCompile(`(?m)^routes:\n(?:  .*\n)+`).FindString(examples), "", 1)
	return plain, examples
}

// paths lists the keys of a type as yaml names them; items of lists count once.
func paths(t reflect.Type, prefix string) (keys []string) {
	for t.Kind() == reflect.Pointer || (t.Kind() == reflect.Slice && t != listType) {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return []string{strings.TrimPrefix(prefix, ".")}
	}
	for f := range fields(t) {
		keys = append(keys, paths(f.Type, prefix+"."+f.Tag.Get("yaml"))...)
	}
	return keys
}

// given lists the keys of a document.
func given(v any, prefix string, into map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for k, item := range v {
			given(item, prefix+"."+k, into)
		}
		return
	case []any:
		for _, item := range v {
			if m, ok := item.(map[string]any); ok {
				given(m, prefix, into)
			}
		}
	}
	into[strings.TrimPrefix(prefix, ".")] = true
}

func TestReferenceHasEveryKey(t *testing.T) {
	_, examples := reference(t)
	var doc map[string]any
	if err := yaml.Unmarshal([]byte(examples), &doc); err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	given(doc, "", have)
	want := paths(reflect.TypeFor[Config](), "")
	for _, key := range want {
		if !have[key] {
			t.Errorf("config.yaml does not explain %s", key)
		}
		delete(have, key)
	}
	for key := range have {
		if !slices.Contains([]string{"routes", "identity", "server.trusted_proxies"}, key) {
			t.Errorf("config.yaml has %s, which no field has", key)
		}
	}
}

func TestReferenceIsTheDefaults(t *testing.T) {
	cleanEnv(t)
	plain, examples := reference(t)
	t.Chdir(t.TempDir())
	// Where a default cannot exist or is nobody's, config.yaml shows an example.
	cfg := loaded(t, plain, "login.client_id=id", "login.client_secret_file="+write(t, "hush-hush"))
	want := Defaults()
	want.Server.PublicURL = "http://localhost:8080"
	for name, value := range leaves(want) {
		if strings.HasPrefix(name, "login.client_") {
			continue
		}
		got := leaves(cfg)[name]
		if list, ok := got.([]string); ok && len(list) == 0 {
			continue // no list and an empty list mean the same for these keys
		}
		if !reflect.DeepEqual(got, value) {
			t.Errorf("config.yaml has %s: %v, the default is %v", name, got, value)
		}
	}
	if !reflect.DeepEqual(cfg.Identity, want.Identity) {
		t.Errorf("config.yaml has identity %v, the default is %v", cfg.Identity, want.Identity)
	}
	cfg = loaded(t, examples, "login.client_id=id", "login.client_secret_file="+write(t, "hush-hush"))
	example, standard := cfg.Routes[0], defaultRoute()
	if example.Timeouts != standard.Timeouts || example.Path != standard.Path || example.Public != standard.Public ||
		example.UpstreamHost != standard.UpstreamHost || example.TLS != standard.TLS {
		t.Errorf("the example route is not made of defaults: %+v", example)
	}
}

func TestRouteDefaults(t *testing.T) {
	cleanEnv(t)
	cfg := loaded(t, least+`routes: [{host: auth.corp.test, upstream: "http://127.0.0.1:1", timeouts: {dial: 1s}}]`)
	want := defaultRoute()
	want.Host, want.Upstream, want.Timeouts.Dial = "auth.corp.test", "http://127.0.0.1:1", time.Second
	if !reflect.DeepEqual(cfg.Routes, []RouteConfig{want}) {
		t.Errorf("got %+v", cfg.Routes)
	}
}

// TestCF01 is about sources: --set over the environment over the file over the defaults.
func TestCF01(t *testing.T) {
	file := least + "session: {ttl: 2h, max_lifetime: 8h}\n"
	file = strings.Replace(file, "client_secret: hush-hush", "client_secret: hush-hush, return_hosts: [one.test, two.test, three.test]", 1)
	tests := []struct {
		name string
		env  map[string]string
		set  []string
		key  string
		want any
	}{
		{"default", nil, nil, "session.max_unverified", 10 * time.Minute},
		{"file over default", nil, nil, "session.ttl", 2 * time.Hour},
		{"env over file", map[string]string{"GATEHOUSE_SESSION_TTL": "3h"}, nil, "session.ttl", 3 * time.Hour},
		{"flag over env", map[string]string{"GATEHOUSE_SESSION_TTL": "3h"}, []string{"session.ttl=4h"}, "session.ttl", 4 * time.Hour},
		{"flag over file", nil, []string{"session.ttl=4h"}, "session.ttl", 4 * time.Hour},
		{"nested key with an underscore", map[string]string{"GATEHOUSE_SESSION_MAX_LIFETIME": "9h"}, nil, "session.max_lifetime", 9 * time.Hour},
		{"env for a group absent from the file", map[string]string{"GATEHOUSE_STORE_REDIS": "redis://127.0.0.1:1/0"}, nil, "store.redis", "redis://127.0.0.1:1/0"},
		{"env for a key absent from its group", map[string]string{"GATEHOUSE_LOGIN_HOSTED_DOMAIN": "corp.test"}, nil, "login.hosted_domain", "corp.test"},
		{"list", map[string]string{"GATEHOUSE_LOGIN_AUTO_CREATE_DOMAINS": "a.test, b.test"}, nil, "login.auto_create_domains", []string{"a.test", "b.test"}},
		// A list is replaced whole: decoders differ in what they leave of a longer one.
		{"list over a longer list", map[string]string{"GATEHOUSE_LOGIN_RETURN_HOSTS": "x.test"}, nil, "login.return_hosts", []string{"x.test"}},
		{"bool", map[string]string{"GATEHOUSE_LOGIN_TRUST_EMAIL": "true"}, nil, "login.trust_email", true},
		{"bool back to false", map[string]string{"GATEHOUSE_LOGIN_TRUST_EMAIL": "true"}, []string{"login.trust_email=false"}, "login.trust_email", false},
		{"empty counts as unset", map[string]string{"GATEHOUSE_SESSION_TTL": ""}, nil, "session.ttl", 2 * time.Hour},
		{"duration", nil, []string{"server.drain_delay=0s"}, "server.drain_delay", time.Duration(0)},
	}
	for _, tt := range tests {
		t.Run("CF-01/"+tt.name, func(t *testing.T) {
			cleanEnv(t)
			for name, value := range tt.env {
				t.Setenv(name, value)
			}
			if got := leaves(loaded(t, file, tt.set...))[tt.key]; !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%s is %v, want %v", tt.key, got, tt.want)
			}
		})
	}
}

// TestCF01Invalid: a value that cannot be is named with its key and where it came from.
func TestCF01Invalid(t *testing.T) {
	tests := []struct{ name, env, value, set, key, source string }{
		{"duration in env", "GATEHOUSE_SESSION_TTL", "an hour", "", "session.ttl", "GATEHOUSE_SESSION_TTL"},
		{"duration without a unit", "GATEHOUSE_SESSION_TTL", "60", "", "session.ttl", "GATEHOUSE_SESSION_TTL"},
		{"bool in env", "GATEHOUSE_LOGIN_TRUST_EMAIL", "yes please", "", "login.trust_email", "GATEHOUSE_LOGIN_TRUST_EMAIL"},
		{"duration in flag", "", "", "session.ttl=x", "session.ttl", "--set"},
		{"unknown key in flag", "", "", "session.tl=1h", "session.tl", "--set"},
		{"list of objects in flag", "", "", "routes=x", "routes", "--set"},
		{"judged as well", "GATEHOUSE_COOKIE_DOMAIN", "other.test", "", "cookie.domain", "GATEHOUSE_COOKIE_DOMAIN"},
	}
	for _, tt := range tests {
		t.Run("CF-01/invalid "+tt.name, func(t *testing.T) {
			cleanEnv(t)
			if tt.env != "" {
				t.Setenv(tt.env, tt.value)
			}
			set := []string{}
			if tt.set != "" {
				set = append(set, tt.set)
			}
			if f := faultsOf(t, least, set...).of(t, tt.key); f.Source != tt.source {
				t.Errorf("source is %q, want %q: %v", f.Source, tt.source, f)
			}
		})
	}
}

// TestCF01SecretFiles: a secret file counts wherever the secret does.
func TestCF01SecretFiles(t *testing.T) {
	tests := []struct{ key, text, want string }{
		{"login.client_secret", "hush\n", "hush"},
		{"login.client_secret", "hush\r\n", "hush"},
		{"login.client_secret", " hush ", " hush "},
		{"store.database", "postgres://u:p@127.0.0.1/x\n", "postgres://u:p@127.0.0.1/x"},
		{"store.redis", "redis://:p@127.0.0.1/0\n", "redis://:p@127.0.0.1/0"},
		{"store.listen_url", "postgres://u:p@127.0.0.1/y\n", "postgres://u:p@127.0.0.1/y"},
	}
	for _, tt := range tests {
		t.Run("CF-01/file of "+tt.key, func(t *testing.T) {
			cleanEnv(t)
			t.Setenv(key{name: tt.key + "_file"}.env(), write(t, tt.text))
			cfg, _ := read(Source{})
			if got := leaves(cfg)[tt.key]; got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestConfigVariableNames: no two keys share a variable.
func TestConfigVariableNames(t *testing.T) {
	seen := map[string]string{}
	for _, k := range configKeys() {
		if other, ok := seen[k.env()]; ok {
			t.Errorf("%s and %s are both %s", k.name, other, k.env())
		}
		seen[k.env()] = k.name
	}
}

func TestStrangeVariables(t *testing.T) {
	got := strangers([]string{
		"GATEHOUSE_STORE_REDDIS=x", "GATEHOUSE_CONFIG=x", "GATEHOUSE_STORE_REDIS=x", "HOME=/",
		"GATEHOUSE_SERVICE_HOST=10.0.0.1", "GATEHOUSE_PORT_8080_TCP_ADDR=10.0.0.1", // Kubernetes' own
	})
	if len(got) != 1 || !strings.Contains(got[0], "GATEHOUSE_STORE_REDDIS") || !strings.Contains(got[0], "did you mean GATEHOUSE_STORE_REDIS?") {
		t.Errorf("got %q", got)
	}
}

func TestMakeKeys(t *testing.T) {
	cleanEnv(t)
	cfg := Defaults()
	cfg.Store.Dir = filepath.Join(t.TempDir(), "deep", "data")
	for range 2 { // the second time it is there already
		if err := cfg.MakeKeys(); err != nil {
			t.Fatal(err)
		}
	}
	before, err := os.ReadFile(cfg.keysFile())
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.MakeKeys(); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(cfg.keysFile())
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the key file changed: %v", err)
	}
	info, err := os.Stat(cfg.keysFile())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if keys, err := cfg.Keys(); err != nil || len(keys) != 1 || len(keys[0]) != 32 {
		t.Errorf("got %d keys, %v", len(keys), err)
	}
	if left, _ := filepath.Glob(filepath.Join(cfg.Store.Dir, ".keys-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
