package raftstore

import (
	"strings"
	"testing"
	"time"
)

// P10: what the log keeps of an entry is what is in it, however much was submitted that is not: it
// bounds what it keeps by what entries take.
func TestEntriesHaveNoRoomToSpare(t *testing.T) {
	sh := newManual(DefaultOptions())
	e := sh.do(Claim{ClientID: "c", Conn: 1, Expiry: 60, Inflight: 9}).Claim.Epoch
	sh.do(Subscribe{ClientID: "c", Epoch: e, Filters: []Subscription{subscription("#", 1)}})
	driver := &keeping{solo: sh.solo}
	sh.driver = driver
	refused := func() { // its claim is in no entry, for which room was made
		will := &Will{Message: publish("w", strings.Repeat("x", 100<<10), 1)}
		sh.submit(Claim{ClientID: "c", Conn: 2, Expiry: 60, Inflight: 9, Will: will, Sole: true}, nil)
		sh.settle()
	}
	for i, at := range []struct {
		qos0, qos1, size int
	}{{0, 1, 10}, {100, 1, 1000}, {0, 1, 10}, {0, 100, 1000}, {1, 1, 1 << 20}, {100, 1, 10}, {0, 0, 0}, {0, 3, 100}} {
		if i == 1 {
			refused()
		}
		payload := strings.Repeat("x", at.size)
		for range at.qos0 {
			sh.submit(Transient{Message: publish("a", payload, 0)}, nil)
		}
		for range at.qos1 {
			sh.submit(Enqueue{Message: publish("a", "kept", 1)}, nil)
		}
		sh.settle()
		if e := driver.kept; cap(e) > 2*len(e)+2*maxSpareRoom {
			t.Errorf("%d messages of QoS 0 and %d of QoS 1: an entry of %d bytes is kept in %d", at.qos0, at.qos1, len(e), cap(e))
		}
		if driver.changed() {
			t.Fatal("an entry that is kept was written again")
		}
	}
	if len(driver.all) < 7 {
		t.Errorf("%d entries were proposed", len(driver.all))
	}
}

// keeping is a driver whose log keeps the entries, as Raft's does.
type keeping struct {
	*solo
	kept []byte
	all  [][]byte
	were []string
}

func (d *keeping) propose(p *proposal) {
	d.kept = p.give()
	d.all, d.were = append(d.all, d.kept), append(d.were, string(d.kept))
	d.sh.applied(d.kept, p)
}

func (d *keeping) changed() bool {
	for i, e := range d.all {
		if string(e) != d.were[i] {
			return true
		}
	}
	return false
}

// P10: a short entry costs more than its data, in the log and in the memory that finds it there, and
// a snapshot is due for that too.
func TestShortEntriesAreCut(t *testing.T) {
	inTrio(t, func(c *trio) { // which takes a snapshot after 4 KB
		leader := c.await(t)
		for range 55 { // of 40 bytes or so
			leader.do(Delete{ClientID: "nobody"})
		}
		time.Sleep(time.Second) // virtual: the snapshot is written
		for _, m := range c.nodes {
			if all, err := m.snapshots.List(); err != nil || len(all) == 0 {
				t.Errorf("node %d has taken no snapshot: %v", m.node, err)
			}
		}
	})
}

// P10: the way to a shard's leader keeps no large message when it is quiet.
func TestLaneKeepsNoLargeMessage(t *testing.T) {
	inTrio(t, func(c *trio) {
		m := c.await(t)
		m.do(Enqueue{Message: publish("a", strings.Repeat("x", 1<<20), 1)})
		l := m.store.Load().lanes[0]
		l.mu.Lock()
		defer l.mu.Unlock()
		if n := cap(l.mu.scratch); n > maxEntryBytes {
			t.Errorf("%d bytes are kept", n)
		}
	})
}
