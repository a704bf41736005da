package chaos

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse-auth/gatehouse/test/stage"
)

// client is somebody at work: one user, with one session at a time.
type client struct {
	stage   *stage.Stage
	history *History
	email   string
}

// visa is a session as its holder knows it.
type visa struct {
	number int
	cookie string
}

// begin starts the clock of an operation.
func (c *client) begin(kind Kind, gate, session int) Op {
	return Op{Kind: kind, Gate: gate, Session: session, Begin: c.history.Now()}
}

// note stops it.
func (c *client) note(o Op, err error) Op {
	o.End = c.history.Now()
	if err != nil {
		o.Err = strings.ReplaceAll(err.Error(), c.stage.Public, "")
	}
	c.history.Add(o)
	return o
}

// patient is the context of one request. It outlives the day's work: what is begun is seen to its end.
func patient(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), patience)
}

// signIn signs in at a gateway. What it returns is nobody's where that failed.
func (c *client) signIn(ctx context.Context, gate int) visa {
	o := c.begin(Login, gate, 0)
	ctx, cancel := patient(ctx)
	defer cancel()
	cookie, status, err := c.stage.SignIn(ctx, c.stage.Gates[gate], c.email)
	switch {
	case cookie != "":
		// Whatever came of the page that it led to: the cookie is what a sign-in is about.
		o.Session, o.Status, err = c.history.Session(), http.StatusOK, nil
	case err == nil && status < http.StatusBadRequest:
		err = fmt.Errorf("status %d without a cookie", status)
	case err == nil:
		o.Status = status
	}
	c.note(o, err)
	return visa{o.Session, cookie}
}

// signOut signs out at a gateway, and reports whether that was answered as done.
func (c *client) signOut(ctx context.Context, gate int, v visa) bool {
	o := c.begin(Logout, gate, v.number)
	ctx, cancel := patient(ctx)
	defer cancel()
	status, err := c.stage.SignOut(ctx, c.stage.Gates[gate], v.cookie)
	o.Status = status
	return done(c.note(o, err))
}

// deleteRow does what an administrator does at psql's prompt. It names the session and not its user: a
// statement that a frozen server comes to late must not meet the user's next one.
func (c *client) deleteRow(ctx context.Context, v visa) bool {
	o := c.begin(Delete, everyGate, v.number)
	ctx, cancel := patient(ctx)
	defer cancel()
	_, token, _ := strings.Cut(v.cookie, "=")
	_, err := c.stage.Psql(ctx, fmt.Sprintf(`DELETE FROM sessions WHERE token_hash = '\x%x'`, sha256.Sum256([]byte(token))))
	if err == nil {
		o.Status = http.StatusOK
	}
	return done(c.note(o, err))
}

// get asks for a page of the app, or as a front proxy about one.
func (c *client) get(ctx context.Context, kind Kind, gate int, v visa) Op {
	o := c.begin(kind, gate, v.number)
	ctx, cancel := patient(ctx)
	defer cancel()
	path := "/page"
	if kind == Ask {
		path = "/_gate/check/traefik"
	}
	resp, err := c.ask(ctx, gate, v, http.MethodGet, path, nil)
	if err != nil {
		return c.note(o, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return c.note(o, err)
	}
	c.read(&o, resp)
	who := string(body)
	if kind == Ask {
		who = resp.Header.Get("X-Auth-Request-Email")
	}
	if o.yes() && who != c.email {
		o.Trait |= SomeoneIs
	}
	return c.note(o, nil)
}

// ask sends one request with the session's cookie.
func (c *client) ask(ctx context.Context, gate int, v visa, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.stage.Public+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Cookie", v.cookie)
	req.Header.Set("Origin", c.stage.Public)
	if strings.Contains(path, "/check/") {
		for name, value := range map[string]string{"Method": http.MethodGet, "Proto": "http", "Host": req.Host, "Uri": "/page"} {
			req.Header.Set("X-Forwarded-"+name, value)
		}
	}
	return c.stage.Gates[gate].Client.Do(req)
}

// read takes what the head of an answer tells.
func (c *client) read(o *Op, resp *http.Response) {
	o.Status = resp.StatusCode
	if stage.Clears(resp) {
		o.Trait |= Cleared
	}
	if strings.Contains(resp.Header.Get("Location"), "/_gate/login") {
		o.Trait |= SentAway
	}
}

// hold keeps an event stream open for a while, or until it is cut.
func (c *client) hold(ctx context.Context, gate int, v visa, length time.Duration) {
	o := c.begin(Hold, gate, v.number)
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	resp, err := c.ask(ctx, gate, v, http.MethodGet, "/events", nil)
	if err != nil {
		if ctx.Err() != nil {
			return // it was to be over before it was open
		}
		c.note(o, err)
		return
	}
	defer resp.Body.Close()
	c.read(&o, resp)
	for events := bufio.NewScanner(resp.Body); events.Scan(); {
		o.Heard = c.history.Now()
	}
	if ctx.Err() != nil {
		o.Trait |= GivenUp
	}
	c.note(o, nil)
}

// app is what stands behind the gateways: a page that says who the gateway says is asking, and a stream
// of events.
func app(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/events" {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, r.Header.Get("X-Auth-Request-Email")) //nolint:gosec // plain text, to a test
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(eventEvery)
	defer tick.Stop()
	for r.Context().Err() == nil {
		if _, err := io.WriteString(w, "data: still here\n\n"); err != nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
		}
	}
}

const eventEvery = 100 * time.Millisecond
