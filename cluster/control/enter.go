package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"dunlin/raftstore/level"
	"dunlin/raftstore/meta"
)

// Self is who this start of the node is in the cluster.
type Self struct {
	Node       uint32 // its number, for as long as it has its data
	Start      uint64 // rises from start to start
	Generation uint64 // that Enter began (E4)
}

// ErrForeign says that a node belongs to another cluster.
var ErrForeign = errors.New("control: the node belongs to another cluster")

// Enter has this node form a cluster with others, join one or come back to its
// own, and returns when meta counts this start of it and this node's own replica
// of meta knows. It waits for what it needs and logs what that is; it gives up
// when ctx ends, or when meta says that the node's data are an older copy, or that its release
// cannot work at the level of the cluster (level.Error).
func (c *Control) Enter(ctx context.Context) (Self, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.ctx, func() { cancel(errStopped) })()
	ctx, stopped := context.WithCancel(ctx)
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		c.logMissing(ctx)
	}()
	defer func() { stopped(); <-logged }()

	if err := c.form(ctx); err != nil {
		return Self{}, fmt.Errorf("form or join a cluster: %w", err)
	}
	if c.meta() == nil {
		if err := c.startMeta(); err != nil {
			return Self{}, err
		}
	}
	res, err := c.enter(ctx)
	if err != nil {
		return Self{}, fmt.Errorf("enter the cluster: %w", err)
	}
	c.miss("what meta holds, from its leader")
	for {
		changed := c.changed()
		if s := c.State(); s.Nodes[res.Node].Start == res.Start && s.Nodes[res.Node].Identity == c.data.Identity() {
			if s.Shards != c.opts.Shards {
				c.log.Warn("the number of shards was fixed when the cluster formed", "shards", s.Shards, "configured", c.opts.Shards)
			}
			c.log.Info("entered the cluster", "cluster", s.Cluster, "node", res.Node, "start", res.Start)
			return Self{Node: res.Node, Start: res.Start, Generation: res.Generation}, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Self{}, context.Cause(ctx)
		}
	}
}

// logMissing tells the operator what the node waits for, for as long as it does.
func (c *Control) logMissing(ctx context.Context) {
	for pause(ctx, logInterval) == nil {
		c.mu.Lock()
		missing := c.mu.missing
		c.mu.Unlock()
		c.log.Info("waiting to enter the cluster", "missing", missing)
	}
}

// enterRequest is what a node says of itself. Of a release that says nothing of levels the last
// two are zero; one that knows nothing of them leaves them unread.
type enterRequest struct {
	Cluster string     `json:"cluster"`
	Name    string     `json:"name"`
	Start   uint64     `json:"start"`
	Release string     `json:"release,omitempty"`
	Levels  level.Span `json:"levels,omitzero"`
}

const (
	enterTimeout = 10 * time.Second // for one try: the leader may have to add the node to meta first
	enterPause   = 50 * time.Millisecond
	surveyEvery  = 10 // tries: others are asked who leads, if this node's Raft has not heard
)

// enter asks meta's leader to count this start until it has. Asking again does
// no harm.
func (c *Control) enter(ctx context.Context) (meta.Result, error) {
	cluster := c.data.standing().Formation
	body, err := json.Marshal(enterRequest{
		Cluster: cluster, Name: c.opts.Name, Start: c.data.Starts(), Release: c.opts.Release, Levels: c.opts.Levels,
	})
	if err != nil {
		return meta.Result{}, err
	}
	for try := 0; ; try++ {
		leader := c.MetaLeader()
		if leader == "" && try%surveyEvery == 0 {
			leader = c.findLeader(ctx, cluster)
		}
		if leader == "" {
			c.miss("a leader of meta, who knows whether these data are this node's latest or an older copy: " +
				"a majority of its voters has to be there, and to be reached")
		} else {
			c.miss(fmt.Sprintf("the answer of node %s, which leads meta and knows whether these data are this node's latest or an older copy", leader))
			asking, cancel := context.WithTimeout(ctx, enterTimeout)
			res, err := c.proposeTo(asking, leader, kindEnter, body)
			cancel()
			refused := (*level.Error)(nil)
			switch {
			case err == nil || errors.Is(err, meta.ErrStale):
				return res, err
			case errors.As(err, &refused):
				refused.Known = c.opts.Levels
				return res, err
			default:
				c.miss(fmt.Sprintf("meta's leader taking this node in: %v", err))
			}
		}
		if err := pause(ctx, enterPause); err != nil {
			return meta.Result{}, context.Cause(ctx)
		}
	}
}

// findLeader asks those that belong to the cluster who leads meta: this node may
// not be a replica of it yet, or no longer.
func (c *Control) findLeader(ctx context.Context, cluster string) string {
	seen := c.survey(ctx)
	for _, id := range slices.Sorted(maps.Keys(seen)) {
		if a := seen[id]; a.serves(cluster) && a.Leader != "" {
			return a.Leader
		}
	}
	return ""
}

// serveEnter takes another node in.
func (c *Control) serveEnter(from string, body []byte) (any, error) {
	var q enterRequest
	if err := decodeOrRefuse(body, &q); err != nil {
		return nil, err
	}
	if s := c.data.standing(); !s.serves(q.Cluster) {
		c.log.Warn("refused a node of another cluster", "node", from, "name", q.Name, "cluster", q.Cluster)
		return nil, ErrForeign
	}
	if c.namesake(from, q.Name) {
		return outcome{Why: fmt.Sprintf("another node is called %q and is there: give this one another node-name", q.Name)}, nil
	}
	s := c.State()
	if !q.Levels.Holds(s.Level) {
		return c.refuseLevel(from, &q, s.Level), nil
	}
	if err := c.addToMeta(from); err != nil {
		return outcome{Why: err.Error()}, nil
	}
	cmd := &meta.Enter{Identity: from, Name: q.Name, Start: q.Start}
	if s.InForce(level.NodeRelease) {
		cmd.Release, cmd.Levels = q.Release, q.Levels
	}
	o := c.apply(meta.Encode(cmd))
	if o.Why == meta.ErrRelease.Error() {
		return outcome{Why: "the level of the cluster has just risen"}, nil // it asks again
	}
	return o, nil
}

// refuseLevel refuses a node whose release cannot work at the level in force, and tells of each
// start of one once: a release that knows nothing of levels asks again and again.
func (c *Control) refuseLevel(from string, q *enterRequest, in level.Level) outcome {
	err := &level.Error{Level: in, Known: q.Levels}
	c.mu.Lock()
	told := c.mu.outside[from] == q.Start
	if len(c.mu.outside) == maxOutside {
		clear(c.mu.outside)
	}
	c.mu.outside[from] = q.Start
	c.mu.Unlock()
	if !told {
		c.log.Warn("refused a node: its release cannot work at the level of the cluster", "node", from, "name", q.Name, "release", q.Release, "err", err)
	}
	return outcome{Why: err.Error(), Level: max(in, level.First)}
}

// maxOutside is how many nodes that were refused are remembered. Beyond it all are forgotten,
// and told again.
const maxOutside = 1024

// namesake says that a node that is new would come under the name of one that can be
// reached: it would be taken for that one without its data (D5), were that one to
// stop.
func (c *Control) namesake(identity, name string) bool {
	s := c.State()
	if _, known := s.Find(identity); known {
		return false
	}
	reachable := map[string]bool{c.data.Identity(): true}
	for _, m := range c.opts.Members() {
		reachable[m.Identity] = m.Reachable
	}
	for _, n := range s.Nodes {
		if n.Name == name && !n.Leaving && reachable[n.Identity] {
			return true
		}
	}
	return false
}

// addToMeta makes a node a replica of meta that does not vote, unless it is one
// or votes.
func (c *Control) addToMeta(node string) error {
	r := c.meta()
	if r == nil || r.State() != raft.Leader {
		return errors.New("it does not lead meta")
	}
	conf := r.GetConfiguration()
	if err := conf.Error(); err != nil {
		return err
	}
	if slices.ContainsFunc(conf.Configuration().Servers, func(s raft.Server) bool { return string(s.ID) == node }) {
		return nil
	}
	return r.AddNonvoter(raft.ServerID(node), raft.ServerAddress(node), 0, applyTimeout).Error()
}
