package chaos

import (
	"slices"
	"sync"
	"time"
)

// Kind is what a client does.
type Kind string

// The kinds.
const (
	Login  Kind = "sign in"
	Get    Kind = "get"    // through the gateway, to the app
	Ask    Kind = "check"  // as a front proxy asks
	Hold   Kind = "stream" // an event stream, from its opening to its end
	Upload Kind = "upload"
	Logout Kind = "sign out"
	Delete Kind = "delete" // the row, in psql
	Last   Kind = "last"   // a get when everything is over and well
)

// Op is one thing that a client did, and what came of it. Times count from the beginning of the history.
type Op struct {
	Kind       Kind
	Gate       int // -1: none
	Session    int // its number; 0: none, as of a sign-in that failed
	Begin, End time.Duration
	Heard      time.Duration // the last event of a stream
	Status     int           // of the answer; 0: none came, or not whole
	Trait      Trait         // what else was seen in it
	File       File          // of an upload that was answered with 201
	Err        string        // why no answer came, for whoever reads the report
}

// Trait is what a status does not tell.
type Trait uint8

// The traits.
const (
	Cleared   Trait = 1 << iota // the session's cookie was taken away
	SentAway                    // to sign in
	SomeoneIs                   // let in as somebody else
	GivenUp                     // the client itself ended it: a stream that was held long enough
)

// yes reports whether the client was let in.
func (o Op) yes() bool { return o.Status >= 200 && o.Status < 300 }

// File is a file as its sender knows it, or as it was found.
type File struct {
	ID, SHA256 string
	Size       int64
}

// Part is one of the parts that fail.
type Part string

// The parts.
const (
	Postgres Part = "Postgres"
	Redis    Part = "Redis"
	S3       Part = "S3"
	Gateway  Part = "gateway"
)

// everyGate stands for all gateways where one is named.
const everyGate = -1

// Hurt is a part that fails, as a gateway sees it.
type Hurt struct {
	Part Part
	Gate int // everyGate: all of them
}

// Fault is something that was made to fail. A fault that hurts nobody is one that none may notice.
type Fault struct {
	Name   string
	Hurts  []Hurt
	Empty  bool          // Redis may have lost what it held
	Begin  time.Duration // before anything was done
	Healed time.Duration // when everything was done to mend it
	Well   time.Duration // when every gateway said that all is well; 0: never
}

// Gauge is what a gateway holds at a moment.
type Gauge struct {
	Goroutines, Descriptors int
	Memory                  int64 // resident, bytes
	Heap                    int64 // of that what Go's heap has in use
}

// Life is what a process of a gateway held in the beginning and in the end.
type Life struct {
	Gate        int
	First, Last Gauge
}

// Remains is what was found when it was over and the janitors had done their work.
type Remains struct {
	Rows       map[string]File // of files, by key
	Objects    map[string]File // in the bucket, by key; without an id
	Unfinished []string        // uploads that were begun there
	Unsettled  []string        // rows that are neither kept nor gone
	Broken     []string        // gateways that ended by themselves, or reported a race or a panic
}

// History is all that happened. It may be added to from many goroutines; once nobody does any more it
// can be read.
type History struct {
	Ops     []Op
	Faults  []Fault
	Shadows bool   // the race detector's memory is resident as well, and grows for reasons of its own
	Starved []Span // when the machine did not let the gateways run
	Lives   []Life
	Remains Remains

	mu       sync.Mutex
	sessions int
	begun    time.Time
}

// NewHistory begins one now.
func NewHistory() *History { return &History{begun: time.Now()} }

// Now is the time in the history.
func (h *History) Now() time.Duration { return time.Since(h.begun) }

// Add notes what a client did.
func (h *History) Add(o Op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Ops = append(h.Ops, o)
}

// Session gives the next session its number.
func (h *History) Session() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sessions++
	return h.sessions
}

// hurt reports whether a part failed, or may have been failing still, for a gateway at any time in a span.
func (h *History) hurt(p Part, gate int, from, to time.Duration) bool {
	return slices.ContainsFunc(h.Faults, func(f Fault) bool { return f.hurts(p, gate) && f.Begin <= to && from < f.over() })
}

func (f Fault) hurts(p Part, gate int) bool {
	return slices.ContainsFunc(f.Hurts, func(x Hurt) bool { return x.Part == p && (x.Gate == everyGate || x.Gate == gate) })
}

// over is from when on a fault excuses nothing: when a gateway has had its time to recover. One that takes
// longer breaks the rule about that, and not all others with it.
func (f Fault) over() time.Duration { return max(f.Healed+recovery, f.Well) }

// whole is the first moment, not before from, at which none of these parts fails for a gateway, nor within a
// time of it.
func (h *History) whole(gate int, from, within time.Duration, parts ...Part) time.Duration {
	for moved := true; moved; {
		moved = false
		for _, f := range h.Faults {
			ill := slices.ContainsFunc(parts, func(p Part) bool { return f.hurts(p, gate) })
			if ill && f.Begin <= from+within && from < f.over() {
				from, moved = f.over(), true
			}
		}
	}
	return from
}

// emptied reports whether Redis may have lost something, or not taken it, in a span.
func (h *History) emptied(from, to time.Duration) bool {
	return slices.ContainsFunc(h.Faults, func(f Fault) bool { return f.Empty && f.Begin <= to && from < f.over() })
}
