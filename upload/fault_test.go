package upload_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/store/storetest"
	"github.com/gatehouse-auth/gatehouse/upload"
)

// Nothing is lost and nothing lies: whatever step fails, before it acted or after, a client hears of a
// file only if it is there, and else there is neither object nor kept row.
func TestEveryStepFails(t *testing.T) {
	for _, test := range []struct {
		name   string
		spoil  func(*storetest.FaultyUploads)
		status int
	}{
		{"Begin", func(f *storetest.FaultyUploads) { f.Fail(storetest.Begin, errFake) }, 503},
		{"Begin, and it was written", func(f *storetest.FaultyUploads) { f.FailAfter(storetest.Begin, errFake) }, 503},
		{"Begin of a user who is gone", func(f *storetest.FaultyUploads) { f.Fail(storetest.Begin, auth.ErrNoUser) }, 401},
		{"Begin over the quota", func(f *storetest.FaultyUploads) {
			f.Fail(storetest.Begin, fmt.Errorf("begin: %w", upload.ErrQuotaBytes))
		}, 413},
		{"Put", func(f *storetest.FaultyUploads) { f.Fail(storetest.Put, errFake) }, 502},
		{"Put, for now", func(f *storetest.FaultyUploads) { f.Fail(storetest.Put, fmt.Errorf("put: %w", upload.ErrUnavailable)) }, 503},
		{"Settle", func(f *storetest.FaultyUploads) { f.Fail(storetest.Settle, errFake) }, 503},
		{"RULE-24/Settle, and it was written", func(f *storetest.FaultyUploads) { f.FailAfter(storetest.Settle, errFake) }, 503},
		{"Settle of a row that was given up", func(f *storetest.FaultyUploads) { f.Fail(storetest.Settle, upload.ErrNoFile) }, 503},
		{"the session cannot be asked about", func(f *storetest.FaultyUploads) { f.Fail(storetest.Find, errFake) }, 503},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			test.spoil(w.faulty)
			res := w.do("PUT", "/upload/a", strings.NewReader(random(3*mib)))
			if res.status != test.status || strings.Contains(res.body, errFake.Error()) {
				t.Errorf("PUT: %d %s, want %d without the cause", res.status, res.body, test.status)
			}
			w.nothing()
		})
	}
}

// An answer to Settle that was lost is asked again, and then the file is kept.
func TestSettleIsRepeated(t *testing.T) {
	w := newWorld(t)
	release := w.faulty.Block(storetest.Settle)
	w.faulty.FailAfter(storetest.Settle, errFake)
	c := w.wire()
	c.put(3)
	_ = c.say("abc")
	release()
	eventually(t, "the first Settle", func() bool { return w.faulty.Calls(storetest.Settle) == 1 })
	w.faulty.Heal(storetest.Settle)
	c.want(201)
}

// A table that is away for a moment costs no upload that asks it for more of the quota on its way.
func TestReservingIsRepeated(t *testing.T) {
	w := newWorld(t, func(w *world) { w.limits.Quota.Bytes = 60 * mib })
	w.faulty.Fail(storetest.Beat, errFake)
	go func() {
		for w.faulty.Calls(storetest.Beat) < 2 {
			time.Sleep(time.Millisecond)
		}
		w.faulty.Heal(storetest.Beat)
	}()
	res := w.do("PUT", "/upload/a", io.MultiReader(strings.NewReader(random(5*mib))), func(r *http.Request) { r.ContentLength = -1 })
	if res.status != 201 {
		t.Errorf("PUT: %d %s, want 201", res.status, res.body)
	}
	w.faulty.Fail(storetest.Beat, errFake)
	res = w.do("PUT", "/upload/a", io.MultiReader(strings.NewReader(random(5*mib))), func(r *http.Request) { r.ContentLength = -1 })
	if res.status != 503 || len(w.files.In(upload.Kept)) != 1 {
		t.Errorf("PUT while the table stays away: %d %s, want 503", res.status, res.body)
	}
}

// RULE-24: if the row cannot be settled nor doomed, nobody is told that there is a file, and object and
// row stay together: the janitor decides by the row.
func TestTableGoesAway(t *testing.T) {
	w := newWorld(t)
	w.faulty.Fail(storetest.Settle, errFake)
	w.faulty.Fail(storetest.Doom, errFake)
	if res := w.do("PUT", "/upload/a", strings.NewReader("abc")); res.status != 503 {
		t.Errorf("PUT: %d %s, want 503", res.status, res.body)
	}
	pending := w.files.In(upload.Pending)
	if len(pending) != 1 || w.bucket.Bytes(pending[0].Key) == nil {
		t.Errorf("left are %+v and %v, want one pending row and its object", pending, w.bucket.Keys())
	}
	w.bucketMinus(pending[0].Key)
}

// lying is a bucket that does not keep what it is told.
type lying struct {
	upload.Bucket
	how func(upload.Body, upload.Object, error) (upload.Object, error)
}

func (l *lying) Put(ctx context.Context, key string, body upload.Body, meta upload.Meta) (upload.Object, error) {
	o, err := l.Bucket.Put(ctx, key, body, meta)
	return l.how(body, o, err)
}

func TestBucketThatLies(t *testing.T) {
	for name, how := range map[string]func(upload.Body, upload.Object, error) (upload.Object, error){
		"UP-02/it keeps fewer bytes": func(_ upload.Body, o upload.Object, err error) (upload.Object, error) {
			o.Size--
			return o, err
		},
		"it keeps what it was told not to": func(_ upload.Body, o upload.Object, _ error) (upload.Object, error) { return o, nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.faulty.Bucket = &lying{w.bucket, how}
			sum := sumOf("abc")
			want := 502
			if !strings.HasPrefix(name, "UP-02") {
				sum, want = strings.Repeat("0", 64), 422
			}
			if res := w.do("PUT", "/upload/a", strings.NewReader("abc"), header("X-Content-Sha256", sum)); res.status != want {
				t.Errorf("PUT: %d %s, want %d", res.status, res.body, want)
			}
			w.nothing()
		})
	}
}

// UP-01: what a bucket could not remove, when the client went away or a file was refused, is told to
// the log by its own name: the request's own line has another reason.
func TestWhatIsLeftIsTold(t *testing.T) {
	goes := func(w *world) {
		c := w.wire()
		c.put(40 * mib)
		_ = c.say("%s", random(5*mib))
		w.under(2)
		_ = c.Close()
		w.last(0)
	}
	for _, test := range []struct {
		name  string
		fails func(*world) // makes an upload fail
		left  error
		told  int
	}{
		{"UP-01/the client goes", goes, upload.ErrLeft, 1},
		{"UP-01/the client goes, and nothing is left", goes, errFake, 0},
		{"UP-01/a form breaks off", func(w *world) {
			w.do("POST", "/upload", strings.NewReader("--b\r\nContent-Disposition: form-data; name=f; filename=a\r\n\r\n"+random(3*mib)),
				header("Content-Type", "multipart/form-data; boundary=b"))
		}, upload.ErrLeft, 1},
		{"the bucket fails by itself, and the request's line tells", func(w *world) {
			w.do("PUT", "/upload/a", strings.NewReader("abc"))
		}, upload.ErrLeft, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.faulty.Bucket = &lying{w.bucket, func(_ upload.Body, o upload.Object, err error) (upload.Object, error) {
				_ = w.bucket.Delete(context.Background(), o.Key)
				return upload.Object{}, errors.Join(err, fmt.Errorf("upload 7: %w", test.left))
			}}
			test.fails(w)
			w.nothing()
			if len(w.left) != test.told || test.told > 0 && !strings.Contains(w.left[0].Error(), "upload 7") {
				t.Errorf("told of %v, want %d that name the upload", w.left, test.told)
			}
		})
	}
}

// A file whose object is not what its row says is not handed out as if it were.
func TestDownloadFails(t *testing.T) {
	w := newWorld(t)
	got := w.do("PUT", "/upload/a", strings.NewReader(random(3*mib))).read(t)
	w.faulty.Fail(storetest.Open, fmt.Errorf("open: %w", upload.ErrUnavailable))
	if res := w.do("GET", got.URL, nil); res.status != 503 || res.header.Get("Etag") != "" || res.header.Get("Content-Disposition") != "" {
		t.Errorf("GET while the bucket is away: %d %v", res.status, res.header)
	}
	w.faulty.Fail(storetest.Open, upload.ErrNoObject)
	if res := w.do("GET", got.URL, nil); res.status != 502 {
		t.Errorf("GET of a lost object: %d %s", res.status, res.body)
	}
	w.faulty.Heal(storetest.Open)
	key := w.files.In(upload.Kept)[0].Key
	w.bucket.Shorten(key)
	if res := w.do("GET", got.URL, nil); res.status != 502 {
		t.Errorf("GET of an object that is too short: %d", res.status)
	}
	w.faulty.Fail(storetest.File, errFake)
	if res := w.do("GET", got.URL, nil); res.status != 503 {
		t.Errorf("GET while the table is away: %d", res.status)
	}
	w.faulty.Heal(storetest.File)
	w.do("DELETE", got.URL, nil)
}
