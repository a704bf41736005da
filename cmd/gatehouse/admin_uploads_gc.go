package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/upload"
)

// abandonedAfter is how long an upload may give no sign of life, as the janitor of serve has it.
const abandonedAfter = 15 * time.Minute

func (a *app) uploadsCollect() *cobra.Command {
	var remove, yes bool
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Compare rows and bucket, and show what does not belong together",
		Long: `Compare rows and bucket, and show what does not belong together. serve clears most of it away by
itself, a quarter of an hour after its last sign of life:

  abandoned   rows of uploads that nobody goes on with
  deleted     rows of deleted files whose objects are still to be removed
  unfinished  multipart uploads that no row wants

Two things it never touches, for both may mean that the database was restored from a backup:

  orphan      a whole file that no row names
  missing     a row whose file is not in the bucket

Without --delete nothing is changed. With it, everything but the last kind is removed, orphans too.`,
		Example: "  gatehouse uploads gc\n  gatehouse uploads gc --delete",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withBucket(cmd.Context(), func(db *store.SQL, b bucket) error {
				install, err := db.InstallID(cmd.Context())
				if err != nil {
					return err
				}
				return a.collect(cmd.Context(), newAuditor(db, b, install, abandonedAfter), remove, yes)
			})
		},
	}
	cmd.Flags().BoolVar(&remove, "delete", false, "remove what is found, orphans too")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask before")
	return a.withJSON(cmd)
}

func (a *app) collect(ctx context.Context, look *auditor, remove, yes bool) error {
	p := newProgress(a.errw)
	found, err := look.audit(ctx, func(what string, n int) { p.say(fmt.Sprintf("%s: %d", what, n)) })
	p.end()
	if err != nil {
		return err
	}
	if !remove {
		return a.report(found)
	}
	if n := len(found.Orphans); n > 0 && !yes {
		a.line(found.lines()...)
		if err := a.confirm("Remove " + count(n, "file") + " that no row names, for good?"); err != nil {
			return err
		}
	}
	if err := look.remove(ctx, found, func(n int) { p.say(fmt.Sprintf("removed: %d", n)) }); err != nil {
		p.end()
		return err
	}
	p.end()
	found.Removed = true
	return a.report(found)
}

func (a *app) report(found audit) error {
	if a.json {
		return toJSON(a.out, found)
	}
	a.line(found.lines()...)
	return nil
}

// lines says what was found, for people.
func (f audit) lines() (lines []string) {
	for _, x := range f.Abandoned {
		lines = append(lines, fmt.Sprintf("abandoned   %s  since %s  %s", x.ID, when(x.CreatedAt), x.Name))
	}
	for _, x := range f.Unfinished {
		lines = append(lines, fmt.Sprintf("unfinished  %s  since %s", x.Key, when(x.At)))
	}
	for _, x := range f.Orphans {
		lines = append(lines, fmt.Sprintf("orphan      %s  %d bytes, since %s", x.Key, x.Size, when(x.At)))
	}
	for _, x := range f.Missing {
		lines = append(lines, fmt.Sprintf("missing     %s  %s of %s", x.ID, x.Name, dash(x.Email)))
	}
	done := ""
	if f.Removed {
		done = "; all but what is missing was removed"
	}
	return append(lines, fmt.Sprintf("%s in the bucket, %s; %d abandoned, %d deleted, %d unfinished, %s, %d missing%s",
		count(f.Objects, "file"), count(f.Rows, "row"), len(f.Abandoned), f.Deleted, len(f.Unfinished), count(len(f.Orphans), "orphan"), len(f.Missing), done))
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
