package store_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/upload"
)

func openDir(t *testing.T, dir string) *store.Dir {
	t.Helper()
	d, err := store.NewDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// filesIn lists the files under a directory.
func filesIn(t testing.TB, dir string) (files []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files = append(files, filepath.ToSlash(name))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func putDir(ctx context.Context, t *testing.T, d *store.Dir, key string, size int64) error {
	t.Helper()
	lease, err := upload.NewMemory(2*upload.PageSize).Admit(t.Context(), 1, upload.PageSize)
	if err != nil {
		t.Fatal(err)
	}
	body := upload.Body{Reader: strings.NewReader(string(file(size))), Bound: size, Part: upload.PageSize, Pages: lease}
	_, err = d.Put(ctx, key, body, upload.Meta{})
	if closed := lease.Close(); closed != nil {
		t.Errorf("Put kept pages: %v", closed)
	}
	return err
}

// TestDirModes: nobody but the owner may look into files or folders.
func TestDirModes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	d := openDir(t, dir)
	if err := putDir(t.Context(), t, d, "i/1/2026/11/x", 10); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if d.Name() != "dir:"+dir {
		t.Errorf("Name = %q", d.Name())
	}
}

// TestDirKeys: no key leads out of the directory, nor to a file that is being written.
func TestDirKeys(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	dir := filepath.Join(parent, "files")
	d := openDir(t, dir)
	if err := os.WriteFile(filepath.Join(parent, "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(parent, filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"", ".", "..", "../secret", "/etc/passwd", "a/../../secret", "a//b", "a/", "x.part", "out/secret", "out/new"} {
		if err := putDir(t.Context(), t, d, key, 3); err == nil {
			t.Errorf("Put(%q) went well", key)
		}
		if f, _, err := d.Open(t.Context(), key, 0, -1); err == nil {
			_ = f.Close()
			t.Errorf("Open(%q) went well", key)
		}
		if _, err := d.Stat(t.Context(), key); err == nil {
			t.Errorf("Stat(%q) went well", key)
		}
		if err := d.Delete(t.Context(), key); err == nil {
			t.Errorf("Delete(%q) went well", key)
		}
	}
	if _, err := os.Stat(filepath.Join(parent, "secret")); err != nil {
		t.Errorf("what lies outside: %v", err)
	}
	if _, err := os.Stat(filepath.Join(parent, "new")); err == nil {
		t.Error("a file was made outside")
	}
}

// TestDirBusy: a key that is being written is not written twice, and the second does not spoil the
// first.
func TestDirBusy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := openDir(t, dir)
	begun := filepath.Join(dir, "x.part")
	if err := os.WriteFile(begun, []byte("the first's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := putDir(t.Context(), t, d, "x", 10); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Put = %v, want that it exists", err)
	}
	if _, err := os.Stat(begun); err != nil {
		t.Errorf("what the first writes is gone: %v", err)
	}
}

// TestDirFolderGoes: a folder that was there and is removed is made again. One that cannot be made is
// told of with the place of the bucket: the rest of the path says nothing to whoever mends it.
func TestDirFolderGoes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := openDir(t, dir)
	for _, key := range []string{"i/1/a", "i/1/b"} {
		if err := putDir(t.Context(), t, d, key, 10); err != nil {
			t.Errorf("Put(%q) = %v", key, err)
		}
		if err := os.RemoveAll(filepath.Join(dir, "i")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "i"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := putDir(t.Context(), t, d, "i/1/c", 10); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("Put below a file = %v, want an error that names %s", err, dir)
	}
}

// TestDirFull: a disk that is full is told of as such, and nothing is left. The test runs itself again
// with a limit on the size of files, which any user may set for himself.
func TestDirFull(t *testing.T) {
	const name = "GATEHOUSE_TEST_FULL"
	if dir := os.Getenv(name); dir != "" {
		signal.Ignore(syscall.SIGXFSZ)
		limit := syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			t.Fatal(err)
		}
		err := putDir(t.Context(), t, openDir(t, dir), "i/x", 3<<20)
		if !errors.Is(err, upload.ErrUnavailable) || !strings.Contains(err.Error(), "the disk is full") {
			t.Errorf("Put = %v", err)
		}
		return
	}
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDirFull$")
	cmd.Env = append(os.Environ(), name+"="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if left := filesIn(t, dir); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}
