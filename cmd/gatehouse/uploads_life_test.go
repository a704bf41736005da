package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-auth/gatehouse/store/storetest"
)

// slowPut begins to send a file of 4 MiB and holds the second half back until it is told to go on.
type slowPut struct {
	on   chan struct{}
	done chan string // the status, or what went wrong
}

func (c client) slowPut(name string) slowPut {
	p := slowPut{make(chan struct{}), make(chan string, 1)}
	half := someBytes(2 << 20)
	body := io.MultiReader(bytes.NewReader(half), readerFunc(func([]byte) (int, error) { <-p.on; return 0, io.EOF }), bytes.NewReader(half))
	req, err := http.NewRequestWithContext(c.r.t.Context(), http.MethodPut, c.r.at+"/upload/"+name, body)
	if err != nil {
		c.r.t.Fatal(err)
	}
	req.Host = c.r.host()
	req.Header.Set("Cookie", c.cookie)
	go func() {
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			p.done <- err.Error()
			return
		}
		resp.Body.Close()
		p.done <- resp.Status
	}()
	return p
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// underWay waits until so many files are pending.
func (r *rig) underWay(n int) {
	r.t.Helper()
	r.eventually(fmt.Sprintf("%d under way", n), func() bool {
		_, out := r.run("uploads", "ls", "--json")
		return strings.Count(out, `"state": "pending"`) == n
	})
}

// TestUploadsLife is what happens to an upload under way when something happens to the gateway.
func TestUploadsLife(t *testing.T) {
	r := newRig(t)
	r.uploading()
	r.start()
	c := r.client("alice@corp.test")

	t.Run("RULE-17/a reload leaves it alone", func(t *testing.T) {
		p := c.slowPut("reloaded")
		r.underWay(1)
		r.edit("log: {format: json}", "log: {format: json}\nidentity: [{header: X-User, value: user}]")
		r.eventually("reloaded", func() bool { return strings.Contains(r.log.String(), "configuration reloaded") })
		close(p.on)
		if got := <-p.done; got != "201 Created" {
			t.Errorf("the upload ended with %q", got)
		}
	})
	t.Run("UP-12/d ends with its session, and leaves nothing", func(t *testing.T) {
		other := r.client("alice@corp.test")
		p := other.slowPut("revoked")
		r.underWay(1)
		if code, out := r.run("session", "end-all", "alice@corp.test", "--yes"); code != exitOK {
			t.Fatal(out)
		}
		r.underWay(0)
		close(p.on)
		if got := <-p.done; strings.HasPrefix(got, "2") {
			t.Errorf("the upload ended with %q", got)
		}
		c = r.client("alice@corp.test")
	})
	t.Run("RULE-08/ends with its user's files", func(t *testing.T) {
		if code, out := r.run("user", "add", "bob@corp.test"); code != exitOK {
			t.Fatal(out)
		}
		p := r.client("bob@corp.test").slowPut("removed")
		r.underWay(1)
		if code, out := r.run("user", "rm", "bob@corp.test"); code != exitFailure || !strings.Contains(out, "--uploads") {
			t.Errorf("user rm: exit %d: %s", code, out)
		}
		if code, out := r.run("user", "rm", "bob@corp.test", "--uploads"); code != exitOK || !strings.Contains(out, "1 file deleted") {
			t.Errorf("user rm --uploads: exit %d: %s", code, out)
		}
		close(p.on)
		if got := <-p.done; strings.HasPrefix(got, "2") {
			t.Errorf("the upload ended with %q", got)
		}
	})
	t.Run("SD-01/finishes within drain_timeout", func(t *testing.T) {
		p := c.slowPut("drained")
		r.underWay(1)
		r.cancel()
		r.cancel = nil
		time.AfterFunc(time.Second, func() { close(p.on) })
		if got := <-p.done; got != "201 Created" {
			t.Errorf("the upload ended with %q", got)
		}
		if code := r.exit(); code != exitOK {
			t.Errorf("exit %d:\n%s", code, r.log)
		}
	})
	t.Run("SD-01/is cut after it, and leaves nothing", func(t *testing.T) {
		r.edit("drain_timeout: 5s", "drain_timeout: 500ms")
		r.serve()
		p := c.slowPut("cut")
		r.underWay(1)
		r.cancel()
		r.cancel = nil
		if code := r.exit(); code != exitOK {
			t.Errorf("exit %d:\n%s", code, r.log)
		}
		close(p.on)
		if got := <-p.done; strings.HasPrefix(got, "2") {
			t.Errorf("the upload ended with %q", got)
		}
		r.underWay(0)
	})
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	r.wantSound(t, 0)
}

// TestUploadsOutage: a bucket that is away is named, and costs uploads alone.
func TestUploadsOutage(t *testing.T) {
	s3 := storetest.S3(t)
	r := newRig(t)
	r.uploading()
	r.intoS3(s3)
	r.start()
	c := r.client("alice@corp.test")
	kept := c.put("before", []byte("hello"))
	if kept == "" {
		t.Fatal("no upload before the outage")
	}
	s3.Stop()
	t.Run("UP-11/503 or 502, and nothing is kept", func(t *testing.T) {
		resp, text := c.do(http.MethodPut, "/upload/x", strings.NewReader("hello"))
		if resp.StatusCode != http.StatusServiceUnavailable && resp.StatusCode != http.StatusBadGateway {
			t.Errorf("%s: %s", resp.Status, text)
		}
		if strings.Contains(string(text), storetest.S3SecretKey) || strings.Contains(string(text), "127.0.0.1") {
			t.Errorf("the answer names the server: %s", text)
		}
	})
	t.Run("RULE-27/ready, and the part is named", func(t *testing.T) {
		r.eventually("degraded", func() bool {
			status, body := r.get(r.admin + "/readyz")
			return status == http.StatusOK && strings.Contains(body, `"degraded":["bucket"]`)
		})
		if resp := r.ask(c.cookie, "/"); resp.StatusCode != http.StatusOK {
			t.Errorf("an app meanwhile: %s", resp.Status)
		}
	})
	s3.Start()
	if resp, got := c.do(http.MethodGet, "/upload/"+kept, nil); resp.StatusCode != http.StatusOK || string(got) != "hello" {
		t.Errorf("after the outage: %s %q", resp.Status, got)
	}
	if strings.Contains(r.log.String(), storetest.S3SecretKey) {
		t.Error("RULE-29: the log holds the secret key")
	}
	r.wantSound(t, 0)
}

// UP-11: a bucket that is missing is no bucket that answers, though its server does.
func TestUploadsNoBucket(t *testing.T) {
	r := newRig(t)
	r.uploading()
	r.intoS3(storetest.S3(t))
	r.edit("s3://"+storetest.S3Bucket, "s3://nobody-made-it")
	r.start()
	r.eventually("degraded", func() bool {
		status, body := r.get(r.admin + "/readyz")
		return status == http.StatusOK && strings.Contains(body, `"degraded":["bucket"]`)
	})
	r.eventually("told of", func() bool { return strings.Contains(r.log.String(), "there is no such bucket: make it") })
}

// CF-04: a wrong secret key is found by check, and shown nowhere.
func TestUploadsWrongKey(t *testing.T) {
	r := newRig(t)
	r.uploading()
	r.intoS3(storetest.S3(t))
	r.edit(storetest.S3SecretKey, "hush-hush-wrong")
	if code, out := r.run("check", "--connect"); code != exitFailure || !strings.Contains(out, "✗ upload.bucket") || strings.Contains(out, "hush") {
		t.Errorf("check: exit %d: %s", code, out)
	}
}

// RULE-17: the first route for uploads needs parts that only a start makes; the reload changes nothing.
func TestUploadsLateRoute(t *testing.T) {
	r := newRig(t)
	r.start()
	r.uploading()
	looks := 0
	r.eventually("refused", func() bool {
		if looks++; looks%200 == 0 { // the first change may have been made before anybody watched
			r.edit("upload: {", "# again\nupload: {")
		}
		return strings.Contains(r.log.String(), errLateUploads.Error())
	})
	if status, _ := r.get(r.public + "/upload"); status != http.StatusUnauthorized {
		t.Errorf("the app's /upload: %d", status)
	}
}
