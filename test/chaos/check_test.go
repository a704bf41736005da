package chaos

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

const s = time.Second

// tale is a history of one session that is signed in at the first second, and what is added to it.
func tale(ops ...Op) *History {
	return &History{Ops: append([]Op{{Kind: Login, Session: 1, Begin: 0, End: s, Status: 200}}, ops...)}
}

func at(kind Kind, gate int, begin time.Duration, status int) Op {
	return Op{Kind: kind, Gate: gate, Session: 1, Begin: begin, End: begin + s/10, Status: status}
}

func with(o Op, change func(*Op)) Op {
	change(&o)
	return o
}

// failing is a fault from one second to another, after which all is well at once.
func failing(from, to time.Duration, hurts ...Hurt) Fault {
	return Fault{Name: fmt.Sprint(hurts), Hurts: hurts, Begin: from, Healed: to, Well: to + s/10}
}

func (h *History) while(faults ...Fault) *History {
	h.Faults = append(h.Faults, faults...)
	return h
}

func (h *History) starving(from, to time.Duration) *History {
	h.Starved = append(h.Starved, Span{from, to})
	return h
}

var (
	postgresAway = failing(10*s, 20*s, Hurt{Postgres, everyGate})
	redisAway    = failing(10*s, 20*s, Hurt{Redis, everyGate})
	gateAway     = failing(10*s, 20*s, Hurt{Gateway, 1})
	cutOff       = failing(10*s, 20*s, Hurt{Postgres, 1})
)

// TestCheck puts histories made by hand before the judge: each breaks one rule, or comes close to it.
func TestCheck(t *testing.T) {
	for name, one := range map[string]struct {
		h    *History
		want []Rule
	}{
		"all is well": {tale(at(Get, 0, 2*s, 200), at(Logout, 0, 3*s, 303), at(Get, 1, 4*s, 200), at(Get, 1, 8*s, 401)), nil},

		"RULE-01/let in within the bound":        {tale(at(Logout, 0, 3*s, 303), at(Get, 1, 6*s, 200)), nil},
		"RULE-01/let in after the bound":         {tale(at(Logout, 0, 3*s, 303), at(Get, 1, 7*s, 200)), []Rule{RuleEnded}},
		"RULE-01/a check lets in":                {tale(at(Logout, 0, 3*s, 303), at(Ask, 1, 7*s, 200)), []Rule{RuleEnded}},
		"RULE-01/deleted in psql":                {tale(at(Delete, -1, 3*s, 200), at(Get, 1, 7*s, 200)), []Rule{RuleEnded}},
		"RULE-01/the end was not answered":       {tale(at(Logout, 0, 11*s, 503), at(Get, 1, 17*s, 200)).while(postgresAway), nil},
		"RULE-16/a stream goes on":               {tale(at(Logout, 0, 3*s, 303), with(at(Hold, 1, 2*s, 200), func(o *Op) { o.Heard, o.End = 9*s, 9*s })), []Rule{RuleEnded}},
		"RULE-16/a stream is cut at the end":     {tale(at(Logout, 0, 3*s, 303), with(at(Hold, 1, 2*s, 200), func(o *Op) { o.Heard, o.End = 4*s, 9*s })), nil},
		"RULE-16/before its gateway could hear":  {tale(at(Logout, 0, 9*s, 303), with(at(Hold, 1, 2*s, 200), func(o *Op) { o.Heard, o.End = 15*s, 15*s })).while(postgresAway), nil},
		"RULE-16/and after it could":             {tale(at(Logout, 0, 9*s, 303), with(at(Hold, 1, 2*s, 200), func(o *Op) { o.Heard, o.End = 29*s, 29*s })).while(postgresAway), []Rule{RuleEnded}},
		"RULE-16/when it should have heard":      {tale(at(Logout, 0, 6*s, 303), with(at(Hold, 1, 2*s, 200), func(o *Op) { o.Heard, o.End = 12*s, 12*s })).while(postgresAway), []Rule{RuleEnded}},
		"RULE-05/deleted, and nobody heard":      {tale(at(Delete, -1, 9*s, 200), at(Get, 1, 16*s, 200)).while(postgresAway), nil},
		"RULE-05/deleted, and they should have":  {tale(at(Delete, -1, 6*s, 200), at(Get, 1, 16*s, 200)).while(postgresAway), []Rule{RuleEnded}},
		"RULE-05/signed out, and Redis was told": {tale(at(Logout, 0, 9*s, 303), at(Get, 1, 16*s, 200)).while(postgresAway), []Rule{RuleEnded}},
		"RULE-04/cut off, Redis was told":        {tale(at(Logout, 0, 12*s, 303), at(Get, 1, 16*s, 200)).while(cutOff), []Rule{RuleEnded}},
		"RULE-04/frozen meanwhile":               {tale(at(Logout, 0, 12*s, 303), at(Get, 1, 16*s, 200)).while(gateAway), []Rule{RuleEnded}},
		"RULE-05/nobody can be told":             {tale(at(Delete, -1, 12*s, 200), at(Get, 1, 16*s, 200)).while(postgresAway), nil},
		"RULE-05/nobody could, and now they do":  {tale(at(Delete, -1, 12*s, 200), at(Get, 1, 29*s, 200)).while(postgresAway), []Rule{RuleEnded}},
		"busy is no excuse to let in":            {tale(at(Logout, 0, 3*s, 303), at(Get, 1, 7*s, 200)).starving(0, 20*s), []Rule{RuleEnded}},

		"ST-01/401":                          {tale(at(Get, 0, 12*s, 401)).while(postgresAway), []Rule{RuleLive}},
		"ST-01/a redirect":                   {tale(with(at(Get, 0, 12*s, 303), func(o *Op) { o.Trait = SentAway })).while(postgresAway, redisAway), []Rule{RuleLive}},
		"ST-01/a cookie cleared":             {tale(with(at(Get, 0, 12*s, 503), func(o *Op) { o.Trait = Cleared })).while(postgresAway, redisAway), []Rule{RuleLive}},
		"busy is no excuse for 401":          {tale(at(Get, 0, 12*s, 401)).starving(0, 20*s), []Rule{RuleLive}},
		"ST-01/503 while all is well":        {tale(at(Get, 0, 5*s, 503)), []Rule{RuleAnswer}},
		"503 from a starved machine":         {tale(at(Get, 0, 5*s, 503)).starving(4*s, 6*s), nil},
		"ST-01/503 while Redis is away":      {tale(at(Get, 0, 12*s, 503)).while(redisAway), []Rule{RuleAnswer}},
		"ST-01/503 while both are away":      {tale(at(Get, 0, 2*s, 200), at(Get, 0, 12*s, 503)).while(postgresAway, redisAway), nil},
		"ST-01/503 though Redis knows":       {tale(at(Get, 0, 2*s, 200), at(Get, 1, 12*s, 503)).while(postgresAway), []Rule{RuleAnswer}},
		"ST-03/503 and Redis was flushed":    {tale(at(Get, 0, 2*s, 200), at(Get, 1, 12*s, 503)).while(postgresAway, Fault{Empty: true, Begin: 5 * s, Healed: 6 * s, Well: 6 * s}), nil},
		"503 and Redis does not know":        {tale(at(Get, 1, 12*s, 503)).while(postgresAway), nil},
		"503 at a gateway that is not hurt":  {tale(at(Get, 0, 12*s, 503)).while(cutOff), []Rule{RuleAnswer}},
		"no answer from a gateway that runs": {tale(at(Get, 0, 12*s, 0)).while(postgresAway, redisAway), []Rule{RuleAnswer}},
		"no answer from one that does not":   {tale(at(Get, 1, 12*s, 0)).while(gateAway), nil},
		"401 from one that does not":         {tale(at(Get, 1, 12*s, 401)).while(gateAway), []Rule{RuleLive}},
		"a stream breaks":                    {tale(at(Hold, 0, 2*s, 200)), []Rule{RuleAnswer}},
		"a stream was held long enough":      {tale(with(at(Hold, 0, 2*s, 200), func(o *Op) { o.Trait = GivenUp })), nil},
		"signing in while Redis is away":     {(&History{Ops: []Op{{Kind: Login, Begin: 12 * s, End: 13 * s, Status: 503}}}).while(redisAway), []Rule{RuleAnswer}},
		"signing in while Postgres is away":  {(&History{Ops: []Op{{Kind: Login, Begin: 12 * s, End: 13 * s, Status: 503}}}).while(postgresAway), nil},
		"signing in fails with a 400":        {(&History{Ops: []Op{{Kind: Login, Begin: 12 * s, End: 13 * s, Status: 400}}}).while(postgresAway), []Rule{RuleAnswer}},
		"ST-07/503 long after the mending":   {tale(at(Get, 0, 26*s, 503)).while(postgresAway), []Rule{RuleAnswer}},
		"somebody else":                      {tale(with(at(Get, 0, 2*s, 200), func(o *Op) { o.Trait = SomeoneIs })), []Rule{RuleIdentity}},

		"RULE-06/a sign-in is lost":    {tale(at(Last, 0, 60*s, 401)), []Rule{RuleLive, RuleKept}},
		"UP-01/a file is lost":         {files201(File{}, File{}), []Rule{RuleFile}},
		"UP-02/another file is there":  {files201(sent, File{SHA256: "ab", Size: 6}), []Rule{RuleFile}},
		"UP-02/the row says otherwise": {files201(File{ID: "7", SHA256: "ab", Size: 6}, File{SHA256: "ab", Size: 6}), []Rule{RuleFile}},
		"UP-01/the file is there":      {files201(sent, File{SHA256: "ab", Size: 5}), nil},
		"RULE-22/an orphan":            {&History{Remains: Remains{Objects: map[string]File{"k": sent}}}, []Rule{RuleFile}},
		"RULE-22/an unfinished one":    {&History{Remains: Remains{Unfinished: []string{"k"}}}, []Rule{RuleFile}},
		"RULE-22/a row that is left":   {&History{Remains: Remains{Unsettled: []string{"7"}}}, []Rule{RuleFile}},

		"never well again":         {(&History{}).while(Fault{Begin: s, Healed: 2 * s}), []Rule{RuleRecovery}},
		"well again too late":      {(&History{}).while(Fault{Begin: s, Healed: 2 * s, Well: 8 * s}), []Rule{RuleRecovery}},
		"late on a busy machine":   {(&History{}).while(Fault{Begin: s, Healed: 2 * s, Well: 8 * s}).starving(3*s, 5*s), nil},
		"goroutines are left":      {&History{Lives: []Life{{0, Gauge{Goroutines: 30}, Gauge{Goroutines: 400}}}}, []Rule{RuleGrowth}},
		"descriptors are left":     {&History{Lives: []Life{{0, Gauge{Descriptors: 30}, Gauge{Descriptors: 400}}}}, []Rule{RuleGrowth}},
		"the heap grows":           {&History{Shadows: true, Lives: []Life{{0, Gauge{Heap: 20 << 20}, Gauge{Heap: 200 << 20}}}}, []Rule{RuleGrowth}},
		"shadows grow":             {&History{Shadows: true, Lives: []Life{{0, Gauge{Memory: 50 << 20}, Gauge{Memory: 300 << 20}}}}, nil},
		"memory grows":             {&History{Lives: []Life{{0, Gauge{Memory: 50 << 20}, Gauge{Memory: 300 << 20}}}}, []Rule{RuleGrowth}},
		"pools are full":           {&History{Lives: []Life{{0, Gauge{Goroutines: 30, Descriptors: 20}, Gauge{Goroutines: 90, Descriptors: 70}}}}, nil},
		"a gateway ended":          {&History{Remains: Remains{Broken: []string{"gateway 1"}}}, []Rule{RuleAlive}},
		"nothing happened, it did": {&History{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []Rule
			for _, v := range Check(one.h) {
				got = append(got, v.Rule)
			}
			slices.Sort(got)
			slices.Sort(one.want)
			if got = slices.Compact(got); !slices.Equal(got, one.want) {
				t.Errorf("found %q, want %q", got, one.want)
			}
		})
	}
}

var sent = File{ID: "7", SHA256: "ab", Size: 5}

// files201 is a history in which one file was answered with 201, with what was found in its row and in
// the bucket.
func files201(row, object File) *History {
	h := tale(with(at(Upload, 0, 2*s, 201), func(o *Op) { o.File = sent }))
	if row != (File{}) {
		h.Remains = Remains{Rows: map[string]File{"k": row}, Objects: map[string]File{"k": object}}
	}
	return h
}
