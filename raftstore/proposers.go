package raftstore

import (
	"encoding/binary"
	"maps"
	"slices"

	"dunlin/proto/mqtt"
)

// proposers is the table of who proposes, one entry a node: each start of a node
// numbers the commands it has for the shard, and Apply takes only the next
// number (R2). Whoever does not learn what came of a number sends it again, to
// whichever node leads, and neither doubles nor reorders anything by it.
//
// Claims are numbered apart, since one waits for a handover while later commands
// go on: each number counts once, in whatever order they come. A claim that comes
// again is answered again if its connection still holds what it claimed, else it
// is refused: it must not take back what was taken from it.
type proposers struct {
	of map[Node]*proposer

	// Of the entry in hand.
	current *proposer // nil: the leader's own commands, which have no number
	number  uint64    // of the next command
	stale   bool      // current is of an earlier start than the node's latest
}

// proposer is what the shard knows of a node's latest start.
//
// Invariants: low <= last+1; answers holds those of low to last, in order, each
// with its length before it.
type proposer struct {
	start   uint64 // rises from start to start of a node
	last    uint64 // number of the latest command taken
	low     uint64 // the proposer has the answers of all below
	answers []byte
	claims  publisher // numbers of claims taken

	// generation of the node's lease from which on it may have connections.
	generation uint64
}

func newProposers() proposers { return proposers{of: make(map[Node]*proposer)} }

// clone is a table of its own, with no entry in hand.
func (t *proposers) clone() proposers {
	c := newProposers()
	for node, p := range t.of {
		own := *p
		own.answers, own.claims.above = slices.Clone(p.answers), slices.Clone(p.claims.above)
		c.of[node] = &own
	}
	return c
}

// source says whose commands follow in an entry.
type source struct {
	node  Node
	start uint64
	low   uint64
}

func (s *source) encode(b []byte, number uint64) []byte {
	b = binary.AppendUvarint(b, uint64(s.node))
	b = binary.AppendUvarint(b, s.start)
	b = binary.AppendUvarint(b, s.low)
	return binary.AppendUvarint(b, number)
}

func (r *reader) source() (s source, number uint64) {
	return source{node: r.node(), start: r.uvarint(), low: r.uvarint()}, r.uvarint()
}

// from begins the commands of another proposer, node 0 those of the leader. A
// start above the latest known ends that one: what its connections owned, they
// own no more.
func (st *state) from(body *reader) {
	s, number := body.source()
	if body.err != nil {
		return
	}
	t := &st.proposers
	if s.node == 0 {
		t.current = nil // the leader's own again
		return
	}
	p := st.begin(s.node, s.start)
	t.current, t.number, t.stale = p, number, s.start < p.start
	if !t.stale {
		p.known(s.low)
	}
}

// begin finds a node's latest start, which start is if it is above all before.
func (st *state) begin(node Node, start uint64) *proposer {
	p := st.proposers.of[node]
	switch {
	case p == nil:
		p = &proposer{start: start, low: 1}
		st.proposers.of[node] = p
	case start > p.start:
		st.lost(node, func(*record) {}) // its connections ended with it
		*p = proposer{start: start, low: 1, generation: p.generation}
	}
	return p
}

// known drops the answers below low.
func (p *proposer) known(low uint64) {
	r := reader{b: p.answers}
	for p.low < low && p.low <= p.last {
		r.bytes()
		p.low++
	}
	p.answers = append(p.answers[:0], r.b...)
}

// take says whether the next command of the current proposer is to be applied;
// otherwise res says what came of it, or that it is not its turn.
func (t *proposers) take(res *Result) bool {
	p, n := t.current, t.number
	t.number++
	switch {
	case t.stale:
		res.Err = ErrFenced
	case n == p.last+1:
		p.last = n
		return true
	case n > p.last:
		res.Err = errTurn
	case n < p.low:
		res.Err = ErrUnknown
	default:
		r := reader{b: p.answers}
		for i := p.low; i < n; i++ {
			r.bytes()
		}
		answer := reader{b: r.bytes()}
		answer.result(res)
	}
	return false
}

// took keeps the answer of the command just taken.
func (t *proposers) took(res *Result) {
	p := t.current
	var room [64]byte
	p.answers = appendBytes(p.answers, appendResult(room[:0], res))
}

// lost ends what the connections of a node own, whose start is over: their wills
// are due. tell is called with each before.
func (st *state) lost(node Node, tell func(*record)) {
	for slot := range st.sessions.ownedBy(node) {
		rec := st.sessions.at(slot)
		tell(rec)
		st.detach(slot, rec, Detach{Fire: true, Expiry: rec.Expiry(), Taken: allTaken})
	}
}

// isLost says that a node has no connections of that generation or before.
func (t *proposers) isLost(node Node, generation uint64) bool {
	p := t.of[node]
	return p != nil && p.generation > generation
}

// applyLost does so for a node whose lease and clients are gone. Of a node that has
// claimed something in a later generation, none of before are left but those that
// it gives up by itself. One that still speaks is told that its connections are to
// be closed.
func (st *state) applyLost(body *reader, _ *Result) {
	node, generation := body.node(), body.uvarint()
	if body.err != nil || st.proposers.isLost(node, generation) {
		return
	}
	st.begin(node, 0).generation = generation + 1 // start 0: whichever it has
	st.lost(node, func(rec *record) { st.disconnect(rec, mqtt.ServerBusy) })
}

// snapshot writes each proposer, by node.
func (t *proposers) snapshot(w *snapshotWriter) {
	for _, node := range slices.Sorted(maps.Keys(t.of)) {
		p := t.of[node]
		for _, v := range [...]uint64{uint64(node), p.start, p.last, p.low, p.generation} {
			w.b = binary.AppendUvarint(w.b, v)
		}
		w.b = appendBytes(w.b, p.answers)
		w.b = p.claims.encode(w.b)
		w.item()
	}
}

func (rs *restoring) proposer(r *reader) {
	node := r.node()
	p := &proposer{start: r.uvarint(), last: r.uvarint(), low: r.uvarint(), generation: r.uvarint(), answers: r.clone(), claims: r.taken()}
	if r.err != nil {
		return
	}
	answers, kept := reader{b: p.answers}, uint64(0)
	for ; len(answers.b) > 0; kept++ {
		var res Result
		one := reader{b: answers.bytes()}
		if one.result(&res); one.err != nil || len(one.b) > 0 {
			r.fail()
			return
		}
	}
	if _, twice := rs.st.proposers.of[node]; twice || answers.err != nil || p.low == 0 || p.low+kept != p.last+1 {
		r.fail()
		return
	}
	rs.st.proposers.of[node] = p
}
