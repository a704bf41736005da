package proxy

import (
	"maps"
	"net/textproto"
	"sync"
	"sync/atomic"

	"golang.org/x/net/http/httpguts"
)

// fate is what becomes of a header of the client's on the way to the app, as far as its name tells.
type fate uint8

const (
	claimed    fate = 1 << iota // an app could take it for a word of ours, see Identity.Erase
	overriding                  // it changes the method that was judged (RULE-14)
	hopping                     // it speaks of the connection or frames the message: each hop writes its own
	nameless                    // it is no header name
)

// judgeName looks at one name, which costs more than a look at a map: it is folded and compared with
// every family of names.
func (id *Identity) judgeName(name string) (what fate) {
	folded := fold(name)
	if id.claimed(folded) {
		what |= claimed
	}
	if overrides[folded] {
		what |= overriding
	}
	switch canonical := textproto.CanonicalMIMEHeaderKey(folded); {
	case !hopByHop(canonical) && !delimits(canonical):
	case name == canonical:
		what |= hopping
	default:
		what |= claimed // Transfer_Encoding frames nothing here, and a message to an app that takes _ for -
	}
	if !httpguts.ValidHeaderFieldName(name) {
		what |= nameless
	}
	return what
}

// hopByHop reports whether a header, by its canonical name, is for the next hop only (RFC 9110, section
// 7.6.1, and those of RFC 2616 that httputil.ReverseProxy removes as well).
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// maxNames and maxName bound what is remembered: names are the client's choice.
const (
	maxNames = 512
	maxName  = 64
)

// names remembers the fates of header names. Of the names that browsers send there are a few dozen.
type names struct {
	page atomic.Pointer[page]
	mu   sync.Mutex // writers
}

// page is immutable, so that nobody who reads it waits.
type page struct {
	identity *Identity
	fates    map[string]fate
}

// of is the page of an installation's identity headers. A reload makes others, with a page of their own.
func (n *names) of(id *Identity) *page {
	if p := n.page.Load(); p != nil && p.identity == id {
		return p
	}
	p := &page{identity: id}
	n.page.Store(p)
	return p
}

// fate looks a name up, and remembers it for the next page.
func (n *names) fate(p *page, name string) fate {
	what, ok := p.fates[name]
	if !ok {
		what = p.identity.judgeName(name)
		n.learn(p, name, what)
	}
	return what
}

func (n *names) learn(p *page, name string, what fate) {
	n.mu.Lock()
	defer n.mu.Unlock()
	last := n.page.Load()
	if last.identity != p.identity || len(last.fates) >= maxNames || len(name) > maxName {
		return
	}
	next := &page{identity: last.identity, fates: maps.Clone(last.fates)}
	if next.fates == nil {
		next.fates = map[string]fate{}
	}
	next.fates[name] = what
	n.page.Store(next)
}
