package control

import (
	"slices"

	"github.com/hashicorp/raft"

	"dunlin/raftstore"
	"dunlin/router"
)

// What follows says who is who and who leads what, as far as this node knows. It
// may be asked from any goroutine and does not block.

// Identity names a node that meta knows by its number.
func (c *Control) Identity(n raftstore.Node) (identity string, ok bool) {
	node, ok := c.State().Nodes[uint32(n)]
	return node.Identity, ok
}

// Number is that of a node that meta knows.
func (c *Control) Number(identity string) (n raftstore.Node, ok bool) {
	n, ok = (*c.numbers.Load())[identity]
	return n, ok
}

// Replicas are the nodes that hold shard sh by placement, voters or not.
func (c *Control) Replicas(sh router.ShardID) (nodes []raftstore.Node) {
	for _, r := range c.State().Groups[uint16(sh)].Replicas {
		nodes = append(nodes, raftstore.Node(r.Node))
	}
	return nodes
}

// Leader is who leads shard sh; not ok without a replica here that knows.
func (c *Control) Leader(sh router.ShardID) (identity string, ok bool) {
	if r := c.raftOf(uint16(sh)); r != nil {
		_, id := r.LeaderWithID()
		return string(id), id != ""
	}
	return "", false
}

// MetaLeader is who leads meta; empty if this node does not know.
func (c *Control) MetaLeader() string {
	if r := c.meta(); r != nil {
		_, id := r.LeaderWithID()
		return string(id)
	}
	return ""
}

// Leading says that this node leads meta, as far as it knows.
func (c *Control) Leading() bool {
	r := c.meta()
	return r != nil && r.State() == raft.Leader
}

// Leaving says that this node is being emptied, or has left the cluster.
func (c *Control) Leaving() bool {
	s := c.State()
	number, ok := s.Find(c.data.Identity())
	return !ok || s.Nodes[number].Leaving
}

// Voters are those of meta, sorted, by the latest configuration in this node's
// log of it, committed or not.
func (c *Control) Voters() (identities []string) {
	if r := c.meta(); r != nil {
		return votersOf(r)
	}
	return nil
}

func votersOf(r *raft.Raft) (identities []string) {
	conf := r.GetConfiguration()
	if conf.Error() != nil {
		return nil
	}
	for _, s := range conf.Configuration().Servers {
		if s.Suffrage == raft.Voter {
			identities = append(identities, string(s.ID))
		}
	}
	slices.Sort(identities)
	return identities
}

// Configured changes with each configuration of meta's group that State passes (see
// meta.Machine.Configured).
func (c *Control) Configured() uint64 { return c.machine.Configured() }

// Whole says that State holds all that this node's log of meta held when Whole
// was called, committed or not: what it promised before it was restarted, too (E4).
func (c *Control) Whole() bool {
	whole, err := c.machine.Whole(c.data.log.Group(MetaGroup))
	return whole && err == nil // what is wrong with the log, it tells by itself
}
