package upload

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/web"
)

// comeBack is when a client that was refused for want of room is told to try again.
const comeBack = 10 * time.Second

// fault is what is made of a cause: a word for the metrics, and an answer.
type fault struct {
	cause  error
	result string
	answer web.Error
}

// faults are tried in their order: an error may have several causes in its chain.
var faults = []fault{
	{auth.ErrRevoked, "revoked", web.Error{
		Status: http.StatusUnauthorized, Title: "Signed out", Event: "upload_revoked",
		Text: "You were signed out while the file was being sent. It was not kept.",
	}},
	{errStalled, "slow", web.Error{
		Status: http.StatusRequestTimeout, Title: "Too slow", Event: "upload_slow",
		Text: "Nothing came for too long, so the upload was ended. Nothing was kept.",
	}},
	{errSlow, "slow", web.Error{
		Status: http.StatusRequestTimeout, Title: "Too slow", Event: "upload_slow",
		Text: "The file came too slowly, so the upload was ended. Nothing was kept.",
	}},
	{errCrowded, "slow", web.Error{
		Status: http.StatusRequestTimeout, Title: "Too slow", Event: "upload_slow", RetryAfter: comeBack,
		Text: "Many uploads are under way and this was the slowest, so it was ended. Nothing was kept. Please try again later.",
	}},
	{errStopping, "stopped", web.Error{
		Status: http.StatusServiceUnavailable, Title: "Just a moment", RetryAfter: comeBack,
		Text: "The server is being restarted, so the upload was ended. Nothing was kept. Please try again in a few seconds.",
	}},
	{errGone, "gone", web.Error{
		Status: http.StatusBadRequest, Title: "Broken off",
		Text: "The request broke off before its end. Nothing was kept.",
	}},
	{errGivenUp, "failed", web.Error{
		Status: http.StatusServiceUnavailable, Title: "Given up", RetryAfter: comeBack,
		Text: "The upload was taken for dead and given up. Nothing was kept. Please try again.",
	}},
	{errRequestTooLarge, "refused", web.Error{
		Status: http.StatusRequestEntityTooLarge, Title: "Too large",
		Text: "The request is larger than is allowed here. Nothing was kept.",
	}},
	{errFileTooLarge, "refused", web.Error{
		Status: http.StatusRequestEntityTooLarge, Title: "Too large",
		Text: "The file is larger than is allowed here. It was not kept.",
	}},
	{errLength, "refused", web.Error{
		Status: http.StatusBadRequest, Title: "Broken off",
		Text: "The file is not as long as the request said. It was not kept.",
	}},
	{errMismatch, "mismatch", web.Error{
		Status: http.StatusUnprocessableEntity, Title: "Damaged", Event: "upload_mismatch",
		Text: "The file that arrived is not the one that the SHA-256 is of. It was not kept.",
	}},
	{ErrQuotaLive, "quota", web.Error{
		Status: http.StatusTooManyRequests, Title: "Too many", Event: "quota", RetryAfter: comeBack,
		Text: "You have as many uploads under way as are allowed at once. Please wait until one is done.",
	}},
	{ErrQuotaFiles, "quota", web.Error{
		Status: http.StatusRequestEntityTooLarge, Title: "No room left", Event: "quota",
		Text: "You have as many files here as are allowed. Delete some first.",
	}},
	{ErrQuota, "quota", web.Error{
		Status: http.StatusRequestEntityTooLarge, Title: "No room left", Event: "quota",
		Text: "The file does not fit into the room that you have here. Delete some files first.",
	}},
	{ErrBusy, "busy", web.Error{
		Status: http.StatusServiceUnavailable, Title: "Busy", Event: "upload_busy", RetryAfter: comeBack,
		Text: "Many uploads are under way. Please try again in a few seconds.",
	}},
	{ErrUnavailable, "bucket", web.Error{
		Status: http.StatusServiceUnavailable, Title: "Just a moment", Event: "bucket_unavailable", RetryAfter: comeBack,
		Text: "The storage cannot be reached right now. Please try again in a few seconds.",
	}},
	{errBucket, "bucket", web.Error{
		Status: http.StatusBadGateway, Title: "Not kept", Event: "bucket_fault",
		Text: "The storage did not take the file, so it was not kept.",
	}},
	{errUnsettled, "failed", web.Error{
		Status: http.StatusServiceUnavailable, Title: "Just a moment", RetryAfter: comeBack,
		Text: "The file could not be recorded, so it does not count as kept. Please try again in a few seconds.",
	}},
	{errRows, "failed", web.Error{
		Status: http.StatusServiceUnavailable, Title: "Just a moment", RetryAfter: comeBack,
		Text: "The list of files cannot be asked right now. Please try again in a few seconds.",
	}},
	{ErrNoFile, "refused", web.Error{
		Status: http.StatusNotFound,
		Text:   "There is no such file here, or it is not yours.",
	}},
}

// Results are the words for how a file or a refused request may end.
var Results = []string{"kept", "revoked", "slow", "stopped", "gone", "failed", "refused", "mismatch", "quota", "busy", "bucket"}

func faultOf(err error) *fault {
	for i := range faults {
		if errors.Is(err, faults[i].cause) {
			return &faults[i]
		}
	}
	return nil
}

// public is what is said of an error: its own words, if it has any, or those of its cause.
func public(err error) *web.Error {
	var e *web.Error
	if errors.As(err, &e) {
		return e
	}
	if f := faultOf(err); f != nil {
		said := f.answer
		said.Cause = err
		return &said
	}
	return &web.Error{
		Status: http.StatusInternalServerError, Title: "Something went wrong", Cause: err,
		Text: "The fault is on our side and has been noted. Nothing was kept.",
	}
}

// resultOf is the word for how something ended.
func resultOf(err error) string {
	var e *web.Error
	switch f := faultOf(err); {
	case err == nil:
		return "kept"
	case f != nil:
		return f.result
	case errors.Is(err, context.Canceled):
		return "gone"
	case errors.As(err, &e) && e.Status < http.StatusInternalServerError:
		return "refused"
	}
	return "failed"
}
