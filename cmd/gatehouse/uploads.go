package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gatehouse-auth/gatehouse/proxy"
	"github.com/gatehouse-auth/gatehouse/store"
	"github.com/gatehouse-auth/gatehouse/upload"
	"github.com/gatehouse-auth/gatehouse/web"
)

// uploads is what routes with upload: true lead to. It outlives a reload, and with it the uploads that
// are under way and the memory that all share.
type uploads struct {
	bucket   bucket
	lookout  *lookout
	uploader *upload.Uploader
	janitor  *upload.Janitor
}

// errLateUploads says that a reload brought the first route for uploads.
var errLateUploads = errors.New("the first route with upload: true counts only after a restart")

// openUploads makes the parts of it, if any route takes files. The bucket is not asked: it may be down.
func (g *gateway) openUploads(ctx context.Context, cfg Config) error {
	if !cfg.uploads() {
		return nil
	}
	install, err := g.stores.sql.InstallID(ctx)
	if err != nil {
		return scrub(err, cfg)
	}
	b, err := openBucket(ctx, cfg, observeStore(g.metrics))
	if err != nil {
		return scrub(err, cfg)
	}
	memory := upload.NewMemory(int64(cfg.Upload.Memory))
	meter := g.metrics.Uploads(upload.Results, memory.InUse)
	parts := upload.Parts{
		Bucket: b, Files: g.stores.sql, Shelf: g.stores.sql, Memory: memory, Limits: cfg.limits(), Install: install,
		Who:   upload.Asking{Session: proxy.SessionOf, Used: proxy.Used, Find: g.stores.sessions.Find},
		Meter: upload.Meter{Received: meter.Received, Done: meter.Done, Left: g.left},
	}
	if s3, ok := b.(*store.S3); ok && cfg.Upload.Presign {
		parts.Presign = s3.Presign
	}
	g.uploads = &uploads{bucket: b, lookout: &lookout{bucket: b}, uploader: upload.New(parts)}
	g.uploads.janitor = upload.NewJanitor(upload.JanitorParts{
		Attic: b, Rows: g.stores.sql, Prefix: install + "/", Told: g.swept(g.metrics.Janitor()),
	})
	g.health.probes = append(g.health.probes, probe{
		"bucket", "no file can be sent, fetched or deleted; all else goes on", g.uploads.lookout.ask,
	})
	return nil
}

// uploadRoute is the Next of a route that takes files.
func (g *gateway) uploadRoute(r RouteConfig) (http.Handler, error) {
	if g.uploads == nil {
		return nil, errLateUploads
	}
	return g.uploads.uploader.Route(r.Path, r.Origins)
}

// left tells the log of what a failed upload left, for whoever does not want to wait for the janitor.
func (g *gateway) left(err error) {
	g.log.Warn("an upload ended and could not be removed from the bucket; the janitor will try again", "error", err)
}

// swept counts what the janitor did, and tells the log what somebody should look at.
func (g *gateway) swept(m *web.JanitorMetrics) func(upload.Swept, error) {
	orphans := 0
	return func(s upload.Swept, err error) {
		m.Removed("row", s.Removed)
		m.Removed("unfinished", s.Aborted)
		m.Faults(err)
		if err != nil {
			g.log.Warn("the janitor could not do all of its work, and will try again", "error", err)
		}
		if !s.Whole {
			return
		}
		m.Orphans(s.Orphans)
		if s.Orphans > orphans {
			g.log.Warn("the bucket holds files that no row names; see gatehouse uploads gc", "files", s.Orphans)
		}
		orphans = s.Orphans
	}
}

// clearLimit bounds the wait for what an upload that was cut leaves to remove.
const clearLimit = 10 * time.Second

// close waits until what was cut is removed from the bucket, and lets go of it. The requests are over,
// or their contexts are.
func (u *uploads) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), clearLimit)
	defer cancel()
	err := u.uploader.Close(ctx)
	u.lookout.busy.Wait()
	if err := errors.Join(err, u.bucket.Close()); err != nil {
		return fmt.Errorf("close uploads: %w", err)
	}
	return nil
}
