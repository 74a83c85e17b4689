package raftstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// A backup of one cluster brings another, which was just formed, to what the first
// had answered, on all replicas; with its connections gone and their wills due.
func TestBackupAndRestore(t *testing.T) {
	var backup bytes.Buffer
	var before []SessionInfo
	message := func(i int) Enqueue {
		m := publish("a", fmt.Sprint(i), 2)
		m.Origin, m.Seq, m.Low = 77, uint64(i+1), 1
		return Enqueue{Message: m}
	}
	var origin uint64
	inTrio(t, func(c *trio) {
		m := c.follower()
		s := m.do(Claim{ClientID: "s", User: "u", Conn: 1, Expiry: 3600, Inflight: 2, Will: &Will{Message: publish("w", "gone", 1)}})
		origin = s.Claim.Origin
		m.do(Subscribe{ClientID: "s", Epoch: s.Claim.Epoch, Filters: []Subscription{subscription("a", 2)}})
		m.do(Receive{ClientID: "s", Epoch: s.Claim.Epoch, PacketID: 9})
		m.do(Claim{ClientID: "ephemeral", Conn: 2, Will: &Will{Message: publish("w", "gone too", 1), Delay: 60}})
		for i := range 500 {
			m.do(message(i))
		}
		m.do(Retain{Message: publish("r", "kept", 1)})
		if err := m.store.Load().Backup(0, io.Discard); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a follower's backup: %v", err)
		}
		leader := c.leader().store.Load()
		if err := leader.Backup(0, &backup); err != nil {
			t.Fatal(err)
		}
		if at, err := leader.Dump(0, func(page []SessionInfo) bool { before = append(before, page...); return true }); err != nil || at.Index < 500 {
			t.Error(at, err)
		}
		for range 3 {
			if err := leader.Restore(0, bytes.NewReader(backup.Bytes())); !errors.Is(err, ErrNotEmpty) {
				t.Errorf("restored over what is there: %v", err)
			}
		}
		expect(t, "goes on", m.do(message(1000)).Err, nil)
	})
	inTrio(t, func(c *trio) {
		m := c.leader()
		for range 3 { // nodes that have begun to serve left no more than this
			c.follower().do(Delete{ClientID: "nobody"})
		}
		if err := c.follower().store.Load().Restore(0, bytes.NewReader(backup.Bytes())); !errors.Is(err, ErrNotLeader) {
			t.Errorf("a follower restored: %v", err)
		}
		if err := m.store.Load().Restore(0, bytes.NewReader(backup.Bytes()[:backup.Len()/2])); !errors.Is(err, ErrSnapshot) {
			t.Errorf("half a backup: %v", err)
		}
		expect(t, "leads on", m.store.Load().Leads(0), true)
		c.Lock()
		clear(c.entries) // there is a hole, and a state that they did not make
		clear(c.digests)
		c.Unlock()
		if err := m.store.Load().Begin(0); !errors.Is(err, ErrUnknown) {
			t.Errorf("begun without a restore: %v", err)
		}
		if err := m.store.Load().Restore(0, bytes.NewReader(backup.Bytes())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		expect(t, "waits", c.told("gone") || m.store.Load().Leads(0), false)
		for _, other := range c.nodes {
			expect(t, "keeps its leader", other.store.Load().Restoring(0), other == m)
		}
		if err := m.store.Load().Begin(0); err != nil {
			t.Fatal(err)
		}
		expect(t, "keeps it no more", m.store.Load().Restoring(0), false)
		time.Sleep(5 * time.Second)
		for i, m := range c.nodes {
			page, _, _ := m.store.Load().Sessions(0, 0, 10)
			if len(page) != 1 || page[0].ClientID != "s" || page[0].Attached || page[0].Inflight+page[0].Waiting != 500 {
				t.Errorf("node %d has %+v", i+1, page)
			}
			page[0].Attached, page[0].Node, page[0].Conn = true, before[0].Node, before[0].Conn
			expect(t, "as it was", page[0], before[0])
		}
		expect(t, "will", c.told("gone") && c.told("gone too"), true)

		f := c.follower()
		s := f.do(Claim{ClientID: "s", User: "u", Conn: 5, Expiry: 3600, Inflight: 600})
		expect(t, "present", s.Claim.Present, true)
		expect(t, "origin", s.Claim.Origin, origin)
		expect(t, "known", f.do(message(3)).Known, true)
		expect(t, "new", f.do(message(500)).Known, false)
		expect(t, "release", f.do(Release{ClientID: "s", Epoch: s.Claim.Epoch, PacketID: 9}).Known, true)
		if r := f.do(Receive{ClientID: "s", Epoch: s.Claim.Epoch, PacketID: 10}); r.Seq < backupGap {
			t.Errorf("numbers go on at %d", r.Seq)
		}
		p, err := readRetained(f.store.Load(), RetainedQuery{Filter: filter("#")})
		expect(t, "read", err, nil)
		expect(t, "retained", len(p.Messages), 1)

		m.kill() // and it is what the others have
		c.await(t)
		expect(t, "after a failover", f.do(message(3)).Known, true)
		m.run(t)
		time.Sleep(5 * time.Second)
		index, digest := m.store.Load().Digest(0)
		otherIndex, otherDigest := f.store.Load().Digest(0)
		expect(t, "index", index, otherIndex)
		expect(t, "digest", digest, otherDigest)
		c.Lock()
		defer c.Unlock()
		if c.wrong != nil {
			t.Error(c.wrong)
		}
	})
}

// A dump is of one moment, though the shard goes on.
func TestDump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := DefaultOptions()
		o.Shards = 1
		own := &owner{}
		s, err := Open(o, own, own)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		const n = 2500
		claim := func(i int) { s.Submit(0, Claim{ClientID: fmt.Sprint("c", i), Conn: 1, Expiry: 60}, nil) }
		for i := range n {
			claim(i)
		}
		synctest.Wait()
		var pages []int
		seen := map[string]bool{}
		at, err := s.Dump(0, func(page []SessionInfo) bool {
			for i := range 300 {
				claim(n + 300*len(pages) + i)
				s.Submit(0, Delete{ClientID: fmt.Sprint("c", n-1-300*len(pages)-i)}, nil)
			}
			synctest.Wait()
			pages = append(pages, len(page))
			for _, info := range page {
				seen[info.ClientID] = true
			}
			return true
		})
		if err != nil || at.Index < n {
			t.Fatal(at, err)
		}
		expect(t, "pages", fmt.Sprint(pages), "[1000 1000 500]")
		for i := range n {
			if !seen[fmt.Sprint("c", i)] {
				t.Fatalf("c%d is missing", i)
			}
		}
		pages = nil
		if _, err := s.Dump(0, func(page []SessionInfo) bool { pages = append(pages, len(page)); return false }); err != nil {
			t.Error(err)
		}
		expect(t, "stopped", len(pages), 1)
		for _, v := range s.shards[0].st.views {
			t.Errorf("a view is left: %v", v.at)
		}
	})
}
