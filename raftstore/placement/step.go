package placement

import "slices"

// next is what brings g nearer to its target, if anything can be done now.
func (g *group) next() (Step, bool) {
	if g.leader == nil {
		return Step{}, false
	}
	step := func(k Kind, n *node) (Step, bool) { return Step{g.id, k, n.ID}, true }
	if g.leader.Drained && g.heir != nil && !g.heir.Drained {
		return step(Transfer, g.heir) // somebody waits for it, and nothing else need come first
	}

	voters, wrong := 0, (*node)(nil) // a voter that should not be one, the least use first
	var learners, ready []*node      // in the target
	for _, r := range g.replicas {
		right := slices.Contains(g.target, r.at)
		switch {
		case r.Voter:
			voters++
			if !right && (wrong == nil || g.use(r.at) < g.use(wrong)) {
				wrong = r.at
			}
		case !right:
			return step(Remove, r.at)
		default:
			learners = append(learners, r.at)
			if r.CaughtUp && r.at.State == Alive {
				ready = append(ready, r.at)
			}
		}
	}
	switch {
	case wrong != nil && voters > g.wanted:
		if wrong == g.leader {
			if g.heir != nil {
				return step(Transfer, g.heir)
			}
		} else if g.aliveAfter(-1, wrong) {
			return step(Remove, wrong)
		}
	case len(ready) > 0 && g.mayPromote(voters, wrong, len(ready)) && g.aliveAfter(+1, ready[0]):
		return step(Promote, ready[0])
	}
	for _, n := range g.target {
		if g.on(n) == nil && n.State == Alive {
			return step(AddLearner, n)
		}
	}
	if wrong == nil && len(learners) == 0 && g.heir != nil && g.heir != g.leader {
		return step(Transfer, g.heir)
	}
	return Step{}, false
}

// mayPromote keeps the time short in which a group has an even number of voters,
// which bears no more failures than one fewer: a group that only grows waits for
// two learners, to take them in one after the other.
func (g *group) mayPromote(voters int, wrong *node, ready int) bool {
	return wrong != nil || voters%2 == 0 || ready >= 2
}

// use ranks whom to remove first: the dead, and the leader last.
func (g *group) use(n *node) int {
	switch {
	case n == g.leader:
		return 3
	case n.State == Alive:
		return 2
	case n.State == Down:
		return 1
	default:
		return 0
	}
}

// aliveAfter says that a majority of the voters is alive once n has become one
// (+1) or ceased to be (-1).
func (g *group) aliveAfter(change int, n *node) bool {
	voters, alive := change, 0
	if n.State == Alive {
		alive = change
	}
	for _, r := range g.replicas {
		if r.Voter {
			voters++
			if r.at.State == Alive {
				alive++
			}
		}
	}
	return alive > voters/2
}
