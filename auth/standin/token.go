package standin

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/gatehouse-auth/gatehouse/web"
)

// accessLife is how long an access token opens userinfo, and how long an ID token says it is good.
const accessLife = 10 * time.Minute

// access is what an access token stands for.
type access struct {
	account Account
	ends    time.Time
}

func (a access) until() time.Time { return a.ends }

// token redeems a code: once, by the client that it was made for, with the right verifier.
func (s *Standin) token(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil || r.Method != http.MethodPost {
		return send(w, http.StatusBadRequest, map[string]string{"error": "invalid_request"})
	}
	if r.PostForm.Get("grant_type") != "authorization_code" {
		return send(w, http.StatusBadRequest, map[string]string{"error": "unsupported_grant_type"})
	}
	g, found := s.take(r.PostForm.Get("code"))
	if !found || !fits(g, r) {
		return send(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
	}
	signed, err := s.idToken(g)
	if err != nil {
		return fmt.Errorf("sign id token: %w", err)
	}
	return send(w, http.StatusOK, map[string]any{
		"access_token": s.open(g.account), "token_type": "Bearer",
		"expires_in": int(accessLife / time.Second), "id_token": signed,
	})
}

// take removes a code and returns what it stood for.
func (s *Standin) take(code string) (grant, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	prune(s.codes)
	g, found := s.codes[code]
	delete(s.codes, code)
	return g, found
}

// fits reports whether a token request is made by whoever made the authorization request.
func fits(g grant, r *http.Request) bool {
	client := r.PostForm.Get("client_id")
	if user, _, basic := r.BasicAuth(); basic {
		client, _ = url.QueryUnescape(user) // encoded before it went into the header (RFC 6749, 2.3.1)
	}
	sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
	challenge := base64.RawURLEncoding.EncodeToString(sum[:])
	return client == g.client && r.PostForm.Get("redirect_uri") == g.redirect &&
		subtle.ConstantTimeCompare([]byte(challenge), []byte(g.challenge)) == 1
}

func (s *Standin) idToken(g grant) (string, error) {
	now := time.Now()
	claims := s.about(g.account)
	claims["iss"], claims["aud"], claims["nonce"] = s.issuer, g.client, g.nonce
	claims["iat"], claims["exp"] = now.Unix(), now.Add(accessLife).Unix()
	return jwt.Signed(s.signer).Claims(s.rig.edited(Token, claims)).Serialize()
}

// open makes an access token.
func (s *Standin) open(a Account) (token string) {
	token = rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	prune(s.tokens)
	s.tokens[token] = access{a, time.Now().Add(accessLife)}
	return token
}

// userinfo tells about the account that an access token was made for.
func (s *Standin) userinfo(w http.ResponseWriter, r *http.Request) error {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	prune(s.tokens)
	a, found := s.tokens[token]
	s.mu.Unlock()
	if !found {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		return web.Fail(http.StatusUnauthorized, "The access token is not known.", nil)
	}
	return send(w, http.StatusOK, s.rig.edited(UserInfo, s.about(a.account)))
}

// about are the claims about an account. An account that was typed has the same subject from one start
// of the demo to the next.
func (s *Standin) about(a Account) map[string]any {
	if a.Subject == "" {
		sum := sha256.Sum256([]byte(a.Email))
		a.Subject = hex.EncodeToString(sum[:8])
	}
	claims := map[string]any{"sub": a.Subject, "email": a.Email, "email_verified": true, "name": a.Name}
	if a.Picture != "" {
		claims["picture"] = a.Picture
	}
	if a.HostedDomain != "" {
		claims["hd"] = a.HostedDomain
	}
	return claims
}
