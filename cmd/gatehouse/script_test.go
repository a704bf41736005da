package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
	"github.com/gatehouse-auth/gatehouse/upload"
)

// TestMain lets this test binary also be the program "gatehouse", which the scripts run.
func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"gatehouse": main, "code": code})
}

// code runs a program and prints its exit code after its output: testscript tells success from
// failure only.
func code() {
	cmd := exec.CommandContext(context.Background(), os.Args[1], os.Args[2:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("exit", cmd.ProcessState.ExitCode())
}

// leakChecked are tests after which no goroutine may be left. It does what goleak.VerifyTestMain does,
// which like testscript.Main would end the process itself.
type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, "left behind:", err)
		return 1
	}
	return code
}

// TestScripts runs what an operator types (testdata/script), each script in a directory of its own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("ESC", "\x1b")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"signin": signin, "admin": admin, "uploaded": uploaded},
	})
}

// signin makes a session of a user in the SQLite file of the script, as a login would.
func signin(ts *testscript.TestScript, _ bool, args []string) {
	ctx := context.Background()
	db, err := store.Open(ctx, store.Options{Dir: ts.MkAbs("data")})
	ts.Check(err)
	defer func() { ts.Check(db.Close()) }()
	u, err := db.SignIn(ctx, auth.Profile{Issuer: "https://idp.test", Subject: args[0], Email: args[0], Name: "Ann"})
	ts.Check(err)
	now := time.Now().UTC()
	var key auth.Key
	rand.Read(key[:])
	ts.Check(db.Create(ctx, auth.Session{
		Key: key, User: u, CreatedAt: now, ExpiresAt: now.Add(time.Hour), EndsAt: now.Add(12 * time.Hour),
		IP: netip.MustParseAddr("203.0.113.7"), UserAgent: "Firefox \x1b[2J",
	}))
}

// uploaded puts something under a name into the bucket and the rows of the script, as an upload of a
// user would: "uploaded EMAIL NAME" a whole file; "uploaded EMAIL NAME row" a row without an object;
// "uploaded EMAIL NAME object" an hour-old object without a row.
func uploaded(ts *testscript.TestScript, _ bool, args []string) {
	ctx := context.Background()
	db, err := store.Open(ctx, store.Options{Dir: ts.MkAbs("data")})
	ts.Check(err)
	defer func() { ts.Check(db.Close()) }()
	u, err := db.SignIn(ctx, auth.Profile{Issuer: "https://idp.test", Subject: args[0], Email: args[0], Name: "Ann"})
	ts.Check(err)
	install, err := db.InstallID(ctx)
	ts.Check(err)
	f := storetest.NewFile(u, 12)
	f.Key, f.Name = fmt.Sprintf("%s/%d/2026/11/%s", install, u.ID, f.ID), args[1]
	what := strings.Join(args[2:], " ")
	if what != "object" {
		ts.Check(errors.Join(db.Begin(ctx, f, upload.Quota{}), db.Settle(ctx, f)))
	}
	file := ts.MkAbs("data/files/" + f.Key)
	if what != "row" {
		ts.Check(os.MkdirAll(filepath.Dir(file), 0o700))
		ts.Check(os.WriteFile(file, []byte("hello, world"), 0o600))
		old := time.Now().Add(-time.Hour)
		ts.Check(os.Chtimes(file, old, old))
	}
	ts.Setenv("FILE_ID", f.ID)
	ts.Setenv("FILE_KEY", f.Key)
}

// admin answers on a port of this machine, $ADMIN_PORT, with a status and a word.
func admin(ts *testscript.TestScript, _ bool, args []string) {
	status, err := strconv.Atoi(args[0])
	ts.Check(err)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintln(w, args[1], r.URL.Path)
	}))
	ts.Defer(srv.Close)
	_, port, err := net.SplitHostPort(srv.Listener.Addr().String())
	ts.Check(err)
	ts.Setenv("ADMIN_PORT", port)
}
