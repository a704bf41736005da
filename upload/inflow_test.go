package upload_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/store/storetest"
	"github.com/gatehouse-auth/gatehouse/upload"
)

// under waits until the bucket has taken so many parts.
func (w *world) under(parts int) {
	w.t.Helper()
	eventually(w.t, "an upload under way", func() bool { _, n := w.bucket.Busy(); return n >= parts })
}

// UP-01: a client that goes away leaves nothing, whatever way it goes.
func TestClientVanishes(t *testing.T) {
	for name, leave := range map[string]func(*wire){
		"RST": func(c *wire) { _ = c.Conn.(*net.TCPConn).SetLinger(0); _ = c.Close() },
		"FIN": func(c *wire) { _ = c.Close() },
		"FIN of half, waiting for an answer": func(c *wire) {
			_ = c.Conn.(*net.TCPConn).CloseWrite()
			if res, err := c.answer(); err == nil && res.status < 400 {
				c.t.Errorf("half an upload was answered %d", res.status)
			}
		},
	} {
		t.Run("UP-01/"+name, func(t *testing.T) {
			w := newWorld(t)
			c := w.wire()
			c.put(40 * mib)
			_ = c.say("%s", random(5*mib))
			w.under(2)
			leave(c)
			if rec := w.last(0); rec.Outcome.Status != 499 {
				t.Errorf("it was recorded as %d (%v), want 499", rec.Outcome.Status, rec.Outcome.Cause)
			}
			w.nothing()
			if w.results["gone"] != 1 {
				t.Errorf("it was counted as %v", w.results)
			}
		})
	}
	t.Run("UP-01/a form, behind a file that was kept", func(t *testing.T) {
		w := newWorld(t)
		c := w.wire()
		_ = c.say("POST /upload HTTP/1.1\r\nHost: gw.test\r\nX-User: alice\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000\r\n\r\n")
		_ = c.say("--b\r\nContent-Disposition: form-data; name=f; filename=a\r\n\r\nabc\r\n--b\r\nContent-Dis")
		eventually(t, "the first file", func() bool { return len(w.files.In(upload.Kept)) == 1 })
		_ = c.Close()
		w.last(0)
		w.nothing()
	})
	t.Run("half a connection that has sent all gets its answer", func(t *testing.T) {
		w := newWorld(t)
		release := w.faulty.Block(storetest.Find) // which is asked at the body's end
		c := w.wire()
		c.put(3)
		_ = c.say("abc")
		_ = c.Conn.(*net.TCPConn).CloseWrite()
		eventually(t, "the body's end", func() bool { return w.faulty.Calls(storetest.Find) > 0 })
		time.Sleep(20 * time.Millisecond) // for net/http to notice
		release()
		c.want(201)
	})
	t.Run("a chunk that is none is the client's fault", func(t *testing.T) {
		w := newWorld(t)
		c := w.wire()
		_ = c.say("PUT /upload/a HTTP/1.1\r\nHost: gw.test\r\nX-User: alice\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n")
		c.want(400)
		w.nothing()
	})
}

// A client that sends nothing, or a byte now and then, is told so and cut: no limit on the whole time
// does that.
func TestSlowClients(t *testing.T) {
	t.Run("nothing comes", func(t *testing.T) {
		w := newWorld(t, func(w *world) { w.limits.Stall = 100 * time.Millisecond })
		c := w.wire()
		c.put(5 * mib)
		_ = c.say("%s", random(3*mib))
		if res := c.want(408); !strings.Contains(res.body, "Nothing came") {
			t.Errorf("the answer is %s", res.body)
		}
		w.nothing()
	})
	t.Run("nothing comes over TLS", func(t *testing.T) {
		w := newWorld(t, func(w *world) { w.tls, w.limits.Stall = true, 100*time.Millisecond })
		c := w.wire()
		c.put(5 * mib)
		_ = c.say("%s", random(3*mib))
		c.want(408)
		if _, err := io.ReadAll(c.r); err != nil {
			t.Errorf("after the answer the connection ends with %v, want an orderly end", err)
		}
		w.nothing()
	})
	t.Run("nothing comes of a chunked body", func(t *testing.T) {
		w := newWorld(t, func(w *world) { w.limits.Stall = 100 * time.Millisecond })
		c := w.wire()
		_ = c.say("PUT /upload/a HTTP/1.1\r\nHost: gw.test\r\nX-User: alice\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
		c.want(408)
		w.nothing()
	})
	t.Run("it trickles", func(t *testing.T) {
		w := newWorld(t, func(w *world) { w.limits.Stall, w.limits.MinRate = 400*time.Millisecond, 1000 })
		c := w.wire()
		c.put(5 * mib)
		go func() {
			for c.say("x") == nil {
				time.Sleep(20 * time.Millisecond)
			}
		}()
		if res := c.want(408); !strings.Contains(res.body, "too slowly") {
			t.Errorf("the answer is %s", res.body)
		}
		w.nothing()
	})
	t.Run("over HTTP/2", func(t *testing.T) {
		w := newWorld(t, func(w *world) { w.limits.Stall = 100 * time.Millisecond })
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		transport := &http.Transport{Protocols: protocols}
		defer transport.CloseIdleConnections()
		w.server.Client().Transport = transport
		r, stuck := io.Pipe()
		defer stuck.Close()
		go func() { _, _ = io.WriteString(stuck, random(3*mib)) }()
		if res := w.do("PUT", "/upload/a", r); res.status != 408 {
			t.Errorf("the answer is %d %s, want 408", res.status, res.body)
		}
		w.nothing()
	})
	t.Run("a bucket that is slow is not the client's fault", func(t *testing.T) {
		w := newWorld(t, func(w *world) { w.limits.Stall, w.limits.MinRate = time.Second, 1 })
		w.bucket.OnPart(func(int) { time.Sleep(1500 * time.Millisecond) })
		if res := w.do("PUT", "/upload/a", strings.NewReader(random(3*mib))); res.status != 201 {
			t.Errorf("the answer is %d %s, want 201", res.status, res.body)
		}
	})
}

// RULE-23: a hundred clients that trickle hold the memory, and somebody fast comes. The slowest are cut
// for him, and told so.
func TestSlowestIsCutFirst(t *testing.T) {
	w := newWorld(t, func(w *world) {
		w.limits.Part, w.limits.MinRate, w.limits.Stall = mib, 64, time.Minute
		w.memory = upload.NewMemory(8 * mib)
	})
	for i := range 3 { // 2 pages each of users that have them all
		w.sessions[strconv.Itoa(i)] = w.signIn("slow" + strconv.Itoa(i))
	}
	var slow []*wire
	var all sync.WaitGroup
	stop := make(chan struct{})
	for i, rate := range []int{2000, 2, 1000} {
		c := w.wire()
		_ = c.say("PUT /upload/a HTTP/1.1\r\nHost: gw.test\r\nX-User: %d\r\nContent-Length: %d\r\n\r\n", i, 5*mib)
		slow = append(slow, c)
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
				}
				if c.say("%s", strings.Repeat("x", max(1, rate/50))) != nil {
					return
				}
			}
		})
	}
	// Two pages are left, and two more are asked for than there are.
	hold, err := w.memory.Admit(t.Context(), 99, mib)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "all of them to be in", func() bool { _, reserved := w.memory.InUse(); return reserved == 8*mib })
	if res := w.do("PUT", "/upload/fast", strings.NewReader(random(mib))); res.status != 201 {
		t.Errorf("RULE-23: the fast one got %d %s", res.status, res.body)
	}
	if res := slow[1].want(408); !strings.Contains(res.body, "slowest") {
		t.Errorf("the slowest got %s", res.body)
	}
	close(stop)
	all.Wait()
	for _, i := range []int{0, 2} {
		_ = slow[i].Conn.(*net.TCPConn).CloseWrite()
		if res, err := slow[i].answer(); err == nil && res.status == 408 {
			t.Errorf("the one of other speed (%d) was cut too: %s", i, res.body)
		}
	}
	if err := hold.Close(); err != nil {
		t.Error(err)
	}
}

// RULE-23: who waits because of what he has himself speeds nobody up: else anybody could have the slow
// uploads of all others cut.
func TestNobodyIsCutForAnothersShare(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(w *world) {
		w.limits.Part, w.limits.MinRate, w.limits.Stall = mib, 1<<20, time.Minute
		w.memory = upload.NewMemory(16 * mib)
	})
	slow := w.wire()
	_ = slow.say("PUT /upload/a HTTP/1.1\r\nHost: gw.test\r\nX-User: bob\r\nContent-Length: 3\r\n\r\na")
	eventually(t, "the slow one to be in", func() bool { return w.received.Load() == 1 })
	hold, err := w.memory.Admit(t.Context(), w.sessions["alice"].User.ID, 4*mib)
	if err != nil {
		t.Fatal(err)
	}
	if res := w.do("PUT", "/upload/b", strings.NewReader("b")); res.status != 503 {
		t.Errorf("of one who has more than his share: %d %s, want 503", res.status, res.body)
	}
	_ = slow.say("bc")
	slow.want(201)
	if err := hold.Close(); err != nil {
		t.Error(err)
	}
}

// A fast client is not slowed by a hundred slow ones: it is done before any of them, and holds no place
// in a line behind them.
func TestFastBesideSlow(t *testing.T) {
	w := newWorld(t, func(w *world) {
		w.limits.Part = mib
		w.memory = upload.NewMemory(1024 * mib) // of which alice may have a quarter
	})
	for range 100 {
		c := w.wire()
		c.put(3 * mib)
		_ = c.say("%s", random(1000)) // and then nothing comes
	}
	eventually(t, "the slow ones to be in", func() bool { puts, _ := w.bucket.Busy(); return puts == 100 })
	for range 3 {
		if res := w.do("PUT", "/upload/fast", strings.NewReader(random(5*mib)), as("bob")); res.status != 201 {
			t.Fatalf("the fast one got %d %s", res.status, res.body)
		}
	}
	if puts, _ := w.bucket.Busy(); puts != 100 {
		t.Errorf("%d slow ones are left of 100 when the fast one is done", puts)
	}
}

// UP-12 d: a session that ends takes its uploads with it, at once where it is heard and at the body's
// end at the latest.
func TestRevoked(t *testing.T) {
	t.Run("UP-12/d: in the middle", func(t *testing.T) {
		w := newWorld(t)
		c := w.wire()
		c.put(10 * mib)
		_ = c.say("%s", random(5*mib))
		w.under(2)
		w.revoke("alice")
		res := c.want(401)
		if rec := w.last(0); rec.Outcome.Event != "upload_revoked" || !strings.Contains(res.body, "signed out") {
			t.Errorf("the answer is %s, the event %q", res.body, rec.Outcome.Event)
		}
		w.nothing()
	})
	t.Run("UP-12/d: not heard of", func(t *testing.T) {
		w := newWorld(t)
		c := w.wire()
		c.put(3)
		_ = c.say("ab")
		eventually(t, "the upload to begin", func() bool { return w.received.Load() == 2 })
		if err := w.people.End(t.Context(), w.sessions["alice"].Key); err != nil {
			t.Fatal(err)
		}
		_ = c.say("c")
		c.want(401)
		w.nothing()
	})
	t.Run("UP-12/d: of a form, what was kept goes too", func(t *testing.T) {
		w := newWorld(t)
		c := w.wire()
		_ = c.say("POST /upload HTTP/1.1\r\nHost: gw.test\r\nX-User: alice\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000\r\n\r\n")
		_ = c.say("--b\r\nContent-Disposition: form-data; name=f; filename=a\r\n\r\nabc\r\n--b\r\n")
		eventually(t, "the first file", func() bool { return len(w.files.In(upload.Kept)) == 1 })
		w.revoke("alice")
		c.want(401)
		w.nothing()
	})
	t.Run("nobody can tell", func(t *testing.T) {
		w := newWorld(t)
		w.faulty.Fail(storetest.Find, errFake)
		if res := w.do("PUT", "/upload/a", strings.NewReader("abc")); res.status != 503 || res.header.Get("Retry-After") == "" {
			t.Errorf("the answer is %d %s, want 503: it is not known", res.status, res.body)
		}
		w.nothing()
	})
}

// SD-01: when the process stops, uploads under way end cleanly, and Close waits for that.
func TestStopping(t *testing.T) {
	w := newWorld(t)
	c := w.wire()
	c.put(10 * mib)
	_ = c.say("%s", random(5*mib))
	w.under(2)
	release := w.faulty.Block(storetest.Doom)
	w.stop(errors.New("going away"))
	if err := w.uploader.Close(gone()); err == nil {
		t.Error("SD-01: Close did not wait for what is still tidied")
	}
	release()
	c.want(503)
	w.nothing()
}
