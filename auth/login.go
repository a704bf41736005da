package auth

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gatehouse-auth/gatehouse/web"
)

// LoginParts is what a login is made of.
type LoginParts struct {
	Site     Site
	Keys     *Keyring
	Cookies  Cookies
	Gate     *Gate
	Users    Users
	Sessions Sessions
	Provider *Provider
	Next     Next
	Life     Lifetime
}

// Login signs people in: Start sends a browser to the provider, Callback takes it back.
//
// Whatever goes wrong on the way ends on a page with a link that starts afresh. Nothing starts over
// by itself: a browser that refuses our cookies, or a provider that always says no, would go round
// in circles.
type Login struct {
	LoginParts
	attempts attempts
}

// NewLogin makes a login of its parts.
func NewLogin(parts LoginParts) *Login {
	return &Login{LoginParts: parts, attempts: newAttempts(parts.Keys, parts.Site)}
}

// chooseAccount is the one prompt that is passed on to the provider: offer a choice of accounts.
const chooseAccount = "select_account"

// Start answers GET /login?next=…&prompt=select_account: it begins an attempt and sends the browser
// to the provider. A browser that is signed in goes straight to next, if its session reaches there.
func (l *Login) Start(w http.ResponseWriter, r *http.Request) error {
	next := l.Next.asked(r.URL.RawQuery)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return onlyGet(w, "A sign-in starts with a GET request.")
	}
	if host := hostOf(r); host != l.Site.host() {
		return l.elsewhere(w, r, host, next)
	}
	// A frame, a prefetch or a script starts nothing: its user would not see what it leads to, and
	// each attempt costs the browser a cookie (RULE-11, CK-04).
	if r.Method == http.MethodHead || !Navigates(r) {
		return l.again(http.StatusUnauthorized, "", next, "Please sign in. This has to happen in a window of its own.", nil)
	}
	prompt := ""
	if r.URL.Query().Get("prompt") == chooseAccount {
		prompt = chooseAccount
	}
	s, err := l.Gate.Who(r.Context(), r.Header)
	switch {
	case err == nil && prompt == "" && l.Cookies.reaches(l.Next.absolute(next)):
		note(r, s)
		web.Redirect(w, r, http.StatusSeeOther, next)
		return nil
	case errors.Is(err, ErrTwoUsers):
		return l.Cookies.Clash(w, r)
	case err != nil && !errors.Is(err, ErrNoSession):
		return web.Unavailable(err)
	}
	return l.begin(w, r, next, prompt)
}

func (l *Login) begin(w http.ResponseWriter, r *http.Request, next, prompt string) error {
	now := time.Now()
	one, state, value := l.attempts.begin(next, now)
	address, err := l.Provider.authorize(r.Context(), web.RecordOf(r.Context()).Request.Client, one, state, prompt)
	if errors.Is(err, errBusy) {
		return busy(err)
	}
	if err != nil {
		return l.providerFault(err, next)
	}
	l.attempts.set(w, r.Header, one.ID, value, now)
	web.Redirect(w, r, http.StatusSeeOther, address)
	return nil
}

// elsewhere sends a login that starts on an app's host to the public host, where its cookies live.
func (l *Login) elsewhere(w http.ResponseWriter, r *http.Request, host, next string) error {
	next = l.onHost(host, next)
	address := l.Site.Login(next)
	if r.URL.Query().Get("prompt") == chooseAccount {
		address = l.Site.OtherAccount(next)
	}
	web.Redirect(w, r, http.StatusSeeOther, address)
	return nil
}

// onHost is a cleaned address, absolute if it is one on another host than the public one.
func (l *Login) onHost(host, next string) string {
	if host != l.Site.host() && strings.HasPrefix(next, "/") {
		return l.Next.Clean(l.Site.Public.Scheme + "://" + host + next)
	}
	return next
}

// Callback answers GET /callback, to which the provider sends the browser back.
func (l *Login) Callback(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet { // a HEAD too: it would spend the code for nobody
		return onlyGet(w, "A sign-in is finished with a GET request.")
	}
	back, err := readReturn(r.URL.RawQuery)
	if err != nil {
		return l.lost(w, r, ticket{}, "attempt_junk", err)
	}
	about, err := l.attempts.ticket(back.state)
	if err != nil {
		return l.lost(w, r, ticket{}, "forged_state", err)
	}
	// The state is compared before anything is redeemed: a code that was planted in this browser
	// would sign it in as somebody else (RFC 6749, section 10.12).
	one, err := l.attempts.find(r.Header, about, back.state, time.Now())
	if err != nil {
		return l.lost(w, r, about, "attempt_stale", err)
	}
	if fault := l.refusedByProvider(back, one); fault != nil {
		l.attempts.clear(w, one.ID)
		return fault
	}
	return l.finish(w, r, back.code, one)
}

// returned is what the provider sends back with the browser.
type returned struct{ state, code, fault, issuer string }

// maxReturned bounds each parameter of the callback.
const maxReturned = 4 << 10

var errReturned = errors.New("missing, repeated or oversized parameter")

func readReturn(query string) (returned, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return returned{}, errReturned
	}
	for _, name := range []string{"state", "code", "error", "iss"} {
		if len(values[name]) > 1 || len(values.Get(name)) > maxReturned {
			return returned{}, errReturned
		}
	}
	back := returned{values.Get("state"), values.Get("code"), values.Get("error"), values.Get("iss")}
	if back.state == "" {
		return returned{}, errReturned
	}
	return back, nil
}

// refusedByProvider is the answer to a callback that brings no code.
func (l *Login) refusedByProvider(back returned, one attempt) error {
	switch {
	case back.issuer != "" && back.issuer != l.Provider.config.Issuer: // RFC 9207
		return l.again(http.StatusBadRequest, "attempt_junk", one.Next, "This answer came from another provider than the one that was asked.", nil)
	case back.fault == "" && back.code != "":
		return nil
	case back.fault == "":
		return l.again(http.StatusBadRequest, "attempt_junk", one.Next, "The provider sent no answer that can be used.", nil)
	}
	// The description that comes with an error is anybody's text: it is not shown.
	return l.again(http.StatusForbidden, "login_denied", one.Next, "The sign-in was cancelled, or the provider refused it.", errors.New("provider said "+word(back.fault)))
}

// finish redeems the code and lets the person in.
func (l *Login) finish(w http.ResponseWriter, r *http.Request, code string, one attempt) error {
	profile, err := l.Provider.redeem(r.Context(), web.RecordOf(r.Context()).Request.Client, code, one)
	var refusal *Refusal
	switch {
	case errors.Is(err, errBusy):
		return busy(err) // the attempt stays, so that the same address works when tried again
	case errors.Is(err, errCode):
		return l.lost(w, r, ticket{ID: one.ID, Next: one.Next}, "attempt_stale", err)
	case errors.As(err, &refusal):
		l.attempts.clear(w, one.ID)
		return l.refuse("login_refused", refusal.Email, one.Next, err)
	case err != nil:
		l.attempts.clear(w, one.ID)
		return l.providerFault(err, one.Next)
	}
	user, err := l.Users.SignIn(r.Context(), profile)
	if err == nil {
		err = l.enter(w, r, user)
	}
	email, _ := CanonicalEmail(profile.Email) // profile judged it
	switch {
	case errors.Is(err, ErrNoUser):
		l.attempts.clear(w, one.ID)
		return l.refuse("user_unknown", email, one.Next, err)
	case err != nil:
		return web.Unavailable(err)
	}
	l.attempts.clearAll(w, r.Header)
	web.Redirect(w, r, http.StatusSeeOther, l.Next.Clean(one.Next))
	return nil
}

// enter makes the session and gives the browser its token. The token is always new, and what the
// browser had before ends first: nobody can fix in advance which session a person gets (LG-06).
func (l *Login) enter(w http.ResponseWriter, r *http.Request, user User) error {
	if err := l.Gate.endAll(r.Context(), r.Header); err != nil {
		return err
	}
	token, now := l.Keys.Mint(), time.Now().UTC()
	s := Session{
		Key: token.Key(), User: user,
		CreatedAt: now, ExpiresAt: now.Add(min(l.Life.TTL, l.Life.Max)), EndsAt: now.Add(l.Life.Max),
		IP: web.RecordOf(r.Context()).Request.Client, UserAgent: clip(r.UserAgent(), maxUserAgent),
	}
	if err := l.Sessions.Create(r.Context(), s); err != nil {
		return err
	}
	l.Cookies.Set(w, token)
	note(r, s)
	web.RecordOf(r.Context()).Outcome.Event = "login"
	return nil
}

// maxUserAgent is how many bytes of a browser's name are kept.
const maxUserAgent = 256

// clip cuts a text to so many bytes, and to whole characters.
func clip(s string, limit int) string { return strings.ToValidUTF8(s[:min(len(s), limit)], "") }

// note puts into the record who it is.
func note(r *http.Request, s Session) {
	rec := web.RecordOf(r.Context())
	rec.Who = web.Who{User: s.User.Email, Session: s.ID}
}
