package raftstore

import (
	"math"
	"slices"

	"dunlin/session"
)

// cold are the sessions whose deliveries wait for messages that are spilled: of the
// leader's memory, no part of the state. What is in a session's committed window
// behind such a message waits with it, so that the owner is pushed all in order; so
// does the answer of a claim that finds one in its window.
type cold struct {
	of    map[uint32]*coldSession // by slot
	queue []uint32                // slots, in the order in which they are read for
	asked int                     // of queue, for whom the chore under way reads
}

// coldSession is one of them.
type coldSession struct {
	epoch  session.Epoch
	from   uint64 // index of the first delivery that is not pushed; noIndex for none
	until  uint64 // index behind the last one that a claim is to be answered
	claims []coldClaim
}

// coldClaim is a claim that waits for its answer.
type coldClaim struct {
	epoch session.Epoch
	res   Result
	done  func(Result)
}

// noIndex is above all indices.
const noIndex = math.MaxUint64

// at is what waits in slot under an epoch; nil if nothing does.
func (c *cold) at(slot uint32, e session.Epoch) *coldSession {
	if s := c.of[slot]; s != nil && s.epoch == e {
		return s
	}
	return nil
}

// wait has the session in slot wait under an epoch. What waited under an earlier one
// has nobody to be pushed to; its claims are answered in their turn.
func (c *cold) wait(slot uint32, e session.Epoch) *coldSession {
	if c.of == nil {
		c.of = make(map[uint32]*coldSession)
	}
	s := c.of[slot]
	if s == nil {
		s = &coldSession{epoch: e, from: noIndex}
		c.of[slot] = s
		c.queue = append(c.queue, slot)
	}
	if s.epoch < e {
		s.epoch, s.from, s.until = e, noIndex, 0
	}
	return s
}

// push has the delivery with that index wait, and all behind it.
func (c *cold) push(slot uint32, e session.Epoch, index uint64) {
	if s := c.wait(slot, e); s.epoch == e {
		s.from = min(s.from, index)
	}
}

// claim has the answer of a claim wait, r, of the session in slot.
func (c *cold) claim(slot uint32, r *Result, done func(Result)) {
	s := c.wait(slot, r.Claim.Epoch)
	s.until = max(s.until, r.Claim.Next)
	s.claims = append(s.claims, coldClaim{r.Claim.Epoch, *r, done})
}

// needs calls yield with each message of rec's window that s waits for and that has
// to be read.
func (s *coldSession) needs(st *state, rec *record, yield func(ref uint32)) {
	if rec.Epoch() != s.epoch || !rec.Attached() {
		return
	}
	for o := range rec.Window {
		if !o.Received && (o.Index < s.until || o.Index >= s.from) && st.messages.body(o.Ref) == nil {
			yield(o.Ref)
		}
	}
}

// loads are the messages that those need who have waited longest, about spillBytes.
// Those are asked.
func (c *cold) loads(st *state) (loads []spilled) {
	var asked map[uint32]bool
	bytes := 0
	for c.asked = 0; c.asked < len(c.queue) && bytes < spillBytes; c.asked++ {
		slot := c.queue[c.asked]
		c.of[slot].needs(st, st.sessions.at(slot), func(ref uint32) {
			if asked[ref] {
				return
			}
			if asked == nil {
				asked = make(map[uint32]bool)
			}
			asked[ref] = true
			loads = append(loads, st.messages.load(ref))
			bytes += int(st.messages.slots[ref].size)
		})
	}
	return loads
}

// ready says whether the session may go on: a claim's answer has all of the window
// that it found, of what is to be pushed the first will do.
func (s *coldSession) ready(st *state, rec *record) bool {
	if rec.Epoch() != s.epoch || !rec.Attached() {
		return true
	}
	for o := range rec.Window {
		if o.Received || o.Index >= s.until && o.Index < s.from {
			continue
		}
		if st.messages.body(o.Ref) == nil {
			return false
		}
		if o.Index >= s.until {
			break
		}
	}
	return true
}

// warmUp goes on with those for whom was read, but who need more since.
func (sh *shard) warmUp() {
	c := &sh.cold
	asked := c.queue[:c.asked]
	c.queue, c.asked = slices.Clone(c.queue[c.asked:]), 0
	for _, slot := range asked {
		s, rec := c.of[slot], sh.st.sessions.at(slot)
		if !s.ready(sh.st, rec) {
			c.queue = append(c.queue, slot)
			continue
		}
		delete(c.of, slot)
		sh.warm(slot, rec, s)
	}
}

// warm answers the claims of a session, and pushes what waited, as far as it is
// there; the rest waits anew.
func (sh *shard) warm(slot uint32, rec *record, s *coldSession) {
	fx := &sh.st.fx
	dropped := fx.dropped // counted with the next entry
	fx.clock = sh.clock()
	for i := range s.claims {
		c := &s.claims[i]
		if rec.Epoch() == c.epoch && rec.Attached() {
			sh.st.answer(slot, rec, &c.res)
		} else {
			c.res = Result{Index: c.res.Index, Err: ErrFenced}
		}
		if c.done != nil {
			c.done(c.res)
		}
	}
	if rec.Epoch() == s.epoch && rec.Attached() {
		for o := range rec.Window {
			if o.Index >= s.from {
				sh.st.pushWindow(slot, rec, &o)
			}
		}
		sh.push(s.epoch, s.epoch)
	}
	fx.reset()
	fx.dropped = dropped
}

// answer is claimed for a claim that was applied before and has waited: it tells what
// the claim found, while what entered the window since is pushed.
func (st *state) answer(slot uint32, rec *record, res *Result) {
	next := res.Claim.Next
	res.Claim = Claimed{}
	st.claimed(slot, rec, res)
	res.Claim.Next, res.Claim.cold = next, 0
	res.Claim.Window = slices.DeleteFunc(res.Claim.Window, func(r Resumed) bool { return r.Index >= next })
}

// abandon answers the claims that wait.
func (c *cold) abandon(why error) {
	for _, slot := range c.queue {
		for _, w := range c.of[slot].claims {
			if w.done != nil {
				w.done(Result{Err: why})
			}
		}
	}
	*c = cold{}
}
