package proxy

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gatehouse-auth/gatehouse/web"
)

// refusal is a kind of answers that are not passed on.
type refusal struct {
	name, why string
	is        func(answer string) bool
}

// refused are the answers that the standard library passes on and the lean engine does not, each with its
// reason. docs/decisions/0005-lean-engine.md lists the same.
var refused = []refusal{
	{"length-and-chunks", "RFC 9112, section 6.1: an attempt at smuggling; net/http drops the length and goes on", func(a string) bool {
		return count(a, "content-length:") > 0 && count(a, "transfer-encoding:") > 0
	}},
	{"length-twice", "one length said twice may be another one to the next reader; net/http takes equal ones", func(a string) bool {
		return count(a, "content-length:") > 1
	}},
	{"chunks-in-1.0", "RFC 9112, section 6.1: the framing is faulty; net/http ignores the encoding", func(a string) bool {
		return strings.HasPrefix(a, "HTTP/1.0") && count(a, "transfer-encoding:") > 0
	}},
	{"blank-in-name", "a blank before the colon hides a header from some readers; net/http loses the header", func(a string) bool {
		for line := range strings.SplitSeq(a, "\n") {
			if name, _, ok := strings.Cut(line, ":"); ok && strings.Contains(name, " ") && !strings.HasPrefix(name, " ") {
				return true
			}
		}
		return false
	}},
	{"other-version", "what claims to be HTTP/2 or 0.9 on such a connection is garbage; net/http takes any version", func(a string) bool {
		return !strings.HasPrefix(a, "HTTP/1.1 ") && !strings.HasPrefix(a, "HTTP/1.0 ")
	}},
	{"status-below-100", "there is no such status; ReverseProxy panics over it", func(a string) bool {
		_, status, _ := strings.Cut(a, " ")
		status = strings.TrimLeft(status, " ")
		return status != "" && strings.ContainsAny(status[:1], "0+-")
	}},
	{"host-in-trailer", "a trailer may not say to whom a message goes (RFC 9110, section 6.5.1); net/http takes it", func(a string) bool {
		for line := range strings.SplitSeq(strings.ToLower(a), "\n") {
			if names, ok := strings.CutPrefix(line, "trailer:"); ok && strings.Contains(names, "host") {
				return true
			}
		}
		return false
	}},
}

// differing are the ways in which answers differ that both pass on: each makes of the standard library's
// what the lean engine's should be, if it applies.
var differing = []struct {
	name, why string
	mend      func(answer string, stdlib, lean *outcome)
}{
	{"named-beside-close", "http.Transport drops Connection: close before ReverseProxy looks at what else Connection names", func(a string, stdlib, _ *outcome) {
		if a = strings.ToLower(a); strings.Contains(a, "connection: close") && strings.Contains(a, "connection: x-a") {
			stdlib.header.Del("X-A")
		}
	}},
	{"counted", "an answer of unknown length that is complete before it is due needs no chunks", func(_ string, stdlib, lean *outcome) {
		if stdlib.framing == "chunked" && lean.framing == "length" && !lean.broken {
			stdlib.framing = "length"
			stdlib.header.Set("Content-Length", strconv.Itoa(len(lean.body)))
		}
	}},
	{"counted-by-luck", "ReverseProxy flushes the head from another goroutine, which may come after the end of an empty body", func(_ string, stdlib, lean *outcome) {
		if stdlib.framing == "length" && lean.framing == "chunked" && stdlib.body == "" && !lean.broken {
			stdlib.framing = "chunked"
			stdlib.header.Del("Content-Length")
		}
	}},
	{"head-of-a-broken-one", "ReverseProxy flushes the head from another goroutine, so that with luck it is lost", func(_ string, stdlib, lean *outcome) {
		if stdlib.fault != "" && lean.broken && lean.body == "" {
			*stdlib = *lean
		}
	}},
}

// count says how many lines of a head begin with a lower-case name.
func count(answer, name string) (n int) {
	head, _, _ := strings.Cut(answer, "\r\n\r\n")
	for line := range strings.SplitSeq(strings.ToLower(head), "\n") {
		if strings.HasPrefix(line, name) {
			n++
		}
	}
	return n
}

// pair is one app as both engines reach it.
type pair struct {
	apps     [2]*scripted
	carriers [2]*carrier
	next     [2]script
}

var bothEngines = [2]string{EngineStdlib, EngineLean}

func newPair(t *testing.T) *pair {
	t.Helper()
	log.SetOutput(io.Discard) // http.Transport tells it what apps say without being asked
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	p := &pair{}
	for i, engine := range bothEngines {
		p.apps[i] = newScripted(t, listenLocal(t), func(string) script { return p.next[i] })
		p.carriers[i] = newCarrier(t, Target{URL: "http://" + p.apps[i].listener.Addr().String(), Engine: engine, Header: time.Second})
	}
	return p
}

// compare puts one request to both engines, has the app answer by the script, and reports what differs.
func (p *pair) compare(tb testing.TB, s script, method, target string, lines ...string) (difference string) {
	tb.Helper()
	var seen [2]outcome
	var sent [2][]string
	for i := range bothEngines {
		p.apps[i].mu.Lock()
		p.next[i], p.apps[i].heads = s, nil
		p.apps[i].mu.Unlock()
		seen[i] = p.carriers[i].put(tb, method, target, lines...)
		sent[i], _ = p.apps[i].said()
		p.apps[i].hangUp() // each request meets a connection of its own
		p.carriers[i].up.Close()
		p.carriers[i].reopen()
	}
	if !reflect.DeepEqual(sent[0], sent[1]) {
		return fmt.Sprintf("the app got\n%q\n and by the lean engine\n%q", sent[0], sent[1])
	}
	if len(sent[1]) == 0 {
		return "nothing reached the app"
	}
	answer := strings.Join(s.pieces, "")
	for strings.HasPrefix(answer, "HTTP/1.1 10") {
		_, answer, _ = strings.Cut(answer, "\r\n\r\n") // an informational one is not what is refused
	}
	for _, one := range refused {
		if one.is(answer) {
			if seen[1].status != http.StatusBadGateway {
				return fmt.Sprintf("%s: answered with %d", one.name, seen[1].status)
			}
			return ""
		}
	}
	for _, one := range differing {
		one.mend(answer, &seen[0], &seen[1])
	}
	if !reflect.DeepEqual(seen[0], seen[1]) {
		return fmt.Sprintf("the client got\n%+v\n and by the lean engine\n%+v", seen[0], seen[1])
	}
	return ""
}

// reopen lets a carrier go on after Close.
func (c *carrier) reopen() {
	if l := c.up.lean; l != nil {
		l.pool.mu.Lock()
		l.pool.closed = false
		l.pool.mu.Unlock()
	}
}

const hello = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"

func TestLeanSendsWhatTheStdlibSends(t *testing.T) {
	p := newPair(t)
	for name, one := range map[string]struct {
		method, target string
		lines          []string
	}{
		"plain":              {"GET", "/", nil},
		"head":               {"HEAD", "/x", nil},
		"length-zero":        {"GET", "/", []string{"Content-Length: 0"}},
		"target":             {"GET", "/a%2Fb;c=%41/../x?b=1;2&%zz&", nil},
		"empty-query":        {"GET", "/x?", nil},
		"two-slashes":        {"GET", "//a%2fb?x", nil},
		"browser":            {"GET", "/", []string{"User-Agent: Mozilla/5.0", "Accept: text/html", "Accept-Encoding: gzip, br", "Accept-Language: en", "Sec-Fetch-Mode: navigate", "Referer: http://app.test/"}},
		"agents":             {"GET", "/", []string{"User-Agent: one", "User-Agent: two"}},
		"agent-empty":        {"GET", "/", []string{"User-Agent: "}},
		"RULE-13/hop-by-hop": {"GET", "/", []string{"Connection: close, X-Mine, keep-alive", "X-Mine: 1", "Keep-Alive: 5", "Proxy-Connection: close", "Proxy-Authorization: x", "TE: gzip", "X-Not: 1"}},
		"RULE-13/te":         {"GET", "/", []string{"TE: trailers, gzip", "Connection: te"}},
		"RULE-13/ours-named": {"GET", "/", []string{"Connection: X-Auth-Request-Email, X-Forwarded-For, Cookie, User-Agent, X-Request-Id", "Cookie: a=1", "User-Agent: x"}},
		"RULE-13/trailer":    {"GET", "/", []string{"Trailer: X-After"}},
		"cookies":            {"GET", "/", []string{"Cookie: a=1; gate=secret; b=2", "Cookie: __Host-gate=x", "Cookie: c=3"}},
		"cookies-ours-only":  {"GET", "/", []string{"Cookie: gate=secret"}},
		"identity-claimed":   {"GET", "/", []string{"X-Auth-Request-Email: root", "X_Auth_Request_Email: root", "X-Auth-Request-Name: root", "X-Forwarded-For: 1.1.1.1", "X-Real-Ip: 1.1.1.1", "Remote-User: root", "Forwarded: for=1", "X-Request-Id: mine"}},
		"overrides":          {"GET", "/", []string{"X-HTTP-Method-Override: DELETE", "X_Method_Override: PUT", "X-HTTP-Method: PATCH"}},
		"many-of-one":        {"GET", "/", []string{"X-A: 2", "X-A: 1", "x-a: 3", "X-B: ", "X-C:  spaced  "}},
		"bytes-beyond-ascii": {"GET", "/", []string{"X-Name: J\xc3\xbcrgen", "X-Tab: a\tb"}},
		"unknown-names":      {"GET", "/", []string{"dnt: 1", "x_under: 1", "!#$%&'*+-.^_`|~: 1"}},
		"range":              {"GET", "/", []string{"Range: bytes=0-3", "If-None-Match: \"x\""}},
		"by-the-stdlib":      {"GET", "/", []string{"Upgrade: h2c", "Connection: upgrade"}},
		"expect":             {"GET", "/", []string{"Expect: 100-continue"}},
		"PX-14/body-of-get":  {"GET", "/", []string{"Transfer-Encoding: chunked", "", "3", "abc", "0"}},
		"post":               {"POST", "/", []string{"Content-Length: 0"}},
		"options":            {"OPTIONS", "/", nil},
	} {
		t.Run(name, func(t *testing.T) {
			answer := hello
			if one.method == http.MethodHead {
				answer = strings.TrimSuffix(hello, "hello")
			}
			if difference := p.compare(t, says(answer), one.method, one.target, one.lines...); difference != "" {
				t.Error(difference)
			}
		})
	}
}

func TestLeanAnswersWhatTheStdlibAnswers(t *testing.T) {
	const typed = "Content-Type: text/plain\r\n"
	p := newPair(t)
	long := strings.Repeat("0123456789abcdef", 20<<10/16)
	for name, one := range map[string]script{
		"length":              says(hello),
		"length-untyped":      says("HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n<html>hi</html>"),
		"length-in-pieces":    {pieces: []string{"HTTP/1.1 200 OK\r\nContent-", "Length: 10\r\n" + typed + "\r", "\n01234", "56789"}},
		"long":                says("HTTP/1.1 200 OK\r\n" + typed + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(long)) + long),
		"long-chunks":         says("HTTP/1.1 200 OK\r\n" + typed + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", len(long)) + long + "\r\n0\r\n\r\n"),
		"chunked":             says("HTTP/1.1 200 OK\r\n" + typed + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=1\r\n world\r\n0\r\n\r\n"),
		"chunked-in-pieces":   {pieces: []string{"HTTP/1.1 200 OK\r\n" + typed + "Transfer-Encoding: chunked\r\n\r\n", "5\r\nhel", "lo\r\n0", "\r\n\r", "\n"}},
		"chunked-upper":       says("HTTP/1.1 200 OK\r\n" + typed + "Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n"),
		"until-close":         {pieces: []string{"HTTP/1.1 200 OK\r\n" + typed + "\r\nhello", " world"}, hangUp: true},
		"trailers":            says("HTTP/1.1 200 OK\r\n" + typed + "Trailer: X-Sum, X-None\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"),
		"trailers-unsaid":     says("HTTP/1.1 200 OK\r\n" + typed + "Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Other: 2\r\n\r\n"),
		"trailer-forbidden":   says("HTTP/1.1 200 OK\r\n" + typed + "Trailer: Content-Length\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		"trailer-of-length":   says("HTTP/1.1 200 OK\r\n" + typed + "Trailer: X-Sum\r\nContent-Length: 2\r\n\r\nok"),
		"no-content":          says("HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n"),
		"not-modified":        says("HTTP/1.1 304 Not Modified\r\nEtag: \"x\"\r\nContent-Length: 99\r\n\r\n"),
		"not-modified-chunks": says("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"),
		"partial":             says("HTTP/1.1 206 Partial Content\r\n" + typed + "Content-Range: bytes 0-3/9\r\nContent-Length: 4\r\n\r\nabcd"),
		"error-of-the-app":    says("HTTP/1.1 500 Oops\r\n" + typed + "X-App: 1\r\nContent-Length: 5\r\n\r\nstack"),
		"status-999":          says("HTTP/1.1 999 Nothing\r\n" + typed + "Content-Length: 0\r\n\r\n"),
		"status-bare":         says("HTTP/1.1 200\r\n" + typed + "Content-Length: 0\r\n\r\n"),
		"status-blanks":       says("HTTP/1.1   200   Fine\r\n" + typed + "Content-Length: 0\r\n\r\n"),
		"hints":               says("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </y>\r\nLink: </z>\r\n\r\n" + hello),
		"continue":            says("HTTP/1.1 100 Continue\r\n\r\n" + hello),
		"processing":          {pieces: []string{"HTTP/1.1 102 Processing\r\n\r\n", hello}},
		"switching":           says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"),
		"old":                 {pieces: []string{"HTTP/1.0 200 OK\r\n" + typed + "\r\nhello"}, hangUp: true},
		"old-kept":            says("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + typed + "Content-Length: 5\r\n\r\nhello"),
		"close":               {pieces: []string{"HTTP/1.1 200 OK\r\nConnection: close\r\n" + typed + "Content-Length: 5\r\n\r\nhello"}, hangUp: true},
		"hop-by-hop":          says("HTTP/1.1 200 OK\r\nConnection: X-Mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: x\r\nUpgrade: h2c\r\nTe: x\r\n" + typed + "Content-Length: 0\r\n\r\n"),
		"cookies":             says("HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: gate=evil\r\nSet-Cookie: b=2; Path=/\r\n" + typed + "Content-Length: 0\r\n\r\n"),
		"cache":               says("HTTP/1.1 200 OK\r\nCache-Control: public, max-age=5\r\nSurrogate-Control: x\r\n" + typed + "Content-Length: 0\r\n\r\n"),
		"pragma":              says("HTTP/1.1 200 OK\r\nPragma: no-cache\r\n" + typed + "Content-Length: 0\r\n\r\n"),
		"line-feeds":          says("HTTP/1.1 200 OK\n" + strings.TrimSuffix(typed, "\r\n") + "\nContent-Length: 2\n\nok"),
		"folded":              says("HTTP/1.1 200 OK\r\nX-Folded: a\r\n  b\r\n\tc\r\n" + typed + "Content-Length: 0\r\n\r\n"),
		"folded-length":       says("HTTP/1.1 200 OK\r\n" + typed + "Content-Length:\r\n 5\r\n\r\nhello"),
		"folded-behind-blank": says("HTTP/1.1 200 OK\r\nX-Folded: \r\n \r\n\ta\r\n" + typed + "Content-Length: 0\r\n\r\n"),
		"names":               says("HTTP/1.1 200 OK\r\nx-lower: 1\r\nX_UNDER: 2\r\nX-Empty:\r\nX-Blank:   \r\nX-A: 2\r\nx-a: 1\r\n" + typed + "content-length: 0\r\n\r\n"),
		"leading-zero":        says("HTTP/1.1 200 OK\r\n" + typed + "Content-Length: 0005\r\n\r\nhello"),
		"big-head":            says("HTTP/1.1 200 OK\r\n" + typed + "X-Big: " + strings.Repeat("x", 100<<10) + "\r\nContent-Length: 0\r\n\r\n"),
		"too-big-head":        says("HTTP/1.1 200 OK\r\n" + typed + "X-Big: " + strings.Repeat("x", 300<<10) + "\r\nContent-Length: 0\r\n\r\n"),
		"events":              {pieces: []string{"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n", "9\r\ndata: 1\n\n\r\n", "9\r\ndata: 2\n\n\r\n", "0\r\n\r\n"}},
		"events-of-length":    {pieces: []string{"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 18\r\n\r\n", "data: 1\n\n", "data: 2\n\n"}},
		"excess":              says(hello + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond"),
		// Broken ones.
		"silent":           {hangUp: true},
		"half-a-head":      {pieces: []string{"HTTP/1.1 200 OK\r\nContent-Le"}, hangUp: true},
		"late":             says("HTTP/1.1 200 OK\r\n"),
		"short":            {pieces: []string{"HTTP/1.1 200 OK\r\n" + typed + "Content-Length: 9\r\n\r\nhello"}, hangUp: true},
		"short-chunk":      {pieces: []string{"HTTP/1.1 200 OK\r\n" + typed + "Transfer-Encoding: chunked\r\n\r\n9\r\nhello"}, hangUp: true},
		"no-last-chunk":    {pieces: []string{"HTTP/1.1 200 OK\r\n" + typed + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"}, hangUp: true},
		"no-end-of-chunks": {pieces: []string{"HTTP/1.1 200 OK\r\n" + typed + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"}, hangUp: true},
		"half-a-trailer":   {pieces: []string{"HTTP/1.1 200 OK\r\n" + typed + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Su"}, hangUp: true},
		"bad-chunk":        {pieces: []string{"HTTP/1.1 200 OK\r\n" + typed + "Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"}, hangUp: true},
		"garbage":          {pieces: []string{"garbage\r\n\r\n"}, hangUp: true},
		"blank-first":      {pieces: []string{"\r\n" + hello}, hangUp: true},
		"status-letters":   {pieces: []string{"HTTP/1.1 2xx OK\r\n\r\n"}, hangUp: true},
		"status-of-four":   {pieces: []string{"HTTP/1.1 2000 OK\r\n\r\n"}, hangUp: true},
		"length-of-words":  {pieces: []string{"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello"}, hangUp: true},
		"length-negative":  {pieces: []string{"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello"}, hangUp: true},
		"length-plus":      {pieces: []string{"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello"}, hangUp: true},
		"length-empty":     {pieces: []string{"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello"}, hangUp: true},
		"length-list":      {pieces: []string{"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello"}, hangUp: true},
		"lengths-differ":   {pieces: []string{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"}, hangUp: true},
		"encoding-gzip":    {pieces: []string{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello"}, hangUp: true},
		"encoding-twice":   {pieces: []string{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"}, hangUp: true},
		"encoding-list":    {pieces: []string{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"}, hangUp: true},
		"no-colon":         {pieces: []string{"HTTP/1.1 200 OK\r\nX-A\r\nContent-Length: 0\r\n\r\n"}, hangUp: true},
		"no-name":          {pieces: []string{"HTTP/1.1 200 OK\r\n: 1\r\nContent-Length: 0\r\n\r\n"}, hangUp: true},
		"name-of-bytes":    {pieces: []string{"HTTP/1.1 200 OK\r\nX\xffA: 1\r\nContent-Length: 0\r\n\r\n"}, hangUp: true},
		"nul":              {pieces: []string{"HTTP/1.1 200 OK\r\nX-A: a\x00b\r\nContent-Length: 0\r\n\r\n"}, hangUp: true},
		"bare-cr":          {pieces: []string{"HTTP/1.1 200 OK\r\nX-A: a\rb\r\nContent-Length: 0\r\n\r\n"}, hangUp: true},
		"bare-cr-at-end":   {pieces: []string{"HTTP/1.1 200 OK\r\nX-A: a\r\r\nContent-Length: 0\r\n\r\n"}, hangUp: true},
		"bare-cr-in-fold":  {pieces: []string{"HTTP/1.1 200 OK\r\nX-A: a\r\n \r\r\nContent-Length: 0\r\n\r\n"}, hangUp: true},
		"folded-first":     {pieces: []string{"HTTP/1.1 200 OK\r\n X-A: 1\r\nContent-Length: 0\r\n\r\n"}, hangUp: true},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			t.Run(method+"/"+name, func(t *testing.T) {
				if difference := p.compare(t, one, method, "/", "Accept: */*"); difference != "" {
					t.Error(difference)
				}
			})
		}
	}
}

// The deviations are deviations, and each of them is a refusal.
func TestLeanDeviations(t *testing.T) {
	p := newPair(t)
	for name, answer := range map[string]string{
		"length-and-chunks": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"length-twice":      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
		"chunks-in-1.0":     "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"blank-in-name":     "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
		"other-version":     "HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"status-below-100":  "HTTP/1.1 099 OK\r\nContent-Length: 5\r\n\r\nhello",
	} {
		t.Run("RULE-13/"+name, func(t *testing.T) {
			known := false
			for _, one := range refused {
				known = known || one.name == name && one.is(answer)
			}
			if difference := p.compare(t, script{pieces: []string{answer}, hangUp: true}, http.MethodGet, "/"); !known || difference != "" {
				t.Errorf("known: %v; %s", known, difference)
			}
		})
	}
}

// Whatever is put together of plausible parts, both engines say the same.
func TestLeanAgreesOnWhatIsMadeUp(t *testing.T) {
	p := newPair(t)
	requestLines := []string{
		"User-Agent: x", "Accept: */*", "Connection: close", "Connection: X-A", "X-A: 1", "X-A: 2", "TE: trailers", "Cookie: a=1; gate=x", "Cookie: b=2",
		"X_Remote_User: root", "X-Forwarded-For: 1.1.1.1", "Range: bytes=0-1", "Keep-Alive: 1", "X-HTTP-Method-Override: PUT", "If-Match: *", "X-Empty:",
	}
	answerLines := []string{
		"X-A: 1", "X-A: 2", "x-b:3", "Set-Cookie: gate=1", "Set-Cookie: a=1", "Connection: close", "Connection: x-a", "Connection: keep-alive", "Cache-Control: public",
		"Pragma: no-cache", "Keep-Alive: 5", "Trailer: X-Sum", "Etag: \"1\"", "Vary: *", "X-Folded: a\r\n b", "Content-Length: 5", "Content-Length: 6",
		"Transfer-Encoding: chunked", "X A: 1", "X-Nul: \x00", "Date: Mon, 01 Jan 2024 00:00:00 GMT", "Content-Encoding: gzip",
	}
	bodies := []string{"", "hello", "hello!", "5\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", "5\r\nhello\r\n0\r\nX-Other: 1\r\n\r\n", "5\r\nhel", "0\r\n\r\n", hello}
	begins := []string{"HTTP/1.1 200 OK", "HTTP/1.1 200 OK", "HTTP/1.1 200 OK", "HTTP/1.0 200 OK", "HTTP/1.1 204 No Content", "HTTP/1.1 304 Not Modified", "HTTP/1.1 404 Not Found", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK", "HTTP/1.1 20 OK"}
	rapid.Check(t, func(rt *rapid.T) {
		answer := rapid.SampledFrom(begins).Draw(rt, "begin") + "\r\nContent-Type: text/plain\r\n"
		for _, one := range rapid.SliceOfN(rapid.SampledFrom(answerLines), 0, 5).Draw(rt, "answer") {
			answer += one + "\r\n"
		}
		answer += "\r\n" + rapid.SampledFrom(bodies).Draw(rt, "body")
		s := script{hangUp: true, pieces: []string{answer}}
		if at := rapid.IntRange(0, len(answer)-1).Draw(rt, "cut"); at > 0 {
			s.pieces = []string{answer[:at], answer[at:]}
		}
		if rapid.IntRange(0, 9).Draw(rt, "torn") == 0 {
			s.pieces = s.pieces[:1]
		}
		method := rapid.SampledFrom([]string{"GET", "GET", "HEAD"}).Draw(rt, "method")
		lines := rapid.SliceOfN(rapid.SampledFrom(requestLines), 0, 6).Draw(rt, "request")
		if difference := p.compare(t, s, method, rapid.SampledFrom([]string{"/", "/a%2Fb?", "//x?y=;"}).Draw(rt, "target"), lines...); difference != "" {
			rt.Fatalf("%q: %s", s.pieces, difference)
		}
	})
}

// What net/http passes on and is for us, or frames a message, does not reach the client.
func TestLeanTidiesUp(t *testing.T) {
	const typed = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
	for name, one := range map[string]struct {
		answer string
		wrong  func(outcome) bool
	}{
		"hints": {"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nKeep-Alive: 5\r\nConnection: X-Mine\r\nX-Mine: 1\r\n\r\n" + hello, func(o outcome) bool {
			return len(o.early) != 1 || !strings.Contains(o.early[0], "Link") || strings.Contains(o.early[0], "Alive") || strings.Contains(o.early[0], "Mine") || o.body != "hello"
		}},
		"hints-are-not-the-answer": {"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + hello, func(o outcome) bool { return o.header.Get("Link") != "" }},
		"endless-hints": {strings.Repeat("HTTP/1.1 103 Early Hints\r\nX-Much: "+strings.Repeat("x", 30<<10)+"\r\n\r\n", 9) + hello, func(o outcome) bool {
			return o.status != http.StatusBadGateway
		}},
		"trailers": {typed + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nContent-Length: 9\r\nConnection: close\r\nX-Sum: 1\r\n\r\n", func(o outcome) bool {
			return len(o.trailer) != 1 || o.trailer.Get("X-Sum") != "1" || o.body != "hello"
		}},
	} {
		t.Run("RULE-13/"+name, func(t *testing.T) {
			c, _ := leanTo(t, Target{}, inTurn(says(one.answer)))
			if got := c.put(t, http.MethodGet, "/"); one.wrong(got) {
				t.Errorf("got %.400v", got)
			}
		})
	}
}

// No value, wherever it comes from, ends a line of the request.
func TestLeanLetterKeepsItsLines(t *testing.T) {
	up, err := NewUpstream(Target{URL: "http://a.test", Engine: EngineLean})
	if err != nil {
		t.Fatal(err)
	}
	for name, one := range map[string]struct{ header, value, path string }{
		"plain": {"X-A", "1", "/"}, "cr": {"X-A", "1\r2", "/"}, "lf": {"X-A", "1\n2", "/"}, "crlf": {"X-A", "1\r\nX-B: 2", "/"}, "nul": {"X-A", "\x00", "/"},
		"agent": {"User-Agent", "x\r\ny: z", "/"}, "name": {"X-A: 1\r\nX-B", "2", "/"}, "blank": {"X A", "1", "/"}, "target": {"X-A", "1", "/ HTTP/1.1"}, "target-lf": {"X-A", "1", "/\n"},
	} {
		t.Run("RULE-13/"+name, func(t *testing.T) {
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://app.test/", nil)
			r.Header = http.Header{one.header: {one.value}}
			identity, _ := NewIdentity(nil)
			f := &flow{r: r, rec: new(web.Record), pass: &passage{ask: Ask{Method: "GET", Host: "app.test", Path: one.path}, identity: identity, decision: Decision{Route: &Route{}}}}
			m := letters.Get().(*letter)
			defer m.free()
			if err := m.write(up, f); (err == nil) != (name == "plain") {
				t.Errorf("wrote %q, %v", m.buf, err)
			}
		})
	}
}
