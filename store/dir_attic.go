package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"

	"github.com/gatehouse-auth/gatehouse/upload"
)

// Unfinished yields the files under a prefix that are being written, or were when a process died.
// There is one for a key at most, and it has no name of its own.
func (d *Dir) Unfinished(ctx context.Context, prefix string) iter.Seq2[upload.Unfinished, error] {
	return func(yield func(upload.Unfinished, error) bool) {
		for name, found := range d.walk(ctx, prefix, "") {
			key, ok := strings.CutSuffix(name, partial)
			switch {
			case found.err != nil:
				yield(upload.Unfinished{}, found.err)
				return
			case ok && !yield(upload.Unfinished{Key: key, Begun: found.info.ModTime().UTC()}, nil):
				return
			}
		}
	}
}

// Abort removes what was being written under a key. An absent one is not an error.
func (d *Dir) Abort(_ context.Context, u upload.Unfinished) error {
	if err := check(u.Key); err != nil {
		return err
	}
	return d.remove(u.Key + partial)
}

// Objects yields the files under a prefix whose keys come after a key, in the order of their bytes.
func (d *Dir) Objects(ctx context.Context, prefix, after string) iter.Seq2[upload.Object, error] {
	return func(yield func(upload.Object, error) bool) {
		for name, found := range d.walk(ctx, prefix, after) {
			switch {
			case found.err != nil:
				yield(upload.Object{}, found.err)
				return
			case !strings.HasSuffix(name, partial) && !yield(object(name, found.info), nil):
				return
			}
		}
	}
}

// finding is what stands under a name, or why that could not be told.
type finding struct {
	info fs.FileInfo
	err  error
}

// walk yields the regular files whose names begin with prefix and come after another name, in the
// order of their bytes. Folders that cannot hold any are not looked into.
func (d *Dir) walk(ctx context.Context, prefix, after string) iter.Seq2[string, finding] {
	return func(yield func(string, finding) bool) {
		w := walker{ctx: ctx, files: d.root.FS(), prefix: prefix, after: after, yield: yield}
		w.folder(".")
	}
}

type walker struct {
	ctx           context.Context //nolint:containedctx // of this one walk
	files         fs.FS
	prefix, after string
	yield         func(string, finding) bool
}

// folder walks one folder, and reports whether to go on.
func (w *walker) folder(dir string) bool {
	entries, err := fs.ReadDir(w.files, dir)
	switch {
	case errors.Is(err, fs.ErrNotExist): // it went meanwhile
		return true
	case err == nil:
		err = context.Cause(w.ctx)
	}
	if err != nil {
		w.yield("", finding{err: fmt.Errorf("dir: list files: %w", err)})
		return false
	}
	for _, e := range inOrder(entries) {
		name := e.Name()
		if dir != "." {
			name = dir + "/" + name
		}
		if !w.entry(name, e) {
			return false
		}
	}
	return true
}

func (w *walker) entry(name string, e fs.DirEntry) bool {
	if e.IsDir() {
		within := name + "/"
		touches := strings.HasPrefix(within, w.prefix) || strings.HasPrefix(w.prefix, within)
		passed := within < w.after && !strings.HasPrefix(w.after, within)
		return !touches || passed || w.folder(name)
	}
	if !strings.HasPrefix(name, w.prefix) || name <= w.after || !e.Type().IsRegular() {
		return true
	}
	info, err := e.Info()
	switch {
	case errors.Is(err, fs.ErrNotExist): // it went meanwhile
		return true
	case err != nil:
		w.yield("", finding{err: fmt.Errorf("dir: list files: %w", err)})
		return false
	}
	return w.yield(name, finding{info: info})
}

// inOrder sorts the entries of a folder as whole keys are sorted: that of a folder goes on with a
// slash, so "a.b" comes before "a/c" though "a" comes before "a.b".
func inOrder(entries []fs.DirEntry) []fs.DirEntry {
	key := func(e fs.DirEntry) string {
		if e.IsDir() {
			return e.Name() + "/"
		}
		return e.Name()
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(key(a), key(b)) })
	return entries
}
