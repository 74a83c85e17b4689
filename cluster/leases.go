package cluster

import (
	"math"
	"time"

	"dunlin/cluster/lease"
)

// Leases says who counts (E4): for whom a SUBACK waits, and whose routes and frames
// are kept however long it is silent. Package lease has the rules. The methods are
// called from any goroutine, with locks held, and may neither block nor call back.
// When they answer otherwise than before, Recount is to be called before anybody
// relies on it.
type Leases interface {
	Counts(identity string) bool
	Counted() []string
}

// Leases has the cluster ask l who counts. Without it a SUBACK waits for every
// member, and members are believed to be gone when they seem to be. It is called
// before Start.
func (c *Cluster) Leases(l Leases) { c.leases = l }

// unleased is how it is without leases.
type unleased struct{ c *Cluster }

func (unleased) Counts(string) bool { return false }

func (u unleased) Counted() (identities []string) {
	for _, p := range u.c.peerList() {
		if p.kin.Err() != nil {
			identities = append(identities, p.identity)
		}
	}
	return identities
}

// Recount tells that Leases answers otherwise than before.
func (c *Cluster) Recount() {
	c.settle()
	c.post(event{kind: eventRecount})
}

// Over tells that no lease is left of that start of a node, or any before it. Its
// peer goes, with its routes and frames, unless it can be reached.
func (c *Cluster) Over(identity string, start uint64) {
	c.post(event{kind: eventOver, member: member{identity: identity, start: start}})
}

// Reach implements lease.Peers, and so do Version and Holds.
func (c *Cluster) Reach(identity string) (lease.Reach, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.peers[identity].reachLocked()
}

// reachLocked may be called on nil, which is no peer. A node that is found silent is
// so for longer than one whose stream breaks, the longer the rarer its beats are:
// since tells of what is above a second of that, so that it decides nothing.
func (p *peer) reachLocked() (r lease.Reach, since time.Duration) {
	if p == nil {
		return lease.Down, 0
	}
	silence, most := p.c.raft.Silent(p.identity), p.c.raft.Silence()
	switch {
	case p.forwardUp && p.feedUp && silence < most:
		return lease.Up, 0
	case p.dead:
		return lease.Gone, 0
	default:
		return lease.Down, max(0, min(silence, most)-time.Second)
	}
}

// Version is that of this node's own routes, by the count of this start.
func (c *Cluster) Version() (start, version uint64) { return c.opts.Start, c.routes.Version() }

// Holds says whether all routes of that start of a node are here as they were at
// version, or later.
func (c *Cluster) Holds(identity string, start, version uint64) bool {
	p := c.peerOf(identity, start)
	if p == nil {
		return false
	}
	held, whole := p.feedIn.version()
	return whole && held >= version
}

// settle works out anew what all who count hold of this node's routes. It is
// called whenever one holds more or less, comes or goes.
func (c *Cluster) settle() { c.barrier.Set(c.heldByAll) }

// holdsMore is settle after one peer came to hold more than before, which was as many
// versions: most are not the one that the others are ahead of.
func (c *Cluster) holdsMore(before uint64) { c.barrier.Raise(before, c.heldByAll) }

func (c *Cluster) heldByAll() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	reached := uint64(math.MaxUint64)
	for _, identity := range c.leases.Counted() {
		p := c.mu.peers[identity]
		if p == nil {
			return 0
		}
		reached = min(reached, p.holds.Load())
	}
	return reached
}
