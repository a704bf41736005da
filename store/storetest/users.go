package storetest

import (
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/gatehouse-auth/gatehouse/auth"
)

const google = "https://accounts.google.com"

// profile is what the provider says of the account subject.
func profile(subject, email string) auth.Profile {
	return auth.Profile{Issuer: google, Subject: subject, Email: email, Name: "Alice", Picture: "https://example.com/a.png"}
}

// Users runs the suite of auth.Users. Each subtest opens an empty store.
func Users(t *testing.T, open func(*testing.T) Ground) {
	for name, test := range map[string]func(*testing.T, Ground){
		"US-01/letter case":        usersLetterCase,
		"US-01/only ASCII folds":   usersKelvin,
		"US-05":                    usersBinding,
		"RULE-08/disabled":         usersDisabled,
		"LG-05/unknown":            usersUnknown,
		"welcome":                  usersWelcome,
		"welcome, many at once":    usersWelcomeRace,
		"first login, two at once": usersBindRace,
		"hostile text":             usersHostileText,
		"refresh":                  usersRefresh,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func usersLetterCase(t *testing.T, g Ground) {
	row := g.addUser(t, "Alice@Corp.test", "staff")
	u, err := g.Users.SignIn(t.Context(), profile("S1", "alice@corp.TEST"))
	if err != nil {
		t.Fatalf("SignIn: %v", err)
	}
	if u.ID != row.ID || u.Email != "alice@corp.test" || len(u.Roles) != 1 || u.Roles[0] != "staff" {
		t.Errorf("SignIn = %+v, want user %d with the canonical e-mail and the role staff", u, row.ID)
	}
	if _, err := g.Operator.AddUser(t.Context(), "ALICE@corp.test", "", nil); err == nil {
		t.Error("a second row that differs only in case was accepted")
	}
}

// A Kelvin sign lower-cases to k in Unicode, and databases differ about it: with a wider folding
// whoever owns the look-alike address would be somebody else.
func usersKelvin(t *testing.T, g Ground) {
	g.addUser(t, "kate@corp.test")
	_, err := g.Users.SignIn(t.Context(), profile("S1", "\u212aate@corp.test"))
	wantNoUser(t, err)
	other := g.addUser(t, "\u212aim@corp.test")
	kim := g.addUser(t, "kim@corp.test")
	u, err := g.Users.SignIn(t.Context(), profile("S2", "kim@corp.test"))
	if err != nil || u.ID != kim.ID || u.ID == other.ID {
		t.Errorf("SignIn(kim) = user %d, %v, want %d", u.ID, err, kim.ID)
	}
}

func usersBinding(t *testing.T, g Ground) {
	old := g.addUser(t, "old@corp.test")
	next := g.addUser(t, "new@corp.test")
	free := g.addUser(t, "free@corp.test")
	signIn := func(subject, email string) (auth.User, error) {
		return g.Users.SignIn(t.Context(), profile(subject, email))
	}
	t.Run("c", func(t *testing.T) { // the first login binds
		if u, err := signIn("S1", "old@corp.test"); err != nil || u.ID != old.ID {
			t.Fatalf("first login = %d, %v, want user %d", u.ID, err, old.ID)
		}
		if u, err := signIn("S1", "old@corp.test"); err != nil || u.ID != old.ID {
			t.Fatalf("second login = %d, %v, want user %d", u.ID, err, old.ID)
		}
		if u, err := signIn("S9", "new@corp.test"); err != nil || u.ID != next.ID {
			t.Fatalf("other user's login = %d, %v, want user %d", u.ID, err, next.ID)
		}
	})
	t.Run("a", func(t *testing.T) { // the account got another address, for which there is no row
		p := profile("S1", "renamed@corp.test")
		_, err := g.Users.SignIn(t.Context(), p)
		wantNoUser(t, err)
		p.Welcome = true // nor may one be made: the person would exist twice
		_, err = g.Users.SignIn(t.Context(), p)
		wantNoUser(t, err)
	})
	t.Run("b", func(t *testing.T) { // the address went to another account
		_, err := signIn("S2", "old@corp.test")
		wantNoUser(t, err)
	})
	t.Run("d", func(t *testing.T) { // another user's address
		_, err := signIn("S1", "new@corp.test")
		wantNoUser(t, err)
	})
	t.Run("an account is bound once", func(t *testing.T) {
		_, err := signIn("S1", "free@corp.test")
		wantNoUser(t, err)
		if u, err := signIn("S3", "free@corp.test"); err != nil || u.ID != free.ID {
			t.Errorf("the refused login has bound the row: %v", err)
		}
	})
	t.Run("the subject counts with its issuer", func(t *testing.T) {
		p := profile("S1", "old@corp.test")
		p.Issuer = "https://idp.example"
		_, err := g.Users.SignIn(t.Context(), p)
		wantNoUser(t, err)
	})
}

func usersDisabled(t *testing.T, g Ground) {
	g.addUser(t, "alice@corp.test")
	if _, err := g.Operator.DisableUser(t.Context(), "ALICE@corp.test"); err != nil {
		t.Fatal(err)
	}
	p := profile("S1", "alice@corp.test")
	p.Welcome = true
	_, err := g.Users.SignIn(t.Context(), p)
	wantNoUser(t, err)
}

func usersUnknown(t *testing.T, g Ground) {
	for _, email := range []string{
		"", "bob@corp.test", "%", "%@corp.test", "' OR 1=1 --", `\' OR 1=1 --`,
		"b\x00b@corp.test", "b\xffb@corp.test", strings.Repeat("b", 10_000) + "@corp.test",
	} {
		_, err := g.Users.SignIn(t.Context(), profile("S1", email))
		wantNoUser(t, err)
	}
}

func usersWelcome(t *testing.T, g Ground) {
	p := profile("S1", "New@Corp.test")
	p.Welcome = true
	first, err := g.Users.SignIn(t.Context(), p)
	if err != nil || first.Email != "new@corp.test" || len(first.Roles) != 0 {
		t.Fatalf("SignIn = %+v, %v, want a new user without roles", first, err)
	}
	p.Welcome = false // the domain was taken from the list: the row stays
	again, err := g.Users.SignIn(t.Context(), p)
	if err != nil || again.ID != first.ID {
		t.Errorf("second SignIn = %d, %v, want user %d", again.ID, err, first.ID)
	}
}

func usersWelcomeRace(t *testing.T, g Ground) {
	p := profile("S1", "new@corp.test")
	p.Welcome = true
	ids := make([]int64, 8)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			u, err := g.Users.SignIn(t.Context(), p)
			if err != nil {
				t.Errorf("SignIn: %v", err)
			}
			ids[i] = u.ID
		})
	}
	all.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("one person became several users: %v", ids)
		}
	}
}

func usersBindRace(t *testing.T, g Ground) {
	g.addUser(t, "alice@corp.test")
	won := make([]bool, 8)
	var all sync.WaitGroup
	for i := range won {
		all.Go(func() {
			_, err := g.Users.SignIn(t.Context(), profile(strconv.Itoa(i), "alice@corp.test"))
			if err != nil && !errors.Is(err, auth.ErrNoUser) {
				t.Errorf("SignIn: %v", err)
			}
			won[i] = err == nil
		})
	}
	all.Wait()
	winners := 0
	for _, one := range won {
		if one {
			winners++
		}
	}
	if winners != 1 {
		t.Errorf("%d accounts were bound to one row, want 1", winners)
	}
}

// What a profile holds is anybody's choice. A name that the database refuses (Postgres takes neither
// NUL nor broken UTF-8) must not keep its owner out, nor reach the statement as SQL.
func usersHostileText(t *testing.T, g Ground) {
	g.addUser(t, "alice@corp.test")
	for _, name := range []string{"a\x00b", "\xff\xfe", `\'; DROP TABLE users; --`, "'; DELETE FROM users; --", "a?b", "?0", strings.Repeat("é", 5000)} {
		p := profile("S1", "alice@corp.test")
		p.Name, p.Picture = name, "https://example.com/"+name
		if _, err := g.Users.SignIn(t.Context(), p); err != nil {
			t.Errorf("SignIn with the name %.20q: %v", name, err)
		}
	}
}

func usersRefresh(t *testing.T, g Ground) {
	g.addUser(t, "alice@corp.test")
	p := profile("S1", "alice@corp.test")
	for _, name := range []string{"Alice", "Alice Liddell"} {
		p.Name, p.Picture = name, "https://example.com/"+name[:1]
		u, err := g.Users.SignIn(t.Context(), p)
		if err != nil || u.Name != name || u.Picture != p.Picture {
			t.Errorf("SignIn = %+v, %v, want name %q", u, err, name)
		}
	}
}

func wantNoUser(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, auth.ErrNoUser) {
		t.Errorf("err = %v, want ErrNoUser", err)
	}
}
