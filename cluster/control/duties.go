package control

import (
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"dunlin/raftstore/meta"
	"dunlin/raftstore/placement"
)

// placeGrace is how long the shards wait for nodes that formed the cluster and
// have not entered it.
const placeGrace = 10 * time.Second

// lead sees to the duties of meta's leader while this node is it. Each is done in
// commands that change nothing when they come twice or late, so that it does not
// matter how much of the state this node has seen, and the next leader goes on.
func (c *Control) lead(r *raft.Raft) {
	tick := time.NewTicker(reconcilePace)
	defer tick.Stop()
	var since time.Time
	var rec *reconciler // while this node leads
	for {
		select {
		case <-tick.C:
		case <-c.wake:
		case <-r.LeaderCh():
		case <-c.ctx.Done():
			return
		}
		if r.State() != raft.Leader {
			rec = nil
			continue
		}
		if rec == nil {
			rec, since = newReconciler(c), time.Now()
			c.log.Info("this node leads meta")
			c.wg.Go(func() {
				// What the leader before committed and told nobody of.
				if r.Barrier(applyTimeout).Error() == nil {
					spread(r)
				}
			})
		}
		if err := c.duties(time.Since(since)); err != nil {
			c.log.Debug("meta's leader is held up", "err", err)
		}
		changed, pace := rec.round(c.ctx)
		if changed {
			signal(c.wake)
		}
		tick.Reset(pace)
	}
}

func (c *Control) duties(leading time.Duration) error {
	s := c.State()
	if s.Cluster == "" {
		return c.propose(&meta.Form{Cluster: c.data.standing().Formation, Shards: c.opts.Shards, Factor: c.opts.Factor})
	}
	return c.placeNew(s, leading)
}

// placeNew says where the shards of a new cluster begin.
func (c *Control) placeNew(s *meta.State, leading time.Duration) error {
	if len(s.Groups) >= s.Shards || len(s.Nodes) == 0 {
		return nil
	}
	for _, id := range c.data.standing().Initial {
		if _, entered := s.Find(id); !entered && leading < placeGrace {
			return nil
		}
	}
	cl := c.nodes(s)
	for sh := range s.Shards {
		g := placement.Group{ID: uint16(sh)}
		for _, r := range s.Groups[g.ID].Replicas {
			g.Replicas = append(g.Replicas, placement.Replica{Node: s.Nodes[r.Node].Identity, Voter: r.Voter})
		}
		cl.Groups = append(cl.Groups, g)
	}
	for i, target := range placement.Targets(cl) {
		g := cl.Groups[i]
		if s.Groups[g.ID].Version > 0 || len(target) == 0 {
			continue
		}
		p := &meta.Place{Group: g.ID}
		for _, id := range target {
			number, _ := s.Find(id)
			p.Replicas = append(p.Replicas, meta.Replica{Node: number, Voter: true})
		}
		if err := c.propose(p); err != nil {
			return err
		}
	}
	return nil
}

// nodes is the cluster's nodes as placement sees them.
func (c *Control) nodes(s *meta.State) placement.Cluster {
	reachable := map[string]bool{c.data.Identity(): true}
	for _, m := range c.opts.Members() {
		if m.Reachable {
			reachable[m.Identity] = true
		}
	}
	cl := placement.Cluster{Factor: s.Factor}
	for _, n := range s.Nodes {
		state := placement.Down
		if reachable[n.Identity] {
			state = placement.Alive
		}
		cl.Nodes = append(cl.Nodes, placement.Node{ID: n.Identity, State: state, Leaving: n.Leaving})
	}
	slices.SortFunc(cl.Nodes, func(a, b placement.Node) int { return strings.Compare(a.ID, b.ID) })
	return cl
}
