package placement

import (
	"cmp"
	"fmt"
	"slices"
)

// State is what is known of a node.
type State uint8

const (
	Alive State = iota
	Down        // not heard of, but not for long: it keeps its replicas and gets no new ones
	Dead        // not heard of for long: its replicas go where there is another place for them
)

// Node is a member of the cluster.
type Node struct {
	ID      string // identity
	State   State
	Leaving bool // to be emptied, by command; it no longer counts
	Drained bool // by command: it keeps its replicas, and leads only what no other node could
}

// Replica is a group's copy on a node.
type Replica struct {
	Node  string
	Voter bool
	// CaughtUp says of one that does not vote that it could begin to.
	CaughtUp bool
}

// Group is one Raft group. Leader is empty if none is known, and then there is
// no step for it.
type Group struct {
	ID       uint16
	Replicas []Replica
	Leader   string
}

// Cluster is all that a decision rests on. A replica on a node that is not
// listed counts as one on a dead node that is leaving.
type Cluster struct {
	Nodes  []Node
	Groups []Group
	Factor int // replicas wanted of each group, at least 1
	// MaxLearning bounds the replicas that catch up at a time, 0 for no bound:
	// each may stream a snapshot.
	MaxLearning int
}

// Kind says what a step does.
type Kind uint8

const (
	AddLearner Kind = 1 + iota // a replica that does not vote, on Node
	Promote                    // the replica on Node votes from now on
	Remove                     // the replica on Node goes, voter or not
	Transfer                   // leadership goes to Node
)

func (k Kind) String() string {
	return [...]string{"?", "add learner", "promote", "remove", "transfer to"}[k]
}

// Step is one change of one group, to be carried out by its leader.
type Step struct {
	Group uint16
	Kind  Kind
	Node  string
}

func (s Step) String() string { return fmt.Sprintf("%d: %v %s", s.Group, s.Kind, s.Node) }

// Voters is how many voters a group has among so many nodes.
func Voters(factor, nodes int) int {
	n := max(min(factor, nodes), 1)
	return n - 1 + n%2
}

// Next returns the steps to take now, at most one of each group, in the order of
// their groups. None means that c is as it should be, or waits for something:
// a learner, a leader, a node.
func Next(c Cluster) []Step {
	p := newPlan(c)
	p.settle()
	p.lead()
	learning := 0
	for _, g := range p.groups {
		for _, r := range g.replicas {
			if !r.Voter && !r.CaughtUp && g.leader != nil && r.at.State == Alive {
				learning++
			}
		}
	}
	var steps []Step
	for _, g := range p.groups {
		s, ok := g.next()
		if !ok {
			continue
		}
		if s.Kind == AddLearner {
			if c.MaxLearning > 0 && learning >= c.MaxLearning {
				continue
			}
			learning++
		}
		steps = append(steps, s)
	}
	return steps
}

// Targets returns, for each of c's groups in turn, the nodes that are to hold it
// in the end, sorted. For groups without replicas this is where to form them.
func Targets(c Cluster) [][]string {
	p := newPlan(c)
	p.settle()
	at := make(map[uint16][]string)
	for _, g := range p.groups {
		for _, n := range g.target {
			at[g.id] = append(at[g.id], n.ID)
		}
		slices.Sort(at[g.id])
	}
	all := make([][]string, len(c.Groups))
	for i, g := range c.Groups {
		all[i] = at[g.ID]
	}
	return all
}

// plan is a Cluster being thought about: sorted, so that the order of the input
// decides nothing.
type plan struct {
	nodes  []*node
	groups []*group
	voters int // wanted of each group
}

type node struct {
	Node
	load  int // groups whose target it is in
	leads int // groups that it is to lead
}

// home says that replicas may stay here; open that new ones may come.
func (n *node) home() bool { return !n.Leaving && n.State != Dead }
func (n *node) open() bool { return !n.Leaving && n.State == Alive }

type group struct {
	id       uint16
	replicas []replica // sorted by node
	target   []*node
	leader   *node // now, nil if unknown
	heir     *node // who is to lead, nil if that cannot be said yet
	wanted   int   // voters
}

type replica struct {
	Replica
	at *node
}

func newPlan(c Cluster) *plan {
	p := &plan{}
	byID := make(map[string]*node)
	count := 0
	for _, n := range c.Nodes {
		m := &node{Node: n}
		byID[n.ID] = m
		p.nodes = append(p.nodes, m)
		if !n.Leaving {
			count++
		}
	}
	slices.SortFunc(p.nodes, func(a, b *node) int { return cmp.Compare(a.ID, b.ID) })
	p.voters = Voters(c.Factor, count)
	for _, g := range c.Groups {
		mine := &group{id: g.ID, leader: byID[g.Leader], wanted: p.voters}
		for _, r := range g.Replicas {
			at := byID[r.Node]
			if at == nil {
				at = &node{Node: Node{ID: r.Node, State: Dead, Leaving: true}}
			}
			mine.replicas = append(mine.replicas, replica{r, at})
		}
		slices.SortFunc(mine.replicas, func(a, b replica) int { return cmp.Compare(a.Node, b.Node) })
		p.groups = append(p.groups, mine)
	}
	slices.SortFunc(p.groups, func(a, b *group) int { return cmp.Compare(a.id, b.id) })
	return p
}
