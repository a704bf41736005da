package web_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/web"
)

// house is a server whose connections sit in a room. Its handler waits for the path /wait.
type house struct {
	*httptest.Server
	room *web.Room
	open chan struct{} // closed: nobody waits any more

	mu   sync.Mutex
	shed map[string]int
}

func newHouse(t *testing.T, all, each int, secure *tls.Config) *house {
	t.Helper()
	h := emptyHouse(t, all, each, secure)
	if secure == nil {
		h.Start()
	} else {
		h.StartTLS()
	}
	return h
}

// emptyHouse is one that does not serve yet.
func emptyHouse(t *testing.T, all, each int, secure *tls.Config) *house {
	t.Helper()
	h := &house{open: make(chan struct{}), shed: map[string]int{}}
	trusted := netip.MustParseAddr("127.0.0.9")
	h.room = web.NewRoom(web.RoomLimits{All: all, Each: each, Exempt: func(a netip.Addr) bool { return a == trusted }}, func(what string, _ netip.Prefix) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.shed[what]++
	})
	h.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			<-h.open
		}
		_, _ = io.WriteString(w, "here")
	}))
	h.Listener = h.room.Door(h.Listener, secure)
	h.Config.ConnState, h.Config.ConnContext = h.room.State, h.room.Context
	t.Cleanup(func() { h.leave(); h.Close() })
	return h
}

// leave ends the waiting of all who wait.
func (h *house) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.open:
	default:
		close(h.open)
	}
}

func (h *house) sheds(what string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.shed[what]
}

// from dials from an address of the loopback network, says something, and lasts as long as the test.
func (h *house) from(t *testing.T, address, text string) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	conn, err := dialer.DialContext(t.Context(), "tcp", h.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(conn, text)
	return conn
}

// taken waits until so many connections are open.
func (h *house) taken(t *testing.T, n int) {
	t.Helper()
	eventually(t, "connections are open", func() bool { return h.room.Taken() == n })
}

func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never so: %s", what)
		}
	}
}

// status is that of the answer that a connection gets, zero if there is none, with Retry-After.
func status(conn net.Conn) (code int, after string) {
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, ""
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.StatusCode, resp.Header.Get("Retry-After")
}

const (
	waiting = "GET /wait HTTP/1.1\r\nHost: gw.test\r\n\r\n"
	asking  = "GET / HTTP/1.1\r\nHost: gw.test\r\n\r\n"
)

func TestNewcomerIsToldThatThereIsNoSeat(t *testing.T) {
	h := newHouse(t, 2, 2, nil)
	h.from(t, "127.0.0.1", waiting)
	h.from(t, "127.0.0.2", waiting)
	h.taken(t, 2)
	late := h.from(t, "127.0.0.3", asking)
	if code, after := status(late); code != http.StatusServiceUnavailable || after == "" {
		t.Errorf("got %d, Retry-After %q", code, after)
	}
	if _, err := late.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the connection stays open: %v", err)
	}
	if h.sheds("connection") != 1 || h.sheds("idle") != 0 {
		t.Errorf("counted %v", h.shed)
	}
	h.leave()
	// Nobody idles long enough yet to be asked to go: it is the closed connections that make room.
	h.Config.SetKeepAlivesEnabled(false)
	h.taken(t, 0)
	if code, _ := status(h.from(t, "127.0.0.3", asking)); code != http.StatusOK {
		t.Errorf("after others left: %d", code)
	}
}

// Whoever waits without a word, or says one slowly, makes room; the one that waits longest goes first.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	for name, said := range map[string]string{"nothing said": "", "a head a byte at a time": "GET / HTTP/1.1\r\nHost: gw", "kept alive": asking} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, 2, 2, nil)
			busy, idle := h.from(t, "127.0.0.1", waiting), h.from(t, "127.0.0.2", said)
			h.taken(t, 2)
			if said == asking {
				if code, _ := status(idle); code != http.StatusOK {
					t.Fatalf("got %d", code)
				}
			}
			code := 0
			eventually(t, "a newcomer is answered", func() bool {
				code, _ = status(h.from(t, "127.0.0.3", asking))
				return code == http.StatusOK
			})
			if n, err := idle.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("who idled is still there: %v", err)
			}
			h.leave()
			if code, _ = status(busy); code != http.StatusOK {
				t.Errorf("who was being answered got %d", code)
			}
			if h.sheds("idle") == 0 {
				t.Errorf("counted %v", h.shed)
			}
		})
	}
}

func TestOneClientLeavesRoom(t *testing.T) {
	h := newHouse(t, 16, 2, nil)
	for range 2 {
		h.from(t, "127.0.0.2", waiting)
	}
	h.taken(t, 2)
	if code, _ := status(h.from(t, "127.0.0.2", asking)); code != http.StatusServiceUnavailable {
		t.Errorf("a third of one client: %d", code)
	}
	if code, _ := status(h.from(t, "127.0.0.3", asking)); code != http.StatusOK {
		t.Errorf("another client: %d", code)
	}
	for range 6 {
		if code, _ := status(h.from(t, "127.0.0.9", asking)); code != http.StatusOK {
			t.Errorf("a proxy, whose connections are many people's: %d", code)
		}
	}
	if h.sheds("connection_client") != 1 {
		t.Errorf("counted %v", h.shed)
	}
}

// Over TLS nothing can be said in HTTP without a handshake, which costs more than all else.
func TestNewcomerOverTLS(t *testing.T) {
	h := newHouse(t, 1, 1, new(tls.Config))
	trust := h.Client().Transport.(*http.Transport).TLSClientConfig
	in, err := (&tls.Dialer{Config: trust}).DialContext(t.Context(), "tcp", h.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	_, _ = io.WriteString(in, waiting)
	h.taken(t, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = (&tls.Dialer{Config: trust}).DialContext(ctx, "tcp", h.Listener.Addr().String())
	if err == nil || !strings.Contains(err.Error(), "internal error") {
		t.Errorf("got %v, want an alert", err)
	}
}

// The kernel's copy and the half-close survive a seat.
func TestASeatKeepsTheAbilitiesOfItsConnection(t *testing.T) {
	h := emptyHouse(t, 4, 4, nil)
	done := make(chan error, 1)
	h.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			done <- err
			return
		}
		half, ok := conn.(interface{ CloseWrite() error })
		if _, copies := conn.(io.ReaderFrom); !ok || !copies {
			done <- errors.New("an ability is gone")
			return
		}
		_, err = conn.(io.ReaderFrom).ReadFrom(strings.NewReader("last words"))
		done <- errors.Join(err, half.CloseWrite())
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	})
	h.Start()
	conn := h.from(t, "127.0.0.1", asking)
	got, err := io.ReadAll(conn)
	if string(got) != "last words" || err != nil || <-done != nil {
		t.Errorf("got %q, %v", got, err)
	}
	_ = conn.Close()
	h.taken(t, 0)
}

// A client that reads nothing may not fill the kernel, whose memory for connections is the machine's: left
// alone it takes four megabytes for each.
func TestUnreadAnswersAreNotTheKernelsToKeep(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	room := web.NewRoom(web.RoomLimits{All: 1, Each: 1, Exempt: func(netip.Addr) bool { return true }}, nil)
	door := room.Door(listener, nil)
	defer func() { _ = door.Close() }()
	client, err := new(net.Dialer).DialContext(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	conn, err := door.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	taken, block := 0, make([]byte, 64<<10)
	for err == nil && taken < 64<<20 {
		var n int
		_ = conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		n, err = conn.Write(block)
		taken += n
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) || taken > 1<<20 {
		t.Errorf("the kernel took %d KiB, %v", taken>>10, err)
	}
	// It is not lost on a client that reads after all.
	if n, err := io.CopyN(io.Discard, client, int64(taken)); n != int64(taken) || err != nil {
		t.Errorf("%d of %d bytes arrived, %v", n, taken, err)
	}
}

// A client who has his share, and idles nowhere, is refused. That nobody of his idles says nothing of others:
// whoever comes is made room for.
func TestOneClientsShareHidesNobodyWhoIdles(t *testing.T) {
	h := newHouse(t, 4, 2, nil)
	for range 2 {
		h.from(t, "127.0.0.1", waiting)
	}
	for _, who := range []string{"127.0.0.2", "127.0.0.3"} {
		h.from(t, who, "")
	}
	h.taken(t, 4)
	time.Sleep(1100 * time.Millisecond) // web.patience
	for range 3 {
		h.from(t, "127.0.0.1", asking) // which looks for one of his own in vain
		eventually(t, "it is refused", func() bool { return h.sheds("connection_client") > 0 })
	}
	if code, _ := status(h.from(t, "127.0.0.4", asking)); code != http.StatusOK {
		t.Errorf("a newcomer got %d although two idle", code)
	}
}
