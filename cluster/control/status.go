package control

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"dunlin/raftstore/level"
)

// Status is the cluster as this node finds it, for people.
type Status struct {
	Cluster string
	Factor  int           // replicas wanted of each group
	Level   level.Level   // in force
	Nodes   []NodeStatus  // by number
	Groups  []GroupStatus // by group, meta last
}

// NodeStatus is one node of meta's state.
type NodeStatus struct {
	Number         uint32
	Identity, Name string
	Start          uint64
	Admitted       bool // may be granted leases (E4)
	Leaving        bool // is being emptied
	Alive          bool // has answered

	// Release is what it runs, as it answers, or said when it last entered, and Levels what that
	// can work at; "" and level.First alone if it has said neither.
	Release string
	Levels  level.Span
}

// GroupStatus is one group; without a leader that has answered only its placement
// is known.
type GroupStatus struct {
	Group        uint16
	Leader       string // identity; empty if none has answered
	Term, Commit uint64 // the leader's
	Replicas     []ReplicaStatus
}

// ReplicaStatus is a replica of a group.
type ReplicaStatus struct {
	Node    string // identity
	Voter   bool
	Running bool   // its node has answered that it runs
	Applied uint64 // the latest entry that it holds
}

// Status asks all nodes what they run. It waits for those that do not answer, a
// second at most.
func (c *Control) Status(ctx context.Context) Status {
	s := c.State()
	o := outlook{state: s}
	var ids []string
	for _, n := range s.Nodes {
		ids = append(ids, n.Identity)
	}
	o.reports = c.reports(ctx, ids)
	st := Status{Cluster: s.Cluster, Factor: s.Factor, Level: c.Level()}
	for _, number := range slices.Sorted(maps.Keys(s.Nodes)) {
		n := s.Nodes[number]
		said, answered := o.reports[n.Identity]
		if !answered {
			said.Release, said.Levels = n.Release, n.Levels
		}
		st.Nodes = append(st.Nodes, NodeStatus{
			Release: said.Release, Levels: said.Levels.Told(),
			Number: number, Identity: n.Identity, Name: n.Name, Start: n.Start,
			Admitted: n.Entitled(n.Generation), Leaving: n.Leaving, Alive: answered,
		})
	}
	for _, id := range append(slices.Sorted(maps.Keys(s.Groups)), MetaGroup) {
		st.Groups = append(st.Groups, o.status(id))
	}
	return st
}

func (o *outlook) status(id uint16) GroupStatus {
	leader, lead := o.leader(id)
	g := GroupStatus{Group: id, Leader: leader, Term: lead.Term, Commit: lead.Commit}
	if leader == "" {
		for _, r := range o.state.Groups[id].Replicas {
			lead.Servers = append(lead.Servers, server{Node: o.state.Nodes[r.Node].Identity, Voter: r.Voter})
		}
	}
	for _, s := range lead.Servers {
		r, runs := o.reports[s.Node].Groups[id]
		g.Replicas = append(g.Replicas, ReplicaStatus{Node: s.Node, Voter: s.Voter, Running: runs, Applied: r.Applied})
	}
	slices.SortFunc(g.Replicas, func(a, b ReplicaStatus) int { return cmp.Compare(a.Node, b.Node) })
	return g
}
