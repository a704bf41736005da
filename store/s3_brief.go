package store

import (
	"errors"
	"fmt"
	"net/url"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
)

// saidMost is how much of what a server says is repeated, in bytes: it may say as much as it likes.
const saidMost = 300

// brief is an error of the SDK in few words, for a line of a log that somebody reads at night. Its own
// are half a screen long, with an address and two ids of the server's that say nothing; what counts is
// which request it was, how often it was tried, and what the server said to the last.
type brief struct{ error }

func (b brief) Unwrap() error { return b.error }

func (b brief) Error() string {
	op, ok := errors.AsType[*smithy.OperationError](b.error)
	if !ok {
		return shortened(b.error.Error())
	}
	text, rest := op.OperationName, op.Err
	if tried, ok := rest.(*retry.MaxAttemptsError); ok { //nolint:errorlint // a deeper one is of another request
		text, rest = fmt.Sprintf("%s, tried %d times", text, tried.Attempt), tried.Err
	}
	return text + ": " + shortened(said(rest))
}

// said is what the server said, or why it said nothing.
func said(err error) string {
	answer, ok := errors.AsType[*awshttp.ResponseError](err)
	if !ok {
		return err.Error()
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok && answer.HTTPStatusCode() != 0 {
		return fmt.Sprintf("%d %s (request %s): %s", answer.HTTPStatusCode(), api.ErrorCode(), answer.RequestID, api.ErrorMessage())
	}
	if sent, ok := errors.AsType[*url.Error](err); ok {
		return sent.Err.Error() // without the address, which names the object
	}
	return answer.Err.Error()
}

// shortened cuts a text off between two characters.
func shortened(text string) string {
	if len(text) <= saidMost {
		return text
	}
	end := saidMost
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}
