package storetest_test

import (
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func memory(t *testing.T) storetest.Ground {
	m := storetest.NewMemory(t)
	return storetest.Ground{Users: m, Sessions: m, Operator: m}
}

func TestMemoryUsers(t *testing.T)    { storetest.Users(t, memory) }
func TestMemorySessions(t *testing.T) { storetest.Sessions(t, memory) }

// complaints stands in for a test, to see whether Memory fights back.
type complaints struct {
	testing.TB
	n int
}

func (c *complaints) Helper()               {}
func (c *complaints) Error(...any)          { c.n++ }
func (c *complaints) Errorf(string, ...any) { c.n++ }

func TestMemoryFightsBack(t *testing.T) {
	for name, edit := range map[string]func(*auth.Session){
		"no key":     func(s *auth.Session) { s.Key = auth.Key{} },
		"an id":      func(s *auth.Session) { s.ID = 7 },
		"nobody":     func(s *auth.Session) { s.User.ID = 0 },
		"local time": func(s *auth.Session) { s.EndsAt = s.EndsAt.Local() },
		"ends mixed": func(s *auth.Session) { s.ExpiresAt = s.EndsAt.Add(1) },
	} {
		t.Run(name, func(t *testing.T) {
			var heard complaints
			m := storetest.NewMemory(&heard)
			u, _ := m.AddUser(t.Context(), "a@corp.test", "", nil)
			s := storetest.NewSession(u)
			edit(&s)
			_ = m.Create(t.Context(), s)
			if heard.n != 1 {
				t.Errorf("%d complaints, want 1", heard.n)
			}
		})
	}
}

func TestFaulty(t *testing.T) {
	m := storetest.NewMemory(t)
	f := &storetest.Faulty{Users: m, Sessions: m}
	u, _ := m.AddUser(t.Context(), "a@corp.test", "", nil)
	s := storetest.NewSession(u)
	lost := errors.New("lost")

	f.Fail(storetest.Create, lost)
	if err := f.Create(t.Context(), s); !errors.Is(err, lost) || m.Live() != 0 {
		t.Errorf("Create = %v with %d live, want it to fail before the act", err, m.Live())
	}
	f.Heal(storetest.Create)
	f.FailAfter(storetest.Create, lost)
	if err := f.Create(t.Context(), s); !errors.Is(err, lost) || m.Live() != 1 {
		t.Errorf("Create = %v with %d live, want it to fail after the act", err, m.Live())
	}
	release := f.Block(storetest.Find)
	found := make(chan error, 1)
	go func() { _, err := f.Find(t.Context(), s.Key); found <- err }()
	select {
	case err := <-found:
		t.Errorf("Find came back while blocked: %v", err)
	default:
	}
	release()
	if err := <-found; err != nil || f.Calls(storetest.Find) != 1 {
		t.Errorf("Find = %v after %d calls, want nil after 1", err, f.Calls(storetest.Find))
	}
}
