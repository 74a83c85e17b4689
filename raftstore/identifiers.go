package raftstore

import "hash/maphash"

// identifiers finds the slot of a client identifier: an open hash table of
// slots, whose identifiers stand in their records. It costs 6 to 11 bytes a
// session and nothing for the garbage collector, where a map of strings costs
// 40. Clients choose their identifiers, so the seed is random; nothing else
// depends on it, since the table is only ever asked for one identifier.
//
// Invariants: an identifier is found going on from its hash's place without
// passing an empty one; at most three quarters are taken.
type identifiers struct {
	seed  maphash.Seed
	table []uint32 // slot + 1, 0 where empty; length a power of two
	used  int
	of    *sessions
}

func newIdentifiers(of *sessions) identifiers {
	return identifiers{seed: maphash.MakeSeed(), table: make([]uint32, 8), of: of}
}

func (t *identifiers) home(slot uint32) uint32 {
	return uint32(t.of.nameHash(slot, t.seed)) & t.mask()
}

func (t *identifiers) mask() uint32 { return uint32(len(t.table)) - 1 }

func (t *identifiers) find(clientID []byte) (slot uint32, ok bool) {
	for i := uint32(maphash.Bytes(t.seed, clientID)) & t.mask(); t.table[i] != 0; i = (i + 1) & t.mask() {
		if slot := t.table[i] - 1; t.of.isNamed(slot, clientID) {
			return slot, true
		}
	}
	return 0, false
}

// add takes in a slot whose identifier is not there.
func (t *identifiers) add(slot uint32) {
	if t.used++; t.used > len(t.table)/4*3 {
		old := t.table
		t.table = make([]uint32, 2*len(old))
		for _, taken := range old {
			if taken != 0 {
				t.place(taken - 1)
			}
		}
	}
	t.place(slot)
}

func (t *identifiers) place(slot uint32) {
	i := t.home(slot)
	for t.table[i] != 0 {
		i = (i + 1) & t.mask()
	}
	t.table[i] = slot + 1
}

// remove takes a slot out, whose record is still there, and moves up what would
// no longer be found behind the gap.
func (t *identifiers) remove(slot uint32) {
	gap := t.home(slot)
	for t.table[gap] != slot+1 {
		if t.table[gap] == 0 {
			panic("raftstore: a session that is removed is not there")
		}
		gap = (gap + 1) & t.mask()
	}
	for i := (gap + 1) & t.mask(); t.table[i] != 0; i = (i + 1) & t.mask() {
		// An item whose home lies cyclically in (gap, i] stays where it is.
		home := t.home(t.table[i] - 1)
		if (i-home)&t.mask() >= (i-gap)&t.mask() {
			t.table[gap] = t.table[i]
			gap = i
		}
	}
	t.table[gap] = 0
	t.used--
}
