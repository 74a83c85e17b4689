package raftstore

import (
	"dunlin/router"
	"dunlin/session"
)

// record is a client identifier with its owner and, if stored, its session.
type record struct {
	clientID string
	user     string
	conn     router.Subscriber // of the connection that owns it; meaningless when detached
	stored   bool              // outlives its connection; else it is a claim alone
	session.Durable
}

// sessions is the table of client identifiers. A record keeps its slot for life;
// slots number subscribers in the shard's table of subscriptions.
//
// Invariants: ids names exactly the used slots, under their own identifiers;
// every other slot is on the free list once.
type sessions struct {
	chunks []*[chunkSize]record
	ids    map[string]uint32
	free   []uint32
	size   uint32 // slots in use or on the free list
}

// chunkSize is the number of records allocated at once; records never move.
const chunkSize = 64

func newSessions() sessions { return sessions{ids: make(map[string]uint32)} }

func (t *sessions) at(slot uint32) *record { return &t.chunks[slot/chunkSize][slot%chunkSize] }

func (t *sessions) find(clientID []byte) (slot uint32, rec *record) {
	slot, ok := t.ids[string(clientID)]
	if !ok {
		return 0, nil
	}
	return slot, t.at(slot)
}

// add makes the record of a client identifier that has none.
func (t *sessions) add(clientID, user string, origin uint64) (slot uint32, rec *record) {
	if n := len(t.free); n > 0 {
		slot = t.free[n-1]
		t.free = t.free[:n-1]
	} else {
		slot = t.size
		t.size++
		if slot%chunkSize == 0 {
			t.chunks = append(t.chunks, new([chunkSize]record))
		}
	}
	rec = t.at(slot)
	*rec = record{clientID: clientID, user: user, Durable: session.NewDurable(origin)}
	t.ids[clientID] = slot
	return slot, rec
}

func (t *sessions) remove(slot uint32) {
	rec := t.at(slot)
	delete(t.ids, rec.clientID)
	*rec = record{}
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
