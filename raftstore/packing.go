package raftstore

import (
	"bytes"
	"hash/maphash"
	"iter"
)

// This file has where the table of client identifiers keeps its records.

// openRecords are records in the form in which they are changed. They never move.
type openRecords struct {
	chunks []*[openChunk]record
	free   []uint32
}

// openChunk is the number of open records allocated at once.
const openChunk = 64

func (t *openRecords) at(p spot) *record {
	n := uint32(p &^ spotOpen)
	return &t.chunks[n/openChunk][n%openChunk]
}

// take gives a place for one more, which is empty.
func (t *openRecords) take() (p spot) {
	if len(t.free) == 0 {
		n := uint32(len(t.chunks)) * openChunk
		t.chunks = append(t.chunks, new([openChunk]record))
		for i := range uint32(openChunk) {
			t.free = append(t.free, n+openChunk-1-i)
		}
	}
	n := t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]
	return spotOpen | spot(n)
}

// give takes it back.
func (t *openRecords) give(p spot) {
	*t.at(p) = record{}
	t.free = append(t.free, uint32(p&^spotOpen))
}

// openAt makes slot's record an open one, which is empty and to be packed.
func (t *sessions) openAt(slot uint32) *record {
	p := t.open.take()
	t.spots[slot] = p
	t.opened = append(t.opened, slot)
	return t.open.at(p)
}

// unpack opens a packed record.
func (t *sessions) unpack(slot uint32) *record {
	t.names.Lock()
	defer t.names.Unlock()
	p := t.spots[slot]
	rec := t.openAt(slot)
	*rec = unpacked(t.cells.at(p))
	if moved, ok := t.cells.remove(p); ok {
		t.spots[moved] = p
	}
	return rec
}

// unpacked reads a packed record.
func unpacked(content []byte) record {
	r := reader{b: content}
	_, rec := r.record(nil) // it has no queue
	if r.err != nil || len(r.b) > 0 {
		panic("raftstore: packed record: " + errMalformed.Error())
	}
	return rec
}

// look is slot's record to be read, where it is open, or in room.
func (t *sessions) look(slot uint32, room *record) *record {
	p := t.spots[slot]
	if p.open() {
		return t.open.at(p)
	}
	*room = unpacked(t.cells.at(p))
	return room
}

// packAtOnce is how many opened records a table lets come together: those that are
// ended soon are never packed, and a lock is taken for many.
const packAtOnce = 64

// tidy packs, if that is worth it. Nobody has a record in hand.
func (t *sessions) tidy() {
	if len(t.opened) >= packAtOnce {
		t.pack()
	}
}

// pack puts away what was opened and is bare. What came to hold something stays open to
// its end.
func (t *sessions) pack() {
	t.names.Lock()
	defer t.names.Unlock()
	for _, slot := range t.opened {
		if p := t.spots[slot]; p.open() && t.packInto(slot, t.open.at(p)) {
			t.open.give(p)
		}
	}
	t.opened = recycle(t.opened)
}

// packInto has slot's record lie in a cell, if it is bare and not too long.
func (t *sessions) packInto(slot uint32, rec *record) bool {
	if !rec.Bare() || len(rec.clientID)+len(rec.user) > maxCellUnits*cellUnit {
		return false
	}
	t.room = appendRecord(t.room[:0], slot, rec)
	p, ok := t.cells.put(t.room)
	if ok {
		t.spots[slot] = p
	}
	return ok
}

// put makes rec the record of a slot that has none and is not named yet.
func (t *sessions) put(slot uint32, rec *record) {
	if !t.packInto(slot, rec) {
		p := t.open.take()
		*t.open.at(p), t.spots[slot] = *rec, p
	}
}

// appendTo writes slot's record as a snapshot has it, or nothing if there is none.
func (t *sessions) appendTo(b []byte, slot uint32) []byte {
	switch p := t.spots[slot]; {
	case p.open():
		return appendRecord(b, slot, t.open.at(p))
	case p != 0:
		return append(b, t.cells.at(p)...)
	}
	return b
}

// ownedBy calls yield with each slot whose record a connection of node owns. That record
// may end meanwhile, others only later.
func (t *sessions) ownedBy(node Node) iter.Seq[uint32] {
	return func(yield func(slot uint32) bool) {
		for slot := range t.size() {
			if t.used(slot) && t.owner(slot) == node && !yield(slot) {
				return
			}
		}
	}
}

// owner is the node whose connection owns slot's record; 0 if none does.
func (t *sessions) owner(slot uint32) Node {
	p := t.spots[slot]
	if p.open() {
		if rec := t.open.at(p); rec.Attached() {
			return rec.node
		}
		return 0
	}
	_, r := packedName(t.cells.at(p))
	r.bytes() // user
	return r.node()
}

// isNamed says whether clientID is that of slot's record.
func (t *sessions) isNamed(slot uint32, clientID []byte) bool {
	p := t.spots[slot]
	if p.open() {
		return t.open.at(p).clientID == string(clientID)
	}
	name, _ := packedName(t.cells.at(p))
	return bytes.Equal(name, clientID)
}

// nameHash is a hash of slot's client identifier.
func (t *sessions) nameHash(slot uint32, seed maphash.Seed) uint64 {
	p := t.spots[slot]
	if p.open() {
		return maphash.String(seed, t.open.at(p).clientID)
	}
	name, _ := packedName(t.cells.at(p))
	return maphash.Bytes(seed, name)
}

// packedName is a packed record's client identifier, and what follows it.
func packedName(content []byte) (name []byte, rest reader) {
	rest.b = content
	rest.uvarint() // slot
	return rest.bytes(), rest
}
