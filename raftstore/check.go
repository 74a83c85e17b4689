package raftstore

import (
	"errors"
	"fmt"
	"maps"

	"dunlin/session"
)

// check verifies the invariants that the tables state, and that what is derived
// from them agrees.
func (st *state) check() error {
	for slot, rec := range st.sessions.each {
		if at, ok := st.sessions.ids.find([]byte(rec.clientID)); !ok || at != slot {
			return fmt.Errorf("session %q in slot %d is indexed at %d (%t)", rec.clientID, slot, at, ok)
		}
		if uint64(rec.Epoch()) > st.epochs {
			return fmt.Errorf("session %q has epoch %d, the latest given is %d", rec.clientID, rec.Epoch(), st.epochs)
		}
		if !rec.Stored() && !rec.Attached() {
			return fmt.Errorf("claim of %q is detached", rec.clientID)
		}
		if err := rec.Check(&st.messages); err != nil {
			return fmt.Errorf("session %q: %w", rec.clientID, err)
		}
		if due := st.deadlines.of(slot); due != rec.Due() {
			return fmt.Errorf("session %q is due at %d, scheduled for %d", rec.clientID, rec.Due(), due)
		}
	}
	if err := st.sessions.check(); err != nil {
		return err
	}
	if used := int(st.sessions.size()) - len(st.sessions.free); used != st.sessions.ids.used {
		return fmt.Errorf("%d session slots in use, %d identifiers", used, st.sessions.ids.used)
	}
	if err := st.deadlines.check(); err != nil {
		return err
	}
	if err := st.checkReferences(); err != nil {
		return err
	}
	for text, g := range st.groups.of {
		if g.filter.String() != text {
			return fmt.Errorf("group %q is filed under %q", g.filter, text)
		}
		if err := g.check(st); err != nil {
			return err
		}
	}
	if err := st.mail.check(); err != nil {
		return err
	}
	return st.retained.check()
}

// checkReferences counts the queue entries that name each message.
func (st *state) checkReferences() error {
	refs := make([]uint32, len(st.messages.slots))
	for _, rec := range st.sessions.each {
		for ref := range rec.References {
			if int(ref) >= len(refs) {
				return fmt.Errorf("session %q refers to message %d of %d", rec.clientID, ref, len(refs))
			}
			refs[ref]++
		}
	}
	for _, g := range st.groups.of {
		for _, w := range g.queue {
			refs[w.ref]++
		}
	}
	bytes, used := 0, 0
	for i, m := range st.messages.slots {
		if m.refs != refs[i] {
			return fmt.Errorf("message %d has %d references, counted %d", i, refs[i], m.refs)
		}
		if m.share != nil && m.refs != 1 {
			return fmt.Errorf("message %d of a share group is held %d times", i, m.refs)
		}
		if m.refs > 0 {
			bytes += m.bytes()
			used++
		}
	}
	if err := st.messages.checkSpilled(); err != nil {
		return err
	}
	if bytes != st.messages.bytes || used != st.messages.stored() {
		return fmt.Errorf("%d messages of %d bytes, counted %d of %d", used, bytes, st.messages.stored(), st.messages.bytes)
	}
	return nil
}

// of is the deadline of a slot, or session.Never.
func (t *deadlines) of(slot uint32) session.Time {
	if int(slot) >= len(t.place) || t.place[slot] == 0 {
		return session.Never
	}
	return t.heap[t.place[slot]-1].at
}

func (t *deadlines) check() error {
	placed := 0
	for slot, p := range t.place {
		if p == 0 {
			continue
		}
		placed++
		if int(p) > len(t.heap) || t.heap[p-1].slot != uint32(slot) {
			return fmt.Errorf("deadline of slot %d is not at %d", slot, p-1)
		}
	}
	if placed != len(t.heap) {
		return fmt.Errorf("%d deadlines, %d placed", len(t.heap), placed)
	}
	for i := range t.heap {
		if i > 0 && t.heap[i].before(t.heap[(i-1)/2]) {
			return fmt.Errorf("deadline %d stands behind a later one", i)
		}
	}
	return nil
}

func (t *retained) check() error {
	bytes, expiring := 0, map[uint64]bool{}
	for _, r := range t.expiring {
		expiring[r.index] = true
	}
	var err error
	t.tree.Ascend(func(r retainedMessage) bool {
		bytes += messageSize(r.packed)
		if r.deadline != session.Never && !expiring[r.index] {
			err = fmt.Errorf("retained %q is not among those that expire", r.topic)
		}
		return err == nil
	})
	if err == nil && bytes != t.bytes {
		err = fmt.Errorf("retained messages of %d bytes, counted %d", bytes, t.bytes)
	}
	return err
}

// check verifies where the records lie; who is in use and named, state.check does.
func (t *sessions) check() error {
	if t.users != nil && !maps.Equal(t.users, t.countStored()) {
		return errors.New("the stored sessions of users are not what is counted")
	}
	open, packed := 0, 0
	for slot := range t.size() {
		switch p := t.spots[slot]; {
		case p.open():
			open++
		case p != 0:
			packed++
			if at := cellSlot(t.cells.at(p)); at != slot {
				return fmt.Errorf("the cell of slot %d has the record of %d", slot, at)
			}
		}
	}
	if all := openChunk*len(t.open.chunks) - len(t.open.free); all != open {
		return fmt.Errorf("%d open records, %d of sessions", all, open)
	}
	for units := range t.cells.rows {
		row := &t.cells.rows[units]
		packed -= int(row.n)
		if per := perPiece(max(uint32(units), 1)); row.n+2*per <= uint32(len(row.pieces))*per {
			return fmt.Errorf("%d pieces for %d cells of %d units", len(row.pieces), row.n, units)
		}
	}
	if packed != 0 {
		return fmt.Errorf("%d packed records too many", packed)
	}
	return nil
}
