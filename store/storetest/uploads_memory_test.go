package storetest_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
	"github.com/gatehouse-auth/gatehouse/upload"
)

// The suite's own keys are shorter than those of an uploader, so that it hears no complaints.
func TestMemoryBucket(t *testing.T) {
	storetest.Bucket(t, func(t *testing.T) storetest.BucketGround {
		b := storetest.NewMemoryBucket(&complaints{TB: t})
		return storetest.BucketGround{Bucket: b, Part: 2 * upload.PageSize, Left: func(testing.TB) []string { return b.Keys() }}
	})
}

func TestMemoryUploadsFightBack(t *testing.T) {
	pages, err := upload.NewMemory(4<<20).Admit(t.Context(), 1, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	const key = "install/1/2026/11/01990000-0000-7000-8000-000000000001"
	for name, test := range map[string]struct {
		keys []string
		edit func(*upload.Body, *upload.Meta)
	}{
		"a user's text in the key": {[]string{"install/1/2026/11/../mine.txt"}, nil},
		"a key twice":              {[]string{key, key}, nil},
		"half a page":              {[]string{key}, func(b *upload.Body, _ *upload.Meta) { b.Part = 1 << 19 }},
		"no type":                  {[]string{key}, func(_ *upload.Body, m *upload.Meta) { m.Type = "" }},
		"more than the bound":      {[]string{key}, func(b *upload.Body, _ *upload.Meta) { b.Bound = 1 }},
	} {
		heard := &complaints{TB: t}
		b := storetest.NewMemoryBucket(heard)
		for _, key := range test.keys {
			body := upload.Body{Reader: bytes.NewReader([]byte("abc")), Bound: 3, Part: 1 << 20, Pages: pages}
			meta := upload.Meta{ID: "x", Type: "text/plain"}
			if test.edit != nil {
				test.edit(&body, &meta)
			}
			_, _ = b.Put(t.Context(), key, body, meta)
		}
		if heard.n == 0 {
			t.Errorf("%s: no complaint", name)
		}
	}
	heard := &complaints{TB: t}
	m := storetest.NewMemoryFiles(heard, nil)
	f := storetest.NewFile(auth.User{ID: 1}, 1)
	f.Created = time.Now().In(time.FixedZone("there", 3600))
	_ = m.Begin(t.Context(), f, upload.Quota{})
	_ = m.Settle(t.Context(), f) // as pending as before
	if heard.n != 2 {
		t.Errorf("%d complaints of a local time and of a file that is settled and pending, want 2", heard.n)
	}
}

func TestFaultyUploads(t *testing.T) {
	m := storetest.NewMemoryFiles(t, nil)
	f := &storetest.FaultyUploads{Files: m, Shelf: m}
	broken := errors.New("on command")
	file := storetest.NewFile(auth.User{ID: 1}, 1)
	f.Fail(storetest.Begin, broken)
	if err := f.Begin(t.Context(), file, upload.Quota{}); !errors.Is(err, broken) || len(m.All()) != 0 {
		t.Errorf("Begin that fails before it acts: %v, %v", err, m.All())
	}
	f.Heal(storetest.Begin)
	f.FailAfter(storetest.Begin, broken)
	if err := f.Begin(t.Context(), file, upload.Quota{}); !errors.Is(err, broken) || len(m.All()) != 1 {
		t.Errorf("Begin that fails after it acted: %v, %v", err, m.All())
	}
	if n := f.Calls(storetest.Begin); n != 2 {
		t.Errorf("%d calls, want 2", n)
	}
}
