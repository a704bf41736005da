package store_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
	"github.com/gatehouse-auth/gatehouse/upload"
)

func filesGround(s *store.SQL) storetest.FilesGround {
	return storetest.FilesGround{Files: s, Shelf: s, Remains: s, AddUser: func(ctx context.Context, email string) (auth.User, error) {
		account, err := s.AddUser(ctx, email, "Some One", nil)
		return account.User, err
	}}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	dialects(t, func(t *testing.T, fresh func(*testing.T) *store.SQL) {
		storetest.Files(t, func(t *testing.T) storetest.FilesGround { return filesGround(fresh(t)) })
	})
}

func TestRemains(t *testing.T) {
	t.Parallel()
	dialects(t, func(t *testing.T, fresh func(*testing.T) *store.SQL) {
		storetest.Remains(t, func(t *testing.T) storetest.FilesGround { return filesGround(fresh(t)) })
	})
}

// filed adds a user with one kept and one pending file.
func filed(t *testing.T, s *store.SQL, email string) (kept, pending upload.File) {
	t.Helper()
	u, err := s.AddUser(t.Context(), email, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	kept, pending = storetest.NewFile(u.User, 5), storetest.NewFile(u.User, 7)
	err = errors.Join(
		s.Begin(t.Context(), kept, upload.Quota{}),
		s.Settle(t.Context(), kept),
		s.Begin(t.Context(), pending, upload.Quota{}))
	if err != nil {
		t.Fatal(err)
	}
	return kept, pending
}

// RULE-08: a user with files is not removed, or they are doomed with him.
func TestRemoveUserWithFiles(t *testing.T) {
	t.Parallel()
	dialects(t, func(t *testing.T, fresh func(*testing.T) *store.SQL) {
		t.Run("RULE-08/refuses", func(t *testing.T) {
			s := fresh(t)
			kept, _ := filed(t, s, "alice@corp.test")
			if _, err := s.RemoveUser(t.Context(), "alice@corp.test"); !errors.Is(err, store.ErrHasFiles) {
				t.Errorf("RemoveUser: %v, want ErrHasFiles", err)
			}
			if _, err := s.File(t.Context(), kept.ID); err != nil {
				t.Errorf("the refused removal took the file: %v", err)
			}
			if list, err := s.Accounts(t.Context()); err != nil || len(list) != 1 {
				t.Errorf("Accounts = %v, %v: the user is gone", list, err)
			}
		})
		t.Run("RULE-08/takes the files", func(t *testing.T) {
			s := fresh(t)
			kept, pending := filed(t, s, "alice@corp.test")
			if _, doomed, err := s.RemoveUserAndFiles(t.Context(), "ALICE@corp.test"); err != nil || doomed != 2 {
				t.Fatalf("RemoveUserAndFiles: %d doomed, %v, want 2", doomed, err)
			}
			if err := s.Settle(t.Context(), pending); !errors.Is(err, upload.ErrNoFile) {
				t.Errorf("Settle of a removed user's upload: %v, want ErrNoFile", err)
			}
			left, err := s.Doomed(t.Context(), 0, 10)
			if err != nil || len(left) != 2 || left[0].Owner != 0 || !slices.ContainsFunc(left, func(f upload.File) bool { return f.Key == kept.Key }) {
				t.Errorf("Doomed = %+v, %v, want both, nobody's", left, err)
			}
			if _, _, err := s.RemoveUserAndFiles(t.Context(), "alice@corp.test"); !errors.Is(err, auth.ErrNoUser) {
				t.Errorf("removed again: %v, want ErrNoUser", err)
			}
		})
		t.Run("RULE-08/a disabled user begins nothing", func(t *testing.T) {
			s := fresh(t)
			kept, _ := filed(t, s, "alice@corp.test")
			if _, err := s.DisableUser(t.Context(), "alice@corp.test"); err != nil {
				t.Fatal(err)
			}
			if err := s.Begin(t.Context(), storetest.NewFile(auth.User{ID: kept.Owner}, 1), upload.Quota{}); !errors.Is(err, auth.ErrNoUser) {
				t.Errorf("Begin: %v, want ErrNoUser", err)
			}
			if n, err := s.DoomFiles(t.Context(), "ALICE@corp.test"); err != nil || n != 2 {
				t.Errorf("DoomFiles: %d, %v, want 2", n, err)
			}
		})
		t.Run("RULE-08/doomed files are no obstacle", func(t *testing.T) {
			s := fresh(t)
			kept, pending := filed(t, s, "alice@corp.test")
			if err := errors.Join(s.Doom(t.Context(), kept.ID), s.Doom(t.Context(), pending.ID)); err != nil {
				t.Fatal(err)
			}
			if _, err := s.RemoveUser(t.Context(), "alice@corp.test"); err != nil {
				t.Errorf("RemoveUser: %v", err)
			}
		})
	})
}

// A DELETE by hand is held back too: in the sqlite3 shell, where foreign keys are off, and in psql.
func TestRemoveUserByHand(t *testing.T) {
	t.Parallel()
	places := map[string]func(*testing.T) (store.Options, string, string){
		"sqlite": func(t *testing.T) (store.Options, string, string) {
			dir := t.TempDir()
			return store.Options{Dir: dir}, "sqlite", filepath.Join(dir, "gatehouse.db")
		},
		"postgres": func(t *testing.T) (store.Options, string, string) {
			url := storetest.Postgres(t).Database()
			return store.Options{Database: url}, "pgx", url
		},
	}
	for name, place := range places {
		t.Run("RULE-08/"+name, func(t *testing.T) {
			o, driver, at := place(t)
			s := open(t, o)
			kept, pending := filed(t, s, "alice@corp.test")
			hand, err := sql.Open(driver, at)
			if err != nil {
				t.Fatal(err)
			}
			defer hand.Close()
			if _, err := hand.ExecContext(t.Context(), "DELETE FROM users"); err == nil {
				t.Fatal("a user with files was deleted")
			}
			if err := errors.Join(s.Doom(t.Context(), kept.ID), s.Doom(t.Context(), pending.ID)); err != nil {
				t.Fatal(err)
			}
			if _, err := hand.ExecContext(t.Context(), "DELETE FROM users"); err != nil {
				t.Fatalf("a user whose files are doomed: %v", err)
			}
			if left, err := s.Doomed(t.Context(), 0, 10); err != nil || len(left) != 2 || left[0].Owner != 0 {
				t.Errorf("Doomed = %+v, %v, want both, nobody's", left, err)
			}
		})
	}
}

func TestListFiles(t *testing.T) {
	t.Parallel()
	dialects(t, func(t *testing.T, fresh func(*testing.T) *store.SQL) {
		s := fresh(t)
		kept, pending := filed(t, s, "Alice@corp.test")
		others, _ := filed(t, s, "bob@corp.test")
		list, err := s.ListFiles(t.Context(), "ALICE@corp.test", "", 10)
		if err != nil || len(list) != 2 || list[0].ID != pending.ID || list[1].ID != kept.ID || list[1].Email != "alice@corp.test" || list[1].Size != 5 {
			t.Errorf("ListFiles of alice = %+v, %v", list, err)
		}
		list, err = s.ListFiles(t.Context(), "", others.ID, 1)
		if err != nil || len(list) != 1 || list[0].ID != pending.ID {
			t.Errorf("ListFiles before %s = %+v, %v, want %s", others.ID, list, err, pending.ID)
		}
		if err := s.Doom(t.Context(), kept.ID); err != nil {
			t.Fatal(err)
		}
		if list, err := s.ListFiles(t.Context(), "alice@corp.test", "", 10); err != nil || len(list) != 1 {
			t.Errorf("ListFiles with a doomed one = %+v, %v", list, err)
		}
	})
}
