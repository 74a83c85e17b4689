package raftstore

import (
	"time"

	"dunlin/session"
)

// A frame brings commands of one node to the leader of a shard:
//
//	version  1 byte
//	flags    1 byte: frameAgain, frameRead
//	source   who numbers them, the lowest number without an answer, and the first number
//	commands, each: kind 1 byte, length uvarint, body
//
// Its answer:
//
//	version  1 byte
//	whole    1 byte: 0 if the shard moved, and nothing is known of the rest
//	results, one after the other
const frameVersion = 1

// frameAgain says that the frame was sent before: what is not committed, it does
// not bring a second time.
const frameAgain = 1

// frameRead says that the frame is a query: see RetainedQuery.encode.
const frameRead = 2

// frame is a run of commands on their way to a leader.
type frame struct {
	first    uint64 // number of the first that has one
	commands []byte
	calls    []func(Result)
	again    bool

	size    int          // of commands, what the lane counts
	opened  session.Time // when the first command came
	late    session.Time // nothing in it need go before; Never: it need
	latest  session.Time // when the last one came, or was last aged
	since   session.Time // when it was sealed
	asked   uint64       // turn of the lane; 0 if it is not under way
	at      Node         // whom it was asked of last
	results []Result     // once answered
}

// add puts a command into the frame, which is the latest to come.
func (f *frame) add(k kind, body []byte, done func(Result), now session.Time) {
	if len(f.calls) == 0 {
		f.opened = now
	}
	f.latest = now
	f.commands = appendCommand(f.commands, k, body)
	f.calls = append(f.calls, done)
	f.size = len(f.commands)
}

// frameSpan is how long a frame gathers commands that cannot go: the expiry of all
// is lowered alike.
const frameSpan = session.Time(time.Second)

// age lowers the expiry of what has waited here for whole seconds (T3).
func (f *frame) age(now session.Time) {
	seconds := (now - f.latest) / session.Time(time.Second)
	if seconds <= 0 {
		return
	}
	f.latest += seconds * session.Time(time.Second)
	for r := (reader{b: f.commands}); len(r.b) > 0; {
		k, body := r.command()
		session.LowerExpiry(body.expiring(k), uint32(min(seconds, 1<<32-1)))
	}
}

// expiring is the packed message in the body of a command whose message expires
// while it waits; nil for none.
func (r *reader) expiring(k kind) []byte {
	switch k {
	case kindEnqueue, kindShare:
		r.bytes()
	case kindTransient:
		r.transient()
	case kindLetter:
		r.shardID()
		r.uvarint()
		if l := r.letter(); !l.kind.hasMessage() {
			return nil
		}
	case kindEnqueueFor:
		r.owner()
		r.delivery()
	case kindRetain:
	default:
		return nil
	}
	return r.b
}

func (f *frame) encode(s source) []byte {
	flags := byte(0)
	if f.again {
		flags = frameAgain
	}
	b := make([]byte, 0, len(f.commands)+32)
	b = s.encode(append(b, frameVersion, flags), f.first)
	return append(b, f.commands...)
}

func (r *reader) frame() (s source, f frame) {
	if r.byte() != frameVersion {
		r.fail()
	}
	f.again = r.byte()&frameAgain != 0
	s, f.first = r.source()
	f.commands = r.b
	return s, f
}

func appendAnswer(b []byte, results []Result, whole bool) []byte {
	b = appendBool(append(b, frameVersion), whole)
	for i := range results {
		b = appendResult(b, &results[i])
	}
	return b
}

// answer reads an answer; whole says that every command has a result.
func (r *reader) answer(now session.Time) (results []Result, whole bool) {
	if r.byte() != frameVersion {
		r.fail()
	}
	whole = r.bool()
	for len(r.b) > 0 {
		var res Result
		r.result(&res)
		res.Claim.receivedAt(now)
		results = append(results, res)
	}
	return results, whole && r.err == nil
}

// ask is a frame at its leader, until all its commands are answered. It belongs
// to the shard's goroutine.
type ask struct {
	source  source
	want    int
	results []Result
	done    bool
	reply   func(results []Result, whole bool)
}

func (a *ask) add(r Result) {
	if a.done {
		return
	}
	if a.results == nil {
		a.results = make([]Result, 0, a.want)
	}
	if a.results = append(a.results, r); len(a.results) == a.want {
		a.done = true
		a.reply(a.results, true)
	}
}

// fail says that nothing is known of the commands without a result.
func (a *ask) fail() {
	if !a.done {
		a.done = true
		a.reply(a.results, false)
	}
}

// accept takes the commands of a frame into the inbox. reply is called once, on
// the shard's goroutine or before accept returns; false says that it will not be.
func (sh *shard) accept(s source, f *frame, reply func(results []Result, whole bool)) bool {
	in := &sh.inbox
	in.Lock()
	defer in.Unlock()
	if in.closed || !sh.leading.Load() {
		return false
	}
	a := &ask{source: source{node: s.node, start: s.start, low: s.low}, reply: reply}
	r, number, base := reader{b: f.commands}, f.first, len(in.bodies)
	overloaded := base > maxInboxBytes
	from := len(in.items)
	for len(r.b) > 0 {
		k, body := r.command()
		if r.err != nil || k == kindFrom || k != kindTransient && (int(k) >= len(applies) || applies[k] == nil) {
			in.items = in.items[:from]
			return false
		}
		end := base + len(f.commands) - len(r.b)
		it := item{kind: k, from: end - len(body.b), to: end, ask: a}
		if k == kindTransient && (overloaded || f.again) {
			it.kind, it.from = kindRefused, it.to
		}
		if k.numbered() {
			it.number = number
			number++
		}
		in.items = append(in.items, it)
		a.want++
	}
	in.bodies = append(in.bodies, f.commands...)
	if from == 0 || in.full() {
		sh.rouse()
	}
	return a.want > 0
}
