package raftstore

import "dunlin/session"

// deadlines says which session is due next, in shard time: a heap of sessions
// that wait for something, each once, ordered by time and then by slot, so that
// every replica finds them in the same order. It follows from the records.
//
// Invariants: place[slot] is one more than the position in heap of the item with
// that slot, or 0 if it has none; no item is due before its parent.
type deadlines struct {
	heap  []deadline
	place []uint32
}

type deadline struct {
	at   session.Time
	slot uint32
}

func (a deadline) before(b deadline) bool { return a.at < b.at || a.at == b.at && a.slot < b.slot }

// next is the earliest deadline, or session.Never.
func (t *deadlines) next() (slot uint32, at session.Time) {
	if len(t.heap) == 0 {
		return 0, session.Never
	}
	return t.heap[0].slot, t.heap[0].at
}

// set gives the session in slot a deadline; session.Never takes it away.
func (t *deadlines) set(slot uint32, at session.Time) {
	for int(slot) >= len(t.place) {
		if at == session.Never {
			return
		}
		t.place = append(t.place, 0)
	}
	i := int(t.place[slot]) - 1
	switch {
	case i >= 0 && at == session.Never:
		last := len(t.heap) - 1
		t.swap(i, last)
		t.heap = t.heap[:last]
		t.place[slot] = 0
		if i < last {
			t.settle(i)
		}
	case i >= 0 && at != t.heap[i].at:
		t.heap[i].at = at
		t.settle(i)
	case i < 0 && at != session.Never:
		t.heap = append(t.heap, deadline{at, slot})
		t.place[slot] = uint32(len(t.heap))
		t.settle(len(t.heap) - 1)
	}
}

// settle moves item i to where it belongs.
func (t *deadlines) settle(i int) {
	for i > 0 && t.heap[i].before(t.heap[(i-1)/2]) {
		t.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(t.heap); c++ {
			if t.heap[c].before(t.heap[least]) {
				least = c
			}
		}
		if least == i {
			return
		}
		t.swap(i, least)
		i = least
	}
}

func (t *deadlines) swap(i, j int) {
	t.heap[i], t.heap[j] = t.heap[j], t.heap[i]
	t.place[t.heap[i].slot], t.place[t.heap[j].slot] = uint32(i+1), uint32(j+1)
}
