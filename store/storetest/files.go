package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/upload"
)

// FilesGround is what the suites of files stand on: rows of files, none yet.
type FilesGround struct {
	Files   upload.Files
	Shelf   upload.Shelf
	Remains upload.Remains // for the suite Remains alone
	AddUser func(ctx context.Context, email string) (auth.User, error)
}

// Files runs the suite of upload.Files and upload.Shelf. Each subtest opens an empty store.
func Files(t *testing.T, open func(*testing.T) FilesGround) {
	for name, test := range map[string]func(*testing.T, FilesGround){
		"begin, settle, find":               filesRoundTrip,
		"settle":                            filesSettle,
		"RULE-24/bytes":                     filesQuotaBytes,
		"RULE-24/files and live":            filesQuotaNumbers,
		"RULE-24/growing":                   filesQuotaGrows,
		"RULE-24/many at once":              filesQuotaRace,
		"RULE-24/many grow at once":         filesQuotaGrowRace,
		"doom":                              filesDoom,
		"settle or doom, one wins":          filesSettleRace,
		"list":                              filesList,
		"an id is any text":                 filesHostileID,
		"UP-03/names of any text":           filesHostileText,
		"caller has gone":                   filesCancelled,
		"nobody's":                          filesOfNobody,
		"an id is used once":                filesOnce,
		"pending files are on no shelf":     filesPendingHidden,
		"what a beat says of size is kept":  filesBeatKeepsSize,
		"a beat of what was given up fails": filesBeatAfterDoom,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// serial makes ids that sort by time, as UUIDs of version 7 do.
var serial = func() func() string {
	var mu sync.Mutex
	var last int
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		last++
		return fmt.Sprintf("01990000-0000-7000-8000-%012x", last)
	}
}()

// NewFile is a file of u that begins now and reserves size bytes.
func NewFile(u auth.User, size int64) upload.File {
	id := serial()
	return upload.File{
		ID: id, Owner: u.ID, Session: 7, Key: fmt.Sprintf("install/%d/2026/11/%s", u.ID, id), Name: "notes.txt",
		Type: upload.Types{Declared: "text/plain"}, Size: size, State: upload.Pending,
		Created: time.Now().UTC().Truncate(time.Microsecond),
	}
}

func (g FilesGround) addUser(t *testing.T, email string) auth.User {
	t.Helper()
	u, err := g.AddUser(t.Context(), email)
	if err != nil {
		t.Fatalf("add user: %v", err)
	}
	return u
}

// begin begins a file that must be let in.
func (g FilesGround) begin(t *testing.T, u auth.User, size int64) upload.File {
	t.Helper()
	f := NewFile(u, size)
	if err := g.Files.Begin(t.Context(), f, upload.Quota{}); err != nil {
		t.Fatalf("Begin: %v", err)
	}
	return f
}

// settled is what Settle is told of a file that came whole.
func settled(f upload.File, size int64) upload.File {
	f.Size, f.SHA256, f.State = size, strings.Repeat("5a", 32), upload.Kept
	f.Type.Sniffed = "text/plain; charset=utf-8"
	return f
}

// keep begins and settles a file.
func (g FilesGround) keep(t *testing.T, u auth.User, size int64) upload.File {
	t.Helper()
	f := settled(g.begin(t, u, size), size)
	if err := g.Files.Settle(t.Context(), f); err != nil {
		t.Fatalf("Settle: %v", err)
	}
	return f
}

func (g FilesGround) wantUsage(t *testing.T, u auth.User, want upload.Quota) {
	t.Helper()
	if has, err := g.Shelf.Usage(t.Context(), u.ID); err != nil || has != want {
		t.Errorf("Usage = %+v, %v, want %+v", has, err, want)
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func filesRoundTrip(t *testing.T, g FilesGround) {
	u := g.addUser(t, "alice@corp.test")
	f := g.keep(t, u, 0) // an empty file is a file
	got, err := g.Shelf.File(t.Context(), f.ID)
	if err != nil {
		t.Fatalf("File: %v", err)
	}
	if !got.Created.Equal(f.Created) || got.Created.Location() != time.UTC {
		t.Errorf("ST-08: made at %v, want %v", got.Created, f.Created)
	}
	if got.Created = f.Created; got != f {
		t.Errorf("File = %+v, want %+v", got, f)
	}
	g.wantUsage(t, u, upload.Quota{Files: 1})
}

func filesSettle(t *testing.T, g FilesGround) {
	u := g.addUser(t, "alice@corp.test")
	f := g.begin(t, u, 100)
	g.wantUsage(t, u, upload.Quota{Bytes: 100, Files: 1, Live: 1})
	whole := settled(f, 60)
	for range 2 { // the first answer may have been lost
		if err := g.Files.Settle(t.Context(), whole); err != nil {
			t.Fatalf("Settle: %v", err)
		}
	}
	g.wantUsage(t, u, upload.Quota{Bytes: 60, Files: 1})
	for name, edit := range map[string]func(*upload.File){
		"another size":   func(f *upload.File) { f.Size = 61 },
		"another digest": func(f *upload.File) { f.SHA256 = strings.Repeat("00", 32) },
		"absent":         func(f *upload.File) { f.ID = serial() },
	} {
		other := whole
		edit(&other)
		wantErr(t, "Settle with "+name, g.Files.Settle(t.Context(), other), upload.ErrNoFile)
	}
	if got, err := g.Shelf.File(t.Context(), f.ID); err != nil || got.Size != 60 || got.SHA256 != whole.SHA256 {
		t.Errorf("File = %+v, %v, want what was settled first", got, err)
	}
}

func filesQuotaBytes(t *testing.T, g FilesGround) {
	u, other := g.addUser(t, "alice@corp.test"), g.addUser(t, "bob@corp.test")
	q := upload.Quota{Bytes: 100}
	g.keep(t, u, 40)
	pending := NewFile(u, 60)
	if err := g.Files.Begin(t.Context(), pending, q); err != nil {
		t.Fatalf("Begin of the last 60 of 100 bytes: %v", err)
	}
	wantErr(t, "Begin of one more byte, while 60 are only reserved", g.Files.Begin(t.Context(), NewFile(u, 1), q), upload.ErrQuotaBytes)
	wantErr(t, "Begin of more bytes than numbers have room for", g.Files.Begin(t.Context(), NewFile(u, 1<<63-1), q), upload.ErrQuotaBytes)
	if err := g.Files.Begin(t.Context(), NewFile(other, 100), q); err != nil {
		t.Errorf("Begin of another user: %v", err)
	}
	if err := g.Files.Settle(t.Context(), settled(pending, 10)); err != nil { // 50 come back
		t.Fatal(err)
	}
	if err := g.Files.Begin(t.Context(), NewFile(u, 50), q); err != nil {
		t.Errorf("Begin of what was reserved and not used: %v", err)
	}
}

func filesQuotaNumbers(t *testing.T, g FilesGround) {
	u := g.addUser(t, "alice@corp.test")
	live := upload.Quota{Live: 2}
	first := NewFile(u, 1)
	for _, f := range []upload.File{first, NewFile(u, 1)} {
		if err := g.Files.Begin(t.Context(), f, live); err != nil {
			t.Fatalf("Begin: %v", err)
		}
	}
	wantErr(t, "Begin of a third at once", g.Files.Begin(t.Context(), NewFile(u, 1), live), upload.ErrQuotaLive)
	if err := g.Files.Settle(t.Context(), settled(first, 1)); err != nil {
		t.Fatal(err)
	}
	if err := g.Files.Begin(t.Context(), NewFile(u, 1), live); err != nil {
		t.Errorf("Begin after one had ended: %v", err)
	}
	wantErr(t, "Begin of a fourth of three", g.Files.Begin(t.Context(), NewFile(u, 0), upload.Quota{Files: 3}), upload.ErrQuotaFiles)
	if err := g.Files.Doom(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	if err := g.Files.Begin(t.Context(), NewFile(u, 0), upload.Quota{Files: 3}); err != nil {
		t.Errorf("Begin after one was deleted: %v", err)
	}
}

// A body of unknown length reserves part by part.
func filesQuotaGrows(t *testing.T, g FilesGround) {
	u := g.addUser(t, "alice@corp.test")
	q := upload.Quota{Bytes: 100, Files: 2, Live: 2}
	g.keep(t, u, 40)
	f := g.begin(t, u, 10)
	for _, size := range []int64{20, 60, 60, 5} {
		if err := g.Files.Beat(t.Context(), f.ID, size, q); err != nil {
			t.Fatalf("Beat to %d bytes: %v", size, err)
		}
	}
	g.wantUsage(t, u, upload.Quota{Bytes: 100, Files: 2, Live: 1})
	wantErr(t, "Beat to 61 bytes", g.Files.Beat(t.Context(), f.ID, 61, q), upload.ErrQuotaBytes)
	g.wantUsage(t, u, upload.Quota{Bytes: 100, Files: 2, Live: 1})
}

func filesQuotaRace(t *testing.T, g FilesGround) {
	u := g.addUser(t, "alice@corp.test")
	var all sync.WaitGroup
	for range 12 {
		all.Go(func() {
			err := g.Files.Begin(t.Context(), NewFile(u, 10), upload.Quota{Bytes: 55, Files: 9, Live: 9})
			if err != nil && !errors.Is(err, upload.ErrQuota) {
				t.Errorf("Begin: %v", err)
			}
		})
	}
	all.Wait()
	g.wantUsage(t, u, upload.Quota{Bytes: 50, Files: 5, Live: 5})
}

func filesQuotaGrowRace(t *testing.T, g FilesGround) {
	u := g.addUser(t, "alice@corp.test")
	var all sync.WaitGroup
	for range 6 {
		f := g.begin(t, u, 1)
		all.Go(func() {
			err := g.Files.Beat(t.Context(), f.ID, 10, upload.Quota{Bytes: 33})
			if err != nil && !errors.Is(err, upload.ErrQuota) {
				t.Errorf("Beat: %v", err)
			}
		})
	}
	all.Wait()
	g.wantUsage(t, u, upload.Quota{Bytes: 33, Files: 6, Live: 6}) // three of ten, three of one
}

func filesDoom(t *testing.T, g FilesGround) {
	u := g.addUser(t, "alice@corp.test")
	for _, f := range []upload.File{g.keep(t, u, 10), g.begin(t, u, 10)} {
		for range 2 { // two tabs may delete at once
			if err := g.Files.Doom(t.Context(), f.ID); err != nil {
				t.Errorf("Doom: %v", err)
			}
		}
		_, err := g.Shelf.File(t.Context(), f.ID)
		wantErr(t, "File of a doomed one", err, upload.ErrNoFile)
		wantErr(t, "Settle of a doomed one", g.Files.Settle(t.Context(), settled(f, 10)), upload.ErrNoFile)
	}
	g.wantUsage(t, u, upload.Quota{})
	if list, err := g.Shelf.List(t.Context(), u.ID, "", 10); err != nil || len(list) != 0 {
		t.Errorf("List = %v, %v, want none", list, err)
	}
	wantErr(t, "Doom of an absent one", g.Files.Doom(t.Context(), serial()), upload.ErrNoFile)
}

func filesSettleRace(t *testing.T, g FilesGround) {
	u := g.addUser(t, "alice@corp.test")
	for range 10 {
		f := g.begin(t, u, 1)
		var all sync.WaitGroup
		var kept, doomed error
		all.Go(func() { kept = g.Files.Settle(t.Context(), settled(f, 1)) })
		all.Go(func() { doomed = g.Files.Doom(t.Context(), f.ID) })
		all.Wait()
		if doomed != nil || (kept != nil && !errors.Is(kept, upload.ErrNoFile)) {
			t.Fatalf("Settle: %v, Doom: %v", kept, doomed)
		}
		_, err := g.Shelf.File(t.Context(), f.ID) // Doom wins in the end, whoever was first
		wantErr(t, "File", err, upload.ErrNoFile)
	}
}

func filesList(t *testing.T, g FilesGround) {
	u, other := g.addUser(t, "alice@corp.test"), g.addUser(t, "bob@corp.test")
	var mine, all []string
	for i := range 9 {
		if i%3 == 2 {
			all = append(all, g.keep(t, other, 1).ID)
			continue
		}
		id := g.keep(t, u, 1).ID
		mine, all = append(mine, id), append(all, id)
	}
	slices.Reverse(mine)
	slices.Reverse(all)
	for owner, want := range map[int64][]string{u.ID: mine, 0: all} {
		var got []string
		before := ""
		for {
			page, err := g.Shelf.List(t.Context(), owner, before, 4)
			if err != nil {
				t.Fatalf("List: %v", err)
			}
			for _, f := range page {
				got = append(got, f.ID)
			}
			if len(page) < 4 {
				break
			}
			before = page[3].ID
		}
		if !slices.Equal(got, want) {
			t.Errorf("the pages of owner %d have %v, want %v", owner, got, want)
		}
	}
}

// An id comes out of a path or a query.
func filesHostileID(t *testing.T, g FilesGround) {
	u := g.addUser(t, "alice@corp.test")
	g.keep(t, u, 1)
	for _, id := range []string{"", "1", "%", "\x00", "\xff", "' OR 1=1 --", strings.Repeat("a", 36), strings.Repeat("é", 18), strings.Repeat("a", 100_000)} {
		_, err := g.Shelf.File(t.Context(), id)
		wantErr(t, fmt.Sprintf("File(%.40q)", id), err, upload.ErrNoFile)
		wantErr(t, fmt.Sprintf("Doom(%.40q)", id), g.Files.Doom(t.Context(), id), upload.ErrNoFile)
		if _, err := g.Shelf.List(t.Context(), u.ID, id, 1); err != nil && !errors.Is(err, upload.ErrNoFile) {
			t.Errorf("List before %.40q: %v", id, err)
		}
	}
}

func filesHostileText(t *testing.T, g FilesGround) {
	u := g.addUser(t, "alice@corp.test")
	for _, name := range []string{"日本語 naïve +&#%.txt", `\'; DROP TABLE uploads; --`, "'; DELETE FROM uploads; --", "a?b", "?0", strings.Repeat("é", 120)} {
		f := NewFile(u, 1)
		f.Name, f.Type.Declared = name, name
		if err := g.Files.Begin(t.Context(), f, upload.Quota{}); err != nil {
			t.Errorf("Begin of %q: %v", name, err)
			continue
		}
		if err := g.Files.Settle(t.Context(), settled(f, 1)); err != nil {
			t.Errorf("Settle of %q: %v", name, err)
		}
		if got, err := g.Shelf.File(t.Context(), f.ID); err != nil || got.Name != name || got.Type.Declared != name {
			t.Errorf("File = %q of type %q, %v, want %q for both", got.Name, got.Type.Declared, err, name)
		}
	}
}

func filesCancelled(t *testing.T, g FilesGround) {
	u := g.addUser(t, "alice@corp.test")
	f := g.begin(t, u, 1)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	next := NewFile(u, 1)
	_, fileErr := g.Shelf.File(gone, f.ID)
	_, listErr := g.Shelf.List(gone, u.ID, "", 1)
	_, usageErr := g.Shelf.Usage(gone, u.ID)
	for what, err := range map[string]error{
		"Begin": g.Files.Begin(gone, next, upload.Quota{}), "Beat": g.Files.Beat(gone, f.ID, 1, upload.Quota{}),
		"Settle": g.Files.Settle(gone, settled(f, 1)), "Doom": g.Files.Doom(gone, f.ID),
		"File": fileErr, "List": listErr, "Usage": usageErr,
	} {
		if err == nil || errors.Is(err, upload.ErrNoFile) || errors.Is(err, upload.ErrQuota) {
			t.Errorf("%s for a caller who has gone: %v, want that it could not be asked", what, err)
		}
	}
	g.wantUsage(t, u, upload.Quota{Bytes: 1, Files: 1, Live: 1})
}

func filesOfNobody(t *testing.T, g FilesGround) {
	for _, q := range []upload.Quota{{}, {Bytes: 1000}} {
		f := NewFile(auth.User{ID: 4242}, 1)
		wantErr(t, "Begin", g.Files.Begin(t.Context(), f, q), auth.ErrNoUser)
	}
}

func filesOnce(t *testing.T, g FilesGround) {
	u := g.addUser(t, "alice@corp.test")
	kept, doomed := g.keep(t, u, 1), g.begin(t, u, 1)
	if err := g.Files.Doom(t.Context(), doomed.ID); err != nil {
		t.Fatal(err)
	}
	for _, f := range []upload.File{kept, doomed} {
		f.State, f.SHA256, f.Type.Sniffed = upload.Pending, "", ""
		if err := g.Files.Begin(t.Context(), f, upload.Quota{}); err == nil {
			t.Errorf("a second file with the id and the key of %s was let in", f.ID)
		}
	}
}

func filesPendingHidden(t *testing.T, g FilesGround) {
	u := g.addUser(t, "alice@corp.test")
	f := g.begin(t, u, 5)
	_, err := g.Shelf.File(t.Context(), f.ID)
	wantErr(t, "File of a pending one", err, upload.ErrNoFile)
	if list, err := g.Shelf.List(t.Context(), 0, "", 10); err != nil || len(list) != 0 {
		t.Errorf("List = %v, %v, want none", list, err)
	}
}

func filesBeatKeepsSize(t *testing.T, g FilesGround) {
	u := g.addUser(t, "alice@corp.test")
	f := g.begin(t, u, 10)
	for _, size := range []int64{3, 20, 4} {
		if err := g.Files.Beat(t.Context(), f.ID, size, upload.Quota{}); err != nil {
			t.Fatalf("Beat: %v", err)
		}
	}
	g.wantUsage(t, u, upload.Quota{Bytes: 20, Files: 1, Live: 1})
}

func filesBeatAfterDoom(t *testing.T, g FilesGround) {
	u := g.addUser(t, "alice@corp.test")
	kept, doomed := g.keep(t, u, 1), g.begin(t, u, 1)
	if err := g.Files.Doom(t.Context(), doomed.ID); err != nil {
		t.Fatal(err)
	}
	for _, q := range []upload.Quota{{}, {Bytes: 1000}} {
		for _, size := range []int64{1, 2} {
			wantErr(t, "Beat of a doomed one", g.Files.Beat(t.Context(), doomed.ID, size, q), upload.ErrNoFile)
			wantErr(t, "Beat of a kept one", g.Files.Beat(t.Context(), kept.ID, size, q), upload.ErrNoFile)
			wantErr(t, "Beat of an absent one", g.Files.Beat(t.Context(), serial(), size, q), upload.ErrNoFile)
		}
	}
}
