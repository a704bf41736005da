package standin_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"go.uber.org/goleak"

	"github.com/gatehouse-auth/gatehouse/auth/standin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	verifier = "a-verifier-of-forty-three-characters-or-more-0"
	redirect = "http://app.test/callback?x=1"
)

// bench is a provider below a path of a real server, as the demo has it.
type bench struct {
	*standin.Standin
	t      *testing.T
	issuer string
	http   *http.Client
}

func newBench(t *testing.T) *bench {
	var provider *standin.Standin
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { provider.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	issuer := server.URL + "/_google"
	provider = standin.New(issuer, []standin.Account{{Subject: "1001", Email: "alice@corp.test", Name: "Alice <b>", HostedDomain: "corp.test"}})
	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &bench{provider, t, issuer, client}
}

// reply is an answer that was read.
type reply struct {
	status int
	header http.Header
	to     *url.URL // where it sends the browser; nil: nowhere
	body   string
}

func (b *bench) do(method, address string, form url.Values, header ...string) reply {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := b.http.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	to, _ := resp.Location()
	return reply{resp.StatusCode, resp.Header, to, string(body)}
}

// request is a good authorization request.
func request() url.Values {
	sum := sha256.Sum256([]byte(verifier))
	return url.Values{
		"response_type": {"code"}, "client_id": {"app"}, "redirect_uri": {redirect}, "scope": {"openid email"},
		"state": {"st&te"}, "nonce": {"n"}, "code_challenge_method": {"S256"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])},
	}
}

// back is where the chooser sends a choice.
func (b *bench) back(choice url.Values) url.Values {
	b.t.Helper()
	p := b.do(http.MethodPost, b.issuer+"/authorize?"+request().Encode(), choice)
	if p.to == nil {
		b.t.Fatalf("%d\n%s", p.status, p.body)
	}
	if p.to.Host != "app.test" || p.to.Query().Get("x") != "1" || p.to.Query().Get("state") != "st&te" {
		b.t.Errorf("sent to %s", p.to)
	}
	return p.to.Query()
}

// redeem asks the token endpoint.
func (b *bench) redeem(code string, edits ...func(url.Values)) (status int, answer map[string]any) {
	b.t.Helper()
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "client_id": {"app"}, "redirect_uri": {redirect}, "code_verifier": {verifier},
	}
	for _, edit := range edits {
		edit(form)
	}
	p := b.do(http.MethodPost, b.issuer+"/token", form)
	if err := json.Unmarshal([]byte(p.body), &answer); err != nil {
		b.t.Fatalf("%d: %v\n%s", p.status, err, p.body)
	}
	return p.status, answer
}

func TestWholeWay(t *testing.T) {
	for name, row := range map[string]struct {
		choice url.Values
		email  string
		sub    string
	}{
		"known":   {url.Values{"email": {"alice@corp.test"}}, "alice@corp.test", "1001"},
		"someone": {url.Values{"email": {"eve@evil.test"}, "name": {"Eve"}}, "eve@evil.test", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			status, answer := b.redeem(b.back(row.choice).Get("code"))
			if status != http.StatusOK {
				t.Fatalf("token: %d %v", status, answer)
			}
			ctx := oidc.ClientContext(context.Background(), b.http)
			provider, err := oidc.NewProvider(ctx, b.issuer)
			if err != nil {
				t.Fatal(err)
			}
			token, err := provider.Verifier(&oidc.Config{ClientID: "app"}).Verify(ctx, answer["id_token"].(string))
			if err != nil || token.Nonce != "n" {
				t.Fatalf("id token: %v, %v", token, err)
			}
			p := b.do(http.MethodGet, b.issuer+"/userinfo", nil, "Authorization", "Bearer "+answer["access_token"].(string))
			var info map[string]any
			if err := json.Unmarshal([]byte(p.body), &info); err != nil {
				t.Fatal(err)
			}
			if info["sub"] != token.Subject || info["email"] != row.email || info["email_verified"] != true {
				t.Errorf("userinfo: %v; subject of the id token: %s", info, token.Subject)
			}
			if row.sub != "" && token.Subject != row.sub {
				t.Errorf("subject %q, want %q", token.Subject, row.sub)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	b := newBench(t)
	alice := url.Values{"email": {"alice@corp.test"}}
	for name, edit := range map[string]func(url.Values){
		"verifier":    func(v url.Values) { v.Set("code_verifier", verifier+"x") },
		"no-verifier": func(v url.Values) { v.Del("code_verifier") },
		"client":      func(v url.Values) { v.Set("client_id", "other") },
		"redirect":    func(v url.Values) { v.Set("redirect_uri", "http://evil.test/") },
		"code":        func(v url.Values) { v.Set("code", "x") },
	} {
		t.Run(name, func(t *testing.T) {
			code := b.back(alice).Get("code")
			if status, answer := b.redeem(code, edit); status != http.StatusBadRequest || answer["error"] != "invalid_grant" {
				t.Errorf("%d %v", status, answer)
			}
		})
	}
	t.Run("twice", func(t *testing.T) {
		code := b.back(alice).Get("code")
		first, _ := b.redeem(code)
		second, _ := b.redeem(code)
		if first != http.StatusOK || second != http.StatusBadRequest {
			t.Errorf("%d, then %d", first, second)
		}
	})
	t.Run("cancel", func(t *testing.T) {
		if back := b.back(url.Values{"cancel": {"yes"}}); back.Get("error") != "access_denied" || back.Has("code") {
			t.Errorf("%v", back)
		}
	})
	t.Run("userinfo", func(t *testing.T) {
		if p := b.do(http.MethodGet, b.issuer+"/userinfo", nil, "Authorization", "Bearer x"); p.status != http.StatusUnauthorized {
			t.Errorf("%d", p.status)
		}
	})
	t.Run("elsewhere", func(t *testing.T) {
		for _, path := range []string{"/", "/token", "/_google", "/_google/authorize/x"} {
			if p := b.do(http.MethodGet, strings.TrimSuffix(b.issuer, "/_google")+path, nil); p.status != http.StatusNotFound {
				t.Errorf("%s: %d", path, p.status)
			}
		}
	})
}

func TestAuthorizationFaults(t *testing.T) {
	b := newBench(t)
	for name, row := range map[string]struct {
		edit   func(url.Values)
		status int
	}{
		"no-pkce":     {func(v url.Values) { v.Del("code_challenge") }, http.StatusSeeOther},
		"plain-pkce":  {func(v url.Values) { v.Set("code_challenge_method", "plain") }, http.StatusSeeOther},
		"token-type":  {func(v url.Values) { v.Set("response_type", "token") }, http.StatusSeeOther},
		"scope":       {func(v url.Values) { v.Set("scope", "email") }, http.StatusSeeOther},
		"no-client":   {func(v url.Values) { v.Del("client_id") }, http.StatusSeeOther},
		"no-redirect": {func(v url.Values) { v.Del("redirect_uri") }, http.StatusBadRequest},
		"script":      {func(v url.Values) { v.Set("redirect_uri", "javascript:alert(1)") }, http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			asked := request()
			row.edit(asked)
			p := b.do(http.MethodGet, b.issuer+"/authorize?"+asked.Encode(), nil)
			if p.status != row.status {
				t.Errorf("%d, want %d", p.status, row.status)
			}
			if p.to != nil && p.to.Query().Get("error") != "invalid_request" {
				t.Errorf("sent to %s", p.to)
			}
		})
	}
}

// The page is for people without JavaScript, and holds nothing that its policy does not allow.
func TestChooser(t *testing.T) {
	b := newBench(t)
	p := b.do(http.MethodGet, b.issuer+"/authorize?"+request().Encode(), nil)
	for _, want := range []string{"Alice &lt;b&gt;", `value="alice@corp.test"`, "Someone else", `type="email"`, "app.test"} {
		if !strings.Contains(p.body, want) {
			t.Errorf("no %q in\n%s", want, p.body)
		}
	}
	for _, not := range []string{"<script", "style=", "onclick", "ZgotmplZ"} {
		if strings.Contains(p.body, not) {
			t.Errorf("%q in\n%s", not, p.body)
		}
	}
	_, after, _ := strings.Cut(p.body, "<style>")
	style, _, _ := strings.Cut(after, "</style>")
	sum := sha256.Sum256([]byte(style))
	policy := p.header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", base64.StdEncoding.EncodeToString(sum[:]), "form-action 'self' http://app.test;", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("no %q in %q", want, policy)
		}
	}
	if p.header.Get("Cache-Control") != "no-store" {
		t.Error("may be cached")
	}
}

func TestRig(t *testing.T) {
	b := newBench(t)
	b.Answer(standin.Keys, http.NotFoundHandler())
	if p := b.do(http.MethodGet, b.issuer+"/keys", nil); p.status != http.StatusNotFound {
		t.Errorf("scripted: %d", p.status)
	}
	b.Answer(standin.Keys, nil)
	if p := b.do(http.MethodGet, b.issuer+"/keys", nil); p.status != http.StatusOK || strings.Contains(p.body, `"d"`) {
		t.Errorf("as it should: %d %s", p.status, p.body)
	}
	if n := b.Calls(standin.Keys); n != 2 {
		t.Errorf("%d calls, want 2", n)
	}
}
