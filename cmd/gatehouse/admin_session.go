package main

import (
	"errors"
	"fmt"
	"strconv"
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
				// One more than asked for tells whether there are more.
				found, err := db.ListSessions(cmd.Context(), first(args), after, limit+1)
				if err != nil {
					return err
				}
				return a.listSessions(found, limit)
			})
		},
	}
	cmd.Flags().Int64Var(&after, "after", 0, "begin behind the session with this id")
	cmd.Flags().IntVar(&limit, "limit", 100, "list at most so many")
	return a.withJSON(cmd)
}

func (a *app) listSessions(found []store.SessionInfo, limit int) error {
	if len(found) > limit {
		found = found[:limit]
		fmt.Fprintf(a.errw, "there are more: --after %d\n", found[limit-1].ID)
	}
	lines, rows := make([]sessionLine, len(found)), make([][]string, len(found))
	for i, s := range found {
		ip := ""
		if s.IP.IsValid() {
			ip = s.IP.String()
		}
		lines[i] = sessionLine{s.ID, s.User.Email, s.CreatedAt.UTC(), s.LastSeen.UTC(), s.ExpiresAt.UTC(), s.EndsAt.UTC(), ip, s.UserAgent}
		rows[i] = []string{strconv.FormatInt(s.ID, 10), s.User.Email, when(s.CreatedAt), when(s.LastSeen), when(s.ExpiresAt), dash(ip), dash(s.UserAgent)}
	}
	if a.json {
		return toJSON(a.out, lines)
	}
	return table(a.out, []string{"ID", "EMAIL", "SINCE (UTC)", "LAST SEEN", "EXPIRES", "FROM", "BROWSER"}, rows)
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
				n, err := db.EndSessions(cmd.Context(), first(args))
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
