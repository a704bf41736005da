package web

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"net/netip"
	"testing"
	"time"
)

// The line of a request is put together by hand, and has to be what log/slog writes of the same record:
// the same keys in the same order, the same escapes, the same numbers.
func FuzzLine(f *testing.F) {
	f.Add("alice@corp.test", "/x%2Fy/z", "app.test/", int64(1234567), int64(1500), int64(7), uint16(200), true, uint16(0))
	f.Add(`quo"te\`, "/a b=c", "", int64(1), int64(0), int64(0), uint16(499), false, uint16(1))
	f.Add("ünï\u2028\x1b[2J\xff", "/\x7f", "a\tb", int64(math.MaxInt64), int64(999), int64(-1), uint16(999), false, uint16(999))
	f.Add("<&>", "", "~!", int64(1e15), int64(123456789012), int64(1), uint16(503), true, uint16(100))
	f.Add("a=b", "/'`", "\\", int64(-5), int64(math.MinInt64), int64(math.MaxInt64), uint16(0), true, uint16(990))
	f.Fuzz(func(t *testing.T, user, path, route string, took, latency, session int64, status uint16, client bool, year uint16) {
		zone := time.FixedZone("", int(year)*60%50_000)
		rec := Record{
			ID: "06frk4c01rs8tlb0", Start: time.Date(2026, 1, 1, 0, 0, 0, int(took%1e9), zone), Took: time.Duration(took),
			Request: Request{Method: "GET", Host: "app.test:8080", Path: path, Proto: "HTTP/1.1"},
			Who:     Who{User: user, Session: session},
			Whereto: Whereto{Route: route, Upstream: route, Latency: time.Duration(latency), Check: route},
			Outcome: Outcome{Status: int(status), Bytes: took, Verdict: route, Event: user},
		}
		if client {
			rec.Request.Client = netip.MustParseAddr("2001:db8::7")
		}
		for _, format := range []string{"json", "text"} {
			got, want := bothWays(t, format, &rec)
			if got != "" && got != want {
				t.Errorf("by hand\n%sby log/slog\n%s", got, want)
			}
		}
	})
}

// bothWays is a record's line, put together by hand (empty: it is left to log/slog) and by log/slog.
func bothWays(t *testing.T, format string, rec *Record) (byHand, bySlog string) {
	t.Helper()
	var out bytes.Buffer
	log, err := NewLog(&out, "info", format)
	if err != nil {
		t.Fatal(err)
	}
	level, at := rec.level(), rec.Start.Add(rec.Took)
	full := slog.NewRecord(at, level, requestMessage, 0)
	full.AddAttrs(rec.attrs()...)
	if err := log.Handler().Handle(context.Background(), full); err != nil {
		t.Fatal(err)
	}
	one := line{json: format == "json"}
	if one.request(rec, at, level) {
		byHand = string(one.text)
	}
	return byHand, out.String()
}

// What nearly all requests are takes the short way, and what needs care does not.
func TestWhichLinesArePutTogetherByHand(t *testing.T) {
	ordinary := func() *Record {
		return &Record{
			ID: "06frk4c01rs8tlb0", Start: time.Now(), Took: 61 * time.Microsecond,
			Request: Request{Client: netip.MustParseAddr("192.0.2.7"), Method: "GET", Host: "app.test", Path: "/a/b-c_d.e~%20'", Proto: "HTTP/2.0"},
			Who:     Who{User: "alice+x@corp.test", Session: 7},
			Whereto: Whereto{Route: "app.test/a", Upstream: "http://127.0.0.1:3000", Latency: 3 * time.Millisecond, Check: "nginx"},
			Outcome: Outcome{Status: 200, Bytes: 5, Verdict: "allow", Event: "login"},
		}
	}
	for name, c := range map[string]struct {
		edit   func(*Record)
		byHand bool
	}{
		"ordinary":                      {func(*Record) {}, true},
		"least":                         {func(rec *Record) { *rec = Record{ID: "x", Start: rec.Start} }, true},
		"an error":                      {func(rec *Record) { rec.Outcome.Cause = errors.New("why") }, false},
		"a control character":           {func(rec *Record) { rec.Request.Path = "/\x1b[2J" }, false},
		"a letter of no Latin alphabet": {func(rec *Record) { rec.Who.User = "Ж@corp.test" }, false},
		"a quotation mark":              {func(rec *Record) { rec.Request.Path = `/"` }, false},
	} {
		t.Run(name, func(t *testing.T) {
			rec := ordinary()
			c.edit(rec)
			for _, format := range []string{"json", "text"} {
				got, want := bothWays(t, format, rec)
				if (got != "") != c.byHand {
					t.Errorf("%s: by hand: %q", format, got)
				}
				if got != "" && got != want {
					t.Errorf("by hand\n%sby log/slog\n%s", got, want)
				}
			}
		})
	}
}

func BenchmarkLine(b *testing.B) {
	log, err := NewLog(new(nothing), "info", "json")
	if err != nil {
		b.Fatal(err)
	}
	rec := &Record{
		ID: "06frk4c01rs8tlb0", Start: time.Now(), Took: 61 * time.Microsecond,
		Request: Request{Client: netip.MustParseAddr("192.0.2.7"), Method: "GET", Host: "app.test", Path: "/a/b/c", Proto: "HTTP/1.1"},
		Who:     Who{User: "alice@corp.test", Session: 7},
		Whereto: Whereto{Route: "app.test/", Check: "nginx"},
		Outcome: Outcome{Status: 200, Verdict: "allow"},
	}
	b.Run("by hand", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			log.request(b.Context(), rec)
		}
	})
	b.Run("by slog", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			full := slog.NewRecord(rec.Start, slog.LevelInfo, requestMessage, 0)
			full.AddAttrs(rec.attrs()...)
			_ = log.requests.Handle(b.Context(), full)
		}
	})
	log.Flush()
}

// nothing is a log that nobody reads.
type nothing struct{}

func (*nothing) Write(p []byte) (int, error) { return len(p), nil }
