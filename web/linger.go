package web

import (
	"net"
	"net/http"
	"time"
)

const (
	lingerBytes = 1 << 30          // that are thrown away after an answer
	lingerLimit = 10 * time.Second // in all
	lingerQuiet = 2 * time.Second  // without a byte: then the client has read the answer, or never will
)

// Linger gives a client that is still sending its body the time to read the answer, which must have
// been written, with its length and Connection: close, as all answers of this package are. It is for
// HTTP/1 and does nothing otherwise; afterwards the connection is closed.
//
// A browser sends its whole body before it looks for an answer. A connection that is closed before
// all was read sends a reset, which overtakes the answer, and the user reads "connection reset"
// instead of "the file is too large" (UP-12; RFC 9112, section 9.6). net/http waits half a second
// without reading, which helps those who have almost done. So: say that nothing more will come, read
// what comes for a while, and throw it away.
func Linger(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor != 1 || r.ContentLength == 0 {
		return
	}
	ctl := http.NewResponseController(w)
	if ctl.Flush() != nil {
		return
	}
	conn, _, err := ctl.Hijack() // net/http would not let go of a body that it takes for broken
	if err != nil {
		return
	}
	defer conn.Close()
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok || conn.SetWriteDeadline(time.Now().Add(lingerQuiet)) != nil || half.CloseWrite() != nil {
		return
	}
	drain(conn, time.Now().Add(lingerLimit))
}

// drain reads and throws away until nothing comes any more, or it is enough.
func drain(conn net.Conn, end time.Time) {
	buf := make([]byte, 4<<10) // as many as there are connections: a slow client is to cost no more than that
	for left := lingerBytes; left > 0; {
		quiet := time.Now().Add(lingerQuiet)
		if quiet.After(end) {
			quiet = end
		}
		_ = conn.SetReadDeadline(quiet) // if that fails the read does
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		left -= n
		if n == len(buf) && n < 64<<10 { // a fast one is over with it the sooner
			buf = make([]byte, 2*n)
		}
	}
}
