package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/gatehouse-auth/gatehouse/upload"
)

// File keeps the contract of upload.Shelf.
func (s *SQL) File(ctx context.Context, id string) (f upload.File, err error) {
	defer func(start time.Time) { s.observe.note("database", "file_find", start, outcome(err)) }(time.Now())
	if !upload.IsID(id) {
		return upload.File{}, upload.ErrNoFile
	}
	var row file
	err = s.db.NewSelect().Model(&row).Where("id = ?", id).Where("state = ?", upload.Kept).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return upload.File{}, upload.ErrNoFile
	}
	if err != nil {
		return upload.File{}, fmt.Errorf("find file: %w", tidy(err))
	}
	return row.upload(), nil
}

// List keeps the contract of upload.Shelf. A cursor that is no id is ErrNoFile.
func (s *SQL) List(ctx context.Context, owner int64, before string, limit int) (files []upload.File, err error) {
	defer func(start time.Time) { s.observe.note("database", "file_list", start, outcome(err)) }(time.Now())
	if before != "" && !upload.IsID(before) {
		return nil, upload.ErrNoFile
	}
	var rows []*file
	q := s.db.NewSelect().Model(&rows).Where("state = ?", upload.Kept)
	if owner != 0 {
		q.Where("user_id = ?", owner)
	}
	if before != "" {
		q.Where("id < ?", before)
	}
	if err := q.OrderExpr("id DESC").Limit(int64(limit)).Scan(ctx); err != nil {
		return nil, fmt.Errorf("list files: %w", tidy(err))
	}
	return uploads(rows), nil
}

func uploads(rows []*file) []upload.File {
	files := make([]upload.File, len(rows))
	for i, row := range rows {
		files[i] = row.upload()
	}
	return files
}

// Usage keeps the contract of upload.Shelf.
func (s *SQL) Usage(ctx context.Context, owner int64) (has upload.Quota, err error) {
	defer func(start time.Time) { s.observe.note("database", "file_usage", start, outcome(err)) }(time.Now())
	if has, err = usage(ctx, s.db, owner, ""); err != nil {
		return upload.Quota{}, fmt.Errorf("sum files: %w", tidy(err))
	}
	return has, nil
}
