package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// secrets of the texts below; none of them may stand in any message.
var secrets = []string{"hush-hush", "s3same", "pa55word", "GOCSPX-abcdef", "8675309"}

// TestFaults is every configuration that must not start: what is wrong, the key that is blamed, and
// a part of the message. The text is the least configuration with the additions of a case.
func TestFaults(t *testing.T) {
	const login = "login: {client_id: id, client_secret: hush-hush}\n"
	public := func(s string) string { return "server: {public_url: " + s + "}\n" + login }
	server := func(s string) string { return `server: {public_url: "https://auth.corp.test", ` + s + "}\n" + login }
	cookie := func(s string) string { return least + "cookie: {domain: " + s + "}\n" }
	route := func(s string) string {
		return least + `routes: [{host: auth.corp.test, upstream: "http://127.0.0.1:1", ` + s + "}]\n"
	}
	upstream := func(s string) string {
		return least + "routes: [{host: auth.corp.test, upstream: " + s + "}]\n"
	}
	loginWith := func(s string) string {
		return `server: {public_url: "https://auth.corp.test"}` + "\nlogin: {client_id: id, client_secret: hush-hush, " + s + "}\n"
	}
	tests := []struct{ name, text, key, says string }{
		// The file itself. A misspelt key with a null or empty value passes viper.
		{"CF-04/misspelt key", least + "store: {redsi: x}", "store.redsi", "did you mean store.redis?"},
		{"CF-04/misspelt group", least + "redis: {adress: x}", "redis", "did you mean store.redis?"},
		{"CF-04/misspelt key with null", least + "store: {redsi: }", "store.redsi", "unknown key"},
		{"CF-04/misspelt key with {}", least + "store: {redsi: {}}", "store.redsi", "unknown key"},
		{"CF-04/hyphen for underscore", least + "session: {max-lifetime: 1h}", "session.max-lifetime", "did you mean session.max_lifetime?"},
		{"CF-04/misspelt secret is not shown", least + "store: {databse: s3same}", "store.databse", "did you mean store.database?"},
		{"CF-04/key twice", least + "session: {ttl: 1h, ttl: 2h}", "session.ttl", "given twice"},
		{"CF-04/two documents", least + "---\nsession: {ttl: 1h}", "", "more than one YAML document"},
		{"CF-04/not YAML", "server: [", "", "not YAML"},
		{"CF-04/a list for the whole", "- a", "", "not a group of keys"},
		{"CF-04/number for a duration", least + "session: {ttl: 60}", "session.ttl", "not a duration"},
		{"CF-04/text for a bool", loginWith("trust_email: yes please"), "login.trust_email", "not true or false"},
		{"CF-04/bool for a text", least + "log: {level: true}", "log.level", "put it in quotes"},
		{"RULE-29/number for a secret", `server: {public_url: "https://auth.corp.test"}` + "\nlogin: {client_id: id, client_secret: 8675309}", "login.client_secret", "put it in quotes"},
		{"CF-04/text for a list", loginWith("return_hosts: app.test"), "login.return_hosts", "write [x]"},
		{"CF-04/text for a group", least + "store: here", "store", "not a group of keys"},
		{"CF-04/list item without a value", loginWith("return_hosts: [a.test, ]\n  , auto_create_domains: [~]"), "login.auto_create_domains[0]", "has no value"},
		{"CF-04/list without a value", loginWith("return_hosts: "), "login.return_hosts", "has no value"},

		{"CF-04/no public_url", login, "server.public_url", "is required"},
		{"CF-04/public_url without a scheme", public("auth.corp.test"), "server.public_url", "not an http or https address"},
		{"CF-04/public_url with a path", public("https://auth.corp.test/x"), "server.public_url", "more than a scheme and a host"},
		{"CF-04/public_url with a password", public("https://u:pa55word@auth.corp.test"), "server.public_url", "more than a scheme and a host"},
		{"CF-04/listen without a port", server("listen: localhost"), "server.listen", "not an address to listen on"},
		{"CF-04/one address twice", server(`listen: "127.0.0.1:9090"`), "admin.listen", "the same address"},
		{"CF-04/prefix", server("prefix: /"), "server.prefix", "not a path of our own"},
		{"CF-04/prefix with dots", server("prefix: /a/../b"), "server.prefix", "not a path of our own"},
		{"CF-04/certificate without a key", server("tls: {cert_file: /c.pem}"), "server.tls", "needs cert_file and key_file"},
		{"CF-04/certificate not there", server("tls: {cert_file: /nowhere/c.pem, key_file: /nowhere/k.pem}"), "server.tls", "no such file"},
		{"CF-04/negative delay", server("drain_delay: -1s"), "server.drain_delay", "too short"},
		{"RULE-12/everybody trusted", server("trusted_proxies: [{from: 0.0.0.0/0, headers: [for]}]"), "server.trusted_proxies[0]", "every address"},
		{"RULE-12/everybody trusted, v6", server(`trusted_proxies: [{from: "::/0", headers: [for]}]`), "server.trusted_proxies[0]", "every address"},
		{"CF-04/CIDR", server("trusted_proxies: [{from: 10.0.0.0/33, headers: [for]}]"), "server.trusted_proxies[0]", "neither a prefix"},
		{"CF-04/claim", server("trusted_proxies: [{from: 10.0.0.0/8, headers: [from]}]"), "server.trusted_proxies[0]", "unknown header word"},

		{"CF-04/no client id", `server: {public_url: "https://auth.corp.test"}` + "\nlogin: {client_secret: hush-hush}", "login.client_id", "https://auth.corp.test/_gate/callback"},
		{"CF-04/no client secret", `server: {public_url: "https://auth.corp.test"}` + "\nlogin: {client_id: id}", "login.client_secret", "login.client_secret_file"},
		{"CF-04/secret where its file belongs", `server: {public_url: "https://auth.corp.test"}` + "\nlogin: {client_id: id, client_secret_file: GOCSPX-abcdef}", "login.client_secret_file", "no such file"},
		{"CF-04/secret and its file", loginWith("client_secret_file: ./x"), "login.client_secret_file", "given beside login.client_secret"},
		{"CF-04/issuer over http", loginWith(`issuer: "http://accounts.corp.test"`), "login.issuer", "not the https address"},
		{"CF-04/hosted domain", loginWith(`hosted_domain: "@corp.test"`), "login.hosted_domain", "without @"},
		{"CF-04/auto-create domain", loginWith(`auto_create_domains: ["*.corp.test"]`), "login.auto_create_domains", "not the domain of an e-mail"},
		{"RD-02/config wildcard", loginWith(`return_hosts: ["*.corp.test"]`), "login.return_hosts", ".example.com for all below it"},
		{"RD-02/config address", loginWith(`return_hosts: ["https://app.corp.test"]`), "login.return_hosts", "not a host"},
		{"RD-02/config public suffix", loginWith(`return_hosts: [.com]`), "login.return_hosts", "strangers can register"},
		{"RD-02/config private suffix", loginWith(`return_hosts: [.github.io]`), "login.return_hosts", "strangers can register"},
		{"RD-02/config address suffix", loginWith(`return_hosts: [.127.0.0.1]`), "login.return_hosts", "not"},

		{"CK-03/a port in the domain", cookie(`"corp.test:8080"`), "cookie.domain", "has no port"},
		{"CK-03/a leading dot", cookie(".corp.test"), "cookie.domain", "write corp.test"},
		{"CK-03/b other domain", cookie("other.test"), "cookie.domain", "a parent of auth.corp.test"},
		{"CK-03/b end of a label", cookie("rp.test"), "cookie.domain", "a parent of auth.corp.test"},
		{"CK-03/b below the public host", cookie("x.auth.corp.test"), "cookie.domain", "a parent of auth.corp.test"},
		{"CK-03/e public suffix", strings.ReplaceAll(cookie("co.uk"), "auth.corp.test", "auth.corp.co.uk"), "cookie.domain", "strangers can register"},
		{"CK-03/e top level", strings.ReplaceAll(cookie("com"), "auth.corp.test", "auth.corp.com"), "cookie.domain", "strangers can register"},
		{"CK-03/e an address", strings.ReplaceAll(cookie("127.0.0.1"), "auth.corp.test", "127.0.0.1"), "cookie.domain", "below names only"},
		{"CK-03/e capitals", cookie("Corp.test"), "cookie.domain", "not a lower-case domain name"},

		{"CF-04/ttl over the maximum", least + "session: {ttl: 24h}", "session.ttl", "longer than session.max_lifetime"},
		{"CF-04/no ttl", least + "session: {ttl: 0s}", "session.ttl", "too short"},
		{"CF-04/Redis is never believed", least + "session: {max_unverified: 0s}", "session.max_unverified", "at least 5s"},
		{"CF-04/longer than cookies live", least + "session: {max_lifetime: 9601h}", "session.max_lifetime", "400 days"},
		{"CF-04/Postgres without keys", least + `store: {database: "postgres://u:pa55word@127.0.0.1/x"}`, "secret.keys_file", "all replicas share"},
		{"RULE-29/database", least + `store: {database: "mysql://u:pa55word@127.0.0.1/x"}` + "\nsecret: {keys_file: /nowhere}", "store.database", "not a Postgres address"},
		{"RULE-29/database in keyword form", least + `store: {database: "host=db password=pa55word"}` + "\nsecret: {keys_file: /nowhere}", "store.database", "not a Postgres address"},
		{"RULE-29/redis", least + `store: {redis: "http://:pa55word@127.0.0.1"}`, "store.redis", "not a Redis address"},
		{"RULE-29/upstream", upstream(`"http://u:pa55word@127.0.0.1:1"`), "routes[0].upstream", "credentials"},
		{"RULE-29/upstream query", upstream(`"http://127.0.0.1:1/?token=s3same"`), "routes[0].upstream", "write http"},
		{"CF-04/listen_url alone", least + `store: {listen_url: "postgres://127.0.0.1/x"}`, "store.listen_url", "needs store.database"},
		{"CF-04/no dir", least + `store: {dir: ""}`, "store.dir", "is required"},

		{"CF-04/identity header", least + "identity: [{header: X Y, value: user}]", "identity[0]", ""},
		{"CF-04/identity value", least + "identity: [{header: Remote-User, value: login}]", "identity[0]", ""},
		{"CF-04/reserved identity header", least + "identity: [{header: Host, value: user}]", "identity[0]", ""},
		{"CF-04/identity header twice", least + "identity: [{header: Remote-User, value: user}, {header: remote_user, value: email}]", "identity", "keep one of them"},

		{"CF-04/route without a host", least + `routes: [{upstream: "http://127.0.0.1:1"}]`, "routes[0].host", "is required"},
		{"CF-04/route host unreached", least + `routes: [{host: app.corp.test, upstream: "http://127.0.0.1:1"}]`, "routes[0].host", "cookie does not reach it"},
		{"CF-04/route host beside the domain", cookie("corp.test") + `routes: [{host: app.evilcorp.test, upstream: "http://127.0.0.1:1"}]`, "routes[0].host", "cookie does not reach it"},
		{"CF-04/route host with a wildcard", least + `routes: [{host: "*.corp.test", upstream: "http://127.0.0.1:1"}]`, "routes[0].host", "not a host"},
		{"CF-04/route under the prefix", route("path: /_gate/x"), "routes[0].path", "Gatehouse's own"},
		{"CF-04/route under the prefix in capitals", route("path: /_GATE"), "routes[0].path", "Gatehouse's own"},
		{"CF-04/path without a slash", route("path: x"), "routes[0]", "must begin with a slash"},
		{"CF-04/path is a pattern", route(`path: "/x/.*[a-z]"`), "routes[0]", "plain segments"},
		{"CF-04/path with dots", route("path: /x/../y"), "routes[0]", "plain segments"},
		{"CF-04/method in small letters", route("methods: [get]"), "routes[0]", "upper-case"},
		{"CF-04/methods empty", route("methods: []"), "routes[0].methods", "is empty"},
		{"CF-04/methods null", route("methods: "), "routes[0].methods", "has no value"},
		{"CF-04/public word", route("public: maybe"), "routes[0].public", "not one of false, true, identify"},
		{"CF-04/allow empty", route("allow: {}"), "routes[0].allow", "names nobody"},
		{"CF-04/allow null", route("allow: "), "routes[0].allow", "has no value"},
		{"CF-04/allow an empty list", route("allow: {roles: []}"), "routes[0].allow", "names nobody"},
		{"CF-04/allow one empty list", route("allow: {roles: [], domains: [corp.test]}"), "routes[0].allow.roles", "is empty"},
		{"CF-04/allow on a public route", route("public: true, allow: {roles: [a]}"), "routes[0].allow", "contradicts"},
		{"CF-04/role", route("allow: {roles: [Staff]}"), "routes[0].allow.roles", "not a role"},
		{"CF-04/role that is a list", route(`allow: {roles: ["a,b"]}`), "routes[0].allow.roles", "not a role"},
		{"CF-04/e-mail", route("allow: {emails: [ann]}"), "routes[0].allow.emails", "not an e-mail"},
		{"CF-04/domain with an @", route(`allow: {domains: ["@corp.test"]}`), "routes[0].allow.domains", "not the domain"},
		{"CF-04/origin with a path", route(`origins: ["https://a.test/"]`), "routes[0]", "origin"},
		{"CF-04/origin null", route(`origins: ["null"]`), "routes[0]", "origin"},
		{"CF-04/origin any", route(`origins: ["*"]`), "routes[0]", "origin"},
		{"CF-04/no upstream", least + "routes: [{host: auth.corp.test}]", "routes[0].upstream", "is required"},
		{"CF-04/upstream kind", upstream("ftp://x"), "routes[0].upstream", "write http"},
		{"CF-04/upstream socket", upstream("unix:app.sock"), "routes[0].upstream", "unix:/"},
		{"CF-04/upstream with a path", upstream(`"http://127.0.0.1:1/app"`), "routes[0].upstream", "only scheme, host and port"},
		{"CF-04/upstream host", route(`upstream_host: "a b"`), "routes[0].upstream_host", "not client, upstream or a host"},
		{"CF-04/TLS without https", route("tls: {server_name: x}"), "routes[0].tls", "needs an https upstream"},
		{"CF-04/CA not there", least + `routes: [{host: auth.corp.test, upstream: "https://127.0.0.1:1", tls: {ca_file: /nowhere/ca.pem}}]`, "routes[0].upstream", "no such file"},
		{"CF-04/no timeout", route("timeouts: {dial: 0s}"), "routes[0].timeouts.dial", "too short"},
		{"CF-04/routes that collide", least + `routes: [{host: auth.corp.test, upstream: "http://127.0.0.1:1"}, {host: AUTH.corp.test:443, path: /, methods: [GET], upstream: "http://127.0.0.1:2"}]`, "routes", "GET"},

		{"CF-04/proxy engine", least + "proxy: {engine: fast}", "proxy.engine", "not one of lean"},
		{"CF-04/log level", least + "log: {level: loud}", "log.level", "not one of debug"},
		{"CF-04/log format", least + "log: {format: xml}", "log.format", "not one of auto"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cleanEnv(t)
			t.Chdir(t.TempDir())
			faults := faultsOf(t, tt.text)
			found := faults.about(tt.key)
			if len(found) == 0 || !strings.Contains(found[0].Error(), tt.says) {
				t.Errorf("want %s: …%s…, got:\n%v", tt.key, tt.says, faults)
			}
			if len(found) > 0 && !strings.HasPrefix(found[0].Source, "config.yaml") && !strings.Contains(found[0].Text, "required") && tt.key != "admin.listen" {
				t.Errorf("does not say where it stands: %v", found[0])
			}
			for _, secret := range secrets {
				if strings.Contains(faults.Error(), secret) {
					t.Errorf("prints the secret %s:\n%v", secret, faults)
				}
			}
		})
	}
}

// TestFine is what must start, though it is near to a fault.
func TestFine(t *testing.T) {
	server := `server: {public_url: "https://auth.corp.test:8080"}` + "\nlogin: {client_id: id, client_secret: hush-hush, %s}\n"
	tests := []struct{ name, text string }{
		{"CK-03/a public port, domain without", fmt.Sprintf(server, "") + "cookie: {domain: corp.test}"},
		{"CK-03/a public port, no domain", fmt.Sprintf(server, "")},
		{"CK-03/b the public host itself", least + "cookie: {domain: auth.corp.test}"},
		{"RD-02/config hosts", fmt.Sprintf(server, "return_hosts: [corp.test, .corp.test, .home, 'app.test:8443', '127.0.0.1:80']")},
		{"CF-04/keys without values are unset", least + "session: {ttl: }\nstore:\nlog: {}\n"},
		{"CF-04/disjoint methods", least + `routes: [{host: auth.corp.test, methods: [GET], upstream: "http://127.0.0.1:1"}, {host: auth.corp.test, methods: [POST], upstream: "h2c://127.0.0.1:2"}]`},
		{"CF-04/no allow", least + `routes: [{host: auth.corp.test, upstream: "unix:/run/app.sock"}]`},
		{"CF-04/anchors", least + `routes: [{host: auth.corp.test, upstream: "http://127.0.0.1:1", allow: &staff {roles: [staff]}}, {host: auth.corp.test, path: /x, upstream: "http://127.0.0.1:1", allow: *staff}]`},
		{"CF-04/loopback issuer over http", `{server: {public_url: "http://localhost:1"}, login: {issuer: "http://127.0.0.1:2", client_id: id, client_secret: hush-hush}}`},
		{"CF-04/Redis before the embedded database", least + `store: {redis: "redis://127.0.0.1:1/0"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cleanEnv(t)
			t.Chdir(t.TempDir())
			loaded(t, tt.text)
		})
	}
}

// TestCF04KeyFile: a key that protects nothing keeps the gateway from starting, and is not shown.
func TestCF04KeyFile(t *testing.T) {
	const good = "q3pV0x8XrJb0Zt5w1n2KfYgHc7LdMsEoUiAaBbCcDdE="
	tests := []struct{ name, text, says string }{
		{"empty", "", "holds no key"},
		{"too short", "c2hvcnQ=", "5 bytes"},
		{"not base64", "pa55word!", "line 1: not base64"},
		{"sample", "Y2hhbmdlLW1lLWNoYW5nZS1tZS1jaGFuZ2UtbWUtbm93IQ==", "a sample value"},
		{"second line", good + "\nc2hvcnQ=", "line 2"},
		{"not there", "-", "no such file"},
	}
	for _, tt := range tests {
		t.Run("CF-04/key file "+tt.name, func(t *testing.T) {
			cleanEnv(t)
			name := filepath.Join(t.TempDir(), "keys.txt")
			if tt.text != "-" {
				if err := os.WriteFile(name, []byte(tt.text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			f := faultsOf(t, least+"secret: {keys_file: "+name+"}").of(t, "secret.keys_file")
			if !strings.Contains(f.Text, tt.says) || (tt.text != "" && strings.Contains(f.Error(), strings.TrimSpace(tt.text)+" ")) {
				t.Errorf("got %v", f)
			}
		})
	}
}

// TestCF04AllAtOnce: one run names everything, each with its line.
func TestCF04AllAtOnce(t *testing.T) {
	cleanEnv(t)
	t.Setenv("GATEHOUSE_SESSION_TTL", "long")
	faults := faultsOf(t, "server:\n  public_url: nowhere\n  lisen: x\ncookie:\n  domain: com\nlog:\n  level: loud\n")
	want := map[string]string{
		"server.public_url": "config.yaml:2", "server.lisen": "config.yaml:3", "cookie.domain": "config.yaml:5",
		"log.level": "config.yaml:7", "session.ttl": "GATEHOUSE_SESSION_TTL", "login.client_id": "", "login.client_secret": "",
	}
	for key, source := range want {
		if f := faults.of(t, key); f.Source != source {
			t.Errorf("%s is said to stand at %q, want %q", key, f.Source, source)
		}
	}
	if len(faults) != len(want) {
		t.Errorf("want %d faults, got:\n%v", len(want), faults)
	}
}

// TestWarnings: odd, but allowed.
func TestWarnings(t *testing.T) {
	open := filepath.Join(t.TempDir(), "secret.txt")
	if err := os.WriteFile(open, []byte("hush-hush"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, text, says string }{
		{"plain http", strings.Replace(least, "https://", "http://", 1), "plain http"},
		{"no routes", least, "routes: none"},
		{"secret that all can read", "server: {public_url: \"https://auth.corp.test\"}\nlogin: {client_id: id, client_secret_file: " + open + "}", "everybody on this machine"},
		{"trust_email for Google", strings.Replace(least, "client_id", "trust_email: true, client_id", 1), "login.trust_email"},
		{"laxer below", least + `routes: [{host: auth.corp.test, upstream: "http://127.0.0.1:1", allow: {roles: [a]}}, {host: auth.corp.test, path: /x, upstream: "http://127.0.0.1:1"}]`, "lets in more people"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cleanEnv(t)
			t.Chdir(t.TempDir())
			cfg := loaded(t, tt.text)
			if all := strings.Join(cfg.Warnings, "\n"); !strings.Contains(all, tt.says) || strings.Contains(all, "hush") {
				t.Errorf("want a warning with %q, got:\n%s", tt.says, all)
			}
		})
	}
	t.Run("none on this machine", func(t *testing.T) {
		cleanEnv(t)
		text := strings.Replace(least, "https://auth.corp.test", "http://localhost:8080", 1) + `routes: [{host: "localhost:8080", upstream: "http://127.0.0.1:1"}]`
		if cfg := loaded(t, text); len(cfg.Warnings) > 0 {
			t.Errorf("got %q", cfg.Warnings)
		}
	})
}

// TestRULE29Printable: what goes to a terminal cannot command it.
func TestRULE29Printable(t *testing.T) {
	for in, want := range map[string]string{
		"plain é 日本":    "plain é 日本",
		"\x1b[2J":       `\x1b[2J`,
		"a\nb\tc":       `a\nb\tc`,
		"\u202egnp.exe": `\u202egnp.exe`,
		"\x9b31m":       "\uFFFD31m",
		"\u009b31m":     `\u009b31m`,
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) is %q, want %q", in, got, want)
		}
	}
}

// FuzzConfig: no file panics or hangs the reader, and a secret never stands in a message.
func FuzzConfig(f *testing.F) {
	plain, err := os.ReadFile("../../config.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		string(plain), least, "", "a: &a [*a]", "server: &s {tls: *s}", "routes: [{allow: {}}]", "{", "---\n---\n",
		"<<: {server: {listen: x}}", "? [a]\n: b", "!!binary aGk=: x", "session: {ttl: !!int 5}", "identity: [~]",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parsed := parseFile("config.yaml", []byte(text))
		cfg, err := merge(parsed, nil)
		if err != nil {
			return // such as an anchor that contains itself
		}
		cfg.sources = parsed.lines
		cfg.Login.ClientSecret, cfg.Store.Database, cfg.Store.Redis = "hush-hush", "x://u:pa55word@h", "y://:s3same@h"
		faults, warnings := cfg.Validate()
		all := append(faults, parsed.faults...).Error() + strings.Join(warnings, "\n")
		for _, secret := range secrets {
			if strings.Contains(all, secret) && !strings.Contains(text, secret) {
				t.Errorf("prints %s:\n%s", secret, all)
			}
		}
		if strings.ContainsAny(all, "\x1b\x00\r") {
			t.Errorf("prints a control character: %q", all)
		}
	})
}
