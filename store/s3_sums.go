package store

import (
	"errors"
	"net/http"
	"sync/atomic"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

// Checksum says which checksum goes along with every part, for the server to compare. It is a header
// of the request and never a trailer (UP-09 a).
type Checksum string

// The modes.
const (
	SumAuto   Checksum = "auto" // CRC32C, until the server says that it does not know such a header; the default
	SumNone   Checksum = "none"
	SumCRC32C Checksum = "crc32c"
	SumSHA256 Checksum = "sha256" // costs as much again as the digest of the file
)

func (c Checksum) valid() bool {
	switch c {
	case "", SumAuto, SumNone, SumCRC32C, SumSHA256:
		return true
	}
	return false
}

// sums knows which checksum to make.
type sums struct {
	mode    Checksum
	refused atomic.Bool // the server takes none
}

// kind is the checksum to make now; empty: none.
func (s *sums) kind() types.ChecksumAlgorithm {
	switch s.mode {
	case SumNone:
		return ""
	case SumCRC32C:
		return types.ChecksumAlgorithmCrc32c
	case SumSHA256:
		return types.ChecksumAlgorithmSha256
	default:
		if s.refused.Load() {
			return ""
		}
		return types.ChecksumAlgorithmCrc32c
	}
}

// settle makes a call with a checksum and, where the mode leaves that to the server and it refuses,
// without. What it refused once it is not asked for again.
func (s *sums) settle(kind types.ChecksumAlgorithm, call func(types.ChecksumAlgorithm) error) error {
	err := call(kind)
	auto := s.mode == "" || s.mode == SumAuto
	if kind == "" || !auto || !unknownHeader(err) {
		return err
	}
	if call("") != nil {
		return err // it was something else that the server did not like
	}
	s.refused.Store(true)
	return nil
}

// unknownHeader reports whether err may say that a server does not know what a checksum header is.
func unknownHeader(err error) bool {
	var answer *awshttp.ResponseError
	if !errors.As(err, &answer) {
		return false
	}
	if answer.HTTPStatusCode() == http.StatusNotImplemented {
		return true
	}
	var api smithy.APIError
	if answer.HTTPStatusCode() != http.StatusBadRequest || !errors.As(err, &api) {
		return false
	}
	switch api.ErrorCode() {
	case "InvalidArgument", "InvalidRequest", "NotImplemented":
		return true
	}
	return false
}
