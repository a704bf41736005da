package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store"
)

func (a *app) sessionCommand() *cobra.Command {
	return group("session", "See who is in, and show people out", "  gatehouse session ls ann@example.com\n  gatehouse session end 42",
		a.sessionList(), a.sessionEnd(), a.sessionEndAll())
}

// sessionLine is a session as --json prints one. Its token and its key appear nowhere.
type sessionLine struct {
	ID        int64     `json:"id"`
	Email     string    `json:"email"`
	CreatedAt time.Time `json:"created_at"`
	LastSeen  time.Time `json:"last_seen"`
	ExpiresAt time.Time `json:"expires_at"`
	EndsAt    time.Time `json:"ends_at"`
	IP        string    `json:"ip"`
	UserAgent string    `json:"user_agent"`
}

func (a *app) sessionList() *cobra.Command {
	var after int64
	var limit int
	cmd := &cobra.Command{
		Use:     "ls [EMAIL]",
		Short:   "List live sessions, of one user or of all",
		Example: "  gatehouse session ls ann@example.com\n  gatehouse session ls --limit 1000 --json",
		Args:    optionalEmail,
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 1 {
				return fmt.Errorf("--limit must be at least 1 (%w)", errUsage)
			}
			return a.withStore(cmd.Context(), func(_ Config, db *store.SQL) error {
				return a.listSessions(cmd.Context(), db, first(args), after, limit)
			})
		},
	}
	cmd.Flags().Int64Var(&after, "after", 0, "begin behind the session with this id")
	cmd.Flags().IntVar(&limit, "limit", 100, "list at most so many")
	return a.withJSON(cmd)
}

// sessionPage is how many sessions are held in memory at once, however many are listed.
const sessionPage = 1000

// listSessions prints page after page, as they come.
func (a *app) listSessions(ctx context.Context, db *store.SQL, email string, after int64, limit int) error {
	out := &sessionSheet{app: a}
	for left := limit; ; {
		size := min(left, sessionPage)
		// One more than asked for tells whether there are more.
		found, err := db.ListSessions(ctx, email, after, size+1)
		if err != nil {
			return err
		}
		page := found[:min(size, len(found))]
		if err := out.write(page); err != nil {
			return err
		}
		if left -= len(page); len(found) <= size {
			break
		}
		if after = page[len(page)-1].ID; left == 0 {
			fmt.Fprintf(a.errw, "there are more: --after %d\n", after)
			break
		}
	}
	return out.end()
}

// sessionSheet prints sessions as a table or, with --json, as one array.
type sessionSheet struct {
	app  *app
	some bool // something stands there already
}

func (s *sessionSheet) write(page []store.SessionInfo) error {
	var rows [][]string
	for _, one := range page {
		line := sessionLineOf(one)
		if s.app.json {
			if err := s.element(line); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []string{
			strconv.FormatInt(line.ID, 10), line.Email, when(line.CreatedAt), when(line.LastSeen), when(line.ExpiresAt), dash(line.IP), dash(line.UserAgent),
		})
	}
	if s.app.json {
		return nil
	}
	// Each page has columns of its own width, under the same heading once more, so that the first can be
	// shown before the last is read.
	return table(s.app.out, []string{"ID", "EMAIL", "SINCE (UTC)", "LAST SEEN", "EXPIRES", "FROM", "BROWSER"}, rows)
}

// element prints one element of the array.
func (s *sessionSheet) element(line sessionLine) error {
	text := "[\n  "
	if s.some {
		text = ",\n  "
	}
	s.some = true
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("  ", "  ")
	if err := enc.Encode(line); err != nil {
		return err
	}
	_, err := io.WriteString(s.app.out, text+strings.TrimRight(b.String(), "\n"))
	return err
}

func (s *sessionSheet) end() error {
	if !s.app.json {
		return nil
	}
	text := "\n]\n"
	if !s.some {
		text = "[]\n"
	}
	_, err := io.WriteString(s.app.out, text)
	return err
}

func sessionLineOf(s store.SessionInfo) sessionLine {
	line := sessionLine{
		ID: s.ID, Email: s.User.Email, CreatedAt: s.CreatedAt.UTC(), LastSeen: s.LastSeen.UTC(),
		ExpiresAt: s.ExpiresAt.UTC(), EndsAt: s.EndsAt.UTC(), UserAgent: s.UserAgent,
	}
	if s.IP.IsValid() {
		line.IP = s.IP.String()
	}
	return line
}

func (a *app) sessionEnd() *cobra.Command {
	return a.withJSON(&cobra.Command{
		Use:     "end ID",
		Short:   "End one session",
		Example: "  gatehouse session end 42",
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.ExactArgs(1)(cmd, args); err != nil {
				return err
			}
			if id, err := strconv.ParseInt(args[0], 10, 64); err != nil || id < 1 {
				return fmt.Errorf("%q is not the id of a session: see gatehouse session ls", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil {
				return err
			}
			return a.withStore(cmd.Context(), func(_ Config, db *store.SQL) error {
				err := db.EndSession(cmd.Context(), id)
				if errors.Is(err, auth.ErrNoSession) {
					return fmt.Errorf("session %d: %w", id, err)
				}
				if err != nil {
					return err
				}
				return a.say(ended{1}, fmt.Sprintf("session %d ended", id))
			})
		},
	})
}

type ended struct {
	Sessions int `json:"sessions_ended"`
}

func (a *app) sessionEndAll() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:     "end-all [EMAIL]",
		Short:   "End all sessions, of one user or of everybody",
		Long:    "End all sessions, of one user or of everybody: after a restore from a backup, or when a cookie may\nhave leaked. People have to sign in again; no user is changed.",
		Example: "  gatehouse session end-all ann@example.com\n  gatehouse session end-all --yes",
		Args:    optionalEmail,
		RunE: func(cmd *cobra.Command, args []string) error {
			whose := "of everybody"
			if email := first(args); email != "" {
				whose = "of " + printable(email)
			}
			if !yes {
				if err := a.confirm("End all sessions " + whose + "?"); err != nil {
					return err
				}
			}
			return a.withStore(cmd.Context(), func(_ Config, db *store.SQL) error {
				n, err := a.endSessions(cmd.Context(), db, first(args))
				if err != nil && n > 0 {
					return fmt.Errorf("%s ended, and then: %w", count(n, "session"), err)
				}
				if err != nil {
					return err
				}
				return a.say(ended{n}, count(n, "session")+" "+whose+" ended")
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return a.withJSON(cmd)
}

// endSessions ends all sessions, and tells on a terminal how far it is once that takes longer than
// somebody would wait without a word.
func (a *app) endSessions(ctx context.Context, db *store.SQL, email string) (n int, err error) {
	tell := newProgress(a.errw)
	defer tell.end()
	for ended, err := range db.EndingSessions(ctx, email) {
		if n += ended; err != nil {
			return n, err
		}
		tell.say(count(n, "session") + " ended so far")
	}
	return n, nil
}

func optionalEmail(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return emailFirst(cobra.MaximumNArgs(1))(cmd, args)
}

// first is the canonical form of the one e-mail that may be given.
func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return canonicalEmail(args[0])
}
