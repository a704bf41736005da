package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gatehouse-auth/gatehouse/auth"
)

// maxSecret bounds a file that holds a secret, in bytes.
const maxSecret = 64 << 10

// fetchSecrets puts what the *_file keys name into the value fields, and notes what cannot be read.
// The value and the file at once are a fault: whichever won, somebody would rotate the other.
func (c *Config) fetchSecrets() (faults Faults) {
	for _, s := range []struct {
		key   string
		value *string
		file  string
	}{
		{"login.client_secret", &c.Login.ClientSecret, c.Login.ClientSecretFile},
		{"store.database", &c.Store.Database, c.Store.DatabaseFile},
		{"store.redis", &c.Store.Redis, c.Store.RedisFile},
		{"store.listen_url", &c.Store.ListenURL, c.Store.ListenURLFile},
		{"upload.access_key", &c.Upload.AccessKey, c.Upload.AccessKeyFile},
		{"upload.secret_key", &c.Upload.SecretKey, c.Upload.SecretKeyFile},
	} {
		if s.file == "" {
			continue
		}
		from := s.key + "_file"
		if *s.value != "" {
			faults = append(faults, c.fault(from, shownPath(s.file), "given beside "+s.key, "keep one of them"))
			continue
		}
		text, err := c.readSecret(from, s.file)
		*s.value = strings.TrimRight(string(text), "\r\n")
		if err == nil && *s.value == "" {
			err = errors.New("is empty")
		}
		if err != nil {
			faults = append(faults, c.fault(from, shownPath(s.file), cause(err), "name a file that holds the secret and nothing else"))
		}
	}
	return faults
}

// readSecret reads a small file and warns if everybody on the machine can do the same.
func (c *Config) readSecret(key, name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	if info.Size() > maxSecret {
		return nil, errors.New("too large for a secret")
	}
	if info.Mode().Perm()&0o004 != 0 {
		c.Warnings = append(c.Warnings, printable(fmt.Sprintf("%s %q: everybody on this machine can read it (chmod 600)", key, shownPath(name))))
	}
	return os.ReadFile(name)
}

// embedded reports whether users and sessions are kept in a file of our own.
func (c *Config) embedded() bool { return c.Store.Database == "" }

// keysFile is the file that holds the keys: secret.keys_file, or a file beside the embedded
// database.
func (c *Config) keysFile() string {
	if c.Secret.KeysFile == "" && c.embedded() {
		return filepath.Join(c.Store.Dir, "keys")
	}
	return c.Secret.KeysFile
}

// Keys reads the key file anew; the first key signs. The error names the file and the line at fault,
// never a key.
func (c *Config) Keys() ([][]byte, error) {
	text, err := os.ReadFile(c.keysFile())
	if err != nil {
		return nil, fmt.Errorf("read the key file %s: %w", shownPath(c.keysFile()), errors.New(cause(err)))
	}
	keys, err := auth.ParseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", shownPath(c.keysFile()), err)
	}
	return keys, nil
}

// MakeKeys makes the key file of the embedded default if it is missing, readable by its owner
// alone. A key file that the configuration names is never made: with several replicas each would
// make its own, and none would believe another's cookies.
func (c *Config) MakeKeys() error {
	if c.Secret.KeysFile != "" || !c.embedded() {
		return nil
	}
	if err := os.MkdirAll(c.Store.Dir, 0o700); err != nil {
		return fmt.Errorf("make store.dir: %w", err)
	}
	key := make([]byte, 32)
	rand.Read(key) // never fails since Go 1.24: it ends the process instead
	if err := writeNew(c.keysFile(), base64.StdEncoding.EncodeToString(key)+"\n"); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the key file: %w", err)
	}
	return nil
}

// writeNew makes a file that its owner alone can read, whole or not at all, and never replaces one:
// of two processes that start at once, both use what the first one wrote.
func writeNew(name, text string) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), ".keys-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(text)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Link(tmp.Name(), name)
}

// cause is the bare reason of a failed file operation: os errors repeat the name of the file, which
// may be a secret that was written in the wrong place.
func cause(err error) string {
	var failed *fs.PathError
	if errors.As(err, &failed) {
		return failed.Err.Error()
	}
	return err.Error()
}
