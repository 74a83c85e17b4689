package control

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"dunlin/raftstore/level"
	"dunlin/raftstore/meta"
	"dunlin/raftstore/placement"
)

// Paces of the reconciler: usually, and while a replica begins or catches up.
const (
	reconcilePace = time.Second
	learningPace  = 200 * time.Millisecond
)

const (
	// calmFor is for how long all nodes must have been there before leaders move for
	// balance: not while others fail over.
	calmFor = 15 * time.Second
	// barredFor is for how long a node must have been revoked before others lead what it
	// leads: longer than one takes to come back that can be reached again, and as long
	// as it keeps its clients.
	barredFor = 10 * time.Second
	// strangeFor is for how long a server of meta's configuration may be unknown to
	// its state: whoever enters is, for a moment.
	strangeFor = 20 * time.Second
	// defaultDeadAfter is for Options.DeadAfter.
	defaultDeadAfter = 5 * time.Minute
)

// reconciler brings the groups to where they should be, while this node leads meta.
// It decides from what it finds and remembers nothing but since when it has found
// it, so that another node may go on at any step. One goroutine uses it.
type reconciler struct {
	c         *Control
	reached   map[string]time.Time // when each node could last be reached, by identity
	strange   spells               // since when a server of meta's has been unknown
	revoked   spells               // since when each node that is has been revoked
	disturbed time.Time            // when a node was last missing
}

func newReconciler(c *Control) *reconciler {
	return &reconciler{c: c, reached: make(map[string]time.Time), disturbed: time.Now()}
}

// round looks, decides and acts once. It says whether something has changed, so
// that there may be more to do at once, and when to look again if not.
func (r *reconciler) round(ctx context.Context) (changed bool, pace time.Duration) {
	o := r.look(ctx)
	commands, steps, waits := o.plan()
	for _, cmd := range commands {
		if err := r.c.propose(cmd); err != nil {
			r.c.log.Debug("meta was not told", "err", err)
			continue
		}
		changed = true
		r.logCommand(o.state, cmd)
	}
	if r.carryOut(ctx, o.state, steps) {
		changed = true
	}
	if waits {
		return changed, learningPace
	}
	return changed, reconcilePace
}

// look finds out what is.
func (r *reconciler) look(ctx context.Context) *outlook {
	c, now := r.c, time.Now()
	o := &outlook{state: c.State(), met: map[string]bool{c.data.Identity(): true}}
	r.reached[c.data.Identity()] = now
	for _, m := range c.opts.Members() {
		o.met[m.Identity] = true
		if m.Reachable {
			r.reached[m.Identity] = now
		}
	}
	var ids []string
	drains := Drains(o.state)
	for _, n := range o.state.Nodes {
		at, ok := r.reached[n.Identity]
		if !ok {
			r.reached[n.Identity] = now // it may have been there until this node began to lead
		}
		state := placement.Down
		switch {
		case ok && at.Equal(now):
			state = placement.Alive
		case ok && now.Sub(at) > c.opts.DeadAfter:
			state = placement.Dead
		}
		d, drained := drains[n.Identity]
		o.nodes = append(o.nodes, placement.Node{ID: n.Identity, State: state, Leaving: n.Leaving, Drained: drained && !d.Cordon})
		ids = append(ids, n.Identity)
	}
	slices.SortFunc(o.nodes, func(a, b placement.Node) int { return strings.Compare(a.ID, b.ID) })
	o.reports = c.reports(ctx, ids)
	o.calm = r.calm(o, now)
	o.strangers = r.strangers(o, now)
	o.barred = r.barred(o.state, now)
	return o
}

func (r *reconciler) barred(s *meta.State, now time.Time) map[string]bool {
	var revoked []string
	for _, n := range s.Nodes {
		if n.Revoked && !n.Leaving {
			revoked = append(revoked, n.Identity)
		}
	}
	return r.revoked.lasting(revoked, now, barredFor)
}

// calm says that all nodes have been there for some time, or that nobody wants to
// wait for that, and that all groups have leaders.
func (r *reconciler) calm(o *outlook, now time.Time) bool {
	if slices.ContainsFunc(o.nodes, func(n placement.Node) bool {
		_, answered := o.reports[n.ID]
		return !n.Leaving && (n.State != placement.Alive || !answered)
	}) {
		r.disturbed = now
		return false
	}
	if r.c.rebalance.Swap(false) {
		r.disturbed = now.Add(-calmFor)
	}
	for id := range o.state.Groups {
		if leader, _ := o.leader(id); leader == "" {
			return false
		}
	}
	return now.Sub(r.disturbed) >= calmFor
}

func (r *reconciler) strangers(o *outlook, now time.Time) map[string]bool {
	_, lead := o.leader(MetaGroup)
	var unknown []string
	for _, s := range lead.Servers {
		if _, ok := o.state.Find(s.Node); !ok {
			unknown = append(unknown, s.Node)
		}
	}
	return r.strange.lasting(unknown, now, strangeFor)
}

// spells is since when each node has been in some condition.
type spells map[string]time.Time

// lasting takes the nodes that are in the condition now, and returns those that have
// been in it for at least d without a break.
func (s *spells) lasting(nodes []string, now time.Time, d time.Duration) map[string]bool {
	since := make(spells, len(nodes))
	long := make(map[string]bool)
	for _, n := range nodes {
		at, known := (*s)[n]
		if !known {
			at = now
		}
		since[n] = at
		if now.Sub(at) >= d {
			long[n] = true
		}
	}
	*s = since
	return long
}

// carryOut takes the steps, all at a time, and says whether any came to something.
func (r *reconciler) carryOut(ctx context.Context, s *meta.State, steps []step) (changed bool) {
	var wg sync.WaitGroup
	results := make([]error, len(steps))
	for i := range steps {
		wg.Go(func() { results[i] = r.take(ctx, &steps[i]) })
	}
	wg.Wait()
	for i := range steps {
		log := r.c.log.With("group", int(steps[i].group))
		if place := steps[i].place; place != nil {
			log = log.With("change", "place", "replicas", describe(s, place.Replicas))
		} else {
			log = log.With("change", string(steps[i].kind), "node", nameOf(s, steps[i].node))
		}
		if err := results[i]; err != nil {
			log.Debug("a group was not changed", "err", err)
			continue
		}
		changed = true
		log.Info("changed a group")
	}
	return changed
}

func (r *reconciler) take(ctx context.Context, s *step) error {
	q := changeRequest{Group: s.group, Kind: s.kind, Node: s.node, Index: s.index}
	if s.place == nil {
		return r.c.change(ctx, s.leader, q)
	}
	if s.drops {
		q.Kind = confirm
		if err := r.c.change(ctx, s.leader, q); err != nil {
			return err
		}
	}
	return r.c.propose(s.place)
}

// describe lists replicas for people.
func describe(s *meta.State, replicas []meta.Replica) string {
	var names []string
	for _, r := range replicas {
		name := s.Nodes[r.Node].Name
		if !r.Voter {
			name = "(" + name + ")"
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

func nameOf(s *meta.State, identity string) string {
	if number, ok := s.Find(identity); ok {
		return s.Nodes[number].Name
	}
	return identity
}

func (r *reconciler) logCommand(s *meta.State, cmd meta.Command) {
	switch cmd := cmd.(type) {
	case *meta.Raise:
		r.c.log.Info("the cluster has risen to a level that all its nodes can work at: none can go back to a release that cannot",
			"level", cmd.Level, "was", max(s.Level, level.First))
	case *meta.Leave:
		r.c.log.Info("a node was replaced by another one of its name: it is being emptied",
			"node", cmd.Node, "name", s.Nodes[cmd.Node].Name, "identity", s.Nodes[cmd.Node].Identity)
	case *meta.RemoveRecord:
		r.c.log.Info("the order to drain a node is over: it has started anew, or is gone", "identity", cmd.Name)
	case *meta.Retire:
		r.c.log.Info("a node holds nothing any more and has left the cluster",
			"node", cmd.Node, "name", s.Nodes[cmd.Node].Name, "identity", s.Nodes[cmd.Node].Identity)
	}
}
