package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/gatehouse-auth/gatehouse/store"
)

// configVariable names the configuration file where --config does not.
const configVariable = "GATEHOUSE_CONFIG"

// source is where the settings of this run come from.
func (a *app) source() Source {
	file := a.file
	if file == "" {
		file = os.Getenv(configVariable)
	}
	if file == "" && !missing("config.yaml") {
		file = "config.yaml"
	}
	return Source{File: file, Set: a.set}
}

// load reads the whole configuration; with a fault in it nothing starts.
func (a *app) load() (Config, error) { return Load(a.source()) }

// loadStore reads the configuration as far as the store needs it. A fault in a route must not keep
// anybody from ending a session.
func (a *app) loadStore() (Config, error) {
	cfg, faults := read(a.source())
	j := &judge{Config: &cfg}
	j.store()
	return cfg, append(faults, j.faults...).orNil()
}

// withStore opens the store of the configuration for one command. A new SQLite file is made ready
// here, so that the first user can be added before the first start; a shared database is changed by
// "migrate" or "serve" only.
func (a *app) withStore(ctx context.Context, do func(Config, *store.SQL) error) error {
	cfg, err := a.loadStore()
	if err != nil {
		return err
	}
	db, err := openStore(ctx, cfg)
	if err != nil {
		return scrub(err, cfg)
	}
	defer db.Close()
	if err := ready(ctx, cfg, db); err != nil {
		return scrub(err, cfg)
	}
	return scrub(do(cfg, db), cfg)
}

func openStore(ctx context.Context, cfg Config) (*store.SQL, error) {
	db, err := store.Open(ctx, store.Options{Database: cfg.Store.Database, Dir: cfg.Store.Dir, ListenURL: cfg.Store.ListenURL})
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	return db, nil
}

func ready(ctx context.Context, cfg Config, db *store.SQL) error {
	if cfg.embedded() {
		return db.Migrate(ctx)
	}
	pending, err := db.Pending(ctx)
	if err != nil {
		return err
	}
	if len(pending) > 0 {
		return fmt.Errorf("the database lacks %s: run gatehouse migrate first", count(len(pending), "migration"))
	}
	return nil
}

// scrubbed is an error without the addresses of stores in its text; what it wraps is kept.
type scrubbed struct {
	text  string
	cause error
}

func (e scrubbed) Error() string { return e.text }
func (e scrubbed) Unwrap() error { return e.cause }

// scrub takes the addresses of the stores out of an error. The store does not put them there, but
// what its drivers do in their next release is not in our hands (RULE-29).
func scrub(err error, cfg Config) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, secret := range []string{cfg.Store.Database, cfg.Store.Redis, cfg.Store.ListenURL, cfg.Login.ClientSecret, cfg.Upload.SecretKey} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "(not shown)")
		}
	}
	if text == err.Error() {
		return err
	}
	return scrubbed{text, err}
}

// say prints the outcome of a command: v for programs, text for people.
func (a *app) say(v any, text string) error {
	if a.json {
		return toJSON(a.out, v)
	}
	_, err := fmt.Fprintln(a.out, printable(text))
	return err
}

// withJSON gives a command the flag --json.
func (a *app) withJSON(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&a.json, "json", false, "print JSON, for programs")
	return cmd
}

// confirm asks before something that cannot be undone. Without a terminal there is nobody to ask,
// and a script has to say --yes.
func (a *app) confirm(question string) error {
	file, ok := terminal(a.in)
	if !ok {
		return fmt.Errorf("this needs --yes where nobody can be asked (%w)", errUsage)
	}
	fmt.Fprint(a.errw, question+" [y/N] ")
	answer, err := bufio.NewReader(file).ReadString('\n')
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return errors.New("nothing done")
	}
	return nil
}

// terminal is the file behind a stream, if somebody sits at the other end of it.
func terminal(stream any) (*os.File, bool) {
	file, ok := stream.(*os.File)
	return file, ok && term.IsTerminal(int(file.Fd()))
}

func (a *app) migrateCommand() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use:     "migrate",
		Short:   "Bring the tables of the store up to date, and say what was done",
		Long:    "Bring the tables of the store up to date. serve does so by itself; this is for those who would\nrather do it by hand before. It is safe beside running replicas of this release and the one before.",
		Example: "  gatehouse migrate --dry-run\n  gatehouse migrate",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dry {
				return a.withPending(cmd.Context(), a.leave)
			}
			return a.withPending(cmd.Context(), a.apply)
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only show what is pending")
	return a.withJSON(cmd)
}

// migrated is what migrate did, as --json prints it.
type migrated struct {
	Pending []string `json:"pending"` // before
	Applied bool     `json:"applied"`
}

// withPending shows what is pending and hands it over, if there is anything.
func (a *app) withPending(ctx context.Context, do func(context.Context, *store.SQL, []string) error) error {
	cfg, err := a.loadStore()
	if err != nil {
		return err
	}
	db, err := openStore(ctx, cfg)
	if err != nil {
		return scrub(err, cfg)
	}
	defer db.Close()
	pending, err := db.Pending(ctx)
	if err != nil {
		return scrub(err, cfg)
	}
	if len(pending) == 0 {
		return a.say(migrated{Pending: []string{}}, "nothing pending: the tables are up to date")
	}
	for _, name := range pending {
		a.line("pending: " + name)
	}
	return scrub(do(ctx, db, pending), cfg)
}

func (a *app) leave(_ context.Context, _ *store.SQL, pending []string) error {
	return a.say(migrated{Pending: pending}, count(len(pending), "migration")+" pending, none applied")
}

func (a *app) apply(ctx context.Context, db *store.SQL, pending []string) error {
	if err := db.Migrate(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return a.say(migrated{Pending: pending, Applied: true}, count(len(pending), "migration")+" applied")
}
