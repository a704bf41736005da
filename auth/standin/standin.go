// Package standin is an OpenID provider that runs in this process: for `gatehouse demo`, where nobody
// has a Google client at hand, and for tests.
//
// The story. It speaks what a real provider speaks (discovery, authorization code with PKCE, a signed
// ID token, userinfo), so that the demo runs the same code as production. In place of a password it
// shows a page on which one picks an account, or types one. It knows no clients: any client id and
// secret will do.
//
// What it never does: it never keeps anything, it is never reachable from `serve`, and it proves
// nothing about anybody. Whoever reaches it can be whoever they like.
package standin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse-auth/gatehouse/web"
)

// Account is somebody whom the chooser offers.
type Account struct {
	Subject      string // the provider's name for it; empty: one that follows from the e-mail
	Email        string
	Name         string
	Picture      string // an address; may be empty
	HostedDomain string // the organisation that owns the account; may be empty
}

// Endpoint names a part of the provider, by its path below the issuer.
type Endpoint string

// The endpoints.
const (
	Discovery Endpoint = "/.well-known/openid-configuration"
	Authorize Endpoint = "/authorize"
	Token     Endpoint = "/token"
	Keys      Endpoint = "/keys"
	UserInfo  Endpoint = "/userinfo"
)

// Standin is the provider: an http.Handler for everything below its issuer's path. It is safe for
// concurrent use.
type Standin struct {
	issuer   string
	path     string
	accounts []Account
	signer   jose.Signer
	keys     jose.JSONWebKeySet
	handlers map[Endpoint]web.Handler

	mu     sync.Mutex
	codes  map[string]grant
	tokens map[string]access
	rig    rig
}

// New makes a provider. The issuer is its address as clients see it, without a slash at the end:
// http://localhost:8080/_google. An issuer that is no address panics: only the program itself names it.
func New(issuer string, accounts []Account) *Standin {
	u, err := url.Parse(issuer)
	if err != nil {
		panic("standin: issuer: " + err.Error())
	}
	signer, public := newSigner()
	s := &Standin{
		issuer: issuer, path: u.Path, accounts: accounts,
		signer: signer, keys: jose.JSONWebKeySet{Keys: []jose.JSONWebKey{public}},
		codes: map[string]grant{}, tokens: map[string]access{},
		rig: rig{answers: map[Endpoint]http.Handler{}, calls: map[Endpoint]int{}},
	}
	s.handlers = map[Endpoint]web.Handler{
		Discovery: s.discovery, Authorize: s.authorize, Token: s.token, Keys: s.publish, UserInfo: s.userinfo,
	}
	return s
}

// newSigner makes a key for ID tokens: elliptic, because an RSA key takes longer to make than the rest
// of the demo takes to start.
func newSigner() (jose.Signer, jose.JSONWebKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // the system's randomness does not fail
	}
	private := jose.JSONWebKey{Key: key, KeyID: rand.Text(), Algorithm: string(jose.ES256), Use: "sig"}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: private}, nil)
	if err != nil {
		panic(err) // the key fits the algorithm
	}
	return signer, private.Public()
}

// ServeHTTP answers what lies below the issuer's path; anything else is 404.
func (s *Standin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, below := strings.CutPrefix(r.URL.Path, s.path)
	handler, found := s.handlers[Endpoint(path)]
	if !below || !found {
		web.Answer(w, r, web.Fail(http.StatusNotFound, "The stand-in provider has no such page.", nil))
		return
	}
	if scripted := s.rig.called(Endpoint(path)); scripted != nil {
		scripted.ServeHTTP(w, r)
		return
	}
	handler.ServeHTTP(w, r)
}

// discovery is OpenID Connect Discovery, section 3.
func (s *Standin) discovery(w http.ResponseWriter, _ *http.Request) error {
	return send(w, http.StatusOK, map[string]any{
		"issuer":                                s.issuer,
		"authorization_endpoint":                s.issuer + string(Authorize),
		"token_endpoint":                        s.issuer + string(Token),
		"jwks_uri":                              s.issuer + string(Keys),
		"userinfo_endpoint":                     s.issuer + string(UserInfo),
		"response_types_supported":              []string{"code"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{string(jose.ES256)},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post"},
		"code_challenge_methods_supported":      []string{"S256"},
		"scopes_supported":                      []string{"openid", "profile", "email"},
	})
}

func (s *Standin) publish(w http.ResponseWriter, _ *http.Request) error {
	return send(w, http.StatusOK, s.keys)
}

func send(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client has gone; nobody is left to tell
	return nil
}

// prune drops what has run out, so that a demo which is left running does not grow.
func prune[V interface{ until() time.Time }](m map[string]V) {
	for key, value := range m {
		if time.Now().After(value.until()) {
			delete(m, key)
		}
	}
}
