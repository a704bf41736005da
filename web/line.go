package web

import (
	"log/slog"
	"strconv"
	"time"
)

// A request's line is most of what a gateway logs, and slog takes several microseconds for it: it turns
// each value into an attribute and back. So the line of an ordinary request is put together here, byte for
// byte as the slog handler would have written it, which a test compares. A line in which anything needs
// escaping, or that has an error in it, is left to the handler.

// line is a log line in the making.
type line struct {
	text  []byte
	json  bool
	plain bool // nothing so far needs escaping
}

// request writes the whole line of a record, and reports whether it is one that it can write.
func (l *line) request(rec *Record, at time.Time, level slog.Level) (ok bool) {
	asked, out, to := &rec.Request, &rec.Outcome, &rec.Whereto
	if out.Cause != nil {
		return false
	}
	l.plain = true
	l.head(at, level)
	l.word("id", rec.ID)
	if asked.Client.IsValid() {
		l.key("client")
		l.quote()
		l.text = asked.Client.AppendTo(l.text)
		l.quote()
	}
	l.word("method", asked.Method)
	l.word("host", asked.Host)
	l.word("path", asked.Path)
	l.word("proto", asked.Proto)
	l.word("user", rec.Who.User)
	if rec.Who.Session != 0 {
		l.number("session", rec.Who.Session)
	}
	l.word("route", to.Route)
	l.word("upstream", to.Upstream)
	l.word("check", to.Check)
	if to.Latency > 0 {
		l.milliseconds("upstream_ms", to.Latency)
	}
	l.number("status", int64(out.Status))
	l.number("bytes", out.Bytes)
	l.milliseconds("ms", rec.Took)
	l.word("verdict", out.Verdict)
	l.word("event", out.Event)
	if l.json {
		l.text = append(l.text, '}')
	}
	l.text = append(l.text, '\n')
	return l.plain
}

// head writes what every line begins with. Text has the time to the millisecond.
func (l *line) head(at time.Time, level slog.Level) {
	if l.json {
		l.text = append(l.text, `{"time":"`...)
		l.text = at.AppendFormat(l.text, time.RFC3339Nano)
		l.text = append(l.text, '"')
	} else {
		l.text = append(l.text, "time="...)
		l.text = at.AppendFormat(l.text, "2006-01-02T15:04:05.000Z07:00")
	}
	l.word("level", level.String())
	l.word("msg", requestMessage)
}

func (l *line) key(name string) {
	if l.json {
		l.text = append(l.text, `,"`...)
		l.text = append(l.text, name...)
		l.text = append(l.text, `":`...)
		return
	}
	l.text = append(l.text, ' ')
	l.text = append(l.text, name...)
	l.text = append(l.text, '=')
}

func (l *line) quote() {
	if l.json {
		l.text = append(l.text, '"')
	}
}

// word writes a text, unless it is empty.
func (l *line) word(name, value string) {
	if value == "" {
		return
	}
	l.key(name)
	l.quote()
	l.text = append(l.text, value...)
	l.quote()
	for i := range len(value) {
		l.plain = l.plain && unescaped[value[i]] && (l.json || value[i] != ' ' && value[i] != '=')
	}
}

func (l *line) number(name string, n int64) {
	l.key(name)
	l.text = strconv.AppendInt(l.text, n, 10)
}

func (l *line) milliseconds(name string, d time.Duration) {
	l.key(name)
	format := byte('g')
	if l.json { // encoding/json writes an exponent only where a duration never comes
		format = 'f'
	}
	l.text = strconv.AppendFloat(l.text, milliseconds(d), format, -1, 64)
}

// unescaped are the bytes that stand for themselves in both formats: printable ASCII without quotation
// mark and backslash.
var unescaped = func() (set [256]bool) {
	for c := ' '; c < 0x7f; c++ {
		set[c] = c != '"' && c != '\\'
	}
	return set
}()
