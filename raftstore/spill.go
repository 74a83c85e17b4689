package raftstore

import (
	"errors"
	"fmt"
	"os"
)

// This file says which messages have no room in memory, and when they are written
// and read. None of it is part of the state: what Apply does, and what a snapshot
// says, is the same wherever a message lies.

const (
	// spillBytes are written, or read, in one chore, about.
	spillBytes = 1 << 20
	// minSpill is the least message whose spilling is worth its place in the books.
	minSpill = 64
	// sweepSlots bounds how many slots are looked at between two entries.
	sweepSlots = 1 << 15
)

// sweep is the hand that goes round the slots of a table and finds what to spill.
// It passes a message by once before it takes it: what its sessions acknowledge
// soon is never written.
type sweep struct {
	next   uint32
	barren int // slots passed since the last one that was taken; it rests after two rounds
	fresh  int // bytes stored since it began to count
	active bool
}

// memory is what the messages take of it: their overhead, and those that are not
// spilled.
func (t *messages) memory() int { return t.bytes - t.spilled }

// excess says whether messages are to be spilled: from the moment on when they are
// more than share until they are an eighth less.
func (t *messages) excess(share int) bool {
	if t.scratch == nil {
		return false
	}
	if t.sweep.active {
		share -= share / 8
	}
	t.sweep.active = t.memory() > share
	if h := &t.sweep; h.fresh >= min(spillBytes, share/16+1) {
		h.barren, h.fresh = 0, 0
	}
	return t.sweep.active && t.sweep.barren < 2*len(t.slots)
}

// victims chooses messages to be written, about spillBytes of them. any takes also
// those that were not passed by before. more says that there was no time to look
// at all of them.
func (t *messages) victims(any bool) (found []spilled, more bool) {
	bytes, h := 0, &t.sweep
	for range min(len(t.slots), sweepSlots) {
		if bytes >= spillBytes || h.barren >= 2*len(t.slots) {
			break
		}
		if int(h.next) >= len(t.slots) {
			h.next = 0
		}
		ref := h.next
		m := &t.slots[ref]
		h.next++
		h.barren++
		switch {
		case m.packed == nil || int(m.size) < t.scratch.all.least || m.kept > 0 || m.share != nil:
		case m.young && !any:
			m.young = false
		default:
			found = append(found, spilled{ref: ref, size: m.size, packed: m.packed})
			bytes += int(m.size)
			h.barren = 0
		}
	}
	return found, len(found) == 0 && h.barren < 2*len(t.slots)
}

// wrote takes what a chore wrote out of memory. What was let go of meanwhile, or is
// kept by now, is needed there no more.
func (t *messages) wrote(c *chore) (messages int) {
	t.scratch.take(c)
	for i := range c.writes {
		w := &c.writes[i]
		m := &t.slots[w.ref]
		if m.packed == nil || &m.packed[0] != &w.packed[0] || m.kept > 0 || m.share != nil {
			t.scratch.forget(w.at, w.size)
			continue
		}
		m.packed, m.at = nil, w.at
		t.spilled += int(m.size)
		messages++
	}
	return messages
}

// recall puts a message that was read back into memory, and forgets its place.
func (t *messages) recall(l *spilled) {
	m := &t.slots[l.ref]
	m.packed = l.packed
	t.spilled -= int(m.size)
	t.scratch.forget(m.at, m.size)
	m.at = place{}
}

// load is what a chore needs to read the message at ref, which is spilled.
func (t *messages) load(ref uint32) spilled {
	m := &t.slots[ref]
	return spilled{ref: ref, at: m.at, size: m.size, from: t.scratch.segments[m.at.segment]}
}

// body is the message at ref, nil if it has to be read first.
func (t *messages) body(ref uint32) []byte {
	if m := &t.slots[ref]; m.packed != nil {
		return m.packed
	}
	return t.loaded[ref]
}

// keep has the message at ref stay in memory until unkeep, because Apply will need
// it. It has not been spilled.
func (t *messages) keep(ref uint32)   { t.slots[ref].kept++ }
func (t *messages) unkeep(ref uint32) { t.slots[ref].kept-- }

// room writes messages of a state that nothing else uses, until the others are no
// more than share.
func (t *messages) room(share int) error {
	for t.excess(share) {
		c := &chore{}
		if c.writes, _ = t.victims(true); len(c.writes) == 0 {
			continue
		}
		if t.scratch.run(c); c.err != nil {
			return c.err
		}
		t.wrote(c)
	}
	return nil
}

// fetch reads the message at ref back into the memory of a state that nothing else
// uses.
func (t *messages) fetch(ref uint32) error {
	l := t.load(ref)
	err := l.read(t.scratch.watch)
	if err == nil {
		t.recall(&l)
	}
	return err
}

// spill begins the next chore, if there is one to do and none under way.
func (sh *shard) spill() {
	t := &sh.st.messages
	s := t.scratch
	if s == nil || s.busy {
		return
	}
	c := &chore{loads: sh.cold.loads(sh.st)}
	for len(c.loads) == 0 && sh.cold.asked > 0 { // nothing has to be read for them
		sh.warmUp()
		c.loads = sh.cold.loads(sh.st)
	}
	if t.excess(s.all.share) {
		var more bool
		if c.writes, more = t.victims(false); more {
			sh.rouse() // to go on
		}
	}
	if len(c.loads) == 0 {
		c.loads, c.rewrites = t.rewrite(), true
	}
	if s.views == 0 {
		c.gone = s.unneeded()
	}
	if !c.empty() {
		s.start(c)
	}
}

// rewrite chooses messages whose file is hardly needed. They go to another when
// they are spilled again.
func (t *messages) rewrite() (loads []spilled) {
	seg := t.scratch.sparse()
	if seg == nil {
		return nil
	}
	bytes, n := 0, 0
	for ; n < len(seg.refs) && bytes < spillBytes; n++ {
		if ref := seg.refs[n]; t.slots[ref].at.segment == seg.number {
			loads = append(loads, t.load(ref))
			bytes += int(t.slots[ref].size)
		}
	}
	seg.refs = seg.refs[n:]
	return loads
}

// spilled takes a chore that is done.
func (sh *shard) spilled(c *chore) {
	t := &sh.st.messages
	if t.scratch.busy = false; c.err != nil {
		panic(c.err)
	}
	sh.metrics.spills.Add(float64(t.wrote(c)))
	sh.metrics.spillReads.Add(float64(len(c.loads)))
	t.loaded = make(map[uint32][]byte, len(c.loads))
	for i := range c.loads {
		l := &c.loads[i]
		switch {
		case t.slots[l.ref].at != l.at: // it is another message by now
		case c.rewrites:
			t.recall(l)
		default:
			t.loaded[l.ref] = l.packed
		}
	}
	if !c.rewrites {
		sh.warmUp()
	}
	t.loaded = nil
	sh.metrics.size(sh)
}

// chores is where the shard's chores come back; nil if it has none.
func (sh *shard) chores() <-chan *chore {
	if s := sh.st.messages.scratch; s != nil {
		return s.done
	}
	return nil
}

// unread tells what came of reading a view: that the node must end, unless the
// files are closed because the state is given up.
func (sh *shard) unread(err error) error {
	if !errors.Is(err, os.ErrClosed) {
		sh.call(func() { panic(err) })
	}
	return err
}

// checkSpilled verifies what the messages and their files say of one another.
func (t *messages) checkSpilled() error {
	spilled, live := 0, map[uint32]int{}
	for ref := range t.slots {
		m := &t.slots[ref]
		if (m.refs > 0) != (m.size > 0) || (m.packed == nil) != (m.refs == 0 || m.at != place{}) || m.packed != nil && len(m.packed) != int(m.size) {
			return fmt.Errorf("message %d of %d bytes is neither in memory nor spilled, or both", ref, m.size)
		}
		if m.at != (place{}) {
			spilled += int(m.size)
			live[m.at.segment]++
			if m.kept > 0 || m.share != nil {
				return fmt.Errorf("message %d is spilled and kept", ref)
			}
		}
	}
	if spilled != t.spilled {
		return fmt.Errorf("%d bytes are spilled, counted %d", spilled, t.spilled)
	}
	if t.scratch == nil {
		return nil
	}
	for _, d := range t.scratch.dead {
		live[d.at.segment]++
	}
	for n, seg := range t.scratch.segments {
		if seg.live != live[n] {
			return fmt.Errorf("%d messages of file %d are needed, counted %d", live[n], n, seg.live)
		}
		delete(live, n)
	}
	if len(live) > 0 {
		return fmt.Errorf("messages are in files that are gone: %v", live)
	}
	return nil
}
