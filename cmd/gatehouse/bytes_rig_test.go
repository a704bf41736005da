package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Each test of bytes runs a Gatehouse as `serve` runs it before an app that takes nothing but strict
// requests. Attacks go to it as bytes over TCP, and three things are held of every one of them: the app
// gets exactly the requests that were allowed, whole and well framed, without a word about who is asking
// that a client chose (recorder); what the client gets is a row of well framed answers; and at the end
// of its bytes the connection ends, too, and hangs for nobody.

// stage is a gateway with such an app behind it, and alice signed in.
type stage struct {
	*rig
	app    *recorder
	cookie string
}

// bytesHang is how long a step may take before it counts as hanging.
const bytesHang = 30 * time.Second

// newStage serves with an engine. More is for the section server of the configuration.
func newStage(t testing.TB, engine, more string) *stage {
	t.Helper()
	r := newRig(t)
	s := &stage{rig: r}
	s.app = newRecorder(t, vouchedFor(r.host()))
	r.edit("drain_delay: 100ms", "drain_delay: 0s"+more)
	r.edit(fmt.Sprintf("  - {host: %q, upstream: %q}\n", r.host(), r.app.URL), fmt.Sprintf(`  - {host: %[1]q, upstream: "http://%[2]s"}
  - {host: %[1]q, path: /public, upstream: "http://%[2]s", public: true}
proxy: {engine: %[3]s}
`, r.host(), s.app.listener.Addr(), engine))
	r.start()
	b := r.browser()
	b.signIn(r.public+"/", "alice@corp.test")
	s.cookie = b.cookie()
	s.app.heard()
	return s
}

// vouchedFor is what an app may hear of alice, who comes from the loopback to a host.
func vouchedFor(host string) func(name, value string) bool {
	words := map[string]string{
		"x-auth-request-user": "alice@corp.test", "x-auth-request-email": "alice@corp.test", "x-auth-request-preferred-username": "alice@corp.test",
		"x-auth-request-groups": "staff", "x-auth-request-name": "Alice", "x-forwarded-proto": "http", "x-forwarded-host": host,
		"x-forwarded-for": "127.0.0.1", "x-real-ip": "127.0.0.1",
	}
	return func(name, value string) bool { return words[name] == value && value != "" }
}

// attack is one connection's worth of bytes. {me} stands for the Host and Cookie lines of alice, {host}
// for the Host line alone, {at} for the host itself.
type attack struct {
	name string
	send string
	want []int    // the answers in their order, after which nothing comes
	app  []string // what the app gets: method, target and body of each request
}

// tail is a request of nobody that stands behind every attack. Where the connection goes on it is
// refused with a 401 of its own, and so shows that client and gateway agree on where it begins.
const tail = "GET /tail HTTP/1.1\r\n{host}\r\n\r\n"

// fill puts what stands for this stage into an attack.
func (s *stage) fill(text, cookie string) string {
	return strings.NewReplacer("{me}", "Host: "+s.host()+"\r\nCookie: "+cookie, "{host}", "Host: "+s.host(), "{at}", s.host()).Replace(text)
}

// run makes the attack, and reads the answers.
func (s *stage) run(t *testing.T, a attack) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.host())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(bytesHang))
	if _, err := io.WriteString(conn, s.fill(a.send+tail, s.cookie)); err != nil && !gone(err) {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(a.send, " ")
	got := answers(t, conn, len(a.want), first)
	if !slices.Equal(got, a.want) {
		t.Errorf("answers %v, want %v", got, a.want)
	}
	requests, faults := s.app.heard()
	if len(faults) > 0 {
		t.Errorf("the app: %s", strings.Join(faults, "\n"))
	}
	if !slices.Equal(requests, a.app) {
		t.Errorf("the app got %q, want %q", requests, a.app)
	}
}

// answers reads as many answers as are due, the first to a request with a method, says that nothing more
// will be asked, and reads on to the end.
func answers(t *testing.T, conn net.Conn, due int, method string) (got []int) {
	t.Helper()
	from := strict{from: bufio.NewReader(conn)}
	for {
		if len(got) == due {
			_ = conn.(*net.TCPConn).CloseWrite() // so that a gateway that waits for more knows there is none
		}
		if len(got) > 0 {
			method = "GET" // which has a body, as has every other but HEAD
		}
		m, status, err := from.answer(method)
		if status == 101 {
			return append(got, status) // what follows is the app's
		}
		if gone(err) && status != 0 {
			return append(got, status) // net/http's own short refusals may end in a reset, behind the head
		}
		if errors.Is(err, io.EOF) || gone(err) {
			return got
		}
		if err != nil {
			t.Errorf("the answer %+v is not well framed: %v", m, err)
			return got
		}
		got = append(got, status)
	}
}

// gone tells a connection that the other side has closed without reading all.
func gone(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// post is a POST of alice with these header lines and what follows them.
func post(path, lines, rest string) string {
	return "POST " + path + " HTTP/1.1\r\n{me}\r\n" + lines + "\r\n\r\n" + rest
}

// get is a GET of alice with more header lines, each with its CRLF.
func get(path, lines string) string { return "GET " + path + " HTTP/1.1\r\n{me}\r\n" + lines + "\r\n" }

// runAll runs a table against both engines.
func runAll(t *testing.T, all []attack) {
	for _, engine := range []string{"stdlib", "lean"} {
		t.Run(engine, func(t *testing.T) {
			s := newStage(t, engine, "")
			for _, a := range all {
				t.Run(a.name, func(t *testing.T) { s.run(t, a) })
			}
			s.stop()
			if requests, faults := s.app.heard(); len(requests)+len(faults) > 0 {
				t.Errorf("more reached the app afterwards: %q %q", requests, faults)
			}
			if strings.Contains(s.log.String(), "panic") {
				t.Errorf("a panic: %s", s.log)
			}
		})
	}
}
