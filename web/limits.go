package web

import "net/http"

// Limits bounds the head of a request. net/http answers an over-long head by itself, before any
// handler runs and so without a page or a record, and with 431 also for an over-long target. A server
// is therefore given more room (MaxHeaderBytes), and what lies between is refused here, readably;
// beyond the room net/http's own short 431 still stands.
type Limits struct {
	Target int // bytes of the request target; a longer one is answered 414
	Head   int // bytes of the header lines; more are answered 431
}

// room is how many times the limit a head may have and still be answered here. Most heads that are
// too large are so by one cookie too many.
const room = 4

// MaxHeaderBytes is what http.Server.MaxHeaderBytes has to be for these limits.
func (l Limits) MaxHeaderBytes() int { return room * (l.Target + l.Head) }

// Wrap refuses what is over the limits, and passes all else on to next. It belongs right inside the
// Recorder, so that nothing is looked up for a request that is refused.
func (l Limits) Wrap(next http.Handler) http.Handler {
	return Handler(func(w http.ResponseWriter, r *http.Request) error {
		if err := l.Judge(r, r.RequestURI); err != nil {
			return err
		}
		next.ServeHTTP(w, r)
		return nil
	})
}

// Judge returns the 414 or 431 for a request that is over the limits. The target is the request's
// own, or that of the request that it is about.
func (l Limits) Judge(r *http.Request, target string) error {
	if len(target) > l.Target {
		return Fail(http.StatusRequestURITooLong, "The address of this request is too long for this server.", nil)
	}
	if headSize(r) > l.Head {
		return Fail(http.StatusRequestHeaderFieldsTooLarge, "The headers of this request are too large for this server. Often it is the cookies: clearing those of this site may help.", nil)
	}
	return nil
}

// headSize is the size of the header lines as HTTP/1 sends them: name, colon, space, value, CRLF.
func headSize(r *http.Request) int {
	const around = len(": \r\n")
	size := len("Host") + around + len(r.Host)
	for name, values := range r.Header {
		for _, value := range values {
			size += len(name) + around + len(value)
		}
	}
	return size
}
