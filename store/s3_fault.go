package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/gatehouse-auth/gatehouse/upload"
)

// errSilent is the cause when it was our own limit that ended a call.
var errSilent = fmt.Errorf("%w: the server was silent for too long", upload.ErrUnavailable)

// errNoUpload says that an unfinished upload is not there: it was completed, aborted, or forgotten.
var errNoUpload = errors.New("no such unfinished upload")

// remedies says, for what a server refuses, what is to be mended and by whom. The texts are for the
// operator: they are private causes and never go to a client.
var remedies = map[string]string{
	"NoSuchBucket":                 "there is no such bucket: make it, or mend its name, endpoint or region",
	"AccessDenied":                 "the credentials are not allowed to do this: mend the policy (PutObject, GetObject, DeleteObject, AbortMultipartUpload, ListBucket, ListBucketMultipartUploads)",
	"AllAccessDisabled":            "the account is closed to all: ask whom it belongs to",
	"InvalidAccessKeyId":           "the server does not know the access key: mend the credentials",
	"XAdminUserNotFound":           "the server does not know the access key: mend the credentials",
	"SignatureDoesNotMatch":        "the secret key is not that of the access key, or something on the way changes requests",
	"ExpiredToken":                 "the credentials have expired: get new ones",
	"InvalidToken":                 "the session token is not valid: get new credentials",
	"RequestTimeTooSkewed":         "our clock and the server's differ by too much: set the clock (NTP)",
	"AuthorizationHeaderMalformed": "the region is not the bucket's: mend it",
	"PermanentRedirect":            "the bucket lives elsewhere: mend region or endpoint",
	"MovedPermanently":             "the bucket lives elsewhere: mend region or endpoint",
	"InvalidStorageClass":          "the server does not know the storage class: mend it",
	"KMS.NotFoundException":        "there is no such KMS key: mend it",
	"KMS.DisabledException":        "the KMS key is disabled: enable it",
	"QuotaExceeded":                "the bucket is full by its owner's quota: raise it",
	"XMinioStorageFull":            "the server's disks are full: make room",
	"EntityTooSmall":               "the server wants larger parts",
	"EntityTooLarge":               "the server takes no object or part of that size",
	"InvalidPart":                  "the server has forgotten a part: is there a rule that ends unfinished uploads too early?",
	"NotImplemented":               "the server does not know a part of the protocol: try another checksum mode, no encryption, no storage class",
}

// fault says what went wrong with a call, in our words and with what is to be done, if that is known.
// ErrNoObject: nothing is there. ErrUnavailable: it may be over soon. An end of ctx is its cause.
// What it quotes of the SDK and of the server is short, and holds neither credentials nor signatures.
func (b *S3) fault(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	bare := unsigned(err) // read from the whole text
	err = brief{err}
	switch {
	case bare:
		return fmt.Errorf("s3: %s: there are no credentials: give an access key and its secret key, or a role: %w", doing, err)
	case ctx.Err() != nil:
		return fmt.Errorf("s3: %s: %w (%w)", doing, context.Cause(ctx), err)
	}
	if remedy := remedies[codeOf(err)]; remedy != "" {
		return fmt.Errorf("s3: %s in %s: %s: %w", doing, b.Name(), remedy, err)
	}
	var untrusted *tls.CertificateVerificationError
	switch {
	case codeOf(err) == "NoSuchUpload":
		return fmt.Errorf("s3: %s: %w: %w", doing, errNoUpload, err)
	case absent(err):
		return fmt.Errorf("s3: %s: %w (%w)", doing, upload.ErrNoObject, err)
	case errors.As(err, &untrusted):
		return fmt.Errorf("s3: %s in %s: the server's certificate is not trusted: give its authority in a file: %w", doing, b.Name(), err)
	case soonOver(err):
		return fmt.Errorf("s3: %s: %w: %w", doing, upload.ErrUnavailable, err)
	}
	return fmt.Errorf("s3: %s in %s: %w", doing, b.Name(), err)
}

func codeOf(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// status is that of the server's answer; zero: there was none.
func status(err error) int {
	var answer *awshttp.ResponseError
	if errors.As(err, &answer) {
		return answer.HTTPStatusCode()
	}
	return 0
}

// absent reports whether err says that an object is not there. An answer to HEAD has no body, and so
// no code but its status's.
func absent(err error) bool {
	code := codeOf(err)
	return code == "NoSuchKey" || code == "NotFound"
}

// beyondEnd reports whether err says that a range begins at or behind the end.
func beyondEnd(err error) bool { return status(err) == http.StatusRequestedRangeNotSatisfiable }

// unsigned reports whether a request was never sent because nothing could be found to sign it with.
// The SDK has no type for it.
func unsigned(err error) bool {
	return status(err) == 0 && strings.Contains(err.Error(), "get credentials:")
}

// soonOver reports whether the same call may succeed later: the server was too busy or broken, or
// could not be reached.
func soonOver(err error) bool {
	s := status(err)
	return s == 0 || s == http.StatusRequestTimeout || s == http.StatusTooManyRequests || s >= http.StatusInternalServerError && s != http.StatusNotImplemented
}

// refused reports whether the server has said that it did not do it, so that there is nothing to ask
// after. Statuses that a repeated request gets whose first answer was lost are refusals only where the
// server says that it is for something else.
func refused(err error) bool {
	switch s := status(err); s {
	case http.StatusNotFound, http.StatusRequestTimeout, http.StatusConflict, http.StatusPreconditionFailed, http.StatusTooManyRequests:
		return remedies[codeOf(err)] != ""
	default:
		return s >= http.StatusBadRequest && s < http.StatusInternalServerError
	}
}
