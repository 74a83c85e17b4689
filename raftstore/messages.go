package raftstore

import (
	"fmt"

	"dunlin/session"
)

// messages is the table of what is queued: each message once, however many
// sessions of the shard wait for it. It implements session.Bodies.
//
// Invariants: a slot with refs 0 is on the free list, once, and holds nothing;
// bytes is the sum of the sizes of the others; refs counts the queue entries
// that name the slot.
type messages struct {
	slots []message
	free  []uint32
	bytes int
}

// message is one slot. packed is never written again, so that deliveries may
// borrow it beyond the slot's life.
type message struct {
	packed   []byte
	deadline session.Time // shard time; session.Never if it does not expire
	refs     uint32
}

// overhead is what a queued message costs beyond its packed form, roughly.
const overhead = 64

func messageSize(packed []byte) int { return len(packed) + overhead }

// put stores a copy of packed with one reference, the caller's.
func (t *messages) put(packed []byte, deadline session.Time) (ref uint32) {
	m := message{packed: append([]byte(nil), packed...), deadline: deadline, refs: 1}
	t.bytes += messageSize(packed)
	if n := len(t.free); n > 0 {
		ref = t.free[n-1]
		t.free = t.free[:n-1]
		t.slots[ref] = m
		return ref
	}
	t.slots = append(t.slots, m)
	return uint32(len(t.slots) - 1)
}

// Size, Deadline, Retain and Release implement session.Bodies.
func (t *messages) Size(ref uint32) int { return messageSize(t.slots[ref].packed) }

func (t *messages) Deadline(ref uint32) session.Time { return t.slots[ref].deadline }

func (t *messages) Retain(ref uint32) { t.slots[ref].refs++ }

func (t *messages) Release(ref uint32) {
	m := &t.slots[ref]
	if m.refs == 0 {
		panic(fmt.Sprintf("raftstore: message %d released once too often", ref))
	}
	if m.refs--; m.refs == 0 {
		t.bytes -= messageSize(m.packed)
		*m = message{}
		t.free = append(t.free, ref)
	}
}

// stored counts the messages.
func (t *messages) stored() int { return len(t.slots) - len(t.free) }
