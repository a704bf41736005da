package proxy

import (
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// rewrite makes the request that the app gets. It runs after ReverseProxy removed the hop-by-hop
// headers, among them what the client's Connection line names: nothing that is set here can be named
// there and lost (golang/go#50580).
func (u *Upstream) rewrite(pr *httputil.ProxyRequest) {
	f := flowOf(pr.In.Context())
	pass, out := f.pass, pr.Out
	u.address(out, pass.ask)
	u.erase(out.Header, pass)
	auth.Strip(out.Header)
	switch {
	case pass.vouched():
		pass.identity.Vouch(out.Header, &pass.decision.Session)
	case pass.ask.Wanted != "":
		out.Header.Del("Cookie") // a preflight carries no credentials (Fetch standard, section 4.8)
	}
	if !pass.ask.Socket {
		out.Header.Del("Connection")
		out.Header.Del("Upgrade")
	}
	u.tell(f, func(name, value string) { out.Header[name] = []string{value} })
	if out.Body != nil {
		out.Close = bodiless[pass.ask.Method]
		u.erase(out.Trailer, pass)
		out.Trailer.Del("Cookie") // with ours in it; no cookie belongs there (RFC 9110, section 6.5.1)
		out.Body = f.body(out.Body, pr.In, out)
	}
}

// address points a request at the upstream. ReverseProxy cleans queries of what net/url cannot parse,
// and url.URL re-encodes paths; the bytes that were judged are put back.
func (u *Upstream) address(out *http.Request, ask Ask) {
	path := u.cut(ask.Path)
	to := *u.url
	if strings.HasPrefix(path, "//") {
		// Only such paths as need no encoding come here, see Ask.target.
		to.Path, to.RawPath = decode(path), path
	} else {
		to.Opaque = path
	}
	to.RawQuery, to.ForceQuery = strings.TrimPrefix(ask.Query, "?"), ask.Query == "?"
	out.URL = &to
	out.Host = u.hostFor(ask)
}

// hostFor is the Host that the app gets; empty: its own.
func (u *Upstream) hostFor(ask Ask) string {
	switch u.target.Host {
	case "", "client":
		return ask.Host
	case "upstream":
		return ""
	}
	return u.target.Host
}

// erase removes what the client says in our place, and what changes the method where that was judged: a
// preflight passes without a session, and is to stay one.
func (u *Upstream) erase(h http.Header, pass *passage) {
	drop := claimed
	if pass.decision.Ruled || pass.ask.Wanted != "" {
		drop |= overriding
	}
	page := u.names.of(pass.identity)
	for name := range h {
		if u.names.fate(page, name)&drop != 0 {
			delete(h, name)
		}
	}
}

// vouched reports whether the app is told who is signed in.
func (p *passage) vouched() bool {
	return p.decision.Verdict == Allowed && p.decision.Session.ID != 0 && p.decision.Route.Access != Public
}

// cut is a path as the app knows it: without the prefix that it does not know.
func (u *Upstream) cut(path string) string {
	if rest, ok := strings.CutPrefix(path, u.target.Strip); ok && u.target.Strip != "/" && within(path, u.target.Strip) {
		return "/" + strings.TrimPrefix(rest, "/")
	}
	return path
}

// strays reports whether an app may read a path, with its prefix cut off, as one that was not judged:
// /app/../admin arrives as /../admin, which is /admin to the app and was no reading of /app/admin.
func (u *Upstream) strays(ask Ask) bool {
	path := u.cut(ask.Path)
	if path == ask.Path || plain(path) {
		return false
	}
	readings, err := readingsOf(path)
	return err != nil || slices.ContainsFunc(readings, func(r string) bool { return !slices.Contains(ask.readings, u.target.Strip+r) })
}

// bodiless are the methods with which a body means nothing (RFC 9110, section 9.3.1). An app that does
// not read it takes it for the next request on the connection, and that one nobody has judged: so
// there is none.
var bodiless = map[string]bool{http.MethodGet: true, http.MethodHead: true, http.MethodDelete: true, http.MethodOptions: true}

// tell tells the app where the request came from, in the words of the peer that we believe and in no
// others, and by what id we know it.
func (u *Upstream) tell(f *flow, set func(name, value string)) {
	ask := f.pass.ask
	if ask.Client.IsValid() {
		client := ask.Client.String()
		set("X-Forwarded-For", client)
		set("X-Real-Ip", client)
	}
	set("X-Forwarded-Host", ask.Host)
	set("X-Forwarded-Proto", ask.Scheme)
	if u.target.Strip != "" && u.target.Strip != "/" {
		set("X-Forwarded-Prefix", u.target.Strip)
	}
	set("X-Request-Id", f.rec.ID)
}

// overrides are the headers by which some frameworks let a request be of another method than the one
// that was judged (RULE-14).
var overrides = map[string]bool{"x-http-method-override": true, "x-http-method": true, "x-method-override": true}

// own drops the cookies with our names that an app sets: it would sign people out, or in as somebody
// else. A cookie without a name counts by its value, since a browser sends that alone.
func own(h http.Header) {
	lines := h["Set-Cookie"]
	if len(lines) == 0 {
		return
	}
	kept := lines[:0:0]
	for _, line := range lines {
		name, _, _ := strings.Cut(strings.TrimLeft(line, "= \t"), ";")
		name, _, _ = strings.Cut(name, "=")
		if !auth.Mine(strings.TrimSpace(name)) {
			kept = append(kept, line)
		}
	}
	if len(kept) < len(lines) {
		h["Set-Cookie"] = kept
	}
}

// targeted are headers that speak to shared caches past Cache-Control (RFC 9213 and its forerunners).
var targeted = []string{"Cdn-Cache-Control", "Cloudflare-Cdn-Cache-Control", "Surrogate-Control", "X-Accel-Expires"}

// onlyPrivate is what most answers get. It has no room, so that whoever adds to it gets a copy.
var onlyPrivate = []string{"private"}

// keepPrivate keeps shared caches from storing what one user saw (RULE-14). What the app says of
// browsers' own caches stays. A route with a shared cache keeps what the app says, if it says something.
func keepPrivate(h http.Header, route *Route) {
	lines := h["Cache-Control"]
	if route.Access == Public || route.SharedCache && len(lines) > 0 {
		return
	}
	for _, name := range targeted {
		delete(h, name)
	}
	if len(lines) == 0 {
		h["Cache-Control"] = onlyPrivate
		return
	}
	var kept []string
	private := false
	for part := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		part = strings.TrimSpace(part)
		switch name, _, _ := strings.Cut(strings.ToLower(part), "="); strings.TrimSpace(name) {
		case "", "public", "s-maxage":
			continue
		case "private", "no-store":
			private = true
		}
		kept = append(kept, part)
	}
	if !private {
		kept = append(kept, "private")
	}
	h["Cache-Control"] = []string{strings.Join(kept, ", ")}
}

// mayTrail reports whether an answer has trailers, or may have and the client would understand them:
// over HTTP/2 the app need not announce any.
func mayTrail(r *http.Request, res *http.Response) bool {
	return len(res.Trailer) > 0 ||
		res.ProtoMajor == 2 && httpguts.HeaderValuesContainsToken(r.Header["Te"], "trailers")
}
