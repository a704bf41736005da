package storetest

import (
	"encoding/xml"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// NullS3 answers as S3 would to what an upload asks, and keeps nothing but sizes and metadata: what is
// measured against it is the cost of the client alone.
type NullS3 struct {
	mu   sync.Mutex
	next int
	have map[string]*nothing // objects by path, and unfinished uploads by id
}

type nothing struct {
	size int64
	meta http.Header
}

// ServeHTTP takes one request.
func (n *NullS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	size, err := n.drain(r)
	if err != nil {
		return
	}
	w.Header().Set("ETag", `"00000000000000000000000000000000"`)
	for _, sum := range []string{"X-Amz-Checksum-Crc32c", "X-Amz-Checksum-Sha256"} {
		if v := r.Header.Get(sum); v != "" {
			w.Header().Set(sum, v)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch id := r.URL.Query().Get("uploadId"); operation(r) {
	case "PutObject":
		n.keep(r.URL.Path, &nothing{size, r.Header})
	case "CreateMultipartUpload":
		n.next++
		id = strconv.Itoa(n.next)
		n.keep(id, &nothing{0, r.Header})
		answer(w, struct {
			XMLName  xml.Name `xml:"InitiateMultipartUploadResult"`
			UploadID string   `xml:"UploadId"`
		}{UploadID: id})
	case "UploadPart":
		n.have[id].size += size
	case "CompleteMultipartUpload":
		n.keep(r.URL.Path, n.have[id])
		delete(n.have, id)
		answer(w, struct {
			XMLName xml.Name `xml:"CompleteMultipartUploadResult"`
		}{})
	case "HeadObject":
		n.describe(w, r.URL.Path)
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

func (n *NullS3) drain(r *http.Request) (int64, error) {
	sink, ok := sinks.Get().(*[256 << 10]byte)
	if !ok {
		return 0, io.ErrShortBuffer
	}
	defer sinks.Put(sink)
	return io.CopyBuffer(struct{ io.Writer }{io.Discard}, r.Body, sink[:])
}

func (n *NullS3) keep(name string, v *nothing) {
	if n.have == nil {
		n.have = map[string]*nothing{}
	}
	n.have[name] = v
}

func (n *NullS3) describe(w http.ResponseWriter, name string) {
	v := n.have[name]
	if v == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	for key, values := range v.meta {
		if strings.HasPrefix(key, "X-Amz-Meta-") {
			w.Header()[key] = values
		}
	}
	w.Header().Set("Content-Length", strconv.FormatInt(v.size, 10))
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(v)
}
