// Command gatehouse lets the right people in: it signs them in with Google, remembers them, and
// stands before applications that know nothing of it.
//
// The story. main turns signals into the end of a context and hands over to run, which is the whole
// program with its inputs and outputs as parameters, so that a test can start it. A command reads
// the configuration (config.go), and then either asks the store something (admin_*.go) or wires all
// parts together and serves (serve.go: read that first). A command returns an error; run alone
// prints it and turns it into an exit code.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/upload"
)

func main() {
	os.Exit(run(untilSignal(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// untilSignal returns a context that ends with the first SIGINT or SIGTERM, which asks for an orderly
// end. A second one ends the process at once, as it would have without us. signal.NotifyContext lets
// the handler go only some time after its context has ended, and would swallow a quick second one.
func untilSignal() context.Context {
	ctx, end := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2) // both may come before we look
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		end()
		again := <-signals
		signal.Reset()
		if number, ok := again.(syscall.Signal); ok {
			_ = syscall.Kill(os.Getpid(), number) // to ourselves it cannot fail
		}
	}()
	return ctx
}

// The exit codes, as the help states them.
const (
	exitOK       = 0
	exitFailure  = 1
	exitUsage    = 2
	exitNotFound = 3
	exitExists   = 4
)

const exitHelp = `Exit codes: 0 done · 1 failed · 2 wrong usage or configuration ·
3 no such user, session or file · 4 user is there already`

// errUsage marks an error in how a command was called.
var errUsage = errors.New("wrong usage")

// app is one run of the program.
type app struct {
	in        io.Reader
	out, errw io.Writer
	file      string   // --config
	set       []string // --set
	json      bool     // --json
	began     bool     // flags and arguments were right, and the command's own work began
}

// run is the program: it runs one command and returns the exit code. Settings are read from the
// environment of the process, for that is where viper looks.
func run(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	a := &app{in: in, out: out, errw: errw}
	root := a.commands()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errw)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if !errors.Is(err, errReported) {
		fmt.Fprintln(errw, "gatehouse: "+printableLines(err.Error()))
	}
	return a.code(err)
}

// code is the exit code for an error.
func (a *app) code(err error) int {
	var faults Faults
	switch {
	case !a.began, errors.Is(err, errUsage), errors.As(err, &faults):
		return exitUsage
	case errors.Is(err, auth.ErrNoUser), errors.Is(err, auth.ErrNoSession), errors.Is(err, upload.ErrNoFile):
		return exitNotFound
	case errors.Is(err, store.ErrUserExists):
		return exitExists
	default:
		return exitFailure
	}
}

func (a *app) commands() *cobra.Command {
	root := &cobra.Command{
		Use:   "gatehouse",
		Short: "Let the right people in: sign-in with Google for apps that know nothing of it",
		Long: `Gatehouse signs people in with Google and stands before your applications.

Settings come from --set, the environment (session.ttl is GATEHOUSE_SESSION_TTL, lists are a,b),
the configuration file and the defaults, in this order. Every key is explained in config.yaml.

` + exitHelp,
		Example:           "  gatehouse demo\n  gatehouse serve --config config.yaml",
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRun:  func(*cobra.Command, []string) { a.began = true },
		Args:              unknownCommand,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.file, "config", "", "configuration file (or "+configVariable+"; default config.yaml if there is one)")
	flags.StringArrayVar(&a.set, "set", nil, "set a key for this run, as in --set session.ttl=8h; may be repeated")
	root.AddCommand(a.serveCommand(), a.demoCommand(), a.checkCommand(), a.migrateCommand(),
		a.userCommand(), a.sessionCommand(), a.uploadsCommand(), a.snippetCommand(), a.versionCommand(), a.pingCommand())
	return root
}

func (a *app) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "serve",
		Short:   "Serve until SIGTERM or SIGINT; a second signal ends at once",
		Long:    "Serve until SIGTERM or SIGINT; a second signal ends at once. SIGHUP or a changed file reloads\nroutes, certificates and keys; a file with faults is reported, and the old settings stay.",
		Example: "  gatehouse serve --config /etc/gatehouse/config.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			return serve(cmd.Context(), cfg, a.load, a.out, a.errw)
		},
	}
}

func (a *app) demoCommand() *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:     "demo",
		Short:   "Show it all on this machine: no configuration, no server, no Google",
		Long:    "Show it all on this machine, with a stand-in for Google, a small app behind the gate and a\nthrowaway directory. Nothing is kept, and nobody else can reach it.",
		Example: "  gatehouse demo\n  gatehouse demo --listen localhost:8090",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return demo(cmd.Context(), listen, a.out, a.errw)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "localhost:8080", "loopback address to listen on")
	return cmd
}

// group is a command that only holds others.
func group(use, short, example string, members ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Example: example,
		Args: unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(members...)
	return cmd
}

// unknownCommand refuses the first word that is no command; cobra by itself would print the help
// and report success.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2 // cobra's own, which it sets only on its own way here
	text := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
	if names := cmd.SuggestionsFor(args[0]); len(names) > 0 {
		text += ": did you mean " + names[0] + "?"
	}
	return fmt.Errorf("%s (%w)", text, errUsage)
}
