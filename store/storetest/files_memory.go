package storetest

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/upload"
)

// MemoryFiles keeps the rows of files in memory, for tests. It keeps the contracts upload.Files and
// upload.Shelf, and fails the test that hands it what no table must be given: times that are not UTC, a
// file that is settled without the digest or the size of one, a state out of turn.
type MemoryFiles struct {
	t     testing.TB
	known func(user int64) bool

	mu    sync.Mutex
	rows  map[string]*upload.File
	beats int
}

// NewMemoryFiles makes an empty table that reports misuse to t. Known says which users there are; nil:
// every one.
func NewMemoryFiles(t testing.TB, known func(user int64) bool) *MemoryFiles {
	if known == nil {
		known = func(int64) bool { return true }
	}
	return &MemoryFiles{t: t, known: known, rows: map[string]*upload.File{}}
}

// All are all rows, in whatever state, the oldest first.
func (m *MemoryFiles) All() []upload.File {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []upload.File
	for _, f := range m.rows {
		all = append(all, *f)
	}
	slices.SortFunc(all, func(a, b upload.File) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// In are the rows of one state.
func (m *MemoryFiles) In(state upload.State) []upload.File {
	return slices.DeleteFunc(m.All(), func(f upload.File) bool { return f.State != state })
}

// Begin keeps the contract of upload.Files.
func (m *MemoryFiles) Begin(ctx context.Context, f upload.File, q upload.Quota) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if f.State != upload.Pending || f.Size < 0 || f.Created.Location() != time.UTC || f.ID == "" || !strings.HasSuffix(f.Key, f.ID) {
		m.t.Errorf("Begin: no file that begins: %+v", f)
	}
	if !m.known(f.Owner) {
		return auth.ErrNoUser
	}
	for _, row := range m.rows {
		if row.ID == f.ID || row.Key == f.Key {
			return errors.New("that id or key was used before")
		}
	}
	has := m.usage(f.Owner, "")
	switch {
	case q.Live > 0 && has.Live >= q.Live:
		return upload.ErrQuotaLive
	case q.Files > 0 && has.Files >= q.Files:
		return upload.ErrQuotaFiles
	case q.Bytes > 0 && f.Size > q.Bytes-has.Bytes:
		return upload.ErrQuotaBytes
	}
	m.rows[f.ID] = &f
	return nil
}

// Beat keeps the contract of upload.Files.
func (m *MemoryFiles) Beat(ctx context.Context, id string, size int64, q upload.Quota) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	m.beats++
	f := m.rows[id]
	if f == nil || f.State != upload.Pending {
		return upload.ErrNoFile
	}
	if has := m.usage(f.Owner, id); q.Bytes > 0 && size > f.Size && size > q.Bytes-has.Bytes {
		return upload.ErrQuotaBytes
	}
	f.Size = max(f.Size, size)
	return nil
}

// Settle keeps the contract of upload.Files.
func (m *MemoryFiles) Settle(ctx context.Context, f upload.File) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if f.State != upload.Kept || f.SHA256 != "" && len(f.SHA256) != 64 || f.Type.Sniffed == "" {
		m.t.Errorf("Settle: no file that is kept: %+v", f)
	}
	row := m.rows[f.ID]
	switch {
	case row == nil, row.State == upload.Doomed:
		return upload.ErrNoFile
	case row.State == upload.Kept && (row.Size != f.Size || row.SHA256 != f.SHA256 || row.Type != f.Type):
		return upload.ErrNoFile
	}
	row.State, row.Size, row.SHA256, row.Type = upload.Kept, f.Size, f.SHA256, f.Type
	return nil
}

// Doom keeps the contract of upload.Files.
func (m *MemoryFiles) Doom(ctx context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	row := m.rows[id]
	if row == nil {
		return upload.ErrNoFile
	}
	row.State = upload.Doomed
	return nil
}

// File keeps the contract of upload.Shelf.
func (m *MemoryFiles) File(ctx context.Context, id string) (upload.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return upload.File{}, err
	}
	row := m.rows[id]
	if row == nil || row.State != upload.Kept {
		return upload.File{}, upload.ErrNoFile
	}
	return *row, nil
}

// List keeps the contract of upload.Shelf.
func (m *MemoryFiles) List(ctx context.Context, owner int64, before string, limit int) ([]upload.File, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	all := slices.DeleteFunc(m.In(upload.Kept), func(f upload.File) bool {
		return owner != 0 && f.Owner != owner || before != "" && f.ID >= before
	})
	slices.Reverse(all)
	return all[:min(limit, len(all))], nil
}

// Usage keeps the contract of upload.Shelf.
func (m *MemoryFiles) Usage(ctx context.Context, owner int64) (upload.Quota, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return upload.Quota{}, err
	}
	return m.usage(owner, ""), nil
}

// usage sums what a user has, but for one file.
func (m *MemoryFiles) usage(owner int64, but string) (has upload.Quota) {
	for f := range maps.Values(m.rows) {
		if f.Owner != owner || f.ID == but || f.State == upload.Doomed {
			continue
		}
		has.Bytes += f.Size
		has.Files++
		if f.State == upload.Pending {
			has.Live++
		}
	}
	return has
}
