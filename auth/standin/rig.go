package standin

import (
	"maps"
	"net/http"
	"sync"
)

// rig lets a test turn the provider into one that misbehaves.
type rig struct {
	mu      sync.Mutex
	answers map[Endpoint]http.Handler
	calls   map[Endpoint]int
	edit    func(Endpoint, map[string]any)
}

// Answer makes an endpoint answer with h from now on; nil makes it answer as it should again.
func (s *Standin) Answer(e Endpoint, h http.Handler) {
	s.rig.mu.Lock()
	defer s.rig.mu.Unlock()
	s.rig.answers[e] = h
}

// Edit changes the claims of each ID token (Token) and each userinfo answer (UserInfo) before they
// are sent; nil leaves them alone again.
func (s *Standin) Edit(edit func(e Endpoint, claims map[string]any)) {
	s.rig.mu.Lock()
	defer s.rig.mu.Unlock()
	s.rig.edit = edit
}

// Calls tells how often an endpoint was asked, scripted or not.
func (s *Standin) Calls(e Endpoint) int {
	s.rig.mu.Lock()
	defer s.rig.mu.Unlock()
	return s.rig.calls[e]
}

// called counts a request and returns the scripted answer, if there is one.
func (g *rig) called(e Endpoint) http.Handler {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls[e]++
	return g.answers[e]
}

func (g *rig) edited(e Endpoint, claims map[string]any) map[string]any {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.edit == nil {
		return claims
	}
	own := maps.Clone(claims)
	g.edit(e, own)
	return own
}
