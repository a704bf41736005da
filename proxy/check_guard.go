package proxy

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/gatehouse-auth/gatehouse/web"
)

// What is erased or dropped on the way to an app of ours would be passed on by a front proxy, which
// carries the request itself. So a check whose client sent such a thing is refused.

// overridden reports whether a header asks frameworks to take the request for one of another method.
// Where it comes here itself that header is dropped (RULE-14); a front proxy would pass it on.
func overridden(h http.Header, method string) bool {
	for name, lines := range h {
		if strings.HasPrefix(name, "X") && overrides[fold(name)] {
			for _, line := range lines {
				if !strings.EqualFold(line, method) {
					return true
				}
			}
		}
	}
	return false
}

// spelling refuses a check that carries a header of ours in a spelling that the front proxy does not
// erase but an app would take for it, or that names one in Connection, which has the proxy drop it
// after it was set (RULE-19).
func (c *Checks) spelling(h http.Header) error {
	for name := range h {
		if odd(name) && c.guards(name) {
			return misspelt(fmt.Errorf("header %.60q", name))
		}
	}
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			if c.guards(strings.TrimSpace(name)) {
				return misspelt(fmt.Errorf("connection: %.60q", name))
			}
		}
	}
	return nil
}

// guards reports whether a header, however it is spelt, is one that front proxies take from our answers.
func (c *Checks) guards(name string) bool {
	var room [64]byte
	return c.guarded[string(appendFold(room[:0], name))]
}

// odd reports whether a name holds a byte that fold changes. net/http has brought the case of all
// others into order.
func odd(name string) bool {
	for i := range len(name) {
		if !even[name[i]] {
			return true
		}
	}
	return false
}

// even are the bytes that fold leaves as they are, letter case aside.
var even = func() (set [256]bool) {
	for _, c := range []byte("-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		set[c] = true
	}
	return set
}()

func misspelt(cause error) *web.Error {
	e := badRequest("This request carries an identity header that only Gatehouse may set.", cause)
	e.Event = "spoofed_identity"
	return e
}
