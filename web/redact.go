package web

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"unicode"
)

// Errors of other packages quote what they choked on: url.Error the whole address, with codes and
// passwords in it; a provider's error its answer, with tokens in it. Secrets are to be kept out of
// causes where they are made; this is the second line, for what nobody thought of.
var secrets = []struct {
	pattern *regexp.Regexp
	instead string
}{
	// user:password@ of an address
	{regexp.MustCompile(`://[^/@\s"']*@`), "://…@"},
	// a query or a fragment that follows a path, up to its end or the quote around it
	{regexp.MustCompile(`([^\s"'])[?#](?:\\.|[^\s"'\\)])+`), "$1?…"},
	// name=value of a form or a DSN, and "name":"value" of an answer; not "token: expired", a reason
	{regexp.MustCompile(`(?i)\b((?:access_|id_|refresh_)?token|code|state|nonce|code_verifier|client_secret|password)(=|\\?"\s*:\s*\\?")[^\s"'&,;\\]+`), "$1$2…"},
	{regexp.MustCompile(`(?i)\b(bearer|basic) [A-Za-z0-9._~+/=-]{8,}`), "$1 …"},
	// a JSON web token, wherever it stands
	{regexp.MustCompile(`\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_.-]+`), "…"},
}

// redact takes out of an error's text what must not be logged.
func redact(text string) string {
	for _, s := range secrets {
		text = s.pattern.ReplaceAllString(text, s.instead)
	}
	return text
}

// escapeControl writes control and other invisible characters as Go escapes. Tabs and newlines are
// among them: one line stays one line.
func escapeControl(text string) string {
	if !strings.ContainsFunc(text, unprintable) {
		return text
	}
	var out strings.Builder
	for _, c := range text {
		if unprintable(c) {
			quoted := strconv.QuoteRuneToASCII(c)
			out.WriteString(quoted[1 : len(quoted)-1])
			continue
		}
		out.WriteRune(c)
	}
	return out.String()
}

func unprintable(c rune) bool { return !unicode.IsPrint(c) }

// panicError is a panic as a cause. Its stack goes into the log line, and nowhere else. It does not
// unwrap: a panic with an *Error in it is a fault of ours all the same.
type panicError struct {
	value any
	stack []byte
}

func newPanicError(value any) *panicError { return &panicError{value, debug.Stack()} }

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// causeAttrs is the end of a log line: why.
func causeAttrs(cause error) []slog.Attr {
	if cause == nil {
		return nil
	}
	attrs := []slog.Attr{slog.String("error", redact(cause.Error()))}
	var p *panicError
	if errors.As(cause, &p) {
		attrs = append(attrs, slog.String("stack", string(p.stack)))
	}
	return attrs
}
