package storetest

import (
	"encoding/xml"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// NullS3 answers as S3 would to what an upload asks, and keeps nothing but sizes, metadata and what is
// so small that it may be a note of the client's: what is measured against it is the cost of the client
// alone.
type NullS3 struct {
	mu   sync.Mutex
	next int
	have map[string]*nothing // objects by path, and unfinished uploads by id
}

type nothing struct {
	size  int64
	meta  http.Header
	note  []byte // the content, if it is small
	parts []listed
}

// listed is a part as ListParts tells of it.
type listed struct {
	PartNumber int
	Size       int64
	ETag       string
}

const (
	etag     = `"00000000000000000000000000000000"`
	noteSize = 4 << 10
)

// ServeHTTP takes one request.
func (n *NullS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	size, note, err := drain(r)
	if err != nil {
		return
	}
	w.Header().Set("ETag", etag)
	for _, sum := range []string{"X-Amz-Checksum-Crc32c", "X-Amz-Checksum-Sha256"} {
		if v := r.Header.Get(sum); v != "" {
			w.Header().Set(sum, v)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch id := r.URL.Query().Get("uploadId"); operation(r) {
	case "PutObject":
		n.keep(r.URL.Path, &nothing{size: size, meta: r.Header, note: note})
	case "CreateMultipartUpload":
		n.next++
		id = strconv.Itoa(n.next)
		n.keep(id, &nothing{meta: r.Header})
		answer(w, struct {
			XMLName  xml.Name `xml:"InitiateMultipartUploadResult"`
			UploadID string   `xml:"UploadId"`
		}{UploadID: id})
	case "UploadPart":
		number, _ := strconv.Atoi(r.URL.Query().Get("partNumber"))
		up := n.have[id]
		up.size += size
		up.parts = append(up.parts, listed{number, size, etag})
	case "ListParts":
		answer(w, struct {
			XMLName xml.Name `xml:"ListPartsResult"`
			Part    []listed
		}{Part: n.have[id].parts})
	case "CompleteMultipartUpload":
		n.keep(r.URL.Path, n.have[id])
		delete(n.have, id)
		answer(w, struct {
			XMLName xml.Name `xml:"CompleteMultipartUploadResult"`
		}{})
	case "HeadObject", "GetObject":
		n.describe(w, r)
	case "ListMultipartUploads":
		answer(w, struct {
			XMLName xml.Name `xml:"ListMultipartUploadsResult"`
		}{})
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// sinks are what bodies are read into: large, so that reading costs little.
var sinks = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// drain reads a body, and returns its size, and its content if that is small.
func drain(r *http.Request) (int64, []byte, error) {
	var note []byte
	if r.ContentLength >= 0 && r.ContentLength <= noteSize {
		note = make([]byte, r.ContentLength)
		n, err := io.ReadFull(r.Body, note)
		return int64(n), note, err
	}
	sink, ok := sinks.Get().(*[256 << 10]byte)
	if !ok {
		return 0, nil, io.ErrShortBuffer
	}
	defer sinks.Put(sink)
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r.Body, sink[:])
	return n, nil, err
}

func (n *NullS3) keep(name string, v *nothing) {
	if n.have == nil {
		n.have = map[string]*nothing{}
	}
	n.have[name] = v
}

func (n *NullS3) describe(w http.ResponseWriter, r *http.Request) {
	v := n.have[r.URL.Path]
	if v == nil {
		w.WriteHeader(http.StatusNotFound)
		answer(w, struct {
			XMLName xml.Name `xml:"Error"`
			Code    string
		}{Code: "NoSuchKey"})
		return
	}
	for key, values := range v.meta {
		if strings.HasPrefix(key, "X-Amz-Meta-") {
			w.Header()[key] = values
		}
	}
	w.Header().Set("Content-Length", strconv.FormatInt(v.size, 10))
	_, _ = w.Write(v.note)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(v)
}
