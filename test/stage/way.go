package stage

import (
	"fmt"
	"strings"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// Way is how one gateway reaches one store: a connection that passes through here.
type Way struct {
	t     testing.TB
	proxy *toxiproxy.Proxy
}

// Both directions of a way, as seen from the gateway.
const (
	there = "upstream"
	back  = "downstream"
)

func newWay(t testing.TB, name, to string) *Way {
	t.Helper()
	zerolog.SetGlobalLevel(zerolog.Disabled) // some toxics log by no logger that they were given
	p := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), name, "127.0.0.1:0", to)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return &Way{t, p}
}

// Listen is where the way begins: 127.0.0.1:port.
func (w *Way) Listen() string { return w.proxy.Listen }

// Cut ends all connections and refuses new ones.
func (w *Way) Cut() { w.proxy.Stop() }

// Silence lets connections stand and nothing come through, as a dropped route does.
func (w *Way) Silence() {
	w.add("timeout", there, `"timeout": 0`)
	w.Deafen()
}

// Deafen lets everything through to the store and no answer back: what is asked is done, and nobody
// hears of it.
func (w *Way) Deafen() { w.add("timeout", back, `"timeout": 0`) }

// Slow delays every answer.
func (w *Way) Slow(by time.Duration) {
	w.add("latency", back, fmt.Sprintf(`"latency": %d`, by.Milliseconds()))
}

// Narrow lets so many KiB a second through in each direction.
func (w *Way) Narrow(rate int) {
	for _, stream := range []string{there, back} {
		w.add("bandwidth", stream, fmt.Sprintf(`"rate": %d`, rate))
	}
}

// Lead has the way end at another server. Whoever is on it has to come again.
func (w *Way) Lead(to string) {
	w.proxy.Stop()
	w.proxy.Lock()
	w.proxy.Upstream = to
	w.proxy.Unlock()
	if err := w.proxy.Start(); err != nil {
		w.t.Error(err)
	}
}

// Mend makes a way as it was, whatever was done to it, or nothing.
func (w *Way) Mend() {
	w.proxy.Toxics.ResetToxics(w.t.Context())
	if err := w.proxy.Start(); err != nil && err != toxiproxy.ErrProxyAlreadyStarted { //nolint:errorlint // the very value
		w.t.Error(err)
	}
}

func (w *Way) add(kind, stream, attributes string) {
	toxic := fmt.Sprintf(`{"name": "%[1]s-%[2]s", "type": %[1]q, "stream": %[2]q, "attributes": {%[3]s}}`, kind, stream, attributes)
	if _, err := w.proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
		w.t.Error(err)
	}
}
