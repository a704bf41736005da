package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/gatehouse-auth/gatehouse/web"
)

const (
	// providerTimeout bounds one request to the provider, and the whole of a code exchange.
	providerTimeout = 10 * time.Second
	// maxAnswer bounds a body that the provider sends. go-oidc and we would read any amount.
	maxAnswer = 1 << 20
)

var (
	// errLate says that the provider did not answer in time.
	errLate = errors.New("the provider did not answer in time")
	// errCode says that the provider no longer takes the code: used before, or too old.
	errCode = errors.New("the provider does not take the code")
)

// ProviderConfig says which OpenID provider vouches for people, and for which of them.
type ProviderConfig struct {
	Issuer       string // https://accounts.google.com, or any other OpenID provider
	ClientID     string
	ClientSecret string   // empty for a public client
	Redirect     string   // Site.Callback
	HostedDomain string   // only accounts of this organisation (the hd claim); empty: all
	AutoCreate   []string // e-mail domains whose people come in without a row
	TrustEmail   bool     // take an e-mail of which the provider does not say whether it is verified
	Timeout      time.Duration
	Transport    http.RoundTripper // nil: one of our own
}

// Provider is the OpenID provider. Its addresses and keys are looked up when they are first needed,
// so that it may be down when Gatehouse starts. No code, token or secret stands in its errors.
type Provider struct {
	config    ProviderConfig
	client    *http.Client
	asking    chan struct{} // one discovery at a time
	found     atomic.Pointer[endpoints]
	exchanges *web.Turns[netip.Prefix]
}

// endpoints is what discovery told.
type endpoints struct {
	oauth    oauth2.Config
	verifier *oidc.IDTokenVerifier
	userinfo string
}

// NewProvider makes a provider, and asks it nothing yet. A Timeout of zero is 10 seconds.
func NewProvider(config ProviderConfig) *Provider {
	if config.Timeout == 0 {
		config.Timeout = providerTimeout
	}
	next := config.Transport
	if next == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxResponseHeaderBytes = 64 << 10
		next = t
	}
	return &Provider{
		config: config,
		client: &http.Client{
			Transport: strict{next},
			// The context of an exchange ends first, and so tells late from wrong. This bounds what
			// go-oidc asks on a context of its own: the keys.
			Timeout: config.Timeout + config.Timeout/10,
			// A redirect would carry the code or the access token to an address nobody configured.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		asking:    make(chan struct{}, 1),
		exchanges: web.NewTurns[netip.Prefix](exchangesAtOnce, exchangesPerClient),
	}
}

// Close lets go of idle connections.
func (p *Provider) Close() { p.client.CloseIdleConnections() }

// Discover asks the provider for its addresses, unless that is done. `check --connect` and readiness
// call it to say what is wrong before the first login does.
func (p *Provider) Discover(ctx context.Context) error {
	_, err := p.endpoints(ctx)
	return err
}

// Ping asks the provider for its addresses anew, and so tells whether it answers now. What was found
// before stays.
func (p *Provider) Ping(ctx context.Context) error {
	if p.found.Load() == nil {
		return p.Discover(ctx)
	}
	if _, err := p.discover(oidc.ClientContext(ctx, p.client)); err != nil {
		return fmt.Errorf("ask provider: %w", brief(ctx, err))
	}
	return nil
}

func (p *Provider) endpoints(ctx context.Context) (*endpoints, error) {
	if e := p.found.Load(); e != nil {
		return e, nil
	}
	ctx, cancel := context.WithTimeout(ctx, p.config.Timeout)
	defer cancel()
	select {
	case p.asking <- struct{}{}:
		defer func() { <-p.asking }()
	case <-ctx.Done():
		return nil, fmt.Errorf("discover provider: %w", brief(ctx, ctx.Err()))
	}
	if e := p.found.Load(); e != nil {
		return e, nil
	}
	e, err := p.discover(oidc.ClientContext(ctx, p.client))
	if err != nil {
		return nil, fmt.Errorf("discover provider: %w", brief(ctx, err))
	}
	p.found.Store(e)
	return e, nil
}

func (p *Provider) discover(ctx context.Context) (*endpoints, error) {
	found, err := oidc.NewProvider(ctx, p.config.Issuer)
	if err != nil {
		return nil, err
	}
	var more struct {
		Methods []string `json:"token_endpoint_auth_methods_supported"`
	}
	if err := found.Claims(&more); err != nil {
		return nil, err
	}
	if found.UserInfoEndpoint() == "" || found.Endpoint().TokenURL == "" || found.Endpoint().AuthURL == "" {
		return nil, errors.New("the provider names no userinfo, token or authorization endpoint")
	}
	e := &endpoints{
		oauth: oauth2.Config{
			ClientID: p.config.ClientID, ClientSecret: p.config.ClientSecret,
			Endpoint: found.Endpoint(), RedirectURL: p.config.Redirect, Scopes: scopes(p.config.Issuer),
		},
		verifier: found.Verifier(&oidc.Config{ClientID: p.config.ClientID, Now: slowClock}),
		userinfo: found.UserInfoEndpoint(),
	}
	e.oauth.Endpoint.AuthStyle = p.authStyle(more.Methods)
	return e, nil
}

// slowClock makes an ID token last a little longer, for a provider whose clock is behind ours.
func slowClock() time.Time { return time.Now().Add(-clockSlack) }

// scopes are as few as tell the name and the e-mail. Google's names for them are those that its
// consent screen and its review know.
func scopes(issuer string) []string {
	if issuer == google {
		const base = "https://www.googleapis.com/auth/userinfo."
		return []string{oidc.ScopeOpenID, base + "profile", base + "email"}
	}
	return []string{oidc.ScopeOpenID, "profile", "email"}
}

// authStyle says how the client secret is sent. Left to itself, x/oauth2 tries both ways, and so
// presents the code twice.
func (p *Provider) authStyle(methods []string) oauth2.AuthStyle {
	if p.config.ClientSecret == "" {
		return oauth2.AuthStyleInParams
	}
	// Absent means client_secret_basic (OpenID Connect Discovery, section 3).
	if len(methods) == 0 || slices.Contains(methods, "client_secret_basic") {
		return oauth2.AuthStyleInHeader
	}
	return oauth2.AuthStyleInParams
}

// authorize returns the address at which the browser asks the provider for a code. errBusy: too many
// wait to hear from the provider where that is.
func (p *Provider) authorize(ctx context.Context, client netip.Addr, one attempt, state, prompt string) (string, error) {
	if p.found.Load() == nil {
		who := web.Network(client)
		if !p.exchanges.Take(who) {
			return "", errBusy
		}
		defer p.exchanges.Give(who)
	}
	e, err := p.endpoints(ctx)
	if err != nil {
		return "", err
	}
	options := []oauth2.AuthCodeOption{oidc.Nonce(one.Nonce), oauth2.S256ChallengeOption(one.Verifier)}
	if prompt != "" {
		options = append(options, oauth2.SetAuthURLParam("prompt", prompt))
	}
	if p.config.HostedDomain != "" {
		// A hint for the account chooser, which its user can edit; profile judges the answer.
		options = append(options, oauth2.SetAuthURLParam("hd", p.config.HostedDomain))
	}
	return e.oauth.AuthCodeURL(state, options...), nil
}

// redeem turns a code into a verified profile: code → tokens → ID token verified → userinfo.
//
// A *Refusal: the account may not come in. errCode: the code is no good any more. errBusy: too many
// exchanges at once, the code is unspent. errLate or any other error: the provider is wrong.
func (p *Provider) redeem(ctx context.Context, client netip.Addr, code string, one attempt) (Profile, error) {
	who := web.Network(client)
	if !p.exchanges.Take(who) {
		return Profile{}, errBusy
	}
	defer p.exchanges.Give(who)
	e, err := p.endpoints(ctx)
	if err != nil {
		return Profile{}, err
	}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.client), p.config.Timeout)
	defer cancel()
	token, err := e.oauth.Exchange(ctx, code, oauth2.VerifierOption(one.Verifier))
	if err != nil {
		return Profile{}, fmt.Errorf("redeem code: %w", brief(ctx, err))
	}
	stated, err := p.idToken(ctx, e, token, one.Nonce)
	if err != nil {
		return Profile{}, fmt.Errorf("verify id token: %w", brief(ctx, err))
	}
	info, err := p.info(ctx, e, token)
	if err != nil {
		return Profile{}, fmt.Errorf("ask userinfo: %w", brief(ctx, err))
	}
	// The access token may be another account's: then its answer is not about who signed in
	// (OpenID Connect Core, 5.3.2).
	if sub := info.text("sub"); sub == "" || sub != stated.text("sub") {
		return Profile{}, errors.New("userinfo is about another subject than the id token")
	}
	return p.profile(stated, info)
}

// idToken verifies the ID token: signature, issuer, audience and end by go-oidc, the nonce and the
// authorized party here.
func (p *Provider) idToken(ctx context.Context, e *endpoints, token *oauth2.Token, nonce string) (claims, error) {
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return nil, errors.New("the token answer holds no id token")
	}
	verified, err := e.verifier.Verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	if verified.Nonce != nonce {
		return nil, errors.New("the nonce is not of this login")
	}
	var c claims
	if err := verified.Claims(&c); err != nil {
		return nil, err
	}
	if azp, found := c["azp"]; (found || len(verified.Audience) > 1) && azp != p.config.ClientID {
		return nil, errors.New("issued to another party")
	}
	return c, nil
}

// info asks userinfo. It is not left to go-oidc, which refuses the whole answer if the e-mail is of
// another type than text; that is a person to be refused, not a provider that is down.
func (p *Provider) info(ctx context.Context, e *endpoints, token *oauth2.Token) (claims, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.userinfo, nil)
	if err != nil {
		return nil, err
	}
	token.SetAuthHeader(req)
	req.Header.Set("Accept", "application/json")
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	var c claims
	if err := json.Unmarshal(body, &c); err != nil {
		return nil, errors.New("not a JSON object")
	}
	return c, nil
}

// brief says what went wrong without the text of answers: x/oauth2 and go-oidc put whole bodies into
// their errors, and a token endpoint may echo what it was sent.
func brief(ctx context.Context, err error) error {
	var refused *oauth2.RetrieveError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(context.Cause(ctx), context.Canceled):
		return context.Canceled // the client has gone; not the provider's fault
	case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		return errLate
	case errors.As(err, &refused) && refused.ErrorCode == "invalid_grant":
		return errCode
	case errors.As(err, &refused) && refused.Response != nil:
		return fmt.Errorf("status %d %s", refused.Response.StatusCode, word(refused.ErrorCode))
	}
	text := err.Error()
	return errors.New(strings.ToValidUTF8(text[:min(len(text), 160)], ""))
}
