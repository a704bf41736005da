package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatehouse-auth/gatehouse/store"
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
				look := newAuditor(db, b, install, abandonedAfter)
				found, err := a.audit(cmd.Context(), look)
				if err == nil && remove && !yes {
					err = a.agreed(found)
				}
				if err == nil && remove {
					found.Removed = true
					err = a.remove(cmd.Context(), look, found)
				}
				if err != nil {
					return err
				}
				return a.report(found)
			})
		},
	}
	cmd.Flags().BoolVar(&remove, "delete", false, "remove what is found, orphans too")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask before")
	return a.withJSON(cmd)
}

// audit compares, and tells on a terminal how far it is.
func (a *app) audit(ctx context.Context, look *auditor) (audit, error) {
	p := newProgress(a.errw)
	defer p.end()
	return look.audit(ctx, func(what string, n int) { p.say(fmt.Sprintf("%s: %d", what, n)) })
}

// agreed asks before files that no row names are removed.
func (a *app) agreed(found audit) error {
	n := len(found.Orphans)
	if n == 0 {
		return nil
	}
	a.line(found.lines()...)
	return a.confirm("Remove " + count(n, "file") + " that no row names, for good?")
}

// remove clears away what was found, and tells on a terminal how far it is.
func (a *app) remove(ctx context.Context, look *auditor, found audit) error {
	p := newProgress(a.errw)
	defer p.end()
	return look.remove(ctx, found, func(n int) { p.say(fmt.Sprintf("removed: %d", n)) })
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
