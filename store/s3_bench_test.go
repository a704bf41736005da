package store_test

import (
	"fmt"
	"io"
	"net/http/httptest"
	"testing"

	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
	"github.com/gatehouse-auth/gatehouse/upload"
)

// zeros gives no work to the reader's side.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// BenchmarkS3Put sends files to an S3 that forgets, which runs in the same process: what is told per
// byte is the cost of both sides together.
func BenchmarkS3Put(b *testing.B) {
	server := httptest.NewServer(new(storetest.NullS3))
	defer server.Close()
	for _, sum := range []store.Checksum{store.SumCRC32C, store.SumNone} {
		for _, size := range []int64{0, 100_000, 64 << 20} {
			b.Run(fmt.Sprintf("%s/%d", sum, size), func(b *testing.B) {
				c, err := store.NewS3(b.Context(), store.S3Config{
					Bucket: storetest.S3Bucket, Endpoint: server.URL, PathStyle: true, Checksum: sum,
					AccessKey: storetest.S3AccessKey, SecretKey: storetest.S3SecretKey,
				})
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = c.Close() }()
				memory := upload.NewMemory(64 << 20)
				b.SetBytes(size)
				b.ReportAllocs()
				for b.Loop() {
					lease, err := memory.Admit(b.Context(), 1, 8<<20)
					if err != nil {
						b.Fatal(err)
					}
					body := upload.Body{Reader: io.LimitReader(zeros{}, size), Bound: size, Part: 8 << 20, Pages: lease}
					if _, err := c.Put(b.Context(), "x", body, upload.Meta{}); err != nil {
						b.Fatal(err)
					}
					if err := lease.Close(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
