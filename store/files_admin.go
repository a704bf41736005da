package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/gatehouse-auth/gatehouse/upload"
)

// ErrHasFiles says that a user cannot be removed, for nobody would know whose files those were.
var ErrHasFiles = errors.New("the user has files")

// FileInfo is a file as the operator sees it.
type FileInfo struct {
	upload.File
	Email string // of its owner
}

// ownedFile is a row with its owner.
type ownedFile struct {
	file `bun:",extend"`
	User *user `bun:"rel:belongs-to,join:user_id=id"`
}

// ListFiles lists kept and pending files, newest first: those of one user, or with an empty e-mail
// everybody's; those older than the file with the id before (empty: from the newest on); at most
// limit. A before that is no id is upload.ErrNoFile.
func (s *SQL) ListFiles(ctx context.Context, email, before string, limit int) ([]FileInfo, error) {
	if before != "" && !upload.IsID(before) {
		return nil, upload.ErrNoFile
	}
	var rows []*ownedFile
	q := s.db.NewSelect().Model(&rows).Relation("User").Where("file.state IN (?, ?)", upload.Kept, upload.Pending)
	if email != "" {
		q.Where("user_id IN (SELECT id FROM users WHERE "+s.byEmail()+")", fold(email))
	}
	if before != "" {
		q.Where("file.id < ?", before)
	}
	if err := q.OrderExpr("file.id DESC").Limit(int64(limit)).Scan(ctx); err != nil {
		return nil, fmt.Errorf("list files: %w", tidy(err))
	}
	list := make([]FileInfo, len(rows))
	for i, row := range rows {
		list[i] = FileInfo{File: row.upload(), Email: fold(row.User.Email)}
	}
	return list, nil
}

// RemoveUserAndFiles is RemoveUser for a user who may have files: they are doomed, whatever their
// state, and it tells how many; the janitor removes them from the bucket.
func (s *SQL) RemoveUserAndFiles(ctx context.Context, email string) (ended, doomed int, err error) {
	ended, err = s.shut(ctx, "remove user", email, func(ctx context.Context, tx bun.Tx, id int64) (err error) {
		if doomed, err = affected(s.doom(tx).Where("user_id = ?", id).Exec(ctx)); err != nil {
			return err
		}
		return removeUser(ctx, tx, id)
	})
	return ended, doomed, err
}

// DoomFiles dooms all files of a user, and tells how many.
func (s *SQL) DoomFiles(ctx context.Context, email string) (doomed int, err error) {
	err = s.durably(ctx, func(ctx context.Context, tx bun.Tx) (err error) {
		doomed, err = affected(s.doom(tx).Where("user_id IN (SELECT id FROM users WHERE "+s.byEmail()+")", fold(email)).Exec(ctx))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("doom files: %w", err)
	}
	return doomed, nil
}

// removeUser deletes the row of a user who has no files; doomed ones stay for the janitor, nobody's.
func removeUser(ctx context.Context, tx bun.Tx, id int64) error {
	files, err := tx.NewSelect().Model((*file)(nil)).Where("user_id = ?", id).Where("state <> ?", upload.Doomed).Count(ctx)
	if err != nil {
		return err
	}
	if files > 0 {
		return fmt.Errorf("%w: %d", ErrHasFiles, files)
	}
	_, err = tx.NewDelete().Model((*user)(nil)).Where("id = ?", id).Exec(ctx)
	return err
}
