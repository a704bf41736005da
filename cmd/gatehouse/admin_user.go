package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store"
)

func (a *app) userCommand() *cobra.Command {
	return group("user", "Say who may come in", "  gatehouse user add ann@example.com --role staff\n  gatehouse user ls",
		a.userAdd(), a.userList(), a.userRole(), a.userUnbind(),
		a.userRemove(),
		a.userEnd("disable", "Keep a user out, and end the user's sessions", disable),
		a.userEnable())
}

// userLine is a user as --json prints one.
type userLine struct {
	ID        int64      `json:"id"`
	Email     string     `json:"email"`
	Name      string     `json:"name"`
	Roles     []string   `json:"roles"`
	Disabled  bool       `json:"disabled"`
	Bound     bool       `json:"bound"` // to an account of the provider, at the first sign-in
	CreatedAt time.Time  `json:"created_at"`
	LastLogin *time.Time `json:"last_login"`
}

func lineOf(u store.Account) userLine {
	line := userLine{
		ID: u.ID, Email: u.Email, Name: u.Name, Roles: append([]string{}, u.Roles...),
		Disabled: u.Disabled, Bound: u.Subject != "", CreatedAt: u.CreatedAt.UTC(),
	}
	if !u.LastLogin.IsZero() {
		at := u.LastLogin.UTC()
		line.LastLogin = &at
	}
	return line
}

func (a *app) userAdd() *cobra.Command {
	var name string
	var roles []string
	cmd := &cobra.Command{
		Use:     "add EMAIL",
		Short:   "Let the owner of an e-mail come in",
		Long:    "Let the owner of an e-mail come in. The row is bound to an account of the provider at the first\nsign-in. A user who is there already is left as is (exit code 4).",
		Example: "  gatehouse user add ann@example.com --name 'Ann Lee' --role staff --role wiki:edit",
		Args:    emailFirst(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkRoles(roles); err != nil {
				return err
			}
			return a.withStore(cmd.Context(), func(_ Config, db *store.SQL) error {
				u, err := db.AddUser(cmd.Context(), canonicalEmail(args[0]), name, roles)
				if errors.Is(err, store.ErrUserExists) {
					return fmt.Errorf("%s is there already, and was left as is (change roles with gatehouse user role): %w", args[0], err)
				}
				if err != nil {
					return err
				}
				return a.say(lineOf(u), u.Email+" may come in")
			})
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "name to show until the first sign-in")
	cmd.Flags().StringArrayVar(&roles, "role", nil, "role to give; may be repeated")
	return a.withJSON(cmd)
}

func (a *app) userList() *cobra.Command {
	return a.withJSON(&cobra.Command{
		Use:     "ls",
		Short:   "List the users",
		Example: "  gatehouse user ls\n  gatehouse user ls --json | jq -r '.[] | select(.disabled) | .email'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd.Context(), func(_ Config, db *store.SQL) error {
				users, err := db.Accounts(cmd.Context())
				if err != nil {
					return err
				}
				return a.listUsers(users)
			})
		},
	})
}

func (a *app) listUsers(users []store.Account) error {
	lines, rows := make([]userLine, len(users)), make([][]string, len(users))
	for i, u := range users {
		lines[i] = lineOf(u)
		state := "new"
		switch {
		case u.Disabled:
			state = "disabled"
		case u.Subject != "":
			state = "active"
		}
		rows[i] = []string{u.Email, dash(u.Name), dash(strings.Join(u.Roles, ",")), state, when(u.LastLogin)}
	}
	if a.json {
		return toJSON(a.out, lines)
	}
	return table(a.out, []string{"EMAIL", "NAME", "ROLES", "STATE", "LAST LOGIN (UTC)"}, rows)
}

// parted is what became of a user whose sessions ended.
type parted struct {
	Email  string `json:"email"`
	Became string `json:"became"`
	Ended  int    `json:"sessions_ended"`
	Files  int    `json:"files_deleted"`
}

func (p parted) String() string {
	text := fmt.Sprintf("%s: %s; %s ended", p.Email, why[p.Became], count(p.Ended, "session"))
	if p.Files > 0 {
		text += ", " + count(p.Files, "file") + " deleted"
	}
	return text
}

// ending is a command that ends a user's sessions.
type ending func(ctx context.Context, cfg Config, db *store.SQL, email string) (parted, error)

func (a *app) userEnd(use, short string, end ending) *cobra.Command {
	return a.withJSON(&cobra.Command{
		Use:     use + " EMAIL",
		Short:   short,
		Example: "  gatehouse user " + use + " ann@example.com",
		Args:    emailFirst(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(cmd.Context(), func(cfg Config, db *store.SQL) error {
				email := canonicalEmail(args[0])
				done, err := end(cmd.Context(), cfg, db, email)
				if err != nil {
					return named(email, err)
				}
				done.Email = email
				return a.say(done, done.String())
			})
		},
	})
}

// why says for people what became of a user.
var why = map[string]string{
	"removed":  "removed",
	"disabled": "disabled",
	"unbound":  "unbound, the next sign-in binds the row anew",
	"kept_disabled": "disabled, not removed: login.auto_create_domains would let the e-mail in again " +
		"if the row were gone",
}

func (a *app) userRemove() *cobra.Command {
	var files bool
	cmd := a.userEnd("rm", "Remove a user and end the user's sessions", func(ctx context.Context, cfg Config, db *store.SQL, email string) (parted, error) {
		if files {
			return removeWithFiles(ctx, cfg, db, email)
		}
		done, err := remove(ctx, cfg, db, email)
		if errors.Is(err, store.ErrHasFiles) {
			err = fmt.Errorf("%s: %w; --uploads deletes them too (gatehouse uploads ls --user %s shows them)", email, err, email)
		}
		return done, err
	})
	cmd.Long = "Remove a user and end the user's sessions. A user with uploaded files is left as is, for nobody would\nknow whose they were; with --uploads they are deleted too."
	cmd.Flags().BoolVar(&files, "uploads", false, "delete the user's files too")
	return cmd
}

// comesBack reports whether the next sign-in would make the row of a removed user anew.
func comesBack(cfg Config, email string) bool {
	_, domain, _ := strings.Cut(email, "@")
	return slices.ContainsFunc(cfg.Login.AutoCreateDomains, func(d string) bool { return strings.EqualFold(d, domain) })
}

// remove takes the row away, unless the next sign-in would make it anew.
func remove(ctx context.Context, cfg Config, db *store.SQL, email string) (parted, error) {
	if comesBack(cfg, email) {
		ended, err := db.DisableUser(ctx, email)
		return parted{Became: "kept_disabled", Ended: ended}, err
	}
	ended, err := db.RemoveUser(ctx, email)
	return parted{Became: "removed", Ended: ended}, err
}

func removeWithFiles(ctx context.Context, cfg Config, db *store.SQL, email string) (parted, error) {
	if !comesBack(cfg, email) {
		ended, files, err := db.RemoveUserAndFiles(ctx, email)
		return parted{Became: "removed", Ended: ended, Files: files}, err
	}
	ended, err := db.DisableUser(ctx, email) // first, so that no upload begins behind us
	if err != nil {
		return parted{}, err
	}
	files, err := db.DoomFiles(ctx, email)
	return parted{Became: "kept_disabled", Ended: ended, Files: files}, err
}

func disable(ctx context.Context, _ Config, db *store.SQL, email string) (parted, error) {
	ended, err := db.DisableUser(ctx, email)
	return parted{Became: "disabled", Ended: ended}, err
}

func unbind(ctx context.Context, _ Config, db *store.SQL, email string) (parted, error) {
	ended, err := db.UnbindUser(ctx, email)
	return parted{Became: "unbound", Ended: ended}, err
}

// named adds the e-mail to an error about a user that is not there.
func named(email string, err error) error {
	if errors.Is(err, auth.ErrNoUser) {
		return fmt.Errorf("%s: %w", email, err)
	}
	return err
}

// change is a command that changes a user and ends nothing.
func (a *app) change(cmd *cobra.Command, email, text string, do func(*store.SQL, string) error) error {
	return a.withStore(cmd.Context(), func(_ Config, db *store.SQL) error {
		email := canonicalEmail(email)
		if err := do(db, email); err != nil {
			return named(email, err)
		}
		return a.say(struct {
			Email string `json:"email"`
			Done  string `json:"done"`
		}{email, text}, email+": "+text)
	})
}

func (a *app) userEnable() *cobra.Command {
	return a.withJSON(&cobra.Command{
		Use:     "enable EMAIL",
		Short:   "Let a disabled user come in again",
		Example: "  gatehouse user enable ann@example.com",
		Args:    emailFirst(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(cmd, args[0], "enabled", func(db *store.SQL, email string) error {
				return db.EnableUser(cmd.Context(), email)
			})
		},
	})
}

func (a *app) userUnbind() *cobra.Command {
	cmd := a.userEnd("unbind", "Forget which account of the provider a user signed in with, and end his sessions", unbind)
	cmd.Long = "Forget which account of the provider a user signed in with, and end his sessions; the next sign-in\nbinds anew. Do this when an account was deleted and made again, and only after asking whose it is now."
	return cmd
}

func (a *app) userRole() *cobra.Command {
	var none bool
	cmd := &cobra.Command{
		Use:     "role EMAIL ROLE...",
		Short:   "Replace the roles of a user, in running sessions as well",
		Example: "  gatehouse user role ann@example.com staff wiki:edit\n  gatehouse user role ann@example.com --none",
		Args:    emailFirst(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			roles := args[1:]
			if none != (len(roles) == 0) {
				return fmt.Errorf("name the roles that the user is to have, or --none (%w)", errUsage)
			}
			if err := checkRoles(roles); err != nil {
				return err
			}
			text := "roles are now " + strings.Join(roles, ", ")
			if none {
				text = "has no roles now"
			}
			return a.change(cmd, args[0], text, func(db *store.SQL, email string) error {
				return db.SetRoles(cmd.Context(), email, roles)
			})
		},
	}
	cmd.Flags().BoolVar(&none, "none", false, "take all roles away")
	return a.withJSON(cmd)
}

func checkRoles(roles []string) error {
	for _, role := range roles {
		if !auth.ValidRole(role) {
			return fmt.Errorf("%q is not a role: lower-case letters, digits and ._:- (%w)", role, errUsage)
		}
	}
	return nil
}

// emailFirst wants an e-mail as the first argument, after what args wants.
func emailFirst(args cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		if err := args(cmd, given); err != nil {
			return err
		}
		if _, err := auth.CanonicalEmail(given[0]); err != nil {
			return fmt.Errorf("%q is not an e-mail", given[0])
		}
		return nil
	}
}

// canonicalEmail is an e-mail as the rows of users have it. One that is none stays as it is, for its
// fault to show it.
func canonicalEmail(s string) string {
	if canonical, err := auth.CanonicalEmail(s); err == nil {
		return canonical
	}
	return s
}
