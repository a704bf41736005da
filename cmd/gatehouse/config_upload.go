package main

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/upload"
)

// UploadConfig is where routes with upload: true put files, and how much of them.
type UploadConfig struct {
	Bucket         string        `yaml:"bucket"`
	Endpoint       string        `yaml:"endpoint"`
	PublicEndpoint string        `yaml:"public_endpoint"`
	Region         string        `yaml:"region"`
	PathStyle      bool          `yaml:"path_style"`
	CAFile         string        `yaml:"ca_file"`
	AccessKey      string        `yaml:"access_key"`
	AccessKeyFile  string        `yaml:"access_key_file"`
	SecretKey      string        `yaml:"secret_key" secret:"true"`
	SecretKeyFile  string        `yaml:"secret_key_file"`
	Checksum       string        `yaml:"checksum"`
	SSE            string        `yaml:"sse"`
	KMSKey         string        `yaml:"kms_key"`
	StorageClass   string        `yaml:"storage_class"`
	Slots          int64         `yaml:"slots"`
	MaxParts       int64         `yaml:"max_parts"`
	PartSize       Size          `yaml:"part_size"`
	Memory         Size          `yaml:"memory"`
	MaxFileSize    Size          `yaml:"max_file_size"`
	MaxRequestSize Size          `yaml:"max_request_size"`
	MaxFiles       int64         `yaml:"max_files"`
	AllowTypes     []string      `yaml:"allow_types"`
	DenyTypes      []string      `yaml:"deny_types"`
	Quota          QuotaConfig   `yaml:"quota"`
	Stall          time.Duration `yaml:"stall"`
	MinRate        Size          `yaml:"min_rate"`
	Digest         string        `yaml:"digest"`
	SeeAll         []string      `yaml:"see_all"`
	Presign        bool          `yaml:"presign"`
}

// QuotaConfig is what one user may have; zero: no bound.
type QuotaConfig struct {
	Bytes Size  `yaml:"bytes"`
	Files int64 `yaml:"files"`
	Live  int64 `yaml:"live"`
}

func defaultUpload() UploadConfig {
	return UploadConfig{
		Checksum: "auto", Slots: 32, MaxParts: 10_000, PartSize: 8 << 20, Memory: 256 << 20,
		MaxFileSize: 5 << 30, MaxFiles: 50, Stall: 30 * time.Second, MinRate: 1 << 10, Digest: string(upload.SHA256),
	}
}

// uploads reports whether files are taken anywhere.
func (c *Config) uploads() bool {
	return slices.ContainsFunc(c.Routes, func(r RouteConfig) bool { return r.Upload })
}

// bucketDir is the directory that is the bucket, or empty: it is one of S3.
func (c *Config) bucketDir() string {
	if c.Upload.Bucket == "" {
		return filepath.Join(c.Store.Dir, "files")
	}
	dir, _ := strings.CutPrefix(c.Upload.Bucket, "dir:")
	if dir == c.Upload.Bucket {
		return ""
	}
	return dir
}

// bucketName is the name and the prefix in s3://name/prefix.
func (c *Config) bucketName() (name, prefix string) {
	name, prefix, _ = strings.Cut(strings.TrimPrefix(c.Upload.Bucket, "s3://"), "/")
	return name, strings.Trim(prefix, "/")
}

func (c *Config) limits() upload.Limits {
	u := c.Upload
	return upload.Limits{
		MaxFileSize: int64(u.MaxFileSize), MaxRequestSize: int64(u.MaxRequestSize), MaxFiles: int(u.MaxFiles),
		Part: int64(u.PartSize), Parts: int(u.MaxParts),
		Quota: upload.Quota{Bytes: int64(u.Quota.Bytes), Files: u.Quota.Files, Live: u.Quota.Live},
		Stall: u.Stall, MinRate: int64(u.MinRate), Allow: u.AllowTypes, Deny: u.DenyTypes,
		Digest: upload.Digest(u.Digest), SeeAll: u.SeeAll,
	}
}

// upload judges the whole section, whether a route uses it or not.
func (j *judge) upload() {
	j.bucket()
	if j.bucketDir() == "" {
		j.s3()
	} else {
		j.withoutS3()
	}
	j.uploadSizes()
	j.uploadTypes("upload.allow_types", j.Upload.AllowTypes)
	j.uploadTypes("upload.deny_types", j.Upload.DenyTypes)
	j.oneOf("upload.digest", j.Upload.Digest, string(upload.SHA256), string(upload.NoDigest))
	j.atLeast("upload.stall", j.Upload.Stall, time.Second)
	for _, role := range j.Upload.SeeAll {
		if !auth.ValidRole(role) {
			j.bad("upload.see_all", role, "not a role", "lower-case letters, digits and ._:-")
		}
	}
}

func (j *judge) bucket() {
	const key, fix = "upload.bucket", "write dir:./files for a directory, or s3://bucket/prefix"
	name, _ := j.bucketName()
	switch b := j.Upload.Bucket; {
	case b == "":
	case strings.HasPrefix(b, "dir:") && j.bucketDir() != "":
	case strings.HasPrefix(b, "s3://") && name != "" && !strings.ContainsAny(name, ":@?#"):
	default:
		j.bad(key, b, "not the address of a bucket", fix)
		return
	}
	if !j.uploads() {
		if j.Upload.Bucket != "" {
			j.warn(key, "no route has upload: true, so nothing is put there")
		}
		return
	}
	if j.bucketDir() != "" && !j.embedded() {
		j.warn(key, "a directory, while store.database is for several replicas: each would keep its own files. Write s3://bucket/prefix, unless there is one replica or the directory is shared")
	}
}

// s3 checks what only a bucket of S3 has.
func (j *judge) s3() {
	u := j.Upload
	j.endpoint("upload.endpoint", u.Endpoint)
	j.endpoint("upload.public_endpoint", u.PublicEndpoint)
	if (u.AccessKey == "") != (u.SecretKey == "") {
		j.bad("upload.access_key", "", "needs secret_key beside it, and the other way round", "give both, or neither: then the usual places of the AWS SDK are looked at")
	}
	if u.CAFile != "" && missing(u.CAFile) {
		j.bad("upload.ca_file", shownPath(u.CAFile), "no such file", "name a PEM file of authorities")
	}
	j.oneOf("upload.checksum", u.Checksum, "auto", "none", "crc32c", "sha256")
	j.oneOf("upload.sse", u.SSE, "", "AES256", "aws:kms", "aws:kms:dsse")
	if u.KMSKey != "" && !strings.HasPrefix(u.SSE, "aws:kms") {
		j.bad("upload.kms_key", u.KMSKey, "needs encryption with KMS", "write sse: aws:kms, or remove it")
	}
	if u.PublicEndpoint != "" && !u.Presign {
		j.bad("upload.public_endpoint", u.PublicEndpoint, "needs presign: true, for browsers are not sent there otherwise", "remove it, or write presign: true")
	}
}

func (j *judge) endpoint(key, address string) {
	if address == "" {
		return
	}
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || !validHost(u.Host) || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		// An address with a key in it is one that somebody wrote by mistake; it is not repeated.
		j.faults = append(j.faults, j.fault(key, "", "not the http or https address of a server", "write https://s3.example.com, without a path; keys belong into access_key and secret_key"))
	}
}

// withoutS3 refuses keys that a directory has no use for: whoever wrote them expects a bucket of S3.
func (j *judge) withoutS3() {
	u := j.Upload
	for _, k := range []struct {
		name  string
		given bool
	}{
		{"endpoint", u.Endpoint != ""},
		{"public_endpoint", u.PublicEndpoint != ""},
		{"region", u.Region != ""},
		{"path_style", u.PathStyle},
		{"ca_file", u.CAFile != ""},
		{"access_key", u.AccessKey != ""},
		{"secret_key", u.SecretKey != ""},
		{"sse", u.SSE != ""},
		{"kms_key", u.KMSKey != ""},
		{"storage_class", u.StorageClass != ""},
		{"presign", u.Presign},
	} {
		if k.given {
			j.bad("upload."+k.name, "", "needs a bucket of S3", "write bucket: s3://bucket/prefix, or remove it")
		}
	}
}

// uploadSizes checks each number, and that a file of the largest size fits through the memory.
func (j *judge) uploadSizes() {
	u := j.Upload
	j.between("upload.slots", u.Slots, 1, 10_000)
	j.between("upload.max_parts", u.MaxParts, 1, 10_000)
	j.between("upload.max_files", u.MaxFiles, 1, 100_000)
	j.between("upload.quota.files", u.Quota.Files, 0, 1<<40)
	j.between("upload.quota.live", u.Quota.Live, 0, 1<<40)
	if u.PartSize < 5<<20 || u.PartSize > 5<<30 {
		j.bad("upload.part_size", u.PartSize.String(), "not a size of parts that S3 takes", "between 5MiB and 5GiB; 8MiB is right for most")
		return
	}
	if u.Memory < u.PartSize+upload.PageSize {
		j.bad("upload.memory", u.Memory.String(), "has no room for one part of "+u.PartSize.String()+" and a page more", "at least "+(u.PartSize+upload.PageSize).String()+", better 256MiB: one upload may take a quarter")
		return
	}
	if u.MaxParts < 1 {
		return
	}
	most := Size(j.limits().Largest(int64(u.Memory)))
	if u.MaxFileSize > most && u.MaxFileSize <= 5<<40 {
		j.bad("upload.max_file_size", u.MaxFileSize.String(), fmt.Sprintf("needs parts that a quarter of upload.memory does not hold: at most %d parts make a file", u.MaxParts), "at most "+most.String()+", or more memory")
	}
	if u.MaxFileSize > 5<<40 {
		j.bad("upload.max_file_size", u.MaxFileSize.String(), "more than an object of S3 can have", "at most 5TiB")
	}
	j.uploadUnbounded()
}

// uploadUnbounded says what it costs to set no bound: nobody who leaves it out thinks of the memory.
func (j *judge) uploadUnbounded() {
	u := j.Upload
	size := Size(j.limits().Unknown(int64(u.Memory)))
	if u.MaxFileSize > 0 || size <= u.PartSize || !j.uploads() {
		return
	}
	j.warn("upload.max_file_size", fmt.Sprintf("0: each file whose length is not told beforehand may become the largest there is, and reserves %s, so that %d of them fill upload.memory. Write the size that you expect",
		size, u.Memory/(size+upload.PageSize)))
}

func (j *judge) between(key string, n, least, most int64) {
	if n < least || n > most {
		j.bad(key, fmt.Sprint(n), fmt.Sprintf("not between %d and %d", least, most), "")
	}
}

// uploadTypes refuses what could never match.
func (j *judge) uploadTypes(key string, list []string) {
	for _, text := range list {
		if upload.CheckTypes([]string{text}) != nil || text != strings.ToLower(text) {
			j.bad(key, text, "not a media type", "write image/png, or image/* for all of its kind, in lower case and without parameters")
		}
	}
}

// uploadRoute refuses on a route that takes files what only one with an upstream has, and strangers:
// every file belongs to somebody.
func (j *judge) uploadRoute(key string, r RouteConfig) {
	if r.Upstream != "" {
		j.bad(key+".upload", "", "is given beside upstream", "keep one of them")
	}
	if r.Public != "false" {
		j.bad(key+".public", string(r.Public), "files are taken from people who are signed in", "remove it")
	}
	standard := defaultRoute()
	for _, k := range []struct {
		name  string
		given bool
	}{
		{"strip_prefix", r.StripPrefix},
		{"upstream_host", r.UpstreamHost != standard.UpstreamHost},
		{"shared_cache", r.SharedCache},
		{"tls", r.TLS != standard.TLS},
		{"timeouts", r.Timeouts != standard.Timeouts},
	} {
		if k.given {
			j.bad(key+"."+k.name, "", "is for a route with an upstream", "remove it; limits of uploads are in the section upload")
		}
	}
}
