package raftstore

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"

	"dunlin/router"
)

// guests are the connections of this node that hold a client identifier of the shard
// without a claim: in memory, and only while the shard's one replica is this node's.
// Session, owner and shard then die with the same process, so that nothing is gained
// by committing who the owner is; and as a guest writes nothing to the shard, there is
// nothing that an epoch would have to fence (E1). What wants to write, claims first.
//
// A guest counts like an owner: a claim of its identifier has it handed over (E2), by
// the same user (E6), and when the claim is applied the guest is none any more, wherever
// it came from. Nobody is admitted under an identifier that the shard has a record of.
// Before the group gets another replica all guests have to claim: see Store.Settle.
//
// It holds no pointers, and identifiers and users by their hashes under random seeds:
// two of the 2^128 do not meet.
type guests struct {
	self  Node
	seeds [2]maphash.Seed
	ended func(router.Subscriber) // tells a guest that its identifier is another's

	mu struct {
		sync.Mutex
		sessions *sessions // of the shard's state
		open     bool      // guests are admitted
		settled  bool      // and never again
		held     guestTable
		asked    map[identifier]struct{} // of held, to claim
		none     chan struct{}           // closed when asked is empty again; nil if nobody waits
	}
}

type identifier [2]uint64

// guest is a connection, and whose.
type guest struct {
	id   identifier
	conn router.Subscriber
	user uint64
}

func (g *guests) init(self Node, ended func(router.Subscriber)) {
	g.self, g.ended = self, ended
	for i := range g.seeds {
		g.seeds[i] = maphash.MakeSeed()
	}
	g.mu.held, g.mu.asked = newGuestTable(), make(map[identifier]struct{})
}

func (g *guests) identifier(clientID []byte) (id identifier) {
	for i := range id {
		id[i] = maphash.Bytes(g.seeds[i], clientID)
	}
	return id
}

func (g *guests) user(name []byte) uint64 { return maphash.Bytes(g.seeds[0], name) }

// adopt has the guests keep away from the identifiers that are in t.
func (g *guests) adopt(t *sessions) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.sessions = t
}

// admit lets guests in from now on, or not. Those that are there stay.
func (g *guests) admit(yes bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.open = yes && !g.mu.settled
}

// holder is who holds an identifier as a guest, and whether for this user.
func (g *guests) holder(clientID, user []byte) (conn router.Subscriber, same, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.mu.held.list) == 0 {
		return 0, false, false
	}
	x, ok := g.mu.held.find(g.identifier(clientID))
	return x.conn, x.user == g.user(user), ok
}

// bars says that a claim is refused, for the sake of a guest of another user (E6).
func (g *guests) bars(c *claim) bool {
	_, same, ok := g.holder(c.clientID, c.user)
	return ok && !same
}

// supersede ends the guest that holds an identifier which was claimed, by itself or by
// another connection.
func (g *guests) supersede(clientID []byte, node Node, conn router.Subscriber) {
	g.mu.Lock()
	if len(g.mu.held.list) == 0 {
		g.mu.Unlock()
		return
	}
	id := g.identifier(clientID)
	x, ok := g.mu.held.find(id)
	if ok {
		g.dropLocked(id)
	}
	g.mu.Unlock()
	if ok && (x.conn != conn || node != g.self) {
		g.ended(x.conn)
	}
}

func (g *guests) dropLocked(id identifier) {
	g.mu.held.remove(id)
	delete(g.mu.asked, id)
	if len(g.mu.asked) == 0 && g.mu.none != nil {
		close(g.mu.none)
		g.mu.none = nil
	}
}

func (g *guests) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.mu.held.list)
}

// Admit gives a client identifier of shard sh to a connection of this node whose
// session ends with it and that has no will, at once and without a commit, if that is
// as good as a Claim: see guests. Else, or if anybody may hold the identifier, it is
// false, and a Claim says what is to happen.
func (s *Store) Admit(sh router.ShardID, clientID, user string, conn router.Subscriber) bool {
	g := &s.shards[sh].guests
	name := []byte(clientID)
	id, whose := g.identifier(name), g.user([]byte(user))
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, taken := g.mu.held.find(id); taken || !g.mu.open || g.mu.sessions.has(name) {
		return false
	}
	g.mu.held.add(guest{id: id, conn: conn, user: whose})
	return true
}

// Leave ends what Admit gave, if the connection has it still.
func (s *Store) Leave(sh router.ShardID, clientID string, conn router.Subscriber) {
	g := &s.shards[sh].guests
	id := g.identifier([]byte(clientID))
	g.mu.Lock()
	defer g.mu.Unlock()
	if x, ok := g.mu.held.find(id); ok && x.conn == conn {
		g.dropLocked(id)
	}
}

// settling is how many guests of a shard are asked to claim at a time.
const settling = 1 << 10

// Settle has all guests of sh claim what they hold, and returns when they have, or are
// gone: from then on there are none. It goes before whatever gives the group another
// replica. After an error, which is ctx's, some are left.
func (s *Store) Settle(ctx context.Context, sh router.ShardID) error {
	g := &s.shards[sh].guests
	for {
		ask, none := g.ask()
		if none == nil {
			return nil
		}
		for _, conn := range ask {
			s.rep.Guest(conn)
		}
		select {
		case <-none:
		case <-ctx.Done():
			return fmt.Errorf("raftstore: settle shard %d: %w", sh, ctx.Err())
		}
	}
}

// ask gives the guests that are to be asked next, and what is closed when all that
// were asked are none any more; nil: there are none.
func (g *guests) ask() (next []router.Subscriber, none <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.open, g.mu.settled = false, true
	for _, x := range g.mu.held.list {
		if len(g.mu.asked) == settling {
			break
		}
		if _, asked := g.mu.asked[x.id]; !asked {
			g.mu.asked[x.id] = struct{}{}
			next = append(next, x.conn)
		}
	}
	if len(g.mu.asked) > 0 && g.mu.none == nil {
		g.mu.none = make(chan struct{})
	}
	return next, g.mu.none
}
