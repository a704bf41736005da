package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"
	"syscall"

	"github.com/gatehouse-auth/gatehouse/upload"
)

var (
	_ upload.Bucket = (*Dir)(nil)
	_ upload.Attic  = (*Dir)(nil)
)

// Dir is a bucket in a local directory, for one machine. A key is a path in it, made of the letters,
// digits and signs that ours are made of; nothing leads out of the directory, not even a symlink.
//
// A file is written beside its place under a name that no key has, made durable, and only then given
// its own name, which is made durable too. So what stands under a key is whole, also after the power
// failed; and what a crash left behind is told by its name.
type Dir struct {
	root *os.Root

	mu   sync.Mutex
	firm map[string]bool // folders of which we know that they will be there after a crash
}

const (
	// partial ends the name of a file that is being written.
	partial = ".part"
	// firmMost bounds what is remembered of folders.
	firmMost = 10_000
)

var (
	errKey  = errors.New("dir: not a key")
	errFull = fmt.Errorf("%w: the disk is full, or a quota is used up: make room", upload.ErrUnavailable)
)

// NewDir opens a directory as a bucket, and makes it if it is not there. Only its owner may look into
// what is made.
func NewDir(dir string) (*Dir, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("dir: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("dir: %w", err)
	}
	return &Dir{root: root, firm: map[string]bool{}}, nil
}

// Name is the directory as an address, for messages.
func (d *Dir) Name() string { return "dir:" + d.root.Name() }

// Close ends the use of the directory.
func (d *Dir) Close() error { return d.root.Close() }

// Put keeps a body as upload.Bucket has it. It is durable when Put returns.
func (d *Dir) Put(ctx context.Context, key string, body upload.Body, _ upload.Meta) (upload.Object, error) {
	if err := check(key); err != nil {
		return upload.Object{}, err
	}
	f, err := d.begin(key)
	if errors.Is(err, fs.ErrNotExist) {
		// Somebody has removed a folder that we know: emptied ones are, by whoever cleans up.
		d.forget()
		f, err = d.begin(key)
	}
	if err != nil {
		return upload.Object{}, fmt.Errorf("dir: begin a file in %s: %w", d.root.Name(), full(err))
	}
	size, err := pour(ctx, f, body)
	if err = errors.Join(err, f.Close()); err != nil {
		return upload.Object{}, errors.Join(full(err), d.discard(key+partial))
	}
	return d.publish(ctx, key, size)
}

// begin makes the file that a body is written into, and the folders above it.
func (d *Dir) begin(key string) (*os.File, error) {
	if err := d.mkdir(path.Dir(key)); err != nil {
		return nil, err
	}
	return d.root.OpenFile(key+partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// publish gives a file that is whole and durable its own name.
func (d *Dir) publish(ctx context.Context, key string, size int64) (upload.Object, error) {
	if err := d.root.Rename(key+partial, key); err != nil {
		return upload.Object{}, errors.Join(fmt.Errorf("dir: name a file: %w", full(err)), d.discard(key+partial))
	}
	err := d.sync(path.Dir(key))
	o, lost := d.Stat(ctx, key)
	if err = errors.Join(err, lost); err == nil && o.Size != size {
		err = fmt.Errorf("dir: %d bytes were written, and there are %d", size, o.Size)
	}
	if err != nil {
		return upload.Object{}, errors.Join(err, d.discard(key))
	}
	return o, nil
}

// pour writes a body into a file, makes it durable, and tells how much it was.
func pour(ctx context.Context, f *os.File, body upload.Body) (int64, error) {
	c := &cutter{body: body}
	page, err := body.Pages.Take(ctx)
	if err != nil {
		return 0, err
	}
	defer body.Pages.Give(page)
	for c.err == nil {
		n, err := c.read(ctx, page[:])
		if err != nil {
			return 0, err
		}
		if _, err := f.Write(page[:n]); err != nil {
			return 0, fmt.Errorf("dir: write: %w", err)
		}
	}
	if err := f.Sync(); err != nil {
		return 0, fmt.Errorf("dir: make a file durable: %w", err)
	}
	return c.total, context.Cause(ctx)
}

// mkdir makes a folder and those above it, and makes them durable: a file is no safer than the
// entries that lead to it.
func (d *Dir) mkdir(dir string) error {
	if dir == "." || d.known(dir) {
		return nil
	}
	above := path.Dir(dir)
	if err := d.mkdir(above); err != nil {
		return err
	}
	if err := d.root.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// Somebody else may have made it just now, and not have come to this.
	if err := d.sync(above); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.firm) >= firmMost {
		clear(d.firm)
	}
	d.firm[dir] = true
	return nil
}

func (d *Dir) known(dir string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.firm[dir]
}

func (d *Dir) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.firm)
}

// sync makes the entries of a folder durable.
func (d *Dir) sync(dir string) error {
	f, err := d.root.Open(dir)
	if err != nil {
		return fmt.Errorf("dir: make a folder durable: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("dir: make a folder durable: %w", err)
	}
	return nil
}

// Open reads length bytes of a file from offset on; a length below zero means all that follows.
// upload.ErrNoObject: there is none.
func (d *Dir) Open(_ context.Context, key string, offset, length int64) (io.ReadCloser, upload.Object, error) {
	if err := check(key); err != nil {
		return nil, upload.Object{}, err
	}
	f, err := d.root.Open(key)
	if err != nil {
		return nil, upload.Object{}, lost(err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, upload.Object{}, errors.Join(lost(err), f.Close())
	case !info.Mode().IsRegular():
		return nil, upload.Object{}, errors.Join(upload.ErrNoObject, f.Close())
	case offset > info.Size():
		return nil, upload.Object{}, errors.Join(fmt.Errorf("open a file of %d bytes from %d on: %w", info.Size(), offset, errRange), f.Close())
	case length < 0:
		length = info.Size() - offset
	}
	return section{io.NewSectionReader(f, offset, length), f}, object(key, info), nil
}

// section is a piece of a file, which is closed with it.
type section struct {
	*io.SectionReader
	io.Closer
}

// Stat describes a file. upload.ErrNoObject: there is none.
func (d *Dir) Stat(_ context.Context, key string) (upload.Object, error) {
	if err := check(key); err != nil {
		return upload.Object{}, err
	}
	info, err := d.root.Lstat(key)
	switch {
	case err != nil:
		return upload.Object{}, lost(err)
	case !info.Mode().IsRegular():
		return upload.Object{}, upload.ErrNoObject
	}
	return object(key, info), nil
}

// Delete removes a file, and what was being written under its key. An absent one is not an error.
func (d *Dir) Delete(_ context.Context, key string) error {
	if err := check(key); err != nil {
		return err
	}
	return errors.Join(d.remove(key+partial), d.remove(key))
}

func (d *Dir) remove(name string) error {
	if err := d.root.Remove(name); err != nil && !errors.Is(lost(err), upload.ErrNoObject) {
		return fmt.Errorf("dir: remove a file: %w", err)
	}
	return nil
}

// discard removes what a Put that failed has left.
func (d *Dir) discard(name string) error {
	if err := d.remove(name); err != nil {
		return fmt.Errorf("%w: %s: %w", upload.ErrLeft, name, err)
	}
	return nil
}

func object(key string, info fs.FileInfo) upload.Object {
	return upload.Object{Key: key, Size: info.Size(), Modified: info.ModTime().UTC()}
}

// check takes only what can be a key of ours: the names of files that are being written cannot.
func check(key string) error {
	if !fs.ValidPath(key) || key == "." || path.Ext(key) == partial {
		return fmt.Errorf("%w: %q", errKey, key)
	}
	return nil
}

// lost says ErrNoObject where a name leads to nothing.
func lost(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("%w: %w", upload.ErrNoObject, err)
	}
	return fmt.Errorf("dir: %w", err)
}

// full says so where it is for want of room that a file could not be written.
func full(err error) error {
	for _, want := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(err, want) {
			return fmt.Errorf("%w: %w", errFull, err)
		}
	}
	return err
}
