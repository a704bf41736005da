package stage

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strconv"
	"strings"
)

// cookieName is what the session's cookie is called where the public address is plain http.
const cookieName = "gate"

// SignIn goes the whole way as a browser does: to a gateway, to the provider, and back to the same
// gateway. It returns the session's cookie as it is sent, and the status of the last answer, zero where
// none came. The error is about the way there; a sign-in that was refused is none, and has no cookie.
func (s *Stage) SignIn(ctx context.Context, g *Gate, email string) (cookie string, status int, err error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", 0, err
	}
	client := &http.Client{Jar: jar, Transport: g.Client.Transport}
	chooser, status, err := visit(ctx, client, http.MethodGet, s.Public+"/_gate/login?next=/_gate/me", nil)
	if err != nil || status != http.StatusOK {
		return "", status, err
	}
	_, status, err = visit(ctx, client, http.MethodPost, chooser.String(), url.Values{"email": {email}, "name": {email}})
	if err != nil {
		return "", status, err
	}
	at, err := url.Parse(s.Public)
	if err != nil {
		return "", status, err
	}
	for _, c := range jar.Cookies(at) {
		if c.Name == cookieName {
			return c.Name + "=" + c.Value, status, nil
		}
	}
	return "", status, nil
}

// visit opens an address as a browser does, and says where that led.
func visit(ctx context.Context, client *http.Client, method, address string, form url.Values) (at *url.URL, status int, err error) {
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, 0, err
	}
	for name, value := range map[string]string{"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"} {
		req.Header.Set(name, value)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	_ = resp.Body.Close()
	return resp.Request.URL, resp.StatusCode, nil
}

// SignOut signs out at a gateway as the page's button does, and returns the status, zero where no
// answer came. Below 400 it is done.
func (s *Stage) SignOut(ctx context.Context, g *Gate, cookie string) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Public+"/_gate/logout", http.NoBody)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Cookie", cookie)
	req.Header.Set("Origin", s.Public)
	resp, err := g.Client.Do(req)
	if err != nil {
		return 0, err
	}
	_ = resp.Body.Close()
	return resp.StatusCode, nil
}

// Clears reports whether an answer takes the session's cookie away.
func Clears(resp *http.Response) bool {
	for _, c := range resp.Cookies() {
		if c.Name == cookieName && (c.MaxAge < 0 || c.Value == "") {
			return true
		}
	}
	return false
}

// Get asks, and returns the status, zero where no answer came, and the body.
func Get(ctx context.Context, client *http.Client, address, cookie string) (status int, body string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return 0, ""
	}
	if cookie != "" {
		req.Header.Set("Cookie", cookie)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, ""
	}
	return resp.StatusCode, string(text)
}

// MustSignIn is SignIn where nothing is amiss.
func (s *Stage) MustSignIn(ctx context.Context, g *Gate, email string) (cookie string, err error) {
	cookie, status, err := s.SignIn(ctx, g, email)
	if err == nil && cookie == "" {
		err = fmt.Errorf("not signed in: status %d", status)
	}
	return cookie, err
}

// Metric finds a value in the text of /metrics, and reports whether it is there. A gateway that does not
// answer has none.
func Metric(text, name string) (value float64, ok bool) {
	for line := range strings.Lines(text) {
		if have, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && have == name {
			n, err := strconv.ParseFloat(value, 64)
			return n, err == nil
		}
	}
	return 0, false
}
