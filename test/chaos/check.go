package chaos

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Rule names what must hold.
type Rule string

// The rules, in the order of docs/reliability.md.
const (
	RuleEnded    Rule = "an ended session is let in"
	RuleLive     Rule = "a live session is turned away"
	RuleAnswer   Rule = "an answer that the table does not have"
	RuleKept     Rule = "a sign-in is lost"
	RuleFile     Rule = "a file is lost or left over"
	RuleRecovery Rule = "no recovery"
	RuleGrowth   Rule = "a gateway grows"
	RuleAlive    Rule = "a gateway breaks"
	RuleIdentity Rule = "let in as somebody else"
)

// Violation is a rule that was broken, and how.
type Violation struct {
	Rule Rule
	What string
}

func (v Violation) String() string { return string(v.Rule) + ": " + v.What }

// Check returns every violation in a history.
func Check(h *History) (all []Violation) {
	add := func(found []Violation) { all = append(all, found...) }
	for _, s := range sessionsOf(h) {
		for _, o := range s.ops {
			add(s.judge(o))
		}
		add(s.kept())
	}
	for _, o := range h.Ops {
		if o.Session == 0 {
			add((&session{h: h, stored: never}).answer(o))
		}
	}
	add(files(h))
	add(recoveries(h))
	add(lives(h))
	for _, what := range h.Remains.Broken {
		add([]Violation{{RuleAlive, what}})
	}
	return all
}

// session is what is known of one, for sure and from outside.
type session struct {
	h       *History
	ops     []Op          // by their beginning
	live    time.Duration // from here on: its sign-in was answered
	doubted time.Duration // until here: somebody began to end it; never: nobody did
	ended   time.Duration // from here on it is over: the first end that was answered; never: none was
	by      Kind          // what ended it: Logout or Delete
	stored  time.Duration // from here on Redis has it; never: that is not sure
}

const never = time.Duration(1<<63 - 1)

func sessionsOf(h *History) []*session {
	byNumber := map[int]*session{}
	var all []*session
	ops := slices.Clone(h.Ops)
	slices.SortStableFunc(ops, func(a, b Op) int { return cmp.Compare(a.Begin, b.Begin) })
	for _, o := range ops {
		if o.Session == 0 {
			continue
		}
		s := byNumber[o.Session]
		if s == nil {
			s = &session{h: h, doubted: never, ended: never, stored: never}
			byNumber[o.Session] = s
			all = append(all, s)
		}
		s.learn(o)
	}
	return all
}

// learn takes what an operation tells for sure.
func (s *session) learn(o Op) {
	s.ops = append(s.ops, o)
	switch o.Kind {
	case Login:
		s.live = o.End
	case Logout, Delete:
		s.doubted = min(s.doubted, o.Begin)
		if done(o) && o.End < s.ended {
			s.ended, s.by = o.End, o.Kind
		}
	default:
		// The first answer of all comes from the database, and goes into Redis if both are well.
		if s.stored == never && o.yes() && s.first(o) && s.calm(o) {
			s.stored = o.End + filled
		}
	}
}

// done reports whether an end was answered as done. Signing out answers with the way to a page.
func done(o Op) bool { return o.Status >= 200 && o.Status < 400 }

func (s *session) first(o Op) bool {
	return !slices.ContainsFunc(s.ops[:len(s.ops)-1], func(e Op) bool { return e.Kind != Login && e.yes() && e.Begin < o.End })
}

func (s *session) calm(o Op) bool {
	to := o.End + filled
	return s.h.starved(o.Begin, to) == 0 && !s.h.hurt(Postgres, o.Gate, o.Begin, to) && !s.h.hurt(Redis, o.Gate, o.Begin, to) &&
		!s.h.hurt(Gateway, o.Gate, o.Begin, to) && !s.h.emptied(o.Begin, to)
}

// inRedis reports whether Redis surely has the session all through a span.
func (s *session) inRedis(from, to time.Duration) bool {
	return from >= s.stored && !s.h.emptied(s.stored, to)
}

// judge holds one operation against the rules.
func (s *session) judge(o Op) (found []Violation) {
	if o.Trait&SomeoneIs != 0 {
		found = append(found, Violation{RuleIdentity, describe(o)})
	}
	switch {
	case o.Kind == Login || o.Kind == Logout || o.Kind == Delete:
		return append(found, s.answer(o)...)
	case o.End < s.doubted:
		return append(found, s.turnedAway(o)...)
	case s.ended != never:
		return append(found, s.letIn(o)...)
	}
	return found
}

// turnedAway judges what happened to a session that was live for sure, from before the question until
// after the answer.
func (s *session) turnedAway(o Op) []Violation {
	if o.Status == 401 || o.Trait&(Cleared|SentAway) != 0 || o.Status >= 300 && o.Status < 400 {
		return []Violation{{RuleLive, describe(o)}}
	}
	return s.answer(o)
}

// letIn judges what happened to a session that has ended.
func (s *session) letIn(o Op) []Violation {
	if !o.yes() {
		return nil
	}
	at := o.Begin
	if o.Kind == Hold {
		at = o.Heard
	}
	if at <= s.deadline(o) {
		return nil
	}
	return []Violation{{RuleEnded, fmt.Sprintf("%s after its end, %s", (at - s.ended).Round(time.Millisecond), describe(o))}}
}

// deadline is until when an operation may be let in. The bound runs from when somebody could tell: the
// gateway itself, which hears from Postgres; or Redis, which any gateway that reaches both tells. A
// gateway that is cut off from Postgres while Redis is away for everybody can be told by nobody, but then
// it cannot say yes either. A stream asks nobody: it ends when its gateway hears. Whoever signs out tells his
// gateway, and that one Redis; of a row that is deleted by hand, and of anything at another gateway, they hear
// within the bound, and not at all if Postgres fails before that.
func (s *session) deadline(o Op) time.Duration {
	if o.Kind == Hold {
		return s.h.whole(o.Gate, s.ended, stale, Postgres) + stale
	}
	var within time.Duration
	if s.by == Delete {
		within = stale
	}
	told := s.h.whole(o.Gate, s.ended, within, Postgres)
	for gate := range gates {
		told = min(told, s.h.whole(gate, s.ended, within, Postgres, Redis, Gateway))
	}
	return told + stale
}

// gates is how many gateways there are.
const gates = 3

// kept: a sign-in that was answered holds until somebody ends it.
func (s *session) kept() (found []Violation) {
	if s.doubted != never {
		return nil
	}
	for _, o := range s.ops {
		if o.Kind == Last && !o.yes() {
			found = append(found, Violation{RuleKept, describe(o)})
		}
	}
	return found
}

// answer holds an answer against the table of who answers when.
func (s *session) answer(o Op) []Violation {
	if o.yes() && (o.Kind != Hold || o.Trait&GivenUp != 0) || done(o) && o.Kind == Logout || o.Kind == Delete || s.excused(o) {
		return nil
	}
	return []Violation{{RuleAnswer, describe(o)}}
}

// excused reports whether a failure is one that the table has.
func (s *session) excused(o Op) bool {
	if tooBusy(s.h, o) {
		return true
	}
	hurt := func(p Part) bool { return s.h.hurt(p, o.Gate, o.Begin, o.End) }
	switch {
	case hurt(Gateway):
		return o.Status == 0 || o.Status >= 500 || o.Kind == Hold
	case o.Kind == Upload:
		// A client may lose its patience here: a bucket that says nothing is given its time.
		return (hurt(Postgres) || hurt(S3)) && (o.Status == 0 || o.Status == 502 || o.Status == 503)
	case o.Status != 503:
		return false
	case o.Kind == Login, o.Kind == Logout:
		return hurt(Postgres)
	}
	return hurt(Postgres) && (hurt(Redis) || !s.inRedis(o.Begin, o.End))
}

// tooBusy reports whether an answer is one that a machine gives by which the gateways are not let run.
// Nothing is excused by it but that somebody has to come again.
func tooBusy(h *History, o Op) bool {
	return (o.Status == 0 || o.Status == 502 || o.Status == 503) && h.starved(o.Begin, o.End) > 0
}

func describe(o Op) string {
	text := fmt.Sprintf("%s of session %d at gateway %d, %s to %s: %d", o.Kind, o.Session, o.Gate+1,
		o.Begin.Round(time.Millisecond), o.End.Round(time.Millisecond), o.Status)
	for trait, name := range map[Trait]string{Cleared: "cookie cleared", SentAway: "sent to sign in", SomeoneIs: "somebody else"} {
		if o.Trait&trait != 0 {
			text += ", " + name
		}
	}
	if o.Err != "" {
		text += ", " + o.Err
	}
	return text
}
