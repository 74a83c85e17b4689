package raftstore

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"
)

// A guest holds its identifier against everybody as the owner of a claim does: other
// guests are not let in, another user is refused (E6), and a claim has it evicted
// first (E2).
func TestGuest(t *testing.T) {
	inBubble(t, func(b *bench) {
		expect(t, "free", b.Admit(0, "c", "anna", 1), true)
		expect(t, "another", b.Admit(0, "c", "anna", 2), false)
		expect(t, "other identifier", b.Admit(0, "d", "anna", 3), true)
		b.Leave(0, "c", 2) // which does not have it
		expect(t, "another user", b.do(Claim{ClientID: "c", User: "bert", Conn: 2}).Err, ErrNotYours)
		expectAll(t, "evicted", b.owner.evicted)
		expect(t, "commands", b.shards[0].st.index, 1) // the limits

		b.owner.answer = func(done func()) { b.Leave(0, "c", 1); done() }
		epoch := b.ok(Claim{ClientID: "c", User: "anna", Conn: 2}).Claim.Epoch
		expectAll(t, "evicted", b.owner.evicted, 1)
		expectAll(t, "ended", b.owner.ended)
		expect(t, "claimed", b.Admit(0, "c", "anna", 4), false)
		b.ok(Detach{ClientID: "c", Epoch: epoch})
		expect(t, "free again", b.Admit(0, "c", "bert", 4), true)
		b.Leave(0, "c", 4)
		expect(t, "and again", b.Admit(0, "c", "anna", 5), true)
	})
}

// A guest that does not answer its eviction is told when the claim is applied.
func TestGuestThatDoesNotAnswer(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.Admit(0, "c", "", 1)
		claimed := false
		b.Submit(0, Claim{ClientID: "c", Conn: 2}, func(Result) { claimed = true })
		b.sleep(49 * time.Millisecond)
		expect(t, "claimed at once", claimed, false)
		b.sleep(2 * time.Millisecond)
		expect(t, "claimed", claimed, true)
		expectAll(t, "ended", b.owner.ended, endedConn{0, 1, 0, mqtt.SessionTakenOver})
		expect(t, "guests", b.shards[0].guests.count(), 0)
	})
}

// No identifier that has a record is a guest's: a session that is kept is found.
func TestNoGuestBesideASession(t *testing.T) {
	inBubble(t, func(b *bench) {
		epoch := b.ok(Claim{ClientID: "c", Conn: 1, Expiry: 60}).Claim.Epoch
		expect(t, "connected", b.Admit(0, "c", "", 2), false)
		b.ok(Detach{ClientID: "c", Epoch: epoch})
		expect(t, "kept", b.Admit(0, "c", "", 2), false)
		b.sleep(61 * time.Second)
		expect(t, "expired", b.Admit(0, "c", "", 2), true)
	})
}

// A guest that claims later does so without being evicted, and does not take the
// identifier from who has it by then.
func TestGuestClaims(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.owner.answer = func(done func()) { done() }
		b.Admit(0, "c", "", 1)
		b.ok(Claim{ClientID: "c", Conn: 1, Sole: true})
		expectAll(t, "evicted", b.owner.evicted)
		expect(t, "guests", b.shards[0].guests.count(), 0)
		expect(t, "too late", b.do(Claim{ClientID: "c", Conn: 2, Sole: true}).Err, ErrFenced)
		expectAll(t, "evicted", b.owner.evicted)

		b.Admit(0, "d", "", 3)
		b.owner.answer = nil
		var order []session.Epoch
		b.Submit(0, Claim{ClientID: "d", Conn: 4}, func(r Result) { order = append(order, r.Claim.Epoch) })
		expect(t, "behind another", b.do(Claim{ClientID: "d", Conn: 3, Sole: true}).Err, ErrFenced)
		b.sleep(51 * time.Millisecond)
		expect(t, "claims", len(order), 1)
		// Apply refuses too, for what the leader did not know.
		st := b.shards[0].st
		_, body := Claim{ClientID: "d", Conn: 3, Sole: true}.encode(nil, b.shards[0].clock)
		var res Result
		st.applyClaim(&reader{b: body}, &res)
		expect(t, "applied", res.Err, ErrFenced)
	})
}

// Before a shard gets another replica all its guests have claimed or are gone, some at
// a time; nobody is let in meanwhile or after.
func TestSettle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, guest := openAlone(t)
		defer s.Close()
		const n = settling + 10
		for i := range n {
			expect(t, "admitted", s.Admit(0, fmt.Sprint(i), "", router.Subscriber(i+1)), true)
		}
		asked := 0
		*guest = func(conn router.Subscriber) {
			if asked++; conn == 1 {
				s.Leave(0, "0", 1)
				return
			}
			s.Submit(0, Claim{ClientID: fmt.Sprint(conn - 1), Conn: conn, Sole: true}, nil)
		}
		expect(t, "settle", s.Settle(context.Background(), 0), nil)
		expect(t, "asked", asked, n)
		expect(t, "guests", s.shards[0].guests.count(), 0)
		page, _, _ := s.Sessions(0, 0, 2000)
		expect(t, "claims", len(page), maxSessionPage)
		expect(t, "after", s.Admit(0, "x", "", 1<<40), false)
	})
}

// What is not there to claim is waited for.
func TestSettleWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := openAlone(t)
		defer s.Close()
		s.Admit(0, "c", "", 1)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if s.Settle(ctx, 0) == nil {
			t.Error("settled, and a guest is there")
		}
		s.Leave(0, "c", 1)
		expect(t, "settle", s.Settle(context.Background(), 0), nil)
	})
}

// The table of guests finds what a map finds, however many come and go, and whatever
// homes they crowd.
func TestGuestTable(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	table, want := newGuestTable(), map[identifier]guest{}
	for i := range 20_000 {
		n := uint64(r.IntN(2000))
		id := identifier{n % 300, n}
		if _, ok := want[id]; ok {
			table.remove(id)
			delete(want, id)
		} else if i%3 > 0 || i < 10_000 {
			g := guest{id: id, conn: router.Subscriber(i)}
			table.add(g)
			want[id] = g
		}
		probe := uint64(r.IntN(2000))
		id = identifier{probe % 300, probe}
		expected, there := want[id]
		if g, ok := table.find(id); g != expected || ok != there {
			t.Fatalf("step %d: %v found %v, %t, want %v, %t", i, id, g, ok, expected, there)
		}
		if len(table.list) != len(want) {
			t.Fatalf("step %d: %d guests, want %d", i, len(table.list), len(want))
		}
	}
}

// openAlone opens a store whose one shard is a Raft group of one, which leads; guest is
// what it asks guests by.
func openAlone(t *testing.T) (s *Store, guest *func(router.Subscriber)) {
	t.Helper()
	o := DefaultOptions()
	o.Shards, o.Logger = 1, slog.New(slog.DiscardHandler)
	own := &owner{}
	guest = new(func(router.Subscriber))
	*guest = func(router.Subscriber) {}
	s, err := OpenReplicated(o, Replication{
		Node: 1, Start: 1, Generation: func() uint64 { return 1 }, Guest: func(conn router.Subscriber) { (*guest)(conn) },
		Leaders: nobody{}, Owners: alone{own}, World: own, Routes: &tableRoutes{node: router.NewTable()},
		Wall: time.Now, OutageCap: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	addr, transport := raft.NewInmemTransport("n1")
	g := Group{
		ID: raft.ServerID(addr), Log: raft.NewInmemStore(), Stable: raft.NewInmemStore(), Snapshots: raft.NewInmemSnapshotStore(),
		Transport: transport, Tune: func(c *raft.Config) { c.Logger = hclog.NewNullLogger() },
	}
	c := RaftConfig(g.ID)
	g.Tune(c)
	self := raft.Configuration{Servers: []raft.Server{{ID: g.ID, Address: addr}}}
	if err := raft.BootstrapCluster(c, g.Log, g.Stable, g.Snapshots, g.Transport, self); err != nil {
		t.Fatal(err)
	}
	if _, err := s.StartReplica(0, g); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Second)
	synctest.Wait()
	return s, guest
}

// nobody leads elsewhere.
type nobody struct{}

func (nobody) Leader(router.ShardID) (Node, bool)                    { return 0, false }
func (nobody) Ask(Node, router.ShardID, []byte, func([]byte, error)) {}
