package web_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/web"
)

// secrets are what must never stand in a log, wherever a request or an error brought them in.
var secrets = []string{"s3cr3t", "4/0AfJohXk", "ya29.a0Af", "eyJhbGciOi", "gate-cookie-value", "pa55"}

func TestNoSecretInAnyLog(t *testing.T) {
	query := "?code=4/0AfJohXk&state=s3cr3t#s3cr3t"
	_, parse := url.Parse("https://user:pa55@app.test/%zz" + query)
	causes := map[string]error{
		"url.Error":         &url.Error{Op: "Get", URL: "https://accounts.test/cb" + query, Err: io.EOF},
		"wrapped url.Error": fmt.Errorf("exchange: %w", &url.Error{Op: "Post", URL: `https://x.test/?a="s3cr3t`, Err: io.EOF}),
		"parse error":       parse,
		"relative":          &url.Error{Op: "parse", URL: "/cb" + query, Err: errors.New("bad")},
		"token answer":      errors.New(`oauth2: cannot fetch token: 400 Response: {"access_token":"ya29.a0Af", "id_token" : "eyJhbGciOi.x.y"}`),
		"quoted answer":     errors.New(`body "{\"refresh_token\":\"s3cr3t\",\"error\":\"x\"}"`),
		"form":              errors.New("sent grant_type=authorization_code&code=4/0AfJohXk&client_secret=s3cr3t&code_verifier=s3cr3t"),
		"JSON web token":    errors.New("oidc: malformed jwt eyJhbGciOi.eyJzdWIi.sig"),
		"bearer":            errors.New("refused Authorization: Bearer ya29.a0Af-rest"),
		"DSN":               errors.New("dial postgres://gate:pa55@db/gate?sslmode=s3cr3t: refused"),
		"DSN as words":      errors.New("cannot parse `host=db user=gate password=pa55`"),
		"redis":             errors.New("dial redis://:pa55@redis:6379/0"),
	}
	for name, cause := range causes {
		for _, how := range []string{"answered", "panicked", "recorded", "logged"} {
			t.Run("RULE-29/"+name+"/"+how, func(t *testing.T) {
				var log *web.Log
				g := start(t, func(_ http.ResponseWriter, r *http.Request) error {
					switch how {
					case "answered":
						return web.Unavailable(cause)
					case "panicked":
						panic(cause)
					case "logged":
						log.WarnContext(r.Context(), "feed", slog.Any("error", cause))
					}
					web.RecordOf(r.Context()).Outcome.Cause = cause
					return nil
				})
				log, _ = web.NewLog(g.log, "info", "text")
				_, body := g.get(t, "/p"+query, "Cookie", "__Host-gate=gate-cookie-value", "Authorization", "Bearer ya29.a0Af", "Referer", "https://x.test/"+query)
				g.record(t)
				for _, secret := range secrets {
					if strings.Contains(g.log.String()+body, secret) {
						t.Errorf("%s is in %s%s", secret, g.log, body)
					}
				}
			})
		}
	}
}

// What an operator needs to read in a cause stays.
func TestReasonsStayReadable(t *testing.T) {
	for _, text := range []string{
		"find session: dial tcp 127.0.0.1:5432: connect: connection refused",
		"dead cookie: no session",
		"id token: oidc: token is expired (Token Expiry: 2026-11-25)",
		"unexpected status code: 503",
		"bad state: closed",
		"SELECT * FROM users WHERE id = ? AND email = ?",
		"who? nobody; issue #5",
		"basic sanity",
	} {
		g := start(t, func(http.ResponseWriter, *http.Request) error { return errors.New(text) })
		g.get(t, "/")
		g.record(t)
		if got := g.entry(t)["error"]; got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

// Whoever reads a log on a terminal is not driven by what a client sent.
func TestControlCharactersAreEscaped(t *testing.T) {
	odd := "a\x1b[2J\r\n\t\x00\x7f\u009b\u202e\u2028\xff z"
	for _, format := range []string{"json", "text"} {
		var out bytes.Buffer
		log, err := web.NewLog(&out, "info", format)
		if err != nil {
			t.Fatal(err)
		}
		log.InfoContext(t.Context(), "x", slog.String("path", odd), slog.Any("error", errors.New(odd)), slog.Group("g", slog.String("path", odd)))
		got := strings.TrimSuffix(out.String(), "\n")
		for _, c := range got {
			if c < ' ' || c >= 0x7f && c < 0xa0 || c == '\u202e' || c == '\u2028' {
				t.Errorf("RULE-29/%s: %U in %q", format, c, got)
			}
		}
		if !strings.Contains(got, `\x1b[2J`) || !strings.Contains(got, `\u202e`) {
			t.Errorf("RULE-29/%s: the characters cannot be read any more: %s", format, got)
		}
	}
}

func TestNewLog(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	log, err := web.NewLog(file, "warn", "auto")
	if err != nil {
		t.Fatal(err)
	}
	log.InfoContext(t.Context(), "quiet")
	log.WarnContext(t.Context(), "loud")
	got, err := os.ReadFile(file.Name())
	if err != nil || !strings.HasPrefix(string(got), "{") || strings.Contains(string(got), "quiet") {
		t.Errorf("auto to a file: %s, %v", got, err)
	}
	for _, c := range [][3]string{{"loud", "json", `log.level "loud"`}, {"info", "xml", `log.format "xml"`}} {
		if _, err := web.NewLog(io.Discard, c[0], c[1]); err == nil || !strings.Contains(err.Error(), c[2]) {
			t.Errorf("CF-01: %v", err)
		}
	}
}
