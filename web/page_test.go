package web_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gatehouse-auth/gatehouse/web"
)

// hostile is a text that would leave its place in a page if it were not escaped there.
const hostile = `"><script>alert(1)</script>'&`

// full is a page with everything on it.
func full() web.Page {
	return web.Page{
		Status: 403, Title: "No " + hostile, Text: []string{"One " + hostile, "Two"},
		Facts:   []web.Fact{{Name: "E-mail " + hostile, Value: hostile}},
		Links:   []web.Link{{Name: "Sign in " + hostile, Rel: "login", Href: "/_gate/login?next=" + hostile}, {Name: "Odd", Href: "javascript:alert(1)"}},
		Buttons: []web.Button{{Name: "Out " + hostile, Action: "/_gate/logout", Fields: []web.Field{{Name: "next", Value: hostile}}}},
	}
}

// draw draws a page for a client that accepts a type.
func draw(p web.Page, accept string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", http.NoBody)
	r.Header.Set("Accept", accept)
	web.Recorder{}.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { web.Draw(w, r, p) })).ServeHTTP(w, r)
	return w
}

func TestPageEscapesEverythingAndHasNoScript(t *testing.T) {
	body := draw(full(), "text/html").Body.String()
	for _, bad := range []string{"<script", "javascript:", hostile, " style=", "ZgotmplZ\n"} {
		if strings.Contains(body, bad) {
			t.Errorf("the page contains %q:\n%s", bad, body)
		}
	}
	if on := regexp.MustCompile(`<[^>]*\son\w+=`).FindString(body); on != "" {
		t.Errorf("an event handler: %s", on)
	}
	for _, good := range []string{`<html lang="en">`, `name="viewport"`, `charset="utf-8"`, "<h1>No &#34;&gt;", "<footer>", `type="hidden"`, `method="post"`, `aria-hidden="true"`} {
		if !strings.Contains(body, good) {
			t.Errorf("the page lacks %q", good)
		}
	}
}

func TestPolicyAllowsThePageAndNothingElse(t *testing.T) {
	w := draw(full(), "text/html")
	_, rest, _ := strings.Cut(w.Body.String(), "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	sum := sha256.Sum256([]byte(style))
	want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
	if got := w.Header().Get("Content-Security-Policy"); got != want || style == "" {
		t.Errorf("policy\n%s, want\n%s", got, want)
	}
}

// Buttons decide where forms may lead, and whether the browser may say where a form came from: with
// no-referrer it would send "Origin: null", and no sign-out could be told from a forged one.
func TestPolicyFollowsTheButtons(t *testing.T) {
	for name, c := range map[string]struct {
		actions          []string
		forms, referrers string
	}{
		"RULE-10/no button":     {nil, "'none'", "no-referrer"},
		"RULE-10/own host":      {[]string{"/_gate/logout", "/x"}, "'self'", "same-origin"},
		"RULE-10/another host":  {[]string{"https://auth.test:8443/_gate/logout?x=1"}, "https://auth.test:8443", "same-origin"},
		"RULE-10/both":          {[]string{"/x", "https://auth.test/y"}, "'self' https://auth.test", "same-origin"},
		"RULE-10/cannot parse":  {[]string{"%zz"}, "'self'", "same-origin"},
		"RULE-10/no semicolons": {[]string{"https://a.test;script-src/x"}, "'self'", "same-origin"},
	} {
		t.Run(name, func(t *testing.T) {
			var p web.Page
			for _, a := range c.actions {
				p.Buttons = append(p.Buttons, web.Button{Name: "x", Action: a})
			}
			h := draw(p, "text/html").Header()
			if policy := h.Get("Content-Security-Policy"); !strings.Contains(policy, "; form-action "+c.forms+"; ") {
				t.Errorf("policy %s, want %s", policy, c.forms)
			}
			if got := h.Get("Referrer-Policy"); got != c.referrers {
				t.Errorf("Referrer-Policy %s, want %s", got, c.referrers)
			}
		})
	}
}

func TestPageAsJSON(t *testing.T) {
	w := draw(full(), "application/json")
	got := fields(t, w.Body.String())
	if w.Header().Get("Content-Type") != "application/json" || got["error"] != full().Title || got["id"] == "" || got["message"] != full().Text[0]+" Two" || got["login"] != full().Links[0].Href {
		t.Errorf("got %s", w.Body)
	}
	if facts, _ := got["facts"].(map[string]any); facts["E-mail "+hostile] != hostile {
		t.Errorf("facts %v", facts)
	}
	got = fields(t, draw(web.Page{Title: "Signed out", Text: []string{"Bye."}}, "*/*").Body.String())
	if got["title"] != "Signed out" || got["message"] != "Bye." || len(got) != 2 {
		t.Errorf("got %v", got)
	}
}

func TestOnlyErrorPagesQuoteAnID(t *testing.T) {
	for status, want := range map[int]bool{0: false, 200: false, 400: true, 503: true} {
		w := draw(web.Page{Status: status}, "text/html")
		if got := strings.Contains(w.Body.String(), "<footer>"); got != want || w.Code != max(status, 200) {
			t.Errorf("%d: footer %v, code %d", status, got, w.Code)
		}
	}
}

// Text has a contrast of 4.5 to 1 at least, and outlines 3 to 1, in both modes (WCAG 2.2, AA).
func TestContrast(t *testing.T) {
	light, dark := palettes(t, draw(web.Page{}, "text/html").Body.String())
	for mode, colors := range map[string]map[string]string{"light": light, "dark": dark} {
		for _, pair := range [][2]string{{"text", "card"}, {"quiet", "card"}, {"brand", "card"}, {"on-brand", "brand"}} {
			if ratio := contrast(t, colors[pair[0]], colors[pair[1]]); ratio < 4.5 {
				t.Errorf("%s: --%s on --%s has %.2f", mode, pair[0], pair[1], ratio)
			}
		}
	}
}

// palettes reads the colors of both modes from a page.
func palettes(t *testing.T, page string) (light, dark map[string]string) {
	t.Helper()
	light, dark = map[string]string{}, map[string]string{}
	for _, m := range regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]{6});`).FindAllStringSubmatch(page, -1) {
		if _, seen := light[m[1]]; seen {
			dark[m[1]] = m[2]
		} else {
			light[m[1]] = m[2]
		}
	}
	if len(light) != 7 || len(dark) != 7 || !strings.Contains(page, "color-scheme: light dark") {
		t.Fatalf("palettes %v and %v", light, dark)
	}
	return light, dark
}

// contrast is the contrast ratio of two colors as WCAG defines it.
func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	l := []float64{luminance(t, a), luminance(t, b)}
	slices.Sort(l)
	return (l[1] + 0.05) / (l[0] + 0.05)
}

func luminance(t *testing.T, color string) (sum float64) {
	t.Helper()
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n, err := strconv.ParseUint(color[1+2*i:3+2*i], 16, 8)
		if err != nil {
			t.Fatal(fmt.Errorf("color %q: %w", color, err))
		}
		c := float64(n) / 255
		if c <= 0.04045 {
			sum += weight * c / 12.92
		} else {
			sum += weight * math.Pow((c+0.055)/1.055, 2.4)
		}
	}
	return sum
}
