package store_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/gatehouse-auth/gatehouse/store"
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
