package store_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
	"github.com/gatehouse-auth/gatehouse/upload"
)

// s3Part is the least size of a part.
const s3Part = 5 << 20

// openS3 makes the client of a test server's bucket.
func openS3(t *testing.T, s *storetest.S3Server, edit ...func(*store.S3Config)) *store.S3 {
	t.Helper()
	c := store.S3Config{
		Bucket: storetest.S3Bucket, Endpoint: s.Endpoint, PathStyle: true, Region: storetest.S3Region, CAFile: s.CAFile,
		AccessKey: storetest.S3AccessKey, SecretKey: storetest.S3SecretKey, Patience: 20 * time.Second,
	}
	for _, change := range edit {
		change(&c)
	}
	b, err := store.NewS3(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// s3Ground is what the suite stands on: a prefix of its own in the server's bucket, which nobody else
// writes to.
func s3Ground(t *testing.T, s *storetest.S3Server, edit ...func(*store.S3Config)) storetest.BucketGround {
	t.Helper()
	const prefix = "some/where/"
	b := openS3(t, s, append(edit, func(c *store.S3Config) { c.Prefix = prefix })...)
	return storetest.BucketGround{
		Bucket: b, Attic: b, Part: s3Part,
		Left: func(t testing.TB) (left []string) {
			for _, name := range s.Left(t) {
				left = append(left, strings.TrimPrefix(name, prefix))
			}
			return left
		},
		Begin: func(t testing.TB, key string) { s.Begin(t, prefix+key) },
		Meta: func(t testing.TB, key string) (id, media string) {
			head := s.Head(t, prefix+key)
			return head.Metadata["gatehouse-id"], *head.ContentType
		},
	}
}

func TestS3(t *testing.T) {
	ca, err := storetest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []struct {
		name  string
		fresh func(t *testing.T) storetest.BucketGround
	}{
		{"versitygw over http", func(t *testing.T) storetest.BucketGround { return s3Ground(t, storetest.S3(t)) }},
		{"versitygw over https, sha256", func(t *testing.T) storetest.BucketGround {
			return s3Ground(t, ca.S3TLS(t), func(c *store.S3Config) { c.Checksum = store.SumSHA256 })
		}},
		{"gofakes3", func(t *testing.T) storetest.BucketGround { return s3Ground(t, storetest.FakeS3(t, nil)) }},
	} {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			storetest.Bucket(t, kind.fresh)
		})
	}
}

func TestDir(t *testing.T) {
	t.Parallel()
	storetest.Bucket(t, func(t *testing.T) storetest.BucketGround {
		dir := filepath.Join(t.TempDir(), "files")
		d := openDir(t, dir)
		return storetest.BucketGround{
			Bucket: d, Attic: d, Part: upload.PageSize,
			Left: func(t testing.TB) []string { return filesIn(t, dir) },
			Begin: func(t testing.TB, key string) {
				name := filepath.Join(dir, key+".part")
				if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, []byte("left behind"), 0o600); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}
