package meta

import (
	"fmt"
	"maps"
	"slices"

	"dunlin/raftstore/level"
)

// State is all that meta holds. It is never written once others may see it.
//
// Invariants, verified by Check:
//
//  1. identities differ, and no number is above Numbered;
//  2. replicas are on nodes that are there, on each at most one of a group;
//  3. a state that was not formed holds nothing;
//  4. every node has a generation, and only a revoked one is released;
//  5. records are in order of their names, which differ, and none is newer than its kind;
//  6. a node that says what it can work at can work at the level in force.
type State struct {
	Index    uint64            `json:"index"`    // of the latest log entry that this holds
	Cluster  string            `json:"cluster"`  // identity; empty until formed
	Shards   int               `json:"shards"`   // fixed when the cluster forms
	Factor   int               `json:"factor"`   // replicas wanted of each group
	Numbered uint32            `json:"numbered"` // latest number given to a node
	Nodes    map[uint32]Node   `json:"nodes"`    // by number
	Groups   map[uint16]Group  `json:"groups"`   // by group
	Settings map[string]string `json:"settings"`

	Records map[Kind]*Records `json:"records,omitempty"` // shared by states; replaced, never written

	Level level.Level `json:"level,omitempty"` // in force: it only rises; 0 is level.First
}

// InForce says that all nodes understand what the level brought, so that it may be proposed
// and sent. Once true it remains so.
func (s *State) InForce(l level.Level) bool { return l <= max(s.Level, level.First) }

// Node is one node, under the number that the shards know it by, which no other
// node gets.
type Node struct {
	Identity string `json:"identity"` // of its data directory: a node that lost its data is another (D5)
	Name     string `json:"name"`
	Start    uint64 `json:"start"`   // the latest, as the node's own data count them
	Leaving  bool   `json:"leaving"` // to be emptied, then retired

	// Release is what that start runs, and Levels is what it can work at; both are zero if it has
	// not said so: it entered before level.NodeRelease was in force.
	Release string     `json:"release,omitempty"`
	Levels  level.Span `json:"levels,omitzero"`

	// Generation rises with each start and each Rejoin; what follows is of the
	// latest one (E4). Revoked does not take Admitted back: that it was admitted is
	// why others must wait until its last lease is over, unless it has Released it.
	Generation uint64 `json:"generation"`
	Admitted   bool   `json:"admitted"`
	Revoked    bool   `json:"revoked"`
	Released   bool   `json:"released"`
}

// Entitled says whether the node may be granted leases in that generation.
func (n Node) Entitled(generation uint64) bool {
	return n.Generation == generation && n.Admitted && !n.Revoked
}

// Group says where a group's replicas are.
type Group struct {
	Version  uint64    `json:"version"` // rises with each change
	Replicas []Replica `json:"replicas"`
}

// Replica is one replica of a group.
type Replica struct {
	Node  uint32 `json:"node"`
	Voter bool   `json:"voter"`
}

// Find gives the number of the node with that identity.
func (s *State) Find(identity string) (number uint32, ok bool) {
	for number, n := range s.Nodes {
		if n.Identity == identity {
			return number, true
		}
	}
	return 0, false
}

// Holds says whether a node has a replica of any group.
func (s *State) Holds(number uint32) bool {
	for _, g := range s.Groups {
		if slices.ContainsFunc(g.Replicas, func(r Replica) bool { return r.Node == number }) {
			return true
		}
	}
	return false
}

// clone is the next state, to be written. Groups' replicas and records stay shared: they
// are replaced, never written.
func (s *State) clone() *State {
	next := *s
	next.Nodes, next.Groups, next.Settings = maps.Clone(s.Nodes), maps.Clone(s.Groups), maps.Clone(s.Settings)
	return &next
}

func newState() *State {
	return &State{Nodes: map[uint32]Node{}, Groups: map[uint16]Group{}, Settings: map[string]string{}}
}

// Check verifies the invariants.
func (s *State) Check() error {
	if s.Cluster == "" && (s.Shards != 0 || s.Level != 0 || len(s.Nodes)+len(s.Groups)+len(s.Settings)+len(s.Records) > 0) {
		return fmt.Errorf("meta: not formed, and yet %d nodes and %d groups", len(s.Nodes), len(s.Groups))
	}
	identities := map[string]bool{}
	for number, n := range s.Nodes {
		if number == 0 || number > s.Numbered || n.Start == 0 || n.Identity == "" || identities[n.Identity] {
			return fmt.Errorf("meta: node %d (%q) is numbered above %d, never started, or twice there", number, n.Identity, s.Numbered)
		}
		if n.Levels != (level.Span{}) && !n.Levels.Holds(s.Level) {
			return fmt.Errorf("meta: node %d understands levels %v, and %d is in force", number, n.Levels, s.Level)
		}
		if n.Generation == 0 || n.Released && !n.Revoked {
			return fmt.Errorf("meta: node %d has no generation, or released one that is not revoked", number)
		}
		identities[n.Identity] = true
	}
	for id, g := range s.Groups {
		on := map[uint32]bool{}
		for _, r := range g.Replicas {
			if _, ok := s.Nodes[r.Node]; !ok || on[r.Node] {
				return fmt.Errorf("meta: group %d has a replica on node %d, which is not there or has another", id, r.Node)
			}
			on[r.Node] = true
		}
	}
	for _, k := range slices.Sorted(maps.Keys(s.Records)) {
		if err := s.Records[k].check(); err != nil {
			return fmt.Errorf("meta: records of kind %q: %w", k, err)
		}
	}
	return nil
}
