package control

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"dunlin/raftstore/meta"
	"dunlin/raftstore/placement"
)

// outlook is all that a decision of the reconciler rests on. The state is older
// than the reports.
type outlook struct {
	state   *meta.State
	nodes   []placement.Node  // those of state, by identity
	met     map[string]bool   // by identity: gossip knows them, reachable or not
	reports map[string]report // by identity; of those that answered
	calm    bool              // leaders may move for the sake of balance alone
	// barred are the nodes that have been revoked for some time: what they lead is not
	// served (E4).
	barred map[string]bool
	// strangers belong to meta's configuration, and not to its state, and are not on
	// their way in.
	strangers map[string]bool
}

// step is one change of one group. Either the placement is recorded, or the
// group's leader is asked for a change: so that there is nothing between the two
// that is not on record, and whoever comes next goes on from there.
type step struct {
	group  uint16
	leader string
	index  uint64 // of the configuration that this follows from

	place *meta.Place
	drops bool // the placement gives up a replica: only if the configuration is confirmed

	kind changeKind
	node string
}

const (
	// maxLearning is how many replicas of shards catch up at a time: each may be
	// sent a snapshot.
	maxLearning = 2
	// currentWithin is how many entries a replica may lag behind what its leader had
	// committed, and count as being there.
	currentWithin = 256
)

// plan is what to do now: commands for meta, at most one step of each group, and
// whether something is under way that will soon have come to its end.
func (o *outlook) plan() (commands []meta.Command, steps []step, waits bool) {
	steps, waits = o.shards()
	if s, ok := o.metaStep(); ok {
		steps = append(steps, s)
	}
	return o.commands(), steps, waits
}

// leader finds who leads a group.
func (o *outlook) leader(group uint16) (id string, g groupReport) {
	for _, node := range slices.Sorted(maps.Keys(o.reports)) {
		if r := o.reports[node].Groups[group]; r.Leads && r.Term > g.Term {
			id, g = node, r
		}
	}
	return id, g
}

// current says that a node's replica has what its leader had committed, nearly, and
// is being told of more: a start of a node does not know what is committed until
// the leader has come to it, which may take seconds after it was away.
func (o *outlook) current(group uint16, lead groupReport, node string) bool {
	r, ok := o.reports[node].Groups[group]
	return ok && r.Term == lead.Term && min(r.Applied, r.Commit)+currentWithin >= lead.Commit
}

// sound says that a majority of the voters is current once node is one of them,
// or no longer is.
func (o *outlook) sound(group uint16, lead groupReport, node string, votes bool) bool {
	voters, current := 0, 0
	for _, s := range lead.Servers {
		if s.Node == node && votes || s.Node != node && s.Voter {
			voters++
			if o.current(group, lead, s.Node) {
				current++
			}
		}
	}
	return current > voters/2
}

// view is a shard's group: as its leader has it, and as it is placed.
type view struct {
	placement.Group
	lead    groupReport
	placed  meta.Group
	pending []string // placed as learners, and not in the configuration
	removed []string // placed as voters, and not in the configuration any more
	lacking []server // in the configuration, and not placed
}

func (o *outlook) view(id uint16) *view {
	v := &view{Group: placement.Group{ID: id}, placed: o.state.Groups[id]}
	v.Leader, v.lead = o.leader(id)
	if v.Leader == "" {
		for _, r := range v.placed.Replicas {
			v.Replicas = append(v.Replicas, placement.Replica{Node: o.state.Nodes[r.Node].Identity, Voter: r.Voter})
		}
		return v
	}
	for _, s := range v.lead.Servers {
		v.Replicas = append(v.Replicas, placement.Replica{
			Node: s.Node, Voter: s.Voter, CaughtUp: o.current(id, v.lead, s.Node),
		})
		if number, ok := o.state.Find(s.Node); ok && !v.places(number) {
			v.lacking = append(v.lacking, s)
		}
	}
	for _, r := range v.placed.Replicas {
		node := o.state.Nodes[r.Node].Identity
		switch _, ok := v.lead.server(node); {
		case ok:
		case r.Voter:
			v.removed = append(v.removed, node)
		default:
			v.pending = append(v.pending, node)
			v.Replicas = append(v.Replicas, placement.Replica{Node: node})
		}
	}
	return v
}

func (v *view) places(number uint32) bool {
	return slices.ContainsFunc(v.placed.Replicas, func(r meta.Replica) bool { return r.Node == number })
}

// shards are the steps of all shards that have been placed.
func (o *outlook) shards() (steps []step, waits bool) {
	cl := placement.Cluster{Nodes: o.nodes, Factor: o.state.Factor, MaxLearning: maxLearning}
	var views []*view
	for id := range uint16(o.state.Shards) {
		if o.state.Groups[id].Version > 0 {
			v := o.view(id)
			views = append(views, v)
			cl.Groups = append(cl.Groups, v.Group)
		}
	}
	next := make(map[uint16]placement.Step)
	for _, s := range placement.Next(cl) {
		next[s.Group] = s
	}
	targets := placement.Targets(cl)
	balanced := false // one leader at a time moves for that
	for i, v := range views {
		if v.Leader == "" {
			continue
		}
		n := next[v.ID]
		forBalance := n.Kind == placement.Transfer && slices.Contains(targets[i], v.Leader) && !o.drained(v.Leader)
		if forBalance && (!o.calm || balanced) || n.Kind == placement.Transfer && o.barred[n.Node] {
			n = placement.Step{}
		}
		if heir := o.heir(v); heir != "" && n.Kind == 0 {
			n, forBalance = placement.Step{Group: v.ID, Kind: placement.Transfer, Node: heir}, false
		}
		if s, ok := o.shardStep(v, n); ok {
			steps = append(steps, s)
			balanced = balanced || forBalance
		}
		waits = waits || slices.ContainsFunc(v.Replicas, func(r placement.Replica) bool { return !r.Voter })
	}
	return steps, waits
}

// heir is who is to lead v in the place of a node that is barred, if anybody may: a
// voter that is current and that nothing keeps from a lease. Of several it depends on
// the group, so that the groups spread.
func (o *outlook) heir(v *view) string {
	if !o.barred[v.Leader] {
		return ""
	}
	var may, drained []string
	for _, s := range v.lead.Servers {
		number, ok := o.state.Find(s.Node)
		n := o.state.Nodes[number]
		switch {
		case !ok || !s.Voter || n.Leaving || !n.Entitled(n.Generation) || !o.current(v.ID, v.lead, s.Node):
		case o.drained(s.Node):
			drained = append(drained, s.Node)
		default:
			may = append(may, s.Node)
		}
	}
	if len(may) == 0 {
		may = drained
	}
	if len(may) == 0 {
		return ""
	}
	slices.Sort(may)
	return may[int(v.ID)%len(may)]
}

// drained says that a node is to lead nothing that another one could.
func (o *outlook) drained(node string) bool {
	return slices.ContainsFunc(o.nodes, func(n placement.Node) bool { return n.ID == node && n.Drained })
}

// shardStep is what v needs, given what placement says is next.
//
// A node starts a replica when it is placed there, and forgets it when it is not
// any more. So a replica is placed before it is in the configuration, as a voter
// before it votes, and taken from the placement when a configuration without it is
// committed. A placement that gives one up names the version of the placement that
// was there before the leader confirmed the configuration. Had the replica become a
// voter since, the placement would have been changed for that.
func (o *outlook) shardStep(v *view, n placement.Step) (step, bool) {
	s := step{group: v.ID, leader: v.Leader, index: v.lead.Index}
	ask := func(kind changeKind, node string) (step, bool) {
		s.kind, s.node = kind, node
		return s, true
	}
	place := func(change func(at map[string]bool)) (step, bool) {
		at := make(map[string]bool) // whether it votes
		for _, r := range v.placed.Replicas {
			at[o.state.Nodes[r.Node].Identity] = r.Voter
		}
		change(at)
		s.place, s.drops = o.place(v, at)
		return s, true
	}
	switch {
	case len(v.lacking) > 0:
		return place(func(at map[string]bool) {
			for _, s := range v.lacking {
				at[s.Node] = s.Voter
			}
		})
	case len(v.removed) > 0:
		return place(func(at map[string]bool) {
			for _, node := range v.removed {
				delete(at, node)
			}
		})
	}
	switch in, there := v.lead.server(n.Node); n.Kind {
	case placement.AddLearner:
		return place(func(at map[string]bool) { at[n.Node] = false })
	case placement.Promote:
		if number, _ := o.state.Find(n.Node); !slices.Contains(v.placed.Replicas, meta.Replica{Node: number, Voter: true}) {
			return place(func(at map[string]bool) { at[n.Node] = true })
		}
		if o.sound(v.ID, v.lead, n.Node, true) {
			return ask(promote, n.Node)
		}
		return s, false
	case placement.Remove:
		switch {
		case !there:
			return place(func(at map[string]bool) { delete(at, n.Node) })
		case !in.Voter || o.sound(v.ID, v.lead, n.Node, false):
			return ask(remove, n.Node)
		}
		return s, false
	case placement.Transfer:
		// A group takes no commands until the other one leads, or is given up.
		if o.current(v.ID, v.lead, n.Node) {
			return ask(transfer, n.Node)
		}
		return s, false
	}
	for _, node := range v.pending {
		if _, runs := o.reports[node].Groups[v.ID]; runs {
			return ask(addLearner, node)
		}
	}
	if len(v.pending) == 0 && o.differs(v) { // about who votes
		return place(func(at map[string]bool) {
			for _, s := range v.lead.Servers {
				at[s.Node] = s.Voter
			}
		})
	}
	return s, false
}

// place is the command that places v so; drops says that it gives somebody up.
func (o *outlook) place(v *view, at map[string]bool) (p *meta.Place, drops bool) {
	p = &meta.Place{Group: v.ID, Version: v.placed.Version}
	for node, votes := range at {
		if number, ok := o.state.Find(node); ok {
			p.Replicas = append(p.Replicas, meta.Replica{Node: number, Voter: votes})
		}
	}
	slices.SortFunc(p.Replicas, func(a, b meta.Replica) int { return cmp.Compare(a.Node, b.Node) })
	for _, r := range v.placed.Replicas {
		if !slices.ContainsFunc(p.Replicas, func(o meta.Replica) bool { return o.Node == r.Node }) {
			drops = true
		}
	}
	return p, drops
}

// differs says that a replica votes and is not placed as a voter, or the reverse.
func (o *outlook) differs(v *view) bool {
	return slices.ContainsFunc(v.placed.Replicas, func(r meta.Replica) bool {
		s, ok := v.lead.server(o.state.Nodes[r.Node].Identity)
		return ok && s.Voter != r.Voter
	})
}

// metaStep is for meta's own group. All nodes are in it; placement says who votes.
func (o *outlook) metaStep() (step, bool) {
	leader, lead := o.leader(MetaGroup)
	if leader == "" {
		return step{}, false
	}
	ask := func(kind changeKind, node string) (step, bool) {
		return step{group: MetaGroup, leader: leader, index: lead.Index, kind: kind, node: node}, true
	}
	g := placement.Group{ID: MetaGroup, Leader: leader}
	for _, s := range lead.Servers {
		if s.Voter {
			g.Replicas = append(g.Replicas, placement.Replica{Node: s.Node, Voter: true})
		}
	}
	cl := placement.Cluster{Nodes: o.nodes, Factor: o.state.Factor, Groups: []placement.Group{g}}
	target := placement.Targets(cl)[0]
	for _, s := range lead.Servers {
		if !s.Voter && slices.Contains(target, s.Node) {
			g.Replicas = append(g.Replicas, placement.Replica{Node: s.Node, CaughtUp: o.current(MetaGroup, lead, s.Node)})
		}
	}
	cl.Groups[0] = g
	for _, n := range placement.Next(cl) {
		switch {
		case n.Kind == placement.Promote && o.sound(MetaGroup, lead, n.Node, true):
			return ask(promote, n.Node)
		case n.Kind == placement.Remove && o.sound(MetaGroup, lead, n.Node, false):
			return ask(demote, n.Node)
		case n.Kind == placement.Transfer && o.current(MetaGroup, lead, n.Node):
			return ask(transfer, n.Node)
		}
	}
	for _, n := range o.nodes {
		if _, ok := lead.server(n.ID); !ok && !n.Leaving {
			return ask(addLearner, n.ID)
		}
	}
	for _, s := range lead.Servers {
		if !s.Voter && o.strangers[s.Node] {
			return ask(remove, s.Node)
		}
	}
	return step{}, false
}

// commands are what meta is to be told of its nodes.
func (o *outlook) commands() (commands []meta.Command) {
	_, lead := o.leader(MetaGroup)
	for _, number := range slices.Sorted(maps.Keys(o.state.Nodes)) {
		n := o.state.Nodes[number]
		switch {
		case !n.Leaving && o.replaced(number):
			commands = append(commands, &meta.Leave{Node: number})
		case n.Leaving && lead.Leads && !o.state.Holds(number):
			if s, _ := lead.server(n.Identity); s.Voter {
				continue
			}
			switch {
			case n.Entitled(n.Generation) && o.reports[n.Identity].Clients > 0:
				// They are asked to go, a few at a time: see Order.
			case n.Entitled(n.Generation):
				// It sends its clients away and releases its lease, so that nobody has to wait
				// for that when it is stopped (E4).
				commands = append(commands, &meta.Revoke{Node: number, Generation: n.Generation})
			case n.Released || !n.Admitted || !o.met[n.Identity]:
				commands = append(commands, &meta.Retire{Node: number})
			}
		}
	}
	if raise := o.raise(); raise != nil {
		commands = append(commands, raise)
	}
	for _, r := range o.state.Records[meta.KindDrain].All() {
		// What this release cannot read a later one can.
		d, err := readDrain(r)
		if _, there := o.state.Find(r.Name); !there || err == nil && !d.mayHold(o.state, r.Name) {
			commands = append(commands, &meta.RemoveRecord{Kind: meta.KindDrain, Name: r.Name, Was: &r.Revision})
		}
	}
	return commands
}

// raise puts in force what all nodes have said they can work at; nil if there is nothing new. A
// node that does not answer may come back as any release: it is waited for.
func (o *outlook) raise() *meta.Raise {
	r := &meta.Raise{Level: math.MaxUint32, Starts: make(map[uint32]uint64, len(o.state.Nodes))}
	for number, n := range o.state.Nodes {
		said, ok := o.reports[n.Identity]
		if !ok || said.Start != n.Start {
			return nil
		}
		r.Level, r.Starts[number] = min(r.Level, said.Levels.Told().Newest), n.Start
	}
	if len(r.Starts) == 0 || o.state.InForce(r.Level) {
		return nil
	}
	return r
}

// replaced says that a node is not heard of any more, and one that came later is
// there under its name: the data that made it that node are lost (D5).
func (o *outlook) replaced(number uint32) bool {
	old := o.state.Nodes[number]
	if o.met[old.Identity] {
		return false
	}
	return slices.ContainsFunc(o.nodes, func(n placement.Node) bool {
		later, _ := o.state.Find(n.ID)
		return later > number && o.state.Nodes[later].Name == old.Name && n.State == placement.Alive && !n.Leaving
	})
}
