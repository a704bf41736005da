package main

import (
	"strings"
	"testing"
)

// CF-04: what is wrong with the section of uploads is said at the start, with its key and the fix.
func TestUploadFaults(t *testing.T) {
	const s3 = "upload: {bucket: s3://files/a, "
	tests := []struct{ name, text, key, want string }{
		{"bucket", "upload: {bucket: files}", "upload.bucket", "dir:./files"},
		{"bucket without a name", "upload: {bucket: s3:///x}", "upload.bucket", "not the address"},
		{"bucket with a key in it", "upload: {bucket: 's3://KEY:hush@h/x'}", "upload.bucket", "not the address"},
		{"size without a unit", "upload: {max_file_size: 1000}", "upload.max_file_size", "not a size such as 8MiB"},
		{"size in decimal units", "upload: {max_file_size: 5GB}", "upload.max_file_size", "not a size"},
		{"size with a sign", "upload: {max_file_size: -5GiB}", "upload.max_file_size", "not a size"},
		{"size beyond all numbers", "upload: {memory: 99999999999TiB}", "upload.memory", "not a size"},
		{"count", "upload: {max_files: many}", "upload.max_files", "not a whole number"},
		{"count zero", "upload: {max_files: 0}", "upload.max_files", "not between 1 and"},
		{"count negative", "upload: {quota: {files: -1}}", "upload.quota.files", "not between 0 and"},
		{"parts too small", "upload: {part_size: 1MiB}", "upload.part_size", "between 5MiB and 5GiB"},
		{"memory below a part", "upload: {part_size: 64MiB, memory: 64MiB}", "upload.memory", "at least 65MiB"},
		{"UP-06/parts that memory does not hold", s3 + "max_parts: 20, memory: 17MiB, max_file_size: 1GiB}", "upload.max_file_size", "at most 160MiB"},
		{"UP-06/parts that a user's share does not hold", s3 + "max_parts: 100, max_file_size: 7GiB}", "upload.max_file_size", "at most 6300MiB"},
		{"endpoint", s3 + "endpoint: minio:9000}", "upload.endpoint", "not the http or https address"},
		{"endpoint with a key", s3 + "endpoint: 'http://k:hush@h'}", "upload.endpoint", "access_key and secret_key"},
		{"half a key", s3 + "access_key: a}", "upload.access_key", "needs secret_key"},
		{"key for a directory", "upload: {secret_key: hush}", "upload.secret_key", "needs a bucket of S3"},
		{"endpoint for a directory", "upload: {endpoint: 'http://h'}", "upload.endpoint", "needs a bucket of S3"},
		{"checksum", s3 + "checksum: md5}", "upload.checksum", "not one of auto"},
		{"kms key without kms", s3 + "sse: AES256, kms_key: k}", "upload.kms_key", "sse: aws:kms"},
		{"public endpoint", s3 + "public_endpoint: 'https://h'}", "upload.public_endpoint", "needs presign"},
		{"types", "upload: {allow_types: [png]}", "upload.allow_types", "image/*"},
		{"types that never match", "upload: {deny_types: ['image/p*g']}", "upload.deny_types", "image/*"},
		{"types with letter case", "upload: {deny_types: [Image/PNG]}", "upload.deny_types", "lower case"},
		{"digest", "upload: {digest: md5}", "upload.digest", "not one of sha256"},
		{"stall", "upload: {stall: 1ms}", "upload.stall", "at least 1s"},
		{"role", "upload: {see_all: [Staff]}", "upload.see_all", "not a role"},
		{"unknown key", "upload: {bukket: x}", "upload.bukket", "did you mean upload.bucket?"},
	}
	for _, tt := range tests {
		t.Run("CF-04/"+tt.name, func(t *testing.T) {
			cleanEnv(t)
			f := faultsOf(t, least+tt.text).of(t, tt.key)
			if !strings.Contains(f.Error(), tt.want) || strings.Contains(f.Error(), "hush") {
				t.Errorf("got %v, want %q and no secret", f, tt.want)
			}
		})
	}
}

func TestUploadRouteFaults(t *testing.T) {
	tests := []struct{ name, more, key string }{
		{"two kinds", `upstream: "http://127.0.0.1:1"`, "routes[0].upload"},
		{"public", "public: true", "routes[0].public"},
		{"identify", "public: identify", "routes[0].public"},
		{"timeouts", "timeouts: {stall: 1s}", "routes[0].timeouts"},
		{"strip_prefix", "strip_prefix: true", "routes[0].strip_prefix"},
	}
	for _, tt := range tests {
		t.Run("CF-04/"+tt.name, func(t *testing.T) {
			cleanEnv(t)
			if f := faultsOf(t, least+"routes: [{host: auth.corp.test, path: /upload, upload: true, "+tt.more+"}]").of(t, tt.key); f.Source == "" {
				t.Errorf("%v does not say where it stands", f)
			}
		})
	}
}

const uploadRoute = "routes: [{host: auth.corp.test, path: /upload, upload: true}]\n"

func TestUploadSettings(t *testing.T) {
	cleanEnv(t)
	t.Setenv("GATEHOUSE_UPLOAD_QUOTA_BYTES", "10GiB")
	t.Setenv("GATEHOUSE_UPLOAD_SECRET_KEY_FILE", write(t, "hush\n"))
	cfg := loaded(t, least+uploadRoute+"upload: {bucket: s3://files/a/b/, access_key: a, max_file_size: 0, memory: 1GiB, max_files: 7, allow_types: [image/*]}", "upload.max_parts=1000")
	name, prefix := cfg.bucketName()
	l := cfg.limits()
	if name != "files" || prefix != "a/b" || cfg.bucketDir() != "" || cfg.Upload.SecretKey != "hush" {
		t.Errorf("bucket %q, prefix %q, directory %q, secret key %q", name, prefix, cfg.bucketDir(), cfg.Upload.SecretKey)
	}
	if l.Quota.Bytes != 10<<30 || l.Parts != 1000 || l.MaxFiles != 7 || l.MaxFileSize != 0 || l.Part != 8<<20 || l.MinRate != 1<<10 {
		t.Errorf("limits %+v", l)
	}
	cleanEnv(t)
	cfg = loaded(t, least+uploadRoute+"store: {dir: /data}")
	if dir := cfg.bucketDir(); dir != "/data/files" {
		t.Errorf("the bucket by default is %q", dir)
	}
}

func TestUploadWarnings(t *testing.T) {
	cleanEnv(t)
	keys := write(t, newKeyLine(t, 3))
	shared := least + "store: {database: 'postgres://u@h/d'}\nsecret: {keys_file: " + keys + "}\n"
	for name, tt := range map[string]struct{ text, want string }{
		"directory and Postgres": {shared + uploadRoute, "each would keep its own files"},
		"no route":               {least + "upload: {bucket: s3://files}", "no route has upload: true"},
		"no bound":               {least + uploadRoute + "upload: {max_file_size: 0}", "reserves 63MiB, so that 4 of them fill upload.memory"},
		"S3 and Postgres":        {shared + uploadRoute + "upload: {bucket: s3://files}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Join(loaded(t, tt.text).Warnings, "\n")
			if tt.want == "" && strings.Contains(text, "upload.") || !strings.Contains(text, tt.want) {
				t.Errorf("warnings %q, want %q", text, tt.want)
			}
		})
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "1KiB": 1 << 10, "8MiB": 8 << 20, "5GiB": 5 << 30, "5TiB": 5 << 40} {
		if got, err := ParseSize(text); err != nil || got != want || got.String() != text {
			t.Errorf("ParseSize(%q) = %d (%v), %v", text, got, got, err)
		}
	}
	for _, text := range []string{"", "1", "MiB", "1.5GiB", "+1KiB", " 1KiB", "1 KiB", "1kib", "8388608TiB", "9223372036854775807KiB"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d", text, got)
		}
	}
}
