package web_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/gatehouse-auth/gatehouse/web"
)

// forwarding is a proxy in front that names its clients.
var forwarding = web.TrustedPeer{From: "127.0.0.1", Headers: []string{"for"}}

// crowd is a gate whose handler waits until it is opened, behind a Load.
type crowd struct {
	*gate
	load *web.Load
	open chan struct{}
}

func newCrowd(t *testing.T, limits web.LoadLimits, peers ...web.TrustedPeer) *crowd {
	t.Helper()
	c := &crowd{load: web.NewLoad(limits), open: make(chan struct{})}
	c.gate = idle(t, c.load.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-c.open
		w.WriteHeader(http.StatusNoContent)
	})), peers...)
	c.Start()
	return c
}

// send asks without waiting for the answer, on a connection of its own.
func (c *crowd) send(t *testing.T, headers ...string) *bufio.Reader {
	t.Helper()
	text := "GET / HTTP/1.1\r\nHost: gw.test\r\n" + strings.Join(headers, "\r\n") + "\r\n\r\n"
	return bufio.NewReader(c.dial(t, strings.ReplaceAll(text, "\r\n\r\n\r\n", "\r\n\r\n")))
}

func (c *crowd) under(t *testing.T, requests, streams int64) {
	t.Helper()
	eventually(t, "requests are under way", func() bool { r, s := c.load.Under(); return r == requests && s == streams })
}

// client is one that a proxy names.
func client(n int) string { return "X-Forwarded-For: 192.0.2." + strconv.Itoa(n) }

func TestLoadIsShed(t *testing.T) {
	c := newCrowd(t, web.LoadLimits{Requests: 8, Streams: 4}, forwarding)
	for n := range 8 {
		c.send(t, client(n))
	}
	c.under(t, 8, 0)
	resp, err := http.ReadResponse(c.send(t, client(100)), nil)
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "5" {
		t.Fatalf("got %v, %v", resp, err)
	}
	_ = resp.Body.Close()
	if rec := c.record(t); rec.Outcome.Event != "shed_request" {
		t.Errorf("recorded %+v", rec.Outcome)
	}
	t.Run("streams are counted by themselves", func(t *testing.T) {
		c.send(t, client(101), "Accept: text/event-stream")
		c.send(t, client(102), "Connection: Upgrade", "Upgrade: websocket")
		c.under(t, 8, 2)
	})
	close(c.open)
	c.under(t, 0, 0)
	if resp, _ := c.get(t, "/"); resp.StatusCode != http.StatusNoContent {
		t.Errorf("when there is room again: %d", resp.StatusCode)
	}
}

func TestOneClientLeavesLoadForOthers(t *testing.T) {
	c := newCrowd(t, web.LoadLimits{Requests: 16, Streams: 16}, forwarding)
	for range 4 {
		c.send(t, client(1))
	}
	c.under(t, 4, 0)
	resp, err := http.ReadResponse(c.send(t, client(1)), nil)
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("got %v, %v", resp, err)
	}
	_ = resp.Body.Close()
	if rec := c.record(t); rec.Outcome.Event != "shed_request_client" {
		t.Errorf("recorded %+v", rec.Outcome)
	}
	c.send(t, client(2))
	c.send(t) // a proxy that does not say for whom it asks has no share
	c.under(t, 6, 0)
	close(c.open)
	c.under(t, 0, 0)
}

// A client of HTTP/2 that asks and asks and makes room for no answer holds goroutines: as many as there
// is room for, also of those who are told that there is none.
func TestAnswersThatNobodyTakesAreUnderWay(t *testing.T) {
	g, load := untaken(t, web.TrustedPeer{From: "127.0.0.1", Headers: []string{"proto"}})
	conn := g.ask(t, 60)
	conn.resets(t, 40)
	if requests, _ := load.Under(); requests == 0 || requests > 20 {
		t.Errorf("%d requests are under way, want 16 and a quarter at most", requests)
	}
	_ = conn.Close()
	eventually(t, "nothing is under way", func() bool { requests, _ := load.Under(); return requests == 0 })
}

// One client that does so has its share of them, and what is refused to it is nobody else's.
func TestAnswersThatOneClientDoesNotTakeAreItsOwn(t *testing.T) {
	g, load := untaken(t, forwarding)
	for range 3 {
		g.ask(t, 60, "x-forwarded-for", "192.0.2.1").resets(t, 50)
	}
	if requests, _ := load.Under(); requests > 4 {
		t.Errorf("%d requests are under way, want a quarter of 16", requests)
	}
	resp, err := http.ReadResponse(bufio.NewReader(g.dial(t, "GET / HTTP/1.1\r\nHost: gw.test\r\n"+client(2)+"\r\n\r\n")), nil)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		t.Fatalf("another client got %v, %v", resp, err)
	}
	_ = resp.Body.Close()
}

// deaf is a server of HTTP/2 without TLS that says no to everybody.
type deaf struct{ *gate }

func untaken(t *testing.T, peer web.TrustedPeer) (deaf, *web.Load) {
	t.Helper()
	load := web.NewLoad(web.LoadLimits{Requests: 16, Streams: 16})
	g := idle(t, load.Wrap(web.Handler(func(http.ResponseWriter, *http.Request) error {
		return web.Fail(http.StatusUnauthorized, "No.", nil)
	})), peer)
	g.Config.Protocols = new(http.Protocols)
	g.Config.Protocols.SetHTTP1(true)
	g.Config.Protocols.SetUnencryptedHTTP2(true)
	g.records = make(chan web.Record, 1024)
	g.Start()
	return deaf{g}, load
}

// asked is a connection on which much was asked.
type asked struct {
	net.Conn
	framer *http2.Framer
}

// ask asks so often, with one header more, on a connection that makes room for no answer.
func (g deaf) ask(t *testing.T, times int, header ...string) asked {
	t.Helper()
	conn := g.dial(t, http2.ClientPreface)
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}); err != nil {
		t.Fatal(err)
	}
	var head bytes.Buffer
	pack := hpack.NewEncoder(&head)
	for n := range times {
		head.Reset()
		for _, f := range [][2]string{{":method", "GET"}, {":path", "/"}, {":scheme", "http"}, {":authority", "gw.test"}} {
			_ = pack.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
		if len(header) == 2 {
			_ = pack.WriteField(hpack.HeaderField{Name: header[0], Value: header[1]})
		}
		if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*n + 1), BlockFragment: head.Bytes(), EndHeaders: true, EndStream: true}); err != nil {
			t.Fatal(err)
		}
	}
	return asked{conn, framer}
}

// resets waits until so many of them were broken off.
func (a asked) resets(t *testing.T, want int) {
	t.Helper()
	for n := 0; n < want; {
		frame, err := a.framer.ReadFrame()
		if err != nil {
			t.Fatalf("after %d resets: %v", n, err)
		}
		if _, ok := frame.(*http2.RSTStreamFrame); ok {
			n++
		}
	}
}

// What is shed when it cannot even be told is recorded all the same.
func TestBrokenOff(t *testing.T) {
	c := newCrowd(t, web.LoadLimits{Requests: 0, Streams: 1}, forwarding)
	defer close(c.open)
	if _, err := c.send(t, client(1)).ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want an end", err)
	}
	if rec := c.record(t); rec.Outcome.Event != "shed_request" || rec.Outcome.Status != http.StatusServiceUnavailable {
		t.Errorf("recorded %+v", rec.Outcome)
	}
}
