package chaos

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"net/http"
)

// sizes of the files that are sent: nothing, one that goes whole, and some of more parts than one.
var sizes = []int{0, 1000, 300 << 10, 5<<20 + 1, 11 << 20}

// upload sends one file.
func (c *client) upload(ctx context.Context, rng *rand.Rand, gate int, v visa) {
	content := make([]byte, sizes[rng.IntN(len(sizes))])
	var start [32]byte
	binary.BigEndian.PutUint64(start[:], rng.Uint64())
	_, _ = rand.NewChaCha8(start).Read(content) // never fails
	sum := sha256.Sum256(content)
	o := c.begin(Upload, gate, v.number)
	ctx, cancel := patient(ctx)
	defer cancel()
	resp, err := c.ask(ctx, gate, v, http.MethodPut, "/upload/file", bytes.NewReader(content))
	if err != nil {
		c.note(o, err)
		return
	}
	defer resp.Body.Close()
	c.read(&o, resp)
	var told struct{ ID string }
	if o.Status == http.StatusCreated {
		if err := json.NewDecoder(resp.Body).Decode(&told); err != nil {
			o.Status = 0 // the answer did not come whole, so nobody was told
			c.note(o, err)
			return
		}
		// What was sent, not what was answered: that is what must be there.
		o.File = File{ID: told.ID, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(content))}
	}
	c.note(o, nil)
}
