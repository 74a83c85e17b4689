package raftstore

import (
	"encoding/binary"
	"fmt"

	"dunlin/session"
)

// messages is the table of what is queued: each message once, however many
// sessions of the shard wait for it. It implements session.Bodies.
//
// Invariants: a slot with refs 0 is on the free list, once, and holds nothing;
// bytes is the sum of the sizes of the others; refs counts the queue entries
// that name the slot; a message is in memory or in scratch, where it lies, and
// spilled sums up what is in scratch.
type messages struct {
	slots []message
	free  []uint32
	bytes int

	// Of this replica: see spill.go.
	scratch *scratch // nil for none
	spilled int      // bytes
	sweep   sweep
	loaded  map[uint32][]byte // what was read of what is spilled, while somebody goes on for whom it was

	changes func(ref uint32) // called before a slot changes; nil for nobody

	finished []*share // of messages that were let go, until state.finish
}

// message is one slot. packed is never written again, so that deliveries may
// borrow it beyond the slot's life.
type message struct {
	packed   []byte       // nil while it is spilled
	deadline session.Time // shard time; session.Never if it does not expire
	share    *share       // whose session is done with it when it is let go; nil for an ordinary message
	refs     uint32
	size     uint32 // of packed
	at       place  // where it was spilled to
	kept     uint32 // by share groups, in memory
	young    bool   // the sweep has not passed it
}

// overhead is what a queued message costs beyond its packed form, roughly.
const overhead = 64

func messageSize(packed []byte) int { return len(packed) + overhead }

func (m *message) bytes() int { return int(m.size) + overhead }

// put stores a copy of packed with one reference, the caller's.
func (t *messages) put(packed []byte, deadline session.Time) (ref uint32) {
	m := message{
		packed: append([]byte(nil), packed...), size: uint32(len(packed)), deadline: deadline, refs: 1, young: true,
	}
	t.bytes += m.bytes()
	t.sweep.fresh += len(packed)
	if n := len(t.free); n > 0 {
		ref = t.free[n-1]
		t.free = t.free[:n-1]
		t.change(ref)
		t.slots[ref] = m
		return ref
	}
	t.slots = append(t.slots, m)
	return uint32(len(t.slots) - 1)
}

func (t *messages) change(ref uint32) {
	if t.changes != nil {
		t.changes(ref)
	}
}

// Size, Deadline, Retain and Release implement session.Bodies.
func (t *messages) Size(ref uint32) int { return t.slots[ref].bytes() }

func (t *messages) Deadline(ref uint32) session.Time { return t.slots[ref].deadline }

func (t *messages) Retain(ref uint32) { t.slots[ref].refs++ }

func (t *messages) Release(ref uint32) {
	m := &t.slots[ref]
	if m.refs == 0 {
		panic(fmt.Sprintf("raftstore: message %d released once too often", ref))
	}
	if m.refs--; m.refs == 0 {
		t.bytes -= m.bytes()
		m.refs = 1
		t.change(ref)
		if m.packed == nil {
			t.spilled -= int(m.size)
			t.scratch.forget(m.at, m.size)
		}
		if m.share != nil {
			t.finished = append(t.finished, m.share)
		}
		*m = message{}
		t.free = append(t.free, ref)
	}
}

// stored counts the messages.
func (t *messages) stored() int { return len(t.slots) - len(t.free) }

// appendStored writes one message, of which packed is what it holds. The section begins with the slots' number and
// the free ones, in the order in which they were freed; references are counted
// anew on restoring, as the queues are read.
func appendStored(w *snapshotWriter, slot uint32, m *message, packed []byte) {
	w.b = binary.AppendUvarint(w.b, uint64(slot))
	w.b = binary.AppendUvarint(w.b, uint64(m.deadline))
	w.b = appendBytes(w.b, packed)
	if w.b = appendBool(w.b, m.share != nil); m.share != nil {
		w.b = appendBytes(w.b, m.share.group.String())
		w.b = appendBytes(w.b, m.share.clientID)
		w.b = binary.AppendUvarint(w.b, m.share.number)
	}
	w.item()
}

func (rs *restoring) message(r *reader) {
	t := &rs.st.messages
	if rs.first(sectionMessages) {
		rs.slots, t.free = r.slots()
		return
	}
	slot, stored := r.stored()
	stored.packed = append([]byte(nil), stored.packed...)
	var m session.Message
	whole := reader{b: stored.packed}
	if whole.message(&m, session.Never); whole.err != nil || r.err != nil || !grow(&t.slots, slot, t.free) {
		r.fail()
		return
	}
	t.slots = append(t.slots, stored)
	t.bytes += stored.bytes()
	rs.fail(t.room(rs.share))
}

// stored reads what appendStored wrote.
func (r *reader) stored() (slot uint64, m message) {
	slot, m = r.uvarint(), message{deadline: r.time(), packed: r.bytes()}
	m.size = uint32(len(m.packed))
	if r.bool() {
		m.share = &share{group: r.group(), clientID: r.string(), number: r.uvarint()}
	}
	return slot, m
}

// Size, Deadline, Retain and Release implement session.Bodies for queues that
// are being read, and may name messages that do not exist.
func (rs *restoring) Size(ref uint32) int {
	if t := &rs.st.messages; int(ref) < len(t.slots) && t.slots[ref].size > 0 {
		return t.Size(ref)
	}
	rs.bad = true
	return 0
}

func (rs *restoring) Deadline(ref uint32) session.Time { return session.Never }

func (rs *restoring) Retain(ref uint32) {
	if rs.Size(ref) > 0 {
		rs.st.messages.Retain(ref)
	}
}

func (rs *restoring) Release(ref uint32) {}
