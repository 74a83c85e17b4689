package raftstore

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"unsafe"
)

func TestCellsAgainstMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	var c cells
	want, at := map[uint32][]byte{}, map[uint32]spot{}
	for round := range 40_000 {
		slot := rng.Uint32N(3000)
		if p, ok := at[slot]; ok {
			if got := c.at(p); string(got) != string(want[slot]) {
				t.Fatalf("round %d: slot %d has % x, want % x", round, slot, got, want[slot])
			}
			if moved, ok := c.remove(p); ok {
				at[moved] = p
			}
			delete(at, slot)
			delete(want, slot)
			continue
		}
		content := binary.AppendUvarint(nil, uint64(slot))
		for range rng.IntN(maxCellUnits*cellUnit + 10) {
			content = append(content, byte(rng.Uint32()))
		}
		p, ok := c.put(content)
		if fits := len(content) < maxCellUnits*cellUnit; ok != fits {
			t.Fatalf("round %d: %d bytes are kept: %t", round, len(content), ok)
		}
		if ok {
			at[slot], want[slot] = p, content
		}
	}
	for slot, p := range at {
		if got := c.at(p); string(got) != string(want[slot]) {
			t.Fatalf("slot %d has % x, want % x", slot, got, want[slot])
		}
	}
}

// claimed is a shard with claims of n idle connections, each of its own.
func claimed(n int) *manual {
	o := DefaultOptions()
	m := newManual(o)
	for i := range n {
		m.do(Claim{ClientID: fmt.Sprintf("idle-%06d", i), Conn: 1<<40 + 5, Inflight: 100})
	}
	return m
}

// bytes is the memory that the table of client identifiers has taken.
func (t *sessions) bytes() (n int) {
	for i := range t.cells.rows {
		n += len(t.cells.rows[i].pieces) * cellPiece
	}
	return n + 4*(cap(t.spots)+len(t.ids.table)+cap(t.free)) + int(unsafe.Sizeof(record{}))*openChunk*len(t.open.chunks)
}

// DESIGN section 7: a claim takes at most 150 bytes on each node that has the shard.
// These are in the table; what a store needs besides does not grow with them.
func TestClaimIsSmall(t *testing.T) {
	const claims = 6000
	m := claimed(claims)
	m.st.sessions.pack()
	if each := m.st.sessions.bytes() / claims; each > 100 {
		t.Errorf("a claim takes %d bytes", each)
	}
	for i := range claims {
		if _, rec := m.st.sessions.find(fmt.Appendf(nil, "idle-%06d", i)); rec == nil || !rec.Attached() || rec.conn != 1<<40+5 {
			t.Fatalf("claim %d is not there", i)
		}
	}
	for _, packed := range []bool{false, true} { // the calls of find have opened all
		if packed {
			m.st.sessions.pack()
		}
		for slot, p := range m.st.sessions.spots {
			if p.open() == packed {
				t.Fatalf("slot %d is open: %t", slot, p.open())
			}
		}
		if err := m.st.check(); err != nil {
			t.Error(err)
		}
	}
}

// What has something to hold is open, and lies in a cell when it is restored without.
func TestBareRecordsArePacked(t *testing.T) {
	m := newManual(DefaultOptions())
	open := func(id string) bool {
		slot, ok := m.st.sessions.ids.find([]byte(id))
		if !ok {
			t.Fatalf("%s is not there", id)
		}
		return m.st.sessions.spots[slot].open()
	}
	bare := m.do(Claim{ClientID: "bare", User: "u", Conn: 1}).Claim.Epoch
	m.do(Claim{ClientID: "will", Conn: 2, Will: &Will{Message: publish("w", "x", 1)}})
	kept := m.do(Claim{ClientID: "kept", Conn: 3, Expiry: 100}).Claim.Epoch
	long := string(make([]byte, maxCellUnits*cellUnit))
	m.do(Claim{ClientID: long, Conn: 4})
	m.st.sessions.pack()
	for id, want := range map[string]bool{"bare": false, "will": true, "kept": false, long: true} {
		if got := open(id); got != want {
			t.Errorf("%.10q is open: %t, want %t", id, got, want)
		}
	}
	m.do(Receive{ClientID: "bare", Epoch: bare, PacketID: 7})
	m.do(Subscribe{ClientID: "kept", Epoch: kept, Filters: []Subscription{subscription("a", 1)}})
	if !open("bare") || !open("kept") {
		t.Error("what holds something is packed")
	}
	m.do(Release{ClientID: "bare", Epoch: bare, PacketID: 7})
	hash := m.st.hash()
	if err := m.restart(); err != nil {
		t.Fatal(err)
	}
	expect(t, "hash", m.replica.hash(), hash)
	if slot, _ := m.replica.sessions.ids.find([]byte("bare")); m.replica.sessions.spots[slot].open() {
		t.Error("a restored record that holds nothing is open")
	}
	m.do(Detach{ClientID: "bare", Epoch: bare})
	m.do(Detach{ClientID: "kept", Epoch: kept})
	expect(t, "hash", m.replica.hash(), m.st.hash())
}
