package raftstore

import (
	"encoding/binary"
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
// Invariants: ids names exactly the used slots, under their own identifiers;
// every other slot is on the free list once.
type sessions struct {
	names  sync.RWMutex // held while identifiers come or go, for those who look from elsewhere
	chunks []*[chunkSize]record
	ids    identifiers
	free   []uint32
	size   uint32 // slots in use or on the free list
}

// chunkSize is the number of records allocated at once; records never move.
const chunkSize = 64

func newSessions() *sessions {
	t := &sessions{}
	t.ids = newIdentifiers(func(slot uint32) string { return t.at(slot).clientID })
	return t
}

func (t *sessions) at(slot uint32) *record { return &t.chunks[slot/chunkSize][slot%chunkSize] }

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
	return t.size
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
	rec = t.at(slot)
	*rec = record{clientID: clientID, user: user, Durable: session.NewDurable(origin)}
	t.ids.add(slot)
	return slot, rec
}

func (t *sessions) remove(slot uint32) {
	t.names.Lock()
	defer t.names.Unlock()
	t.ids.remove(slot)
	*t.at(slot) = record{}
	t.free = append(t.free, slot)
}

// each calls yield with every record, by slot.
func (t *sessions) each(yield func(slot uint32, rec *record) bool) {
	for slot := range t.size {
		if rec := t.at(slot); rec.Epoch() != 0 && !yield(slot, rec) {
			return
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
	slot, read := r.record(rs)
	if _, twice := t.ids.find([]byte(read.clientID)); r.err != nil || twice ||
		slot < uint64(t.size) || slot-uint64(t.size) > uint64(len(t.free)) {
		r.fail()
		return
	}
	for uint64(t.size) <= slot {
		t.extend()
	}
	rec := t.at(uint32(slot))
	*rec = read
	t.ids.add(uint32(slot))
	st.subscriptions.index(uint32(slot), &rec.Durable)
	st.deadlines.set(uint32(slot), rec.Due())
}

// extend makes room for one more record.
func (t *sessions) extend() (slot uint32) {
	if t.size%chunkSize == 0 {
		t.chunks = append(t.chunks, new([chunkSize]record))
	}
	t.size++
	return t.size - 1
}
