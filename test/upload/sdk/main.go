// Command sdk sends files from memory to S3 with the uploader of the AWS SDK, as its documentation has
// it. It is what Gatehouse is compared with, and a module of its own.
package main

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"log"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

func main() {
	log.SetFlags(0)
	endpoint := flag.String("endpoint", "", "of the server")
	bucket := flag.String("bucket", "", "its name")
	access, secret := flag.String("access", "", "access key"), flag.String("secret", "", "secret key")
	size, count, atOnce := flag.Int64("size", 0, "bytes"), flag.Int("count", 1, "files"), flag.Int("at-once", 1, "files at once")
	flag.Parse()
	client := s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: endpoint, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(*access, *secret, ""),
	})
	up := manager.NewUploader(client, func(u *manager.Uploader) { u.PartSize = 8 << 20 })
	block := make([]byte, 1<<20)
	rand.Read(block)
	names := make(chan int, *count)
	for i := range *count {
		names <- i
	}
	close(names)
	var wg sync.WaitGroup
	for range *atOnce {
		wg.Go(func() {
			for i := range names {
				_, err := up.Upload(context.Background(), &s3.PutObjectInput{
					Bucket: bucket, Key: aws.String(fmt.Sprintf("sdk/%d", i)), Body: io.LimitReader(&repeated{block: block}, *size),
				})
				if err != nil {
					log.Fatal(err)
				}
			}
		})
	}
	wg.Wait()
}

// repeated is a block over and over.
type repeated struct {
	block []byte
	at    int
}

func (r *repeated) Read(p []byte) (int, error) {
	n := copy(p, r.block[r.at:])
	r.at = (r.at + n) % len(r.block)
	return n, nil
}
