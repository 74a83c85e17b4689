package placement

import (
	"cmp"
	"slices"
)

// settle gives each group its target, starting from where its replicas are:
// first everything that is superfluous goes, from the fullest nodes, then what is
// lacking comes, to the emptiest, and last what makes nodes unequal moves.
//
// A move that has begun shows as a replica too many, half way between a fuller
// and an emptier node; dropping from the fullest node finishes it rather than
// taking it back. That is why no memory of earlier decisions is needed.
func (p *plan) settle() {
	for _, g := range p.groups {
		for _, r := range g.replicas {
			if r.at.home() {
				g.put(r.at)
			}
		}
	}
	for _, g := range p.groups {
		for len(g.target) > p.voters {
			g.drop(g.mostDispensable())
		}
	}
	for _, g := range p.groups {
		for len(g.target) < p.voters {
			n := p.roomiest(g)
			if n == nil {
				break
			}
			g.put(n)
		}
		g.keepDead()
	}
	for p.level() {
	}
}

func (g *group) put(n *node) {
	g.target = append(g.target, n)
	n.load++
}

func (g *group) drop(n *node) {
	i := slices.Index(g.target, n)
	g.target = slices.Delete(g.target, i, i+1)
	n.load--
}

// mostDispensable is where a replica is given up: on the fullest node, of several
// where it costs least.
func (g *group) mostDispensable() *node {
	return slices.MaxFunc(g.target, func(a, b *node) int {
		return cmp.Or(
			cmp.Compare(a.load, b.load),
			cmp.Compare(g.cost(b), g.cost(a)),
			cmp.Compare(a.ID, b.ID),
		)
	})
}

// cost ranks what is lost with the replica on n.
func (g *group) cost(n *node) int {
	switch r := g.on(n); {
	case n == g.leader:
		return 4
	case r == nil:
		return 0
	case r.Voter && n.State == Alive:
		return 3
	case r.Voter || r.CaughtUp:
		return 2
	default:
		return 1
	}
}

func (g *group) on(n *node) *replica {
	for i := range g.replicas {
		if g.replicas[i].at == n {
			return &g.replicas[i]
		}
	}
	return nil
}

// roomiest is the emptiest node where g is not, nil if there is none.
func (p *plan) roomiest(g *group) *node {
	var best *node
	for _, n := range p.nodes {
		if n.open() && !slices.Contains(g.target, n) && (best == nil || n.load < best.load) {
			best = n
		}
	}
	return best
}

// keepDead fills a target, for which there are too few nodes, with the voters on
// dead ones: without a substitute their place is kept, for they may come back,
// and a group does not shrink because nodes stop.
func (g *group) keepDead() {
	for _, r := range g.replicas {
		if len(g.target) < g.wanted && r.Voter && !r.at.Leaving && r.at.State == Dead {
			g.put(r.at)
		}
	}
}

// level moves one replica from a fuller node to an emptier one and says whether
// it did.
func (p *plan) level() bool {
	var open []*node
	for _, n := range p.nodes {
		if n.open() {
			open = append(open, n)
		}
	}
	slices.SortStableFunc(open, func(a, b *node) int { return cmp.Compare(a.load, b.load) })
	for i := len(open) - 1; i > 0; i-- {
		for _, to := range open[:i] {
			from := open[i]
			if from.load-to.load < 2 {
				break
			}
			if g := p.movable(from, to); g != nil {
				g.drop(from)
				g.put(to)
				return true
			}
		}
	}
	return false
}

// movable is the group to move: one that does not lead from where it goes, if
// possible. One that misses a voter is not touched for mere balance.
func (p *plan) movable(from, to *node) *group {
	var best *group
	for _, g := range p.groups {
		if !slices.Contains(g.target, from) || slices.Contains(g.target, to) || !g.whole() {
			continue
		}
		if best == nil || g.cost(from) < best.cost(from) {
			best = g
		}
	}
	return best
}

// whole says that all voters are alive.
func (g *group) whole() bool {
	for _, r := range g.replicas {
		if r.Voter && r.at.State != Alive {
			return false
		}
	}
	return true
}
