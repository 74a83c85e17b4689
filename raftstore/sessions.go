package raftstore

import (
	"encoding/binary"
	"iter"
	"sync"

	"dunlin/router"
	"dunlin/session"
)

// record is a client identifier with its owner and, if stored, its session.
type record struct {
	clientID string
	user     string
	node     Node              // that holds the connection which owns it; meaningless when detached
	conn     router.Subscriber // of the connection that owns it; meaningless when detached
	session.Durable
}

// sessions is the table of client identifiers. A record keeps its slot for life;
// slots number subscribers in the shard's table of subscriptions.
//
// Most records are bare: claims of idle connections, that hold nothing but who owns an
// identifier, and on what terms. They lie packed, as they stand in a snapshot, in cells,
// where they take less than half the memory and the garbage collector does not visit them.
// Whoever asks for one by find or at has it opened, and tidy puts away what was opened and
// is bare, between two entries. Where a record lies is no part of the state.
//
// Invariants: ids names exactly the used slots, under their own identifiers;
// every other slot is on the free list once; spots says of each used slot where its
// record lies, of others nothing, and nothing else lies there; what is packed is bare;
// users, if there are any, count the stored sessions.
type sessions struct {
	names  sync.RWMutex // held while identifiers come, go or move, for those who look from elsewhere
	spots  []spot       // by slot, in use or on the free list
	open   openRecords
	cells  cells
	opened []uint32 // slots of those to be packed, if they are open still
	room   []byte   // for what is packed
	ids    identifiers
	free   []uint32
	users  users // whose stored sessions they are; nil if nobody has asked. No part of the state
}

func newSessions() *sessions {
	t := &sessions{}
	t.ids = newIdentifiers(t)
	return t
}

// size is the number of slots in use or on the free list.
func (t *sessions) size() uint32 { return uint32(len(t.spots)) }

// used says whether a slot has a record.
func (t *sessions) used(slot uint32) bool { return t.spots[slot] != 0 }

// at is the record in slot, open until the next tidy; an empty one if there is none.
func (t *sessions) at(slot uint32) *record {
	switch p := t.spots[slot]; {
	case p.open():
		return t.open.at(p)
	case p == 0:
		return new(record)
	}
	return t.unpack(slot)
}

// find is at for an identifier; nil if it has no record.
func (t *sessions) find(clientID []byte) (slot uint32, rec *record) {
	slot, ok := t.ids.find(clientID)
	if !ok {
		return 0, nil
	}
	return slot, t.at(slot)
}

// has says whether an identifier has a record, to any goroutine.
func (t *sessions) has(clientID []byte) bool {
	t.names.RLock()
	defer t.names.RUnlock()
	_, ok := t.ids.find(clientID)
	return ok
}

// nextSlot is where the next record goes.
func (t *sessions) nextSlot() uint32 {
	if n := len(t.free); n > 0 {
		return t.free[n-1]
	}
	return t.size()
}

// add makes the record of a client identifier that has none.
func (t *sessions) add(clientID, user string, origin uint64) (slot uint32, rec *record) {
	t.names.Lock()
	defer t.names.Unlock()
	if n := len(t.free); n > 0 {
		slot = t.free[n-1]
		t.free = t.free[:n-1]
	} else {
		slot = t.extend()
	}
	rec = t.openAt(slot)
	*rec = record{clientID: clientID, user: user, Durable: session.NewDurable(origin)}
	t.ids.add(slot)
	return slot, rec
}

// remove ends a record that is open.
func (t *sessions) remove(slot uint32) {
	t.names.Lock()
	defer t.names.Unlock()
	t.ids.remove(slot)
	t.open.give(t.spots[slot])
	t.spots[slot] = 0
	t.free = append(t.free, slot)
}

// extend makes room for one more record.
func (t *sessions) extend() (slot uint32) {
	t.spots = append(t.spots, 0)
	return t.size() - 1
}

// each calls yield with every record, by slot. It is only to be read, and only
// until yield returns; whoever changes it, asks for it by at.
func (t *sessions) each(yield func(slot uint32, rec *record) bool) {
	var read record
	for slot := range t.size() {
		if t.used(slot) && !yield(slot, t.look(slot, &read)) {
			return
		}
	}
}

// eachOpen are the records from a slot on that may be more than bare, by slot.
func (t *sessions) eachOpen(from uint32) iter.Seq2[uint32, *record] {
	return func(yield func(slot uint32, rec *record) bool) {
		for slot := from; slot < t.size(); slot++ {
			if p := t.spots[slot]; p.open() && !yield(slot, t.open.at(p)) {
				return
			}
		}
	}
}

// appendRecord writes one record. The section begins with the slots' number and
// the free ones, in the order in which they were freed.
func appendRecord(b []byte, slot uint32, rec *record) []byte {
	b = binary.AppendUvarint(b, uint64(slot))
	b = appendBytes(b, rec.clientID)
	b = appendBytes(b, rec.user)
	b = binary.AppendUvarint(b, uint64(rec.node))
	b = binary.AppendUvarint(b, uint64(rec.conn))
	return rec.Durable.Append(b)
}

// record reads what appendRecord wrote; its queue refers to what bodies has.
func (r *reader) record(bodies session.Bodies) (slot uint64, rec record) {
	slot = r.uvarint()
	rec = record{clientID: r.string(), user: r.string(), node: r.node(), conn: router.Subscriber(r.uvarint())}
	d, rest, err := session.ParseDurable(r.b, bodies)
	if r.b = rest; r.err != nil || err != nil || d.Epoch() == 0 {
		r.fail()
		return 0, record{}
	}
	rec.Durable = d
	return slot, rec
}

func (rs *restoring) session(r *reader) {
	st := rs.st
	t := st.sessions
	if rs.first(sectionSessions) {
		rs.endMessages()
		rs.records, t.free = r.slots()
		return
	}
	var slot uint64
	read := &rs.record
	slot, *read = r.record(rs)
	if _, twice := t.ids.find([]byte(read.clientID)); r.err != nil || twice ||
		slot < uint64(t.size()) || slot-uint64(t.size()) > uint64(len(t.free)) {
		r.fail()
		return
	}
	for uint64(t.size()) <= slot {
		t.extend()
	}
	t.put(uint32(slot), read)
	t.ids.add(uint32(slot))
	st.subscriptions.index(uint32(slot), &read.Durable)
	st.deadlines.set(uint32(slot), read.Due())
}
