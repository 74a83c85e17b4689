package lease

import "slices"

// view is what meta's leader, or who may be that next, knows of who reaches whom.
type view struct {
	self   uint32
	voters int // in all
	nodes  []member
	// broken has the pairs, lower number first, that cannot talk, in one direction
	// or both. gone is how many nodes found a node's process dead.
	broken map[[2]uint32]bool
	gone   map[uint32]int
}

// member is a node that is not revoked.
type member struct {
	holder
	admitted bool
	voter    bool
}

// pair names two nodes whichever way round.
func pair(a, b uint32) [2]uint32 { return [2]uint32{min(a, b), max(a, b)} }

// decide names whom to revoke next, so that all that are left reach one another.
//
// A process that a majority of the others found dead goes first: dead is true.
// Then goes who has the most broken links; of equals one that was not admitted,
// which nobody would miss, then the higher number. It is never the leader itself,
// and never so that fewer than a majority of the voters were left, for who would
// then go on?
func decide(v view) (h holder, dead, ok bool) {
	for _, m := range v.nodes {
		if m.Node != v.self && 2*v.gone[m.Node] > len(v.nodes)-1 {
			return m.holder, true, true
		}
	}
	links := make(map[uint32]int)
	left := 0
	for _, m := range v.nodes {
		if m.voter {
			left++
		}
		for _, o := range v.nodes {
			if v.broken[pair(m.Node, o.Node)] {
				links[m.Node]++
			}
		}
	}
	candidates := slices.DeleteFunc(slices.Clone(v.nodes), func(m member) bool {
		return m.Node == v.self || links[m.Node] == 0 || m.voter && left-1 < majority(v.voters)
	})
	if len(candidates) == 0 {
		return holder{}, false, false
	}
	return slices.MaxFunc(candidates, func(a, b member) int {
		switch {
		case links[a.Node] != links[b.Node]:
			return links[a.Node] - links[b.Node]
		case a.admitted != b.admitted:
			if b.admitted {
				return 1
			}
			return -1
		case a.Node > b.Node:
			return 1
		}
		return -1
	}).holder, false, true
}
