package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/schema"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/upload"
)

var (
	_ upload.Files   = (*SQL)(nil)
	_ upload.Shelf   = (*SQL)(nil)
	_ upload.Remains = (*SQL)(nil)
)

// Bounds of the texts of a file, in bytes. What is longer is cut: the name was cleaned before.
const (
	maxFileName = 255
	maxType     = 255
)

// file is a row of uploads without what the database alone looks at: beat_at, settled_at, doomed_at
// and cleared_at.
type file struct {
	bun.BaseModel `bun:"table:uploads,alias:file"`

	ID        string `bun:",pk"`
	UserID    int64  `bun:",nullzero"` // NULL only where the user was removed after the file was doomed
	SessionID int64
	Key       string
	Name      string
	Type      fileType `bun:"embed:"`
	Size      int64
	SHA256    string `bun:"sha256"`
	State     upload.State
	CreatedAt stamp
}

type fileType struct{ Declared, Sniffed string }

func (f *file) upload() upload.File {
	return upload.File{
		ID: f.ID, Owner: f.UserID, Session: f.SessionID, Key: f.Key, Name: f.Name, Type: upload.Types(f.Type),
		Size: f.Size, SHA256: f.SHA256, State: f.State, Created: time.Time(f.CreatedAt),
	}
}

func cleanTypes(t upload.Types) fileType {
	return fileType{clean(t.Declared, maxType), clean(t.Sniffed, maxType)}
}

// now is this moment by the one clock that ages of files are measured with: Postgres' own, for
// gateways disagree, and that of this machine for SQLite.
func (s *SQL) now() schema.QueryAppender { return s.ago(0) }

// ago is the moment so long before now.
func (s *SQL) ago(d time.Duration) schema.QueryAppender {
	if s.postgres() {
		return bun.SafeQuery("(now() - ? * interval '1 microsecond')", d.Microseconds())
	}
	return stamp(time.Now().UTC().Add(-d))
}

// Begin keeps the contract of upload.Files. A user who is gone or disabled is auth.ErrNoUser.
func (s *SQL) Begin(ctx context.Context, f upload.File, q upload.Quota) (err error) {
	defer func(start time.Time) { s.observe.note("database", "file_begin", start, outcome(err)) }(time.Now())
	row := &file{
		ID: f.ID, UserID: f.Owner, SessionID: f.Session, Key: f.Key, Name: clean(f.Name, maxFileName),
		Type: cleanTypes(f.Type), Size: f.Size, State: upload.Pending, CreatedAt: stamp(f.Created),
	}
	err = s.durably(ctx, func(ctx context.Context, tx bun.Tx) error {
		if err := s.fits(ctx, tx, row, q); err != nil {
			return err
		}
		_, err := tx.NewInsert().Model(row).Value("beat_at", "?", s.now()).Returning("NULL").Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("begin file: %w", err)
	}
	return nil
}

// fits locks the owner's row and judges whether his files, with f as it is to be, are within the
// quota. Whoever asks at the same time waits for the lock, and then counts f as well: two uploads
// never share the last bytes of a quota (RULE-24). Without a quota the lock only keeps the owner from
// being removed meanwhile.
func (s *SQL) fits(ctx context.Context, tx bun.Tx, f *file, q upload.Quota) error {
	mode := "NO KEY UPDATE"
	if q == (upload.Quota{}) {
		mode = "KEY SHARE"
	}
	var id int64
	owner := tx.NewSelect().Model((*user)(nil)).Column("id").Where("id = ?", f.UserID).Where("NOT disabled")
	if err := s.locked(owner, mode).Scan(ctx, &id); errors.Is(err, sql.ErrNoRows) {
		return auth.ErrNoUser
	} else if err != nil {
		return err
	}
	if q == (upload.Quota{}) {
		return nil
	}
	has, err := usage(ctx, tx, f.UserID, f.ID)
	if err != nil {
		return err
	}
	switch {
	case q.Bytes > 0 && f.Size > q.Bytes-has.Bytes: // subtracting cannot overflow, adding could
		return upload.ErrQuotaBytes
	case q.Files > 0 && has.Files >= q.Files:
		return upload.ErrQuotaFiles
	case q.Live > 0 && has.Live >= q.Live:
		return upload.ErrQuotaLive
	}
	return nil
}

// usage sums what a user has, but for one file.
func usage(ctx context.Context, db bun.IDB, owner int64, but string) (has upload.Quota, err error) {
	err = db.NewSelect().Model((*file)(nil)).
		ColumnExpr("CAST(coalesce(sum(size), 0) AS bigint), count(*), count(*) FILTER (WHERE state = ?)", upload.Pending).
		Where("user_id = ?", owner).Where("state IN (?, ?)", upload.Pending, upload.Kept).Where("id <> ?", but).
		Scan(ctx, &has.Bytes, &has.Files, &has.Live)
	return has, err
}

// Beat keeps the contract of upload.Files. Where nothing more is reserved, or there is no bound on it,
// it is one UPDATE.
func (s *SQL) Beat(ctx context.Context, id string, size int64, q upload.Quota) (err error) {
	defer func(start time.Time) { s.observe.note("database", "file_beat", start, outcome(err)) }(time.Now())
	beat := s.db.NewUpdate().Model((*file)(nil)).Set("beat_at = ?", s.now()).Where("id = ?", id).Where("state = ?", upload.Pending)
	if q.Bytes == 0 {
		beat.Set("size = CASE WHEN size < ? THEN ? ELSE size END", size, size)
	} else {
		beat.Where("size >= ?", size)
	}
	n, err := affected(beat.Exec(ctx))
	switch {
	case err == nil && n == 0 && q.Bytes == 0:
		err = upload.ErrNoFile
	case err == nil && n == 0:
		err = s.grow(ctx, id, size, upload.Quota{Bytes: q.Bytes})
	}
	if err != nil {
		return fmt.Errorf("beat file: %w", tidy(err))
	}
	return nil
}

// grow reserves more for a pending file. The number of files is not judged again: this one is counted.
func (s *SQL) grow(ctx context.Context, id string, size int64, q upload.Quota) error {
	return s.tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		var row file
		err := tx.NewSelect().Model(&row).Where("id = ?", id).Where("state = ?", upload.Pending).Scan(ctx)
		if errors.Is(err, sql.ErrNoRows) {
			return upload.ErrNoFile
		}
		if err != nil {
			return err
		}
		row.Size = size
		if err := s.fits(ctx, tx, &row, q); err != nil {
			return err
		}
		n, err := affected(tx.NewUpdate().Model((*file)(nil)).Set("beat_at = ?", s.now()).Set("size = ?", size).
			Where("id = ?", id).Where("state = ?", upload.Pending).Exec(ctx))
		if err == nil && n == 0 {
			return upload.ErrNoFile
		}
		return err
	})
}

// Settle keeps the contract of upload.Files. It is one conditional UPDATE, so that of a late Settle
// and a janitor who gave the file up only one can win.
func (s *SQL) Settle(ctx context.Context, f upload.File) (err error) {
	defer func(start time.Time) { s.observe.note("database", "file_settle", start, outcome(err)) }(time.Now())
	row := &file{Type: cleanTypes(f.Type), Size: f.Size, SHA256: f.SHA256, State: upload.Kept}
	err = s.durably(ctx, func(ctx context.Context, tx bun.Tx) error {
		n, err := affected(tx.NewUpdate().Model(row).Column("declared", "sniffed", "size", "sha256", "state").
			Set("settled_at = ?", s.now()).Where("id = ?", f.ID).Where("state = ?", upload.Pending).Exec(ctx))
		if err != nil || n > 0 {
			return err
		}
		same, err := tx.NewSelect().Model((*file)(nil)).Where("id = ?", f.ID).Where("state = ?", upload.Kept).
			Where("size = ?", f.Size).Where("sha256 = ?", f.SHA256).Count(ctx)
		if err == nil && same == 0 {
			return upload.ErrNoFile
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("settle file: %w", err)
	}
	return nil
}

// Doom keeps the contract of upload.Files. What is doomed already stays so.
func (s *SQL) Doom(ctx context.Context, id string) (err error) {
	defer func(start time.Time) { s.observe.note("database", "file_doom", start, outcome(err)) }(time.Now())
	if !upload.IsID(id) {
		return fmt.Errorf("doom file: %w", upload.ErrNoFile)
	}
	err = s.durably(ctx, func(ctx context.Context, tx bun.Tx) error {
		n, err := affected(s.doom(tx).Where("id = ?", id).Exec(ctx))
		if err != nil || n > 0 {
			return err
		}
		there, err := tx.NewSelect().Model((*file)(nil)).Where("id = ?", id).Count(ctx)
		if err == nil && there == 0 {
			return upload.ErrNoFile
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("doom file: %w", err)
	}
	return nil
}

// doom is the statement that dooms; which files, its caller says.
func (s *SQL) doom(db bun.IDB) *bun.UpdateQuery {
	return db.NewUpdate().Model((*file)(nil)).Set("state = ?", upload.Doomed).Set("doomed_at = ?", s.now()).
		Where("state <> ?", upload.Doomed)
}

// affected is how many rows a statement changed.
func affected(result sql.Result, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	return int(n), err
}
