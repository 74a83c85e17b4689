package control

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"dunlin/cluster/raftnet"
	"dunlin/raftstore"
)

// startMeta starts this node's replica of meta.
//
// Each initial voter bootstraps the group itself, all with the same configuration;
// that is what lets the others go on without the coordinator. One whose log is
// empty has never voted: log and node.db belong together, so that the log cannot
// have been lost. All other nodes begin with an empty log and hear from the leader.
func (c *Control) startMeta() error {
	s := c.data.standing()
	self := raft.ServerID(c.data.Identity())
	conf := raftstore.RaftConfig(self)
	conf.Logger = raftLogger(c.log)
	conf.BatchApplyCh = false // so that Raft answers all that it has taken
	conf.SnapshotThreshold, conf.SnapshotInterval = 1024, time.Minute
	store := c.data.log.Group(MetaGroup)
	snapshots, err := c.data.snapshots(MetaGroup, c.log)
	if err != nil {
		return fmt.Errorf("control: meta: %w", err)
	}
	transport, err := c.opts.Net.Transport(MetaGroup)
	if err != nil {
		return fmt.Errorf("control: meta: %w", err)
	}
	voter := slices.Contains(s.Initial[:s.Voters], string(self))
	fresh := false
	if voter {
		switch err := raft.BootstrapCluster(conf, store, store, snapshots, transport, s.configuration()); err {
		case nil:
			fresh = true
		case raft.ErrCantBootstrap: // was done before
		default:
			_ = transport.Close()
			return fmt.Errorf("control: bootstrap meta: %w", err)
		}
	}
	r, err := raft.NewRaft(conf, c.machine, store, store, snapshots, transport)
	if err != nil {
		_ = transport.Close()
		return fmt.Errorf("control: meta: %w", err)
	}
	rep := newReplica(r, transport, store, snapshots)
	c.mu.Lock()
	c.mu.groups[MetaGroup] = rep
	c.mu.Unlock()
	c.wg.Go(func() { c.lead(r) })
	var first []string
	if fresh && s.Coordinator == string(self) {
		first = s.Initial[:s.Voters]
	}
	c.wg.Go(func() { c.electEarly(MetaGroup, r, transport, first) })
	return nil
}

// configuration is what meta begins with.
func (s standing) configuration() (conf raft.Configuration) {
	for i, id := range s.Initial {
		v := raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(id), Suffrage: raft.Nonvoter}
		if i < s.Voters {
			v.Suffrage = raft.Voter
		}
		conf.Servers = append(conf.Servers, v)
	}
	return conf
}

// What electing early may take, and how often it looks.
const (
	electWithin = 2 * time.Second
	electPause  = 20 * time.Millisecond
)

// electEarly saves an election timeout where it is plain who is to lead: the only
// voter of a group always, and of a new group, with first its voters, the one
// that was chosen, when most of them have begun.
func (c *Control) electEarly(group uint16, r *raft.Raft, t *raftnet.Transport, first []string) {
	if c.onlyVoter(r) {
		t.Stand()
		return
	}
	if len(first) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, electWithin)
	defer cancel()
	for pause(ctx, electPause) == nil {
		if _, leader := r.LeaderWithID(); leader != "" || r.State() != raft.Follower {
			return
		}
		if c.begun(ctx, group, first) > len(first)/2 {
			t.Stand()
			return
		}
	}
}

// begun counts the nodes that run a replica of a group.
func (c *Control) begun(ctx context.Context, group uint16, nodes []string) (n int) {
	ctx, cancel := context.WithTimeout(ctx, 10*electPause)
	defer cancel()
	answers := make(chan groupAnswer, len(nodes))
	for _, id := range nodes {
		go func() {
			a, _ := c.askGroup(ctx, id, group) // nothing is no
			answers <- a
		}()
	}
	for range nodes {
		if (<-answers).Running {
			n++
		}
	}
	return n
}

// onlyVoter says that this node is the one voter of r's group.
func (c *Control) onlyVoter(r *raft.Raft) bool {
	ids := votersOf(r)
	return len(ids) == 1 && ids[0] == c.data.Identity()
}
