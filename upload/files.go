package upload

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/gatehouse-auth/gatehouse/auth"
	"github.com/gatehouse-auth/gatehouse/web"
)

const (
	listLength = 50  // files in a list, where the client does not say
	listMost   = 500 // files in a list
)

// get answers what is read: the list, the limits, a file, and what the page loads, which is nobody's.
func (at *route) get(w http.ResponseWriter, r *http.Request, name string) error {
	if a, ok := pageAssets[name]; ok {
		a.serve(w, r)
		return nil
	}
	s, err := at.who(r)
	if err != nil {
		return err
	}
	switch {
	case name == "":
		return at.list(w, r, s)
	case name == "config":
		return at.config(w, r, s)
	case IsID(name):
		return at.fetch(w, r, s, name)
	}
	return notFound()
}

// list answers with the files of whoever asks, newest first; with ?all=1 with those of all, for those
// who may see them. A browser gets a page.
func (at *route) list(w http.ResponseWriter, r *http.Request, s auth.Session) error {
	q := r.URL.Query()
	limit, err := strconv.Atoi(or(q.Get("limit"), strconv.Itoa(listLength)))
	before := q.Get("before")
	if err != nil || limit < 1 || limit > listMost || before != "" && !IsID(before) {
		return web.Fail(http.StatusBadRequest, fmt.Sprintf("A limit is a number from 1 to %d, and before is the id of a file.", listMost), nil)
	}
	owner := s.User.ID
	if q.Get("all") != "" {
		if !at.u.seesAll(s) {
			return web.Fail(http.StatusForbidden, "You may see your own files only.", nil)
		}
		owner = 0
	}
	files, err := at.u.parts.Shelf.List(r.Context(), owner, before, limit)
	if err != nil {
		return public(fmt.Errorf("%w: %w", errRows, err))
	}
	list := at.listOf(files, limit, owner)
	if web.WantsHTML(r) {
		filesPage{Base: at.base, Files: files, Next: list.Next, First: before == "", All: owner == 0, Limits: at.u.limits}.draw(w, r)
		return nil
	}
	return web.JSON(w, r, list)
}

// listJSON is a list of files. Next is what before has to be for the ones that follow; empty: none do.
type listJSON struct {
	Files []fileJSON `json:"files"`
	Next  string     `json:"next,omitempty"`
}

// listOf makes a list of what belongs to an owner. That of everybody (zero) says whose each file is.
func (at *route) listOf(files []File, limit int, owner int64) listJSON {
	list := listJSON{Files: make([]fileJSON, len(files))}
	for i, f := range files {
		list.Files[i] = at.json(f)
		if owner == 0 {
			list.Files[i].Owner = f.Owner
		}
	}
	if len(files) == limit {
		list.Next = files[len(files)-1].ID
	}
	return list
}

// configJSON is what a client may want to know before it sends anything. Sizes are in bytes; zero, or
// an empty list, means no bound.
type configJSON struct {
	MaxFileSize    int64    `json:"max_file_size"`
	MaxRequestSize int64    `json:"max_request_size"`
	MaxFiles       int      `json:"max_files"`
	Allow          []string `json:"allow"`
	Deny           []string `json:"deny"`
	Digest         Digest   `json:"digest"`
	Quota          useJSON  `json:"quota"`
	Used           useJSON  `json:"used"`
}

type useJSON struct {
	Bytes   int64 `json:"bytes"`
	Files   int64 `json:"files"`
	Uploads int64 `json:"uploads"` // at once
}

// config tells the limits, and what of the quota is used.
func (at *route) config(w http.ResponseWriter, r *http.Request, s auth.Session) error {
	has, err := at.u.parts.Shelf.Usage(r.Context(), s.User.ID)
	if err != nil {
		return public(fmt.Errorf("%w: %w", errRows, err))
	}
	l := at.u.limits
	_, largest := l.part(l.bound(-1), at.u.parts.Memory.largest()) // there is one, even where none was set
	return web.JSON(w, r, configJSON{
		MaxFileSize: largest, MaxRequestSize: l.MaxRequestSize, MaxFiles: l.MaxFiles, Digest: l.Digest,
		Allow: append([]string{}, l.Allow...), Deny: append([]string{}, l.Deny...), // never null
		Quota: useJSON{l.Quota.Bytes, l.Quota.Files, l.Quota.Live},
		Used:  useJSON{has.Bytes, has.Files, has.Live},
	})
}

// find returns a file, if whoever asks may have it. Somebody else's file is answered like one that
// never was, so that nobody learns which ids there are.
func (at *route) find(ctx context.Context, id string, may func(File) bool) (File, error) {
	f, err := at.u.parts.Shelf.File(ctx, id)
	switch {
	case errors.Is(err, ErrNoFile), err == nil && !may(f):
		return File{}, notFound()
	case err != nil:
		return File{}, public(fmt.Errorf("%w: %w", errRows, err))
	}
	return f, nil
}

// remove deletes a file of whoever asks. The row goes first: from then on the file is in no list and
// no quota, and if the bucket cannot be asked the janitor does the rest. Nobody deletes what is
// another's here, whatever he may see: for that there is the command line, where it is meant.
func (at *route) remove(w http.ResponseWriter, r *http.Request, id string) error {
	s, err := at.who(r)
	if err != nil {
		return err
	}
	if err := at.sameSite(r); err != nil {
		return err
	}
	f, err := at.find(r.Context(), id, func(f File) bool { return f.Owner == s.User.ID })
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), rowLimit)
	defer cancel()
	if err := at.u.parts.Files.Doom(ctx, f.ID); err != nil && !errors.Is(err, ErrNoFile) {
		return public(fmt.Errorf("%w: %w", errRows, err))
	}
	_ = at.u.parts.Bucket.Delete(ctx, f.Key)
	web.RecordOf(r.Context()).Outcome.Event = "upload_deleted"
	if r.Method == http.MethodPost && web.WantsHTML(r) {
		web.Redirect(w, r, http.StatusSeeOther, at.base+"/")
		return nil
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// seesAll reports whether somebody may list and read the files of all.
func (u *Uploader) seesAll(s auth.Session) bool {
	return slices.ContainsFunc(s.User.Roles, func(role string) bool { return slices.Contains(u.limits.SeeAll, role) })
}
