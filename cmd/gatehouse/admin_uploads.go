package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/upload"
)

func (a *app) uploadsCommand() *cobra.Command {
	return group("uploads", "See and delete uploaded files, and what was left of some", "  gatehouse uploads ls --user ann@example.com\n  gatehouse uploads gc",
		a.uploadsList(), a.uploadsRemove(), a.uploadsCollect())
}

// fileLine is a file as --json prints one.
type fileLine struct {
	ID        string       `json:"id"`
	Email     string       `json:"email,omitempty"` // none where the user is gone
	Name      string       `json:"name"`
	Size      int64        `json:"size"`
	SHA256    string       `json:"sha256"`
	Declared  string       `json:"declared"`
	Sniffed   string       `json:"sniffed"`
	State     upload.State `json:"state"`
	CreatedAt time.Time    `json:"created_at"`
	Session   int64        `json:"session"`
	Key       string       `json:"key"`
}

func fileLineOf(f upload.File, email string) fileLine {
	return fileLine{
		ID: f.ID, Email: email, Name: f.Name, Size: f.Size, SHA256: f.SHA256, Declared: f.Type.Declared,
		Sniffed: f.Type.Sniffed, State: f.State, CreatedAt: f.Created.UTC(), Session: f.Session, Key: f.Key,
	}
}

func (a *app) uploadsList() *cobra.Command {
	var user, before string
	var limit int
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "List files, newest first, of one user or of all; those under way too",
		Example: "  gatehouse uploads ls --user ann@example.com\n  gatehouse uploads ls --limit 1000 --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return fmt.Errorf("--limit must be at least 1 (%w)", errUsage)
			}
			if user != "" {
				if _, err := auth.CanonicalEmail(user); err != nil {
					return fmt.Errorf("--user %q is not an e-mail (%w)", user, errUsage)
				}
				user = canonicalEmail(user)
			}
			return a.withStore(cmd.Context(), func(_ Config, db *store.SQL) error {
				// One more than asked for tells whether there are more.
				found, err := db.ListFiles(cmd.Context(), user, before, limit+1)
				if errors.Is(err, upload.ErrNoFile) {
					return fmt.Errorf("--before %q is not the id of a file (%w)", before, errUsage)
				}
				if err != nil {
					return err
				}
				return a.listFiles(found, limit)
			})
		},
	}
	cmd.Flags().StringVar(&user, "user", "", "only the files of the user with this e-mail")
	cmd.Flags().StringVar(&before, "before", "", "begin behind the file with this id")
	cmd.Flags().IntVar(&limit, "limit", 100, "list at most so many")
	return a.withJSON(cmd)
}

func (a *app) listFiles(found []store.FileInfo, limit int) error {
	if len(found) > limit {
		found = found[:limit]
		fmt.Fprintf(a.errw, "there are more: --before %s\n", found[limit-1].ID)
	}
	lines, rows := make([]fileLine, len(found)), make([][]string, len(found))
	for i, f := range found {
		lines[i] = fileLineOf(f.File, f.Email)
		rows[i] = []string{f.ID, f.Email, when(f.Created), strconv.FormatInt(f.Size, 10), string(f.State), dash(f.Type.Sniffed), f.Name}
	}
	if a.json {
		return toJSON(a.out, lines)
	}
	return table(a.out, []string{"ID", "EMAIL", "SINCE (UTC)", "BYTES", "STATE", "TYPE", "NAME"}, rows)
}

func (a *app) uploadsRemove() *cobra.Command {
	return a.withJSON(&cobra.Command{
		Use:   "rm ID...",
		Short: "Delete files; an upload under way ends",
		Long: `Delete files; an upload under way ends. Nobody sees them from now on; a running serve, or
uploads gc --delete, removes them from the bucket. An id that is none ends the command with exit code 3,
when those before it are deleted.`,
		Example: "  gatehouse uploads rm 01990f7e-9a1c-7b42-8c11-3f1f6a2b9d10",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, ids []string) error {
			return a.withStore(cmd.Context(), func(_ Config, db *store.SQL) error {
				for _, id := range ids {
					if err := db.Doom(cmd.Context(), id); err != nil {
						return fmt.Errorf("file %q: %w", id, err)
					}
				}
				return a.say(struct {
					Deleted int `json:"files_deleted"`
				}{len(ids)}, count(len(ids), "file")+" deleted")
			})
		},
	})
}

// withBucket opens the bucket of the configuration beside the store.
func (a *app) withBucket(ctx context.Context, do func(*store.SQL, bucket) error) error {
	return a.withStore(ctx, func(cfg Config, db *store.SQL) error {
		j := &judge{Config: &cfg}
		if j.upload(); len(j.faults) > 0 {
			return j.faults
		}
		b, err := openBucket(ctx, cfg, nil)
		if err != nil {
			return err
		}
		return errors.Join(do(db, b), b.Close())
	})
}
