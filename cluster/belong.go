package cluster

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// A node belongs to one cluster for as long as it has its data, and to none before
// it has formed one or joined one (package control). Two clusters may share a
// cluster-id, and a node may be told to join the wrong one, so that every node says
// in gossip and in each handshake which it belongs to. Who belongs to another is a
// foreigner: not a member, and not heard. With who belongs to none, or while this
// node does, there is what it takes to form or join a cluster, and nothing more: no
// routes, no messages, and of calls those for which raftnet.Net.HandleAnyone was
// called.

// allegiance is what a node says of the cluster it belongs to: nil if its release
// does not say, "" for none.
type allegiance *string

// relation is what a node is to this one.
type relation uint8

const (
	guest    relation = iota // it, or this node, belongs to no cluster yet
	kin                      // a node of this cluster, or one that does not say
	stranger                 // of another
)

func relate(own string, theirs allegiance) relation {
	switch {
	case theirs == nil:
		return kin
	case own == "" || *theirs == "":
		return guest
	case own == *theirs:
		return kin
	}
	return stranger
}

// Belong tells that this node has come to belong to a cluster, which it is to have
// on disk: until it has its data no more it belongs to no other.
func (c *Cluster) Belong(cluster string) {
	c.mu.Lock()
	was := c.mu.cluster
	c.mu.cluster = cluster
	c.mu.Unlock()
	switch was {
	case cluster:
		return
	case "":
	default:
		panic(fmt.Sprintf("cluster: a node of %s comes to belong to %s", was, cluster))
	}
	c.adopted()
	c.post(event{kind: eventBelong})
	if c.gossip == nil {
		return // Start tells
	}
	c.wg.Go(func() {
		// The others hear of it at once from the streams that are opened again.
		if err := c.gossip.UpdateNode(updateTimeout); err != nil {
			c.log.Debug("gossip of what this node belongs to", "err", err)
		}
	})
}

// updateTimeout bounds the wait for gossip to have passed something on.
const updateTimeout = time.Second

// belongs is the cluster that this node belongs to, "" for none yet.
func (c *Cluster) belongs() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.cluster
}

// learn takes what p says of the cluster it belongs to.
func (c *Cluster) learn(p *peer, theirs allegiance) {
	c.mu.Lock()
	if theirs != nil && (p.theirs == nil || *p.theirs == "") { // it changes once
		p.theirs = theirs
	}
	c.mu.Unlock()
	p.related()
}

// related has p be heard as what it is to this node now.
func (p *peer) related() {
	c, m := p.c, p.member
	c.mu.Lock()
	m.cluster = p.theirs
	r := relate(c.mu.cluster, p.theirs)
	// Within the lock, so that what is found first is not said last.
	c.raft.Restrict(p.identity, r != kin)
	if r == kin {
		p.becomeKin()
	}
	c.mu.Unlock()
	if r == stranger {
		c.foreign(m)
	}
}

// awaitKin waits until p is known to be of this cluster.
func (p *peer) awaitKin(ctx context.Context) bool {
	select {
	case <-p.kin.Done():
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// maxForeigners is how many foreigners are remembered. Beyond it all are
// forgotten, and told again.
const maxForeigners = 1024

// foreigner is a node that was told to an operator, and of which cluster.
type foreigner struct{ identity, cluster string }

// foreign counts a word of a node of another cluster, and tells of the first one.
// If it was taken for a guest, it is no member any more.
func (c *Cluster) foreign(m member) {
	c.count(foreignReason, cmp.Or(m.clusterAddr, m.gossipAddr))
	key := foreigner{m.identity, *m.cluster}
	c.mu.Lock()
	own, told := c.mu.cluster, c.mu.foreigners[key]
	p := c.mu.peers[m.identity]
	taken := p != nil && p.start == m.start
	if !told {
		if len(c.mu.foreigners) == maxForeigners {
			clear(c.mu.foreigners)
		}
		c.mu.foreigners[key] = true
	}
	c.mu.Unlock()
	if taken {
		c.post(event{kind: eventForeign, member: m})
	}
	if told {
		return
	}
	c.log.Warn("refused a node of another cluster: one of the two has the other's address in its join list, or its data "+
		"directory is another's; give the clusters different cluster-ids, and a node that is to move an empty data directory",
		"peer", m.name, "identity", m.identity, "gossip", m.gossipAddr, "addr", m.clusterAddr,
		"belongs", *m.cluster, "here", own)
}

// foreignReason is what strangers are refused for that belong to another cluster.
const foreignReason = "another cluster"

// foreignError refuses a node of another cluster.
type foreignError struct{ theirs, own string }

func (e *foreignError) Error() string {
	return fmt.Sprintf("%s: %s, not %s", foreignText, e.theirs, e.own)
}

const foreignText = "it belongs to another cluster"
