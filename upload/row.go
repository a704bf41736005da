package upload

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gatehouse-auth/gatehouse/auth"
)

const (
	// beatEvery is how often a row hears that its upload is alive. The janitor takes it for dead after
	// fifteen minutes.
	beatEvery = time.Minute
	// rowLimit bounds one step in the table.
	rowLimit = 10 * time.Second
	// rowTries is how often a step is tried for a file whose bytes are here.
	rowTries = 4
	// tidyLimit bounds what is done after a failure.
	tidyLimit = 10 * time.Second
)

var (
	errRows      = errors.New("the table of files could not be asked")
	errUnsettled = errors.New("the row could not be settled")
	errGivenUp   = errors.New("the row of the upload was given up meanwhile")
)

// begin writes the row and returns what it reserves: f.Size, which may be a guess, or at least least.
// Nobody is refused for a guess.
func (t *transfer) begin(f File, least int64) (reserved int64, err error) {
	ctx, cancel := context.WithTimeout(t.in.ctx, rowLimit)
	defer cancel()
	err = t.u.parts.Files.Begin(ctx, f, t.u.limits.Quota)
	if errors.Is(err, ErrQuota) && f.Size > least {
		f.Size = least
		err = t.u.parts.Files.Begin(ctx, f, t.u.limits.Quota)
	}
	switch {
	case err == nil, errors.Is(err, ErrQuota):
		return f.Size, err
	case errors.Is(err, auth.ErrNoUser):
		return 0, fmt.Errorf("%w: %w", auth.ErrRevoked, err)
	}
	// Perhaps it was written all the same. The janitor would find it, but until then it would count as
	// an upload under way.
	_ = t.drop(f)
	return 0, t.why(fmt.Errorf("%w: %w", errRows, err))
}

// insist tries a step until the table gives a clear word, a few times: an answer that was lost, or a
// short outage, must not cost a file whose bytes are here.
func insist(ctx context.Context, step func() error) error {
	for try := 1; ; try++ {
		err := step()
		if err == nil || errors.Is(err, ErrNoFile) || errors.Is(err, ErrQuota) || try == rowTries {
			return err
		}
		select {
		case <-time.After(time.Duration(try) * 200 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// reserve makes the reservation of a file under way larger, to more or at least to size.
func (t *transfer) reserve(f File, size, more int64) (reserved int64, err error) {
	beat := func() error { return t.heartbeat(t.in.ctx, f, more) }
	err = insist(t.in.ctx, beat)
	if errors.Is(err, ErrQuota) && more > size {
		more = size
		err = insist(t.in.ctx, beat)
	}
	return more, err
}

// heartbeat says that a file is alive and has size bytes reserved.
func (t *transfer) heartbeat(ctx context.Context, f File, size int64) error {
	ctx, cancel := context.WithTimeout(ctx, rowLimit)
	defer cancel()
	err := t.u.parts.Files.Beat(ctx, f.ID, size, t.u.limits.Quota)
	switch {
	case err == nil, errors.Is(err, ErrQuota):
		return err
	case errors.Is(err, ErrNoFile):
		return fmt.Errorf("%w: %w", errGivenUp, err)
	}
	return fmt.Errorf("%w: %w", errRows, err)
}

// beat says once a minute that a file is alive, until the function that it returns is called.
func (t *transfer) beat(f File) (stop func()) {
	ctx, cancel := context.WithCancel(t.in.ctx)
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(beatEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			// Only a clear word ends an upload: what could not be found out is asked again.
			if err := t.heartbeat(ctx, f, 0); errors.Is(err, errGivenUp) {
				t.in.cut(err)
			}
		}
	})
	return func() { cancel(); done.Wait() }
}

// settle says that a file is kept: it is in the bucket, and only we know.
func (t *transfer) settle(f File) error {
	ctx, cancel := t.detached(rowTries * rowLimit)
	defer cancel()
	err := insist(ctx, func() error { return t.settleOnce(ctx, f) })
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNoFile):
		return fmt.Errorf("%w: %w", errGivenUp, err)
	}
	return fmt.Errorf("%w: %w", errUnsettled, err)
}

func (t *transfer) settleOnce(ctx context.Context, f File) error {
	ctx, cancel := context.WithTimeout(ctx, rowLimit)
	defer cancel()
	return t.u.parts.Files.Settle(ctx, f)
}

// erase dooms a file that the bucket has, and then removes it. In this order: a row that is kept must
// have its object.
func (t *transfer) erase(f File) {
	if t.drop(f) != nil {
		return
	}
	ctx, cancel := t.detached(tidyLimit)
	defer cancel()
	_ = t.u.parts.Bucket.Delete(ctx, f.Key) // the janitor has the row
}

// drop dooms a file that did not come to be, or that its request takes back. The janitor has the rest.
//
// After an error the row stays as it is: a pending one is found by its age, a kept one has its object.
func (t *transfer) drop(f File) error {
	ctx, cancel := t.detached(tidyLimit)
	defer cancel()
	err := t.u.parts.Files.Doom(ctx, f.ID)
	if errors.Is(err, ErrNoFile) {
		return nil
	}
	return err
}

// detached is a context for what must be done even if the client has gone.
func (t *transfer) detached(limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(t.in.ctx), limit)
}
