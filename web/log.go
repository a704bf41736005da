package web

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"golang.org/x/term"
)

// NewLog makes the program's logger. The level is debug, info, warn or error. The format is json,
// text, or auto: text on a terminal, otherwise JSON. Whatever is logged through it, control
// characters are escaped and errors lose the secrets that they may quote.
func NewLog(out io.Writer, level, format string) (*slog.Logger, error) {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log.level %q: use debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: least, ReplaceAttr: clean}
	switch {
	case format == "json", format == "auto" && !terminal(out):
		return slog.New(slog.NewJSONHandler(out, options)), nil
	case format == "text", format == "auto":
		return slog.New(slog.NewTextHandler(out, options)), nil
	}
	return nil, fmt.Errorf("log.format %q: use auto, json or text", format)
}

func terminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
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
	out := rec.Outcome
	var bug *panicError
	switch {
	case errors.As(out.Cause, &bug), out.Status == http.StatusInternalServerError && out.Cause != nil:
		return slog.LevelError // ours: a bug or a broken machine
	case out.Status >= http.StatusInternalServerError:
		return slog.LevelWarn // a part that we need is away, or the app failed
	case out.Status < http.StatusBadRequest && out.Cause != nil:
		return slog.LevelWarn // an answer that had begun and broke off
	}
	return slog.LevelInfo
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
