package proxy_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/gatehouse-auth/gatehouse/proxy"
)

// A handler of ours behind the gate learns whose session it is, and what it notes as use is use.
func TestSessionOf(t *testing.T) {
	next := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		s, ok := proxy.SessionOf(r.Context())
		proxy.Used(r.Context())
		fmt.Fprintf(rw, "%v %s", ok, s.User.Email)
	})
	w := newWorld(t, setup{routes: []proxy.Route{
		{Host: "app.test", Path: "/", Next: next},
		{Host: "app.test", Path: "/public", Access: proxy.Public, Next: next},
	}})
	authed := w.authed()
	for path, want := range map[string]string{"/": "true alice@corp.test", "/public": "false "} {
		if res := w.ask(http.MethodGet, path, authed); res.body != want {
			t.Errorf("%s: %q, want %q", path, res.body, want)
		}
	}
	if _, ok := proxy.SessionOf(t.Context()); ok {
		t.Error("there is a session outside of a request")
	}
	proxy.Used(t.Context()) // is nothing
}
