package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"
)

// Log is the program's log. What is logged through it has its control characters escaped, and errors lose
// the secrets that they may quote. Lines that a program writes by itself are written when the call is
// over; the lines of requests gather for up to a tenth of a second, unless they are warnings (spool.go).
// A log that takes nothing holds nobody up for more than a second; Lost tells of the lines that then go.
//
// A process that is killed takes the last tenth of a second of its requests' lines with it. One that ends
// by itself calls Flush.
type Log struct {
	*slog.Logger
	spool    *spool
	requests slog.Handler // for the lines that line.go leaves to it
	json     bool
	lines    sync.Pool // of *line
	lost     atomic.Int64
}

// requestMessage is the msg of each request's line.
const requestMessage = "request"

// NewLog makes the program's log. The level is debug, info, warn or error. The format is json, text, or
// auto: text on a terminal, otherwise JSON.
func NewLog(out io.Writer, level, format string) (*Log, error) {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log.level %q: use debug, info, warn or error", level)
	}
	l := &Log{lines: sync.Pool{New: func() any { return new(line) }}}
	switch {
	case format == "json", format == "auto" && !terminal(out):
		l.json = true
	case format == "text", format == "auto":
	default:
		return nil, fmt.Errorf("log.format %q: use auto, json or text", format)
	}
	l.spool = &spool{out: out, lost: func(n int) { l.lost.Add(int64(n)) }}
	l.Logger, l.requests = slog.New(l.handler(l.spool, least)), l.handler(later{l.spool}, least)
	return l, nil
}

func (l *Log) handler(out io.Writer, least slog.Level) slog.Handler {
	options := &slog.HandlerOptions{Level: least, ReplaceAttr: clean}
	if l.json {
		return slog.NewJSONHandler(out, options)
	}
	return slog.NewTextHandler(out, options)
}

func terminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// Flush writes what waits to be written. It returns after a second at the latest.
func (l *Log) Flush() { l.spool.flush() }

// Lost is how many lines could not be written so far, because whoever reads the log had stopped or
// because writing failed.
func (l *Log) Lost() int64 { return l.lost.Load() }

// request logs a request that is over.
func (l *Log) request(ctx context.Context, rec *Record) {
	level := rec.level()
	if !l.requests.Enabled(ctx, level) {
		return
	}
	at := rec.Start.Add(rec.Took)
	one := l.lines.Get().(*line)
	one.text, one.json = one.text[:0], l.json
	if one.request(rec, at, level) {
		l.spool.add(one.text)
	} else {
		full := slog.NewRecord(at, level, requestMessage, 0)
		full.AddAttrs(rec.attrs()...)
		_ = l.requests.Handle(ctx, full) // a spool never fails
	}
	if cap(one.text) <= spoolBatch {
		l.lines.Put(one)
	}
	if level > slog.LevelInfo {
		l.spool.hurry()
	}
}

// clean is the last look at every attribute. Whoever reads a log on a terminal must not be driven by
// what a client wrote into a path (RULE-29): JSON leaves some control characters as they are.
func clean(_ []string, a slog.Attr) slog.Attr {
	switch v := a.Value.Any().(type) {
	case string:
		a.Value = slog.StringValue(escapeControl(v))
	case error:
		a.Value = slog.StringValue(escapeControl(redact(v.Error())))
	}
	return a
}

// level says how loud a request's line is: what an operator has to look at stands out.
func (rec *Record) level() slog.Level {
	out := &rec.Outcome
	switch {
	case out.Cause == nil && out.Status < http.StatusInternalServerError:
		return slog.LevelInfo
	case isBug(out.Cause), out.Status == http.StatusInternalServerError && out.Cause != nil:
		return slog.LevelError // ours: a bug or a broken machine
	case out.Status >= http.StatusInternalServerError:
		return slog.LevelWarn // a part that we need is away, or the app failed
	case out.Status < http.StatusBadRequest:
		return slog.LevelWarn // an answer that had begun and broke off
	}
	return slog.LevelInfo
}

func isBug(cause error) bool {
	var bug *panicError
	return errors.As(cause, &bug)
}

// attrs is the one line of a request. What is not known is left out.
func (rec *Record) attrs() []slog.Attr {
	asked, out, to := rec.Request, rec.Outcome, rec.Whereto
	line := make([]slog.Attr, 0, 19)
	text := func(name, value string) {
		if value != "" {
			line = append(line, slog.String(name, value))
		}
	}
	text("id", rec.ID)
	if asked.Client.IsValid() {
		text("client", asked.Client.String())
	}
	text("method", asked.Method)
	text("host", asked.Host)
	text("path", asked.Path)
	text("proto", asked.Proto)
	text("user", rec.Who.User)
	if rec.Who.Session != 0 {
		line = append(line, slog.Int64("session", rec.Who.Session))
	}
	text("route", to.Route)
	text("upstream", to.Upstream)
	text("check", to.Check)
	if to.Latency > 0 {
		line = append(line, slog.Float64("upstream_ms", milliseconds(to.Latency)))
	}
	line = append(line, slog.Int("status", out.Status), slog.Int64("bytes", out.Bytes), slog.Float64("ms", milliseconds(rec.Took)))
	text("verdict", out.Verdict)
	text("event", out.Event)
	return append(line, causeAttrs(out.Cause)...)
}

// milliseconds has three decimals: a session check takes microseconds.
func milliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}
