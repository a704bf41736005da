package standin

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gatehouse-auth/gatehouse/web"
)

// grantLife is how long a code may wait to be redeemed (RFC 6749, section 4.1.2, advises at most ten
// minutes).
const grantLife = time.Minute

// grant is what a code stands for.
type grant struct {
	account   Account
	client    string
	redirect  string
	nonce     string
	challenge string // PKCE, S256
	ends      time.Time
}

func (g grant) until() time.Time { return g.ends }

var (
	//go:embed chooser.css
	style string
	//go:embed chooser.html
	markup string

	layout = template.Must(template.New("chooser").Parse(markup))
)

// authorize shows the chooser to a GET, and takes the choice from a POST.
func (s *Standin) authorize(w http.ResponseWriter, r *http.Request) error {
	asked := r.URL.Query()
	redirect, err := url.Parse(asked.Get("redirect_uri"))
	if err != nil || redirect.Host == "" || redirect.Scheme != "http" && redirect.Scheme != "https" {
		// Not sent back with an error: there is nowhere that it may be sent.
		return web.Fail(http.StatusBadRequest, "The redirect_uri is missing or is no http address.", nil)
	}
	if fault := faultOf(asked); fault != "" {
		back(w, r, redirect, url.Values{"error": {"invalid_request"}, "error_description": {fault}, "state": {asked.Get("state")}})
		return nil
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return s.choose(w, r, redirect)
	case http.MethodPost:
		return s.chosen(w, r, redirect)
	}
	w.Header().Set("Allow", "GET, POST")
	return web.Fail(http.StatusMethodNotAllowed, "The chooser takes GET and POST.", nil)
}

// faultOf names what is wrong with an authorization request. PKCE is demanded, so that the demo and
// the tests notice if it is ever forgotten.
func faultOf(asked url.Values) string {
	switch {
	case asked.Get("response_type") != "code":
		return "only response_type=code is known"
	case asked.Get("client_id") == "":
		return "client_id is missing"
	case !strings.Contains(" "+asked.Get("scope")+" ", " openid "):
		return "scope lacks openid"
	case asked.Get("code_challenge_method") != "S256" || asked.Get("code_challenge") == "":
		return "a code_challenge by S256 is needed"
	}
	return ""
}

// choose draws the page. Its forms lead back to its own address, so that the request travels along.
func (s *Standin) choose(w http.ResponseWriter, r *http.Request, redirect *url.URL) error {
	var page bytes.Buffer
	err := layout.Execute(&page, map[string]any{
		"Style": template.CSS(style), "Accounts": s.accounts, "Client": redirect.Host, //nolint:gosec // our own file
		"Action": s.path + string(Authorize) + "?" + r.URL.RawQuery,
	})
	if err != nil {
		return fmt.Errorf("draw chooser: %w", err)
	}
	sum := sha256.Sum256([]byte(style))
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	// Chromium holds the redirect that follows a form to form-action as well.
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+
		"'; img-src data:; form-action 'self' "+redirect.Scheme+"://"+redirect.Host+"; frame-ancestors 'none'; base-uri 'none'")
	_, _ = w.Write(page.Bytes()) // the client has gone; nobody is left to tell
	return nil
}

// chosen sends the browser back with a code for the account it picked or typed.
func (s *Standin) chosen(w http.ResponseWriter, r *http.Request, redirect *url.URL) error {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		return web.Fail(http.StatusBadRequest, "The form could not be read.", err)
	}
	asked, state := r.URL.Query(), r.URL.Query().Get("state")
	if r.PostForm.Has("cancel") {
		back(w, r, redirect, url.Values{"error": {"access_denied"}, "state": {state}})
		return nil
	}
	code := s.grant(grant{
		account: s.account(r.PostForm.Get("email"), r.PostForm.Get("name")),
		client:  asked.Get("client_id"), redirect: asked.Get("redirect_uri"),
		nonce: asked.Get("nonce"), challenge: asked.Get("code_challenge"),
	})
	back(w, r, redirect, url.Values{"code": {code}, "state": {state}, "iss": {s.issuer}})
	return nil
}

// account is the one on offer with an e-mail, or else one made for it.
func (s *Standin) account(email, name string) Account {
	for _, a := range s.accounts {
		if a.Email == email {
			return a
		}
	}
	return Account{Email: email, Name: name}
}

func (s *Standin) grant(g grant) (code string) {
	code, g.ends = rand.Text(), time.Now().Add(grantLife)
	s.mu.Lock()
	defer s.mu.Unlock()
	prune(s.codes)
	s.codes[code] = g
	return code
}

// back sends the browser to the client. What the redirect address has in its query stays.
func back(w http.ResponseWriter, r *http.Request, redirect *url.URL, with url.Values) {
	to := *redirect
	query := to.Query()
	for name := range with {
		query.Set(name, with.Get(name))
	}
	to.RawQuery = query.Encode()
	web.Redirect(w, r, http.StatusSeeOther, to.String())
}
