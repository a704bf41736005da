package web_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/web"
)

func TestAnswerSaysOneThingToTheClientAndAnotherToUs(t *testing.T) {
	private := errors.New("pq: password of user gate is wrong")
	link := web.Link{Name: "Sign in", Rel: "login", Href: "https://auth.test/_gate/login?next=%2F&x=1"}
	for name, c := range map[string]struct {
		err         error
		status      int
		title, text string
		cause       bool
	}{
		"an Error":           {&web.Error{Status: 403, Title: "No", Text: "Not you.", Links: []web.Link{link}, Cause: private}, 403, "No", "Not you.", true},
		"a wrapped Error":    {fmt.Errorf("outer: %w", web.Fail(404, "Nothing here.", nil)), 404, "Not Found", "Nothing here.", true},
		"a bare Error":       {web.Fail(404, "Nothing here.", nil), 404, "Not Found", "Nothing here.", false},
		"any other error":    {private, 500, "Something went wrong", "The fault is on our side and has been noted.", true},
		"a store is away":    {web.Unavailable(private), 503, "Just a moment", "", true},
		"a link hides no id": {&web.Error{Status: 400, Title: "T", Text: "x", Links: []web.Link{{Rel: "id", Href: "/evil"}}}, 400, "T", "x", false},
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, func(http.ResponseWriter, *http.Request) error { return c.err })
			resp, body := g.get(t, "/x", "Accept", "application/json")
			rec, got := g.record(t), fields(t, body)
			if resp.StatusCode != c.status || got["error"] != c.title || c.text != "" && got["message"] != c.text || got["id"] != rec.ID {
				t.Errorf("got %d %s", resp.StatusCode, body)
			}
			if strings.Contains(body, "password") {
				t.Errorf("the cause was sent: %s", body)
			}
			if (rec.Outcome.Cause != nil) != c.cause || rec.Outcome.Status != c.status || rec.Outcome.Bytes != int64(len(body)) {
				t.Errorf("recorded %+v", rec.Outcome)
			}
			if name == "an Error" && got["login"] != link.Href {
				t.Errorf("login = %v, want the link, byte for byte", got["login"])
			}
		})
	}
}

func TestAnswerKeepsHeadersButThoseOfAnotherBody(t *testing.T) {
	g := start(t, func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Vary", "Origin")
		w.Header().Set("Access-Control-Allow-Origin", "https://app.test")
		w.Header().Set("Etag", `"x"`)
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Length", "7")
		w.Header().Set("Cache-Control", "public, max-age=60")
		return web.Unavailable(errors.New("x"))
	})
	resp, body := g.get(t, "/")
	h := resp.Header
	if h.Get("Set-Cookie") != "a=1" || h.Get("Access-Control-Allow-Origin") != "https://app.test" || strings.Join(h.Values("Vary"), ",") != "Origin,Accept" {
		t.Errorf("lost a header: %v", h)
	}
	if h.Get("Etag") != "" || h.Get("Content-Encoding") != "" || int(resp.ContentLength) != len(body) {
		t.Errorf("kept a header of another body: %v", h)
	}
	if h.Get("Retry-After") != "5" {
		t.Errorf("Retry-After = %q", h.Get("Retry-After"))
	}
}

func TestRetryAfterIsWholeSecondsRoundedUp(t *testing.T) {
	for after, want := range map[time.Duration]string{0: "", time.Millisecond: "1", 1500 * time.Millisecond: "2", time.Minute: "60"} {
		w := httptest.NewRecorder()
		web.Answer(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody), &web.Error{Status: 503, RetryAfter: after})
		if got := w.Header().Get("Retry-After"); got != want {
			t.Errorf("%v: got %q, want %q", after, got, want)
		}
	}
}

// Every answer that we make ourselves is for this client and this moment only. The answers of the
// login, the proxy and the sign-out are made by these functions too.
func TestGatewayMadeRepliesAreNotStored(t *testing.T) {
	replies := map[string]web.Handler{
		"redirect": func(w http.ResponseWriter, r *http.Request) error {
			web.Redirect(w, r, http.StatusSeeOther, "https://accounts.test/?state=x")
			return nil
		},
		"page": func(w http.ResponseWriter, r *http.Request) error {
			web.Draw(w, r, web.Page{Title: "Signed out"})
			return nil
		},
		"panic": func(http.ResponseWriter, *http.Request) error { panic("x") },
	}
	for _, status := range []int{400, 401, 403, 404, 405, 413, 414, 429, 431, 500, 502, 503, 504} {
		replies[fmt.Sprint(status)] = func(http.ResponseWriter, *http.Request) error { return web.Fail(status, "x", nil) }
	}
	for name, h := range replies {
		for _, accept := range []string{"text/html", "application/json"} {
			t.Run("LO-02/"+name+"/"+accept, func(t *testing.T) {
				g := start(t, func(w http.ResponseWriter, r *http.Request) error {
					w.Header().Set("Cache-Control", "public, max-age=60")
					w.Header().Set("Expires", "Thu, 01 Jan 2099 00:00:00 GMT")
					if name == "redirect" || name == "page" {
						w.Header().Del("Expires")
					}
					return h(w, r)
				})
				resp, _ := g.get(t, "/", "Accept", accept)
				if got := resp.Header.Values("Cache-Control"); len(got) != 1 || got[0] != "no-store" {
					t.Errorf("Cache-Control = %q", got)
				}
				if resp.Header.Get("X-Content-Type-Options") != "nosniff" || resp.Header.Get("Expires") != "" {
					t.Errorf("headers: %v", resp.Header)
				}
			})
		}
	}
}

func TestHeadHasNoBodyButItsLength(t *testing.T) {
	for _, accept := range []string{"text/html", "application/json"} {
		g := start(t, func(http.ResponseWriter, *http.Request) error { return web.Fail(404, "Nothing here.", nil) })
		_, body := g.get(t, "/", "Accept", accept)
		resp, none := g.ask(t, http.MethodHead, "/", "Accept", accept)
		if resp.StatusCode != http.StatusNotFound || none != "" || int(resp.ContentLength) != len(body) {
			t.Errorf("HEAD: %d, %d bytes, length %d, want %d", resp.StatusCode, len(none), resp.ContentLength, len(body))
		}
		g.record(t)
		if rec := g.record(t); rec.Outcome.Bytes != 0 {
			t.Errorf("recorded %d bytes", rec.Outcome.Bytes)
		}
	}
}

func TestRedirect(t *testing.T) {
	for target, want := range map[string]string{
		"https://app.test/a%2Fb?q=a%26b&x=1;y=2#z": "https://app.test/a%2Fb?q=a%26b&x=1;y=2#z",
		"/a b":                          "/a%20b",
		"/a\r\nSet-Cookie: x=1":         "/a%0D%0ASet-Cookie:%20x=1",
		"/caf\xe9":                      "/caf%E9",
		"/\x00\x7f\tz":                  "/%00%7F%09z",
		"https://app.test/?next=%2F%2F": "https://app.test/?next=%2F%2F",
	} {
		g := start(t, func(w http.ResponseWriter, r *http.Request) error {
			web.Redirect(w, r, http.StatusSeeOther, target)
			return nil
		})
		resp, body := g.get(t, "/", "Accept", "text/html")
		if resp.StatusCode != http.StatusSeeOther || body != "" || resp.Header.Get("Content-Type") != "" {
			t.Errorf("%q: %d with body %q", target, resp.StatusCode, body)
		}
		if got := resp.Header.Get("Location"); got != want {
			t.Errorf("Location = %q, want %q", got, want)
		}
		if resp.Header.Get("Set-Cookie") != "" || resp.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("headers: %v", resp.Header)
		}
	}
}

// A client whose body nobody reads learns at once that it was refused, however slowly it sends.
func TestRefusalDoesNotWaitForTheBody(t *testing.T) {
	for name, h := range map[string]web.Handler{
		"PX-09/e/answer": func(http.ResponseWriter, *http.Request) error { return web.Fail(401, "Sign in.", nil) },
		"PX-09/e/json":   func(w http.ResponseWriter, r *http.Request) error { return web.JSON(w, r, "x") },
		"PX-09/e/redirect": func(w http.ResponseWriter, r *http.Request) error {
			web.Redirect(w, r, http.StatusSeeOther, "/login")
			return nil
		},
	} {
		for kind, body := range map[string]string{"length": "Content-Length: 1000\r\n\r\nx", "chunked": "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				g := start(t, h)
				c := g.dial(t, "POST / HTTP/1.1\r\nHost: gw.test\r\n"+body)
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = resp.Body.Close() }()
				if !resp.Close {
					t.Errorf("got %d, close %v", resp.StatusCode, resp.Close)
				}
			})
		}
	}
	g := start(t, func(http.ResponseWriter, *http.Request) error { return web.Fail(401, "Sign in.", nil) })
	if resp, _ := g.get(t, "/"); resp.Close {
		t.Error("the connection of a request without a body was closed")
	}
}

// hurried is a response writer that notes by when an answer must be taken.
type hurried struct {
	*httptest.ResponseRecorder
	due time.Time
}

func (h *hurried) SetWriteDeadline(t time.Time) error {
	h.due = t
	return nil
}

// A client that asks and takes nothing does not hold an answer for ever.
func TestAnswersAreTakenInTime(t *testing.T) {
	for name, h := range map[string]web.Handler{
		"page":     func(http.ResponseWriter, *http.Request) error { return web.Fail(401, "Sign in.", nil) },
		"redirect": func(w http.ResponseWriter, r *http.Request) error { web.Redirect(w, r, 303, "/login"); return nil },
		"json":     func(w http.ResponseWriter, r *http.Request) error { return web.JSON(w, r, "x") },
	} {
		t.Run("PX-09/"+name, func(t *testing.T) {
			w := &hurried{ResponseRecorder: httptest.NewRecorder()}
			web.Recorder{}.Wrap(h).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody))
			if left := time.Until(w.due); left <= 0 || left > time.Minute {
				t.Errorf("to be taken within %s", left)
			}
		})
	}
}

// away is what parts return when the client goes while they work.
func away(ctx context.Context) error {
	<-ctx.Done()
	return fmt.Errorf("ask: %w", ctx.Err())
}

func TestClientGoesAway(t *testing.T) {
	for name, work := range map[string]func(w http.ResponseWriter, ctx context.Context) error{
		"PX-12/a/upstream thinks": func(_ http.ResponseWriter, ctx context.Context) error {
			return web.Fail(502, "The app does not answer.", away(ctx))
		},
		"PX-12/b/upstream streams": func(w http.ResponseWriter, ctx context.Context) error {
			for ctx.Err() == nil {
				_, _ = io.WriteString(w, strings.Repeat("x", 1024))
				_ = http.NewResponseController(w).Flush()
			}
			panic(http.ErrAbortHandler) // what httputil.ReverseProxy does
		},
		"PX-12/b/nobody looks at write errors": func(w http.ResponseWriter, ctx context.Context) error {
			<-ctx.Done()
			for range 1000 {
				_, _ = io.WriteString(w, strings.Repeat("x", 1024))
			}
			return nil
		},
		"PX-12/c/session look-up": func(_ http.ResponseWriter, ctx context.Context) error {
			return web.Unavailable(away(ctx))
		},
		"PX-12/handler says nothing": func(_ http.ResponseWriter, ctx context.Context) error {
			<-ctx.Done()
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			entered := make(chan struct{})
			g := start(t, func(w http.ResponseWriter, r *http.Request) error {
				close(entered)
				return work(w, r.Context())
			})
			c := g.dial(t, "GET /x HTTP/1.1\r\nHost: gw.test\r\n\r\n")
			<-entered
			_ = c.SetLinger(0) // a reset
			_ = c.Close()
			rec := g.record(t)
			if rec.Outcome.Status != web.StatusClientClosedRequest {
				t.Errorf("recorded %+v", rec.Outcome)
			}
			if entry := g.entry(t); entry["status"] != 499.0 || entry["level"] != "INFO" {
				t.Errorf("logged %v", entry)
			}
		})
	}
}

// A client may close its sending half and still wait for its answer: a proxy that asks about a
// request could take the 200 that net/http makes up for a silent handler for a yes.
func TestHalfClosedClientNeverGetsAnEmpty200(t *testing.T) {
	for name, c := range map[string]struct {
		then func(ctx context.Context) error
		want string
	}{
		"PX-12/canceled":       {func(ctx context.Context) error { return web.Unavailable(ctx.Err()) }, ""},
		"PX-12/silent":         {func(context.Context) error { return nil }, ""},
		"PX-12/decided anyway": {func(context.Context) error { return web.Fail(403, "No.", nil) }, "HTTP/1.1 403 "},
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, func(_ http.ResponseWriter, r *http.Request) error {
				<-r.Context().Done()
				return c.then(r.Context())
			})
			conn := g.dial(t, "GET / HTTP/1.1\r\nHost: gw.test\r\n\r\n")
			if err := conn.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(conn)
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "" && len(got) > 0 || !strings.HasPrefix(string(got), c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// A context that we ended ourselves is no client that went away: a revoked session gets its answer.
func TestOurOwnCancellationIsAnswered(t *testing.T) {
	g := start(t, func(w http.ResponseWriter, r *http.Request) error {
		ctx, stop := context.WithCancelCause(r.Context())
		stop(errors.New("the session is over"))
		web.Answer(w, r.WithContext(ctx), web.Fail(502, "Cut.", ctx.Err()))
		return nil
	})
	if resp, _ := g.get(t, "/"); resp.StatusCode != http.StatusBadGateway {
		t.Errorf("got %d", resp.StatusCode)
	}
}

// Half an answer is never completed by an error page: the connection breaks, and the client knows.
func TestErrorAfterAPartOfTheAnswer(t *testing.T) {
	g := start(t, func(w http.ResponseWriter, _ *http.Request) error {
		_, _ = io.WriteString(w, "half of")
		_ = http.NewResponseController(w).Flush()
		return errors.New("the source broke")
	})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := g.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err == nil || string(body) != "half of" {
		t.Errorf("got %q and %v, want a broken transfer", body, err)
	}
	rec := g.record(t)
	if rec.Outcome.Status != 200 || rec.Outcome.Cause == nil || g.entry(t)["level"] != "WARN" {
		t.Errorf("recorded %+v", rec.Outcome)
	}
}
