package meta

import (
	"fmt"
	"maps"
	"slices"
)

// State is all that meta holds. It is never written once others may see it.
//
// Invariants, verified by Check:
//
//  1. identities differ, and no number is above Numbered;
//  2. replicas are on nodes that are there, on each at most one of a group;
//  3. a state that was not formed holds nothing.
type State struct {
	Cluster  string            `json:"cluster"`  // identity; empty until formed
	Shards   int               `json:"shards"`   // fixed when the cluster forms
	Factor   int               `json:"factor"`   // replicas wanted of each group
	Numbered uint32            `json:"numbered"` // latest number given to a node
	Nodes    map[uint32]Node   `json:"nodes"`    // by number
	Groups   map[uint16]Group  `json:"groups"`   // by group
	Settings map[string]string `json:"settings"`
}

// Node is one node, under the number that the shards know it by, which no other
// node gets.
type Node struct {
	Identity string `json:"identity"` // of its data directory: a node that lost its data is another (D5)
	Name     string `json:"name"`
	Start    uint64 `json:"start"`    // rises with each start of the node
	Admitted bool   `json:"admitted"` // counts for leases and routes (E4)
	Leaving  bool   `json:"leaving"`  // to be emptied, then retired
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

// holds says whether a node has a replica of any group.
func (s *State) holds(number uint32) bool {
	for _, g := range s.Groups {
		if slices.ContainsFunc(g.Replicas, func(r Replica) bool { return r.Node == number }) {
			return true
		}
	}
	return false
}

// clone is the next state, to be written. Groups' replicas stay shared: they are
// replaced, never written.
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
	if s.Cluster == "" && (s.Shards != 0 || len(s.Nodes)+len(s.Groups)+len(s.Settings) > 0) {
		return fmt.Errorf("meta: not formed, and yet %d nodes and %d groups", len(s.Nodes), len(s.Groups))
	}
	identities := map[string]bool{}
	for number, n := range s.Nodes {
		if number == 0 || number > s.Numbered || n.Start == 0 || n.Identity == "" || identities[n.Identity] {
			return fmt.Errorf("meta: node %d (%q) is numbered above %d, never started, or twice there", number, n.Identity, s.Numbered)
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
	return nil
}
