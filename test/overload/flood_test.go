package overload

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/gatehouse-auth/gatehouse/test/stage"
)

// flooders is how many connections flood at once.
const flooders = 4

// allowance is how much more memory a flood may cost than the gateway held before, whatever it is: a
// gateway with half a gigabyte has to live through all of them.
const allowance = 160 << 20

// flood is a way to attack a server on one connection. It returns once the server has had enough.
type flood struct {
	name   string
	attack func(ctx context.Context, s *scene, p *peer)
	ends   bool // the gateway ends the connection at once; that it ends the others too is shown in package web
}

// The floods by which HTTP servers were felled. Where Go's own server bounds one (golang/go#63417,
// #65051), the test holds that it still does, with our settings and our handlers.
var floods = []flood{
	{"CVE-2023-44487 rapid reset", rapidReset, false},
	{"CVE-2024-27316 CONTINUATION without an end", continuations, true},
	{"CVE-2019-9515 SETTINGS whose answers nobody reads", settings, false},
	{"CVE-2019-9512 PING whose answers nobody reads", pings, false},
	{"WINDOW_UPDATE", windowUpdates, false},
	{"CVE-2019-9518 empty DATA", emptyData, false},
	{"PX-13 a list of headers that unpacks to megabytes", headerBomb, false},
	{"CVE-2019-9517 answers without room for them", noRoom, false},
	{"heads of large frames, and nothing behind them", hollowFrames, true},
	{"PX-13 a header line without an end", endlessLine, true},
	{"PX-13 header lines without an end", endlessLines, true},
	{"chunks of one byte", tinyChunks, false},
}

// flood runs one against the gateway beside good traffic, and sees that it cost no more than it may and
// left nothing.
func (s *scene) flood(t *testing.T, f flood) {
	before, top := s.weigh(t), s.peak(t)
	var mu sync.Mutex
	var ended, began int
	tr := s.under(t, func(ctx context.Context) {
		var all sync.WaitGroup
		for n := range flooders {
			all.Go(func() {
				for ctx.Err() == nil {
					p, err := s.meet(ctx, n)
					if err != nil {
						continue
					}
					f.attack(ctx, s, p)
					mu.Lock()
					began++
					if ctx.Err() == nil { // it was not the test that ended it
						ended++
					}
					mu.Unlock()
					_ = p.Close()
				}
			})
		}
		all.Wait()
	})
	most := top()
	s.settle(t, before)
	fmt.Printf("%-72s %4d connections, %4d ended by the gateway; good requests %d, p99 %s; memory %s → %s\n",
		t.Name(), began, ended, len(tr.took), tr.quantile(.99), mib(before.rss), mib(most))
	if f.ends {
		s.ends(t, f)
	}
	if most > before.rss+allowance {
		t.Errorf("it cost %s", mib(most-before.rss))
	}
}

// ends holds that the gateway ends the connection, however long its machine takes for that.
func (s *scene) ends(t *testing.T, f flood) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), stage.Hung)
	defer cancel()
	p, err := s.meet(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	if f.attack(ctx, s, p); ctx.Err() != nil {
		t.Error("the connection was not ended")
	}
}

// peer is an attacker's end of a connection.
type peer struct {
	net.Conn
	host   string
	cookie string
	*http2.Framer
	out   *bufio.Writer // frames go out by the many: one system call each would spare the gateway
	pack  *hpack.Encoder
	block bytes.Buffer
}

// meet opens a connection that ends with ctx.
func (s *scene) meet(ctx context.Context, n int) (*peer, error) {
	conn, err := s.dial(ctx, n)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	out := bufio.NewWriterSize(conn, 16<<10)
	p := &peer{Conn: conn, host: s.host, cookie: s.cookies[n%len(s.cookies)], Framer: http2.NewFramer(out, conn), out: out}
	p.AllowIllegalWrites = true
	p.pack = hpack.NewEncoder(&p.block)
	return p, nil
}

// greet begins HTTP/2 without TLS, as front proxies do.
func (p *peer) greet(settings ...http2.Setting) bool {
	_, err := io.WriteString(p.Conn, http2.ClientPreface)
	return err == nil && p.WriteSettings(settings...) == nil && p.out.Flush() == nil
}

// listen reads and forgets what the gateway says, answering nothing.
func (p *peer) listen() { go func() { _, _ = io.Copy(io.Discard, p.Conn) }() }

// headers packs a request.
func (p *peer) headers(method, path string, more ...hpack.HeaderField) []byte {
	p.block.Reset()
	fields := append([]hpack.HeaderField{
		{Name: ":method", Value: method}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: path}, {Name: ":authority", Value: p.host},
	}, more...)
	for _, f := range fields {
		_ = p.pack.WriteField(f) // into memory
	}
	return p.block.Bytes()
}

// request begins stream n, counted from zero.
func (p *peer) request(n int, block []byte, end bool) error {
	return p.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*n + 1), BlockFragment: block, EndHeaders: true, EndStream: end})
}

func (p *peer) signedIn() hpack.HeaderField {
	return hpack.HeaderField{Name: "cookie", Value: p.cookie}
}

func rapidReset(ctx context.Context, _ *scene, p *peer) {
	if !p.greet() {
		return
	}
	p.listen()
	for n := 0; ctx.Err() == nil && n < 1<<20; n++ {
		if p.request(n, p.headers("GET", "/reset", p.signedIn()), true) != nil || p.WriteRSTStream(uint32(2*n+1), http2.ErrCodeCancel) != nil {
			return
		}
	}
}

func continuations(ctx context.Context, _ *scene, p *peer) {
	if !p.greet() {
		return
	}
	p.listen()
	if p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.headers("GET", "/")}) != nil {
		return
	}
	for n := 0; ctx.Err() == nil; n++ {
		p.block.Reset()
		_ = p.pack.WriteField(hpack.HeaderField{Name: "x-more", Value: fmt.Sprint(n) + strings.Repeat("y", 4000), Sensitive: true})
		if p.WriteContinuation(1, false, p.block.Bytes()) != nil {
			return
		}
	}
}

func settings(ctx context.Context, _ *scene, p *peer) {
	for ok := p.greet(); ok && ctx.Err() == nil; {
		ok = p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 65535}) == nil
	}
}

func pings(ctx context.Context, _ *scene, p *peer) {
	for ok := p.greet(); ok && ctx.Err() == nil; {
		ok = p.WritePing(false, [8]byte{1}) == nil
	}
}

func windowUpdates(ctx context.Context, _ *scene, p *peer) {
	if !p.greet() {
		return
	}
	p.listen()
	for ctx.Err() == nil && p.WriteWindowUpdate(0, 1) == nil {
	}
}

func emptyData(ctx context.Context, _ *scene, p *peer) {
	if !p.greet() {
		return
	}
	p.listen()
	if p.request(0, p.headers("POST", "/empty", p.signedIn()), false) != nil {
		return
	}
	for ctx.Err() == nil && p.WriteData(1, false, nil) == nil {
	}
}

// headerBomb names one long value of the table again and again: a byte each, four kilobytes unpacked.
func headerBomb(ctx context.Context, _ *scene, p *peer) {
	if !p.greet() {
		return
	}
	p.listen()
	long := hpack.HeaderField{Name: "x", Value: strings.Repeat("b", 3900)}
	for n := 0; ctx.Err() == nil; n++ {
		block := bytes.Clone(p.headers("GET", "/bomb", long))
		p.block.Reset()
		_ = p.pack.WriteField(long)
		block = append(block, bytes.Repeat(p.block.Bytes(), 8000)...)
		if p.request(n, block[:min(len(block), 16<<10)], true) != nil {
			return
		}
	}
}

// noRoom asks for all that may be asked for at once, and makes no room for an answer.
func noRoom(ctx context.Context, _ *scene, p *peer) {
	if !p.greet(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}) {
		return
	}
	for n := range 250 {
		if p.request(n, p.headers("GET", "/big"), true) != nil {
			return
		}
	}
	_ = p.out.Flush()
	_, _ = io.Copy(io.Discard, p.Conn) // until the test is over, or the gateway has had enough
	<-ctx.Done()
}

// hollowFrames says how long a frame will be, and nothing more.
func hollowFrames(ctx context.Context, _ *scene, p *peer) {
	if !p.greet() {
		return
	}
	head := binary.BigEndian.AppendUint32(nil, 1<<20<<8|uint32(http2.FrameData))
	_, _ = p.Conn.Write(append(head, 0, 0, 0, 0, 1))
	_, _ = io.Copy(io.Discard, p.Conn)
}

func endlessLine(ctx context.Context, _ *scene, p *peer) {
	_, err := fmt.Fprintf(p.Conn, "GET / HTTP/1.1\r\nHost: %s\r\nX-Long: ", p.host)
	for block := bytes.Repeat([]byte("x"), 16<<10); err == nil && ctx.Err() == nil; {
		_, err = p.Conn.Write(block)
	}
}

func endlessLines(ctx context.Context, _ *scene, p *peer) {
	_, err := fmt.Fprintf(p.Conn, "GET / HTTP/1.1\r\nHost: %s\r\n", p.host)
	for block := bytes.Repeat([]byte("X-A: b\r\n"), 2<<10); err == nil && ctx.Err() == nil; {
		_, err = p.Conn.Write(block)
	}
}

func tinyChunks(ctx context.Context, _ *scene, p *peer) {
	p.listen()
	_, err := fmt.Fprintf(p.Conn, "POST /chunks HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\nTransfer-Encoding: chunked\r\n\r\n", p.host, p.cookie)
	for block := bytes.Repeat([]byte("1\r\nx\r\n"), 512); err == nil && ctx.Err() == nil; {
		_, err = p.Conn.Write(block)
	}
}
