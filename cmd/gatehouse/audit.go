package main

import (
	"context"
	"errors"
	"time"

	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/upload"
)

// audit is what was found where rows and bucket were compared.
type audit struct {
	Objects    int            `json:"objects"` // whole files in the bucket
	Rows       int            `json:"rows"`    // of files that are kept
	Abandoned  []fileLine     `json:"abandoned"`
	Deleted    int            `json:"deleted"`
	Unfinished []bucketObject `json:"unfinished"`
	Orphans    []bucketObject `json:"orphans"`
	Missing    []fileLine     `json:"missing"`
	Removed    bool           `json:"removed"`
}

// bucketObject is something in the bucket.
type bucketObject struct {
	Key  string    `json:"key"`
	Size int64     `json:"size,omitempty"`
	At   time.Time `json:"at"`
}

// auditor compares the rows with the bucket.
type auditor struct {
	db      *store.SQL
	bucket  bucket
	janitor *upload.Janitor
	stale   time.Duration
}

func newAuditor(db *store.SQL, b bucket, install string, stale time.Duration) *auditor {
	return &auditor{db: db, bucket: b, stale: stale, janitor: upload.NewJanitor(upload.JanitorParts{
		Attic: b, Rows: db, Prefix: install + "/", Stale: stale,
	})}
}

// auditPage is how many rows are read at once.
const auditPage = 1000

// audit compares. It remembers the keys of all objects meanwhile, about 100 MB for a million. Tell is
// told how far it is.
func (a *auditor) audit(ctx context.Context, tell func(what string, n int)) (found audit, err error) {
	found = audit{Abandoned: []fileLine{}, Unfinished: []bucketObject{}, Orphans: []bucketObject{}, Missing: []fileLine{}}
	if err := a.remains(ctx, &found); err != nil {
		return found, err
	}
	for u, err := range a.janitor.Strays(ctx) {
		if err != nil {
			return found, err
		}
		found.Unfinished = append(found.Unfinished, bucketObject{Key: u.Key, At: u.Begun.UTC()})
	}
	there := map[string]bool{}
	seen := func(o upload.Object) {
		there[o.Key] = true
		found.Objects++
		tell("files in the bucket", found.Objects)
	}
	for o, err := range a.janitor.Orphans(ctx, seen) {
		if err != nil {
			return found, err
		}
		found.Orphans = append(found.Orphans, bucketObject{o.Key, o.Size, o.Modified.UTC()})
	}
	return found, a.missing(ctx, there, &found, tell)
}

// remains finds the rows that a janitor is to clear away.
func (a *auditor) remains(ctx context.Context, found *audit) error {
	stale, err := a.db.Stale(ctx, a.stale, auditPage)
	if err != nil {
		return err
	}
	for _, f := range stale {
		found.Abandoned = append(found.Abandoned, fileLineOf(f, ""))
	}
	found.Deleted, err = a.db.CountDoomed(ctx)
	return err
}

// missing goes over the rows of kept files. One whose key was not listed is looked for once more: it
// may have come since.
func (a *auditor) missing(ctx context.Context, there map[string]bool, found *audit, tell func(string, int)) error {
	for before := ""; ; {
		page, err := a.db.ListFiles(ctx, "", before, auditPage)
		if err != nil {
			return err
		}
		for _, f := range page {
			if f.State != upload.Kept {
				continue
			}
			found.Rows++
			tell("rows", found.Rows)
			if there[f.Key] {
				continue
			}
			gone, err := a.gone(ctx, f)
			if err != nil {
				return err
			}
			if gone {
				found.Missing = append(found.Missing, fileLineOf(f.File, f.Email))
			}
		}
		if len(page) < auditPage {
			return nil
		}
		before = page[len(page)-1].ID
	}
}

// gone reports whether a file that is still kept has no object.
func (a *auditor) gone(ctx context.Context, f store.FileInfo) (bool, error) {
	_, err := a.bucket.Stat(ctx, f.Key)
	if !errors.Is(err, upload.ErrNoObject) {
		return false, err
	}
	_, err = a.db.File(ctx, f.ID) // it may have been deleted since
	if errors.Is(err, upload.ErrNoFile) {
		return false, nil
	}
	return err == nil, err
}

// sweepsOnCommand bounds how long "uploads gc --delete" goes on while others delete files.
const sweepsOnCommand = 1000

// remove clears away everything but rows without a file. A deleted row stays for a while, so that a
// janitor removes what a suspended process may still put there.
func (a *auditor) remove(ctx context.Context, found audit, tell func(n int)) error {
	removed := 0
	for range sweepsOnCommand {
		s, err := a.janitor.Sweep(ctx)
		if err != nil {
			return err
		}
		removed += s.Removed + s.Aborted
		tell(removed)
		if s.Claimed+s.Removed+s.Aborted == 0 {
			break
		}
	}
	for _, o := range found.Orphans {
		if err := a.bucket.Delete(ctx, o.Key); err != nil {
			return err
		}
		removed++
		tell(removed)
	}
	return nil
}
