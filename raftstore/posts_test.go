package raftstore

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// A node loses its replica and gets one, at run time: its lane goes on with
// whoever leads, the shard's memory is empty in between, and what the stores held
// comes back.
func TestReplicaStopsAndStarts(t *testing.T) {
	inTrio(t, func(c *trio) {
		m := c.leader()
		s := m.store.Load()
		claim := m.do(Claim{ClientID: "c", Conn: 1, Expiry: 3600})
		term := s.Term(0)
		expect(t, "leads", s.Leads(0), true)
		if id, ok := s.Leader(0); id != raft.ServerID(m.addr) || !ok {
			t.Errorf("leader %q, %t", id, ok)
		}
		if _, err := s.StartReplica(0, Group{Log: m.log, Stable: m.stable, Snapshots: m.snapshots, Transport: m.transport}); err == nil {
			t.Error("two replicas of one shard")
		}

		expect(t, "stop", s.StopReplica(0), nil)
		expect(t, "leads", s.Leads(0), false)
		expect(t, "raft", s.Raft(0) == nil, true)
		expect(t, "term", s.Term(0), 0)
		page, _, _ := s.Sessions(0, 0, 10)
		expect(t, "sessions held", len(page), 0)
		index, digest := s.Digest(0)
		expect(t, "digest", index|digest, 0)
		expect(t, "stop again", s.StopReplica(0), nil)

		c.await(t)
		expect(t, "goes on elsewhere", m.do(Receive{ClientID: "c", Epoch: claim.Claim.Epoch, PacketID: 7}).Err, nil)
		m.startReplica(t)
		time.Sleep(5 * time.Second)
		page, _, _ = s.Sessions(0, 0, 10)
		expect(t, "sessions", len(page), 1)
		expect(t, "later term", s.Term(0) > term, true)
		index, digest = s.Digest(0)
		otherIndex, otherDigest := c.leader().store.Load().Digest(0)
		expect(t, "index", index, otherIndex)
		expect(t, "digest", digest, otherDigest)

		m.kill()
		_, err := s.StartReplica(0, Group{Log: m.log, Stable: m.stable, Snapshots: m.snapshots, Transport: m.transport})
		expect(t, "closed", err, ErrClosed)
	})
}

// Entries are told apart by who made them, and a later replica of one node start
// goes on numbering: what an earlier one left in the log is not taken for its own.
func TestLaterReplicaGoesOnNumbering(t *testing.T) {
	inTrio(t, func(c *trio) {
		m := c.leader()
		made := func() (n uint64) {
			s := m.store.Load()
			done := make(chan struct{})
			s.shards[0].call(func() { n = s.shards[0].made; close(done) })
			<-done
			return n
		}
		m.do(Claim{ClientID: "c", Conn: 1, Expiry: 3600})
		before := made()
		expect(t, "stop", m.store.Load().StopReplica(0), nil)
		c.await(t)
		m.startReplica(t)
		expect(t, "numbers go on", made() >= before, true)
	})
}
