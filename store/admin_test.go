package store_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

func TestAdmin(t *testing.T) {
	t.Parallel()
	dialects(t, func(t *testing.T, fresh func(*testing.T) *store.SQL) {
		s := fresh(t)
		alice, err := s.AddUser(t.Context(), "Alice@Corp.test", "Alice", []string{"staff"})
		if err != nil || alice.ID == 0 || alice.Email != "alice@corp.test" {
			t.Fatalf("AddUser = %+v, %v", alice, err)
		}
		t.Run("US-01/b", func(t *testing.T) {
			if _, err := s.AddUser(t.Context(), "aLICE@corp.test", "", nil); !errors.Is(err, store.ErrUserExists) {
				t.Errorf("AddUser: %v, want ErrUserExists", err)
			}
		})
		t.Run("bad input", func(t *testing.T) { adminBadInput(t, s) })
		t.Run("absent", func(t *testing.T) { adminAbsent(t, s) })
		t.Run("RULE-08/unbind", func(t *testing.T) { adminUnbind(t, s) })
		t.Run("sessions", func(t *testing.T) { adminSessions(t, s, alice) })
		t.Run("disable, enable, remove", func(t *testing.T) { adminShut(t, s, alice) })
	})
}

func adminBadInput(t *testing.T, s *store.SQL) {
	for _, email := range []string{"", "alice", "@corp.test", "a@", "a@b@c", "a b@corp.test", "a@corp.test\n", "a\x00@corp.test", "a\xff@corp.test"} {
		if _, err := s.AddUser(t.Context(), email, "", nil); err == nil {
			t.Errorf("AddUser(%q) was accepted", email)
		}
	}
	for _, role := range []string{"", "Admin", "a b", "a,b", "é", "a\n"} {
		if _, err := s.AddUser(t.Context(), "x@corp.test", "", []string{role}); err == nil {
			t.Errorf("AddUser with the role %q was accepted", role)
		}
		if err := s.SetRoles(t.Context(), "alice@corp.test", []string{"staff", role}); err == nil {
			t.Errorf("SetRoles(%q) was accepted", role)
		}
	}
}

func adminAbsent(t *testing.T, s *store.SQL) {
	const nobody = "nobody@corp.test"
	_, remove := s.RemoveUser(t.Context(), nobody)
	_, disable := s.DisableUser(t.Context(), nobody)
	_, unbind := s.UnbindUser(t.Context(), nobody)
	for what, err := range map[string]error{
		"RemoveUser": remove, "DisableUser": disable, "EnableUser": s.EnableUser(t.Context(), nobody),
		"SetRoles": s.SetRoles(t.Context(), nobody, nil), "UnbindUser": unbind,
	} {
		if !errors.Is(err, auth.ErrNoUser) {
			t.Errorf("%s: %v, want ErrNoUser", what, err)
		}
	}
	if err := s.EndSession(t.Context(), 12345); !errors.Is(err, auth.ErrNoSession) {
		t.Errorf("EndSession: %v, want ErrNoSession", err)
	}
}

// adminUnbind: the person's account was deleted and made anew, with another subject.
func adminUnbind(t *testing.T, s *store.SQL) {
	again := auth.Profile{Issuer: "https://idp", Subject: "2", Email: "alice@corp.test"}
	first := again
	first.Subject = "1"
	if _, err := s.SignIn(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	refused := func(p auth.Profile, why string) {
		t.Helper()
		if _, err := s.SignIn(t.Context(), p); !errors.Is(err, auth.ErrNoUser) || !strings.Contains(err.Error(), why) {
			t.Errorf("SignIn: %v, want ErrNoUser for the log to say %q", err, why)
		}
	}
	moved := first
	moved.Email = "alice.lee@corp.test"
	refused(moved, "another e-mail")
	refused(again, "user unbind")
	if _, err := s.DisableUser(t.Context(), "alice@corp.test"); err != nil {
		t.Fatal(err)
	}
	refused(first, "disabled")
	if err := s.EnableUser(t.Context(), "alice@corp.test"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.UnbindUser(t.Context(), "alice@corp.test"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SignIn(t.Context(), again); err != nil {
		t.Errorf("SignIn after: %v", err)
	}
	users, err := s.Accounts(t.Context())
	if err != nil || len(users) != 1 || users[0].Subject != "2" || users[0].LastLogin.IsZero() || users[0].CreatedAt.IsZero() {
		t.Errorf("Accounts = %+v, %v", users, err)
	}
}

func adminSessions(t *testing.T, s *store.SQL, alice store.Account) {
	bob, err := s.AddUser(t.Context(), "bob@corp.test", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range []store.Account{alice, bob, alice} {
		if err := s.Create(t.Context(), storetest.NewSession(u.User)); err != nil {
			t.Fatal(err)
		}
	}
	over := storetest.NewSession(alice.User)
	over.ExpiresAt = over.CreatedAt
	if err := s.Create(t.Context(), over); err != nil {
		t.Fatal(err)
	}
	all, err := s.ListSessions(t.Context(), "", 0, 100)
	if err != nil || len(all) != 3 || all[0].ID >= all[1].ID || all[0].LastSeen.IsZero() {
		t.Fatalf("ListSessions = %+v, %v, want the three live ones in order", all, err)
	}
	if page, err := s.ListSessions(t.Context(), "ALICE@corp.test", all[0].ID, 1); err != nil || len(page) != 1 || page[0].ID != all[2].ID {
		t.Errorf("second page of alice = %+v, %v, want session %d", page, err, all[2].ID)
	}
	if err := s.EndSession(t.Context(), all[0].ID); err != nil {
		t.Error(err)
	}
	if n, err := s.EndSessions(t.Context(), "BOB@corp.test"); err != nil || n != 1 {
		t.Errorf("EndSessions(bob) = %d, %v, want 1", n, err)
	}
	if left, err := s.ListSessions(t.Context(), "", 0, 100); err != nil || len(left) != 1 || left[0].ID != all[2].ID {
		t.Errorf("left: %+v, %v, want session %d", left, err, all[2].ID)
	}
}

func adminShut(t *testing.T, s *store.SQL, alice store.Account) {
	if n, err := s.DisableUser(t.Context(), alice.Email); err != nil || n != 1 {
		t.Errorf("DisableUser = %d, %v, want the 1 live session", n, err)
	}
	if err := s.EnableUser(t.Context(), alice.Email); err != nil {
		t.Error(err)
	}
	if err := s.Create(t.Context(), storetest.NewSession(alice.User)); err != nil {
		t.Errorf("Create after EnableUser: %v", err)
	}
	if n, err := s.RemoveUser(t.Context(), "ALICE@corp.test"); err != nil || n != 1 {
		t.Errorf("RemoveUser = %d, %v, want 1", n, err)
	}
}

// RULE-05: the sweep takes only what is long over, and nobody needs to hear of it.
func TestSweep(t *testing.T) {
	t.Parallel()
	benches(t, func(t *testing.T, b bench) {
		account, err := b.AddUser(t.Context(), "alice@corp.test", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, ago := range []time.Duration{time.Hour, 11 * time.Minute, 4 * time.Minute, -time.Hour} {
			s := storetest.NewSession(account.User)
			s.ExpiresAt = time.Now().UTC().Add(-ago)
			s.CreatedAt = s.ExpiresAt.Add(-time.Hour)
			if err := b.Create(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		t.Run("RULE-05/sweep", func(t *testing.T) {
			if n, err := b.Sweep(t.Context(), time.Hour); err != nil || n != 2 {
				t.Errorf("Sweep = %d, %v, want 2", n, err)
			}
			if n := b.count(t, "revocations"); n != 0 {
				t.Errorf("the sweep left %d revocations", n)
			}
		})
		t.Run("RULE-05/old revocations", func(t *testing.T) {
			if _, err := b.EndSessions(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			kept := b.count(t, "revocations")
			if _, err := b.Sweep(t.Context(), time.Hour); err != nil || kept == 0 || b.count(t, "revocations") != kept {
				t.Errorf("Sweep took new revocations: %d of %d left, %v", b.count(t, "revocations"), kept, err)
			}
			old := "UPDATE revocations SET at = 0"
			if b.pg {
				old = "UPDATE revocations SET at = now() - interval '67 minutes'"
			}
			b.exec(t, old)
			if _, err := b.Sweep(t.Context(), time.Hour); err != nil || b.count(t, "revocations") != 0 {
				t.Errorf("Sweep left %d old revocations, %v", b.count(t, "revocations"), err)
			}
		})
	})
}
