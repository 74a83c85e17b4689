package placement

import (
	"cmp"
	"slices"
)

// lead gives each group an heir: its leader, if that one stays, else the one
// that leads least. Then it evens out how many groups the nodes lead.
//
// Where replicas are level, leaders can be: if every group gave an equal share of
// itself to each of its nodes, no node would have a whole group more than its
// part, and what can be shared out in fractions can be in wholes.
func (p *plan) lead() {
	for _, g := range p.groups {
		if g.leader != nil && slices.Contains(g.heirs(), g.leader) {
			g.heir = g.leader
			g.heir.leads++
		}
	}
	for _, g := range p.groups {
		if g.heir != nil {
			continue
		}
		if hs := g.heirs(); len(hs) > 0 {
			g.heir = slices.MinFunc(hs, func(a, b *node) int {
				return cmp.Or(cmp.Compare(a.leads, b.leads), cmp.Compare(a.ID, b.ID))
			})
			g.heir.leads++
		}
	}
	for p.relieve() {
	}
}

// heirs are the nodes that could lead g now and hold it in the end. Drained ones are
// only if all are.
func (g *group) heirs() []*node {
	var hs, drained []*node
	for _, r := range g.replicas {
		switch {
		case !r.Voter || !r.at.open() || !slices.Contains(g.target, r.at):
		case r.at.Drained:
			drained = append(drained, r.at)
		default:
			hs = append(hs, r.at)
		}
	}
	if len(hs) == 0 {
		return drained
	}
	return hs
}

// relieve takes one group from a node that leads two more than another, perhaps
// by a chain of groups that each pass to the next node, the shortest there is.
func (p *plan) relieve() bool {
	by := slices.Clone(p.nodes)
	slices.SortStableFunc(by, func(a, b *node) int { return cmp.Compare(b.leads, a.leads) })
	for _, from := range by {
		came := map[*node]*group{from: nil} // how the search came to a node
		queue := []*node{from}
		for len(queue) > 0 {
			n := queue[0]
			queue = queue[1:]
			if from.leads-n.leads >= 2 {
				for at := n; at != from; {
					g := came[at]
					at, g.heir = g.heir, at
				}
				from.leads--
				n.leads++
				return true
			}
			for _, g := range p.groups {
				if g.heir != n || g.leader == nil {
					continue
				}
				for _, h := range g.heirs() {
					if _, seen := came[h]; !seen {
						came[h] = g
						queue = append(queue, h)
					}
				}
			}
		}
	}
	return false
}
