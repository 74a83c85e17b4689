package control

import (
	"context"
	"fmt"
	"slices"

	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"

	"dunlin/raftstore"
	"dunlin/raftstore/meta"
	"dunlin/router"
)

// Shards is the store of this node. StartReplica and StopReplica return when it is
// done, and are called for several shards at a time, for each by one goroutine.
type Shards interface {
	StartReplica(sh router.ShardID, g raftstore.Group) (*raft.Raft, error)
	StopReplica(sh router.ShardID) error
	// Settle has committed what a group with a single replica keeps in its node's
	// memory alone. It goes before another replica is added, on any goroutine.
	Settle(ctx context.Context, sh router.ShardID) error
	// Restoring says that the group's leader, which is here, takes over a backup: if
	// another one led it, nobody could say what it holds. On any goroutine.
	Restoring(sh router.ShardID) bool
}

// Run starts the replicas that meta places on this node, now and later, and stops
// and removes those that it does not, until Shutdown. It returns at once and is
// called once, after Enter.
func (c *Control) Run(shards Shards) {
	c.wg.Go(func() {
		err := c.sweep()
		removed := false
		for err == nil {
			changed := c.changed()
			if _, member := c.State().Find(c.data.Identity()); !member && !removed {
				removed = true
				c.log.Warn("this node has left the cluster: stop it, and empty its data directory before it is used again")
			}
			if err = c.settle(shards); err != nil {
				break
			}
			select {
			case <-changed:
			case <-c.ctx.Done():
				return
			}
		}
		c.fail(err)
	})
}

// maxStarting is how many replicas start at a time: each reads its latest
// snapshot, and the entries after it, before it does anything else.
const maxStarting = 4

// settle makes this node's replicas those of the state.
func (c *Control) settle(shards Shards) error {
	s := c.State()
	var work errgroup.Group
	work.SetLimit(maxStarting)
	for sh := range router.ShardID(s.Shards) {
		here := c.placed(s, sh)
		if here == (c.replica(uint16(sh)) != nil) {
			continue
		}
		work.Go(func() error {
			switch {
			case c.ctx.Err() != nil:
				return nil
			case here:
				return c.startReplica(shards, sh, s)
			default:
				return c.stopReplica(shards, sh)
			}
		})
	}
	return work.Wait()
}

// startReplica starts one, and bootstraps its group if it is one of those that
// the group begins with.
//
// Only the first placement says with whom a group begins, and a later one comes
// about only through a leader of the group, so that by then a majority of the
// first voters has begun. One of them that has not finds out from the leader.
func (c *Control) startReplica(shards Shards, sh router.ShardID, s *meta.State) error {
	id := uint16(sh)
	p := s.Groups[id]
	self := c.data.Identity()
	snapshots, err := c.data.snapshots(id, c.log)
	if err != nil {
		return fmt.Errorf("control: shard %d: %w", sh, err)
	}
	t, err := c.opts.Net.Transport(id)
	if err != nil {
		return fmt.Errorf("control: shard %d: %w", sh, err)
	}
	store := c.data.log.Group(id)
	g := raftstore.Group{
		ID: raft.ServerID(self), Log: store, Stable: store, Snapshots: snapshots, Transport: t,
		SnapshotBytes: c.opts.SnapshotBytes,
		Tune:          func(conf *raft.Config) { conf.Logger = raftLogger(c.log.With("shard", int(sh))) },
	}
	how := restarted
	if begins := voters(s, p); p.Version == 1 && slices.Contains(begins, self) {
		fresh, err := bootstrap(g, begins)
		if err != nil {
			_ = t.Close()
			return fmt.Errorf("control: bootstrap shard %d: %w", sh, err)
		}
		if fresh {
			how = founded(begins, begins[int(sh)%len(begins)] == self)
		}
	}
	r, err := shards.StartReplica(sh, g)
	if err != nil {
		_ = t.Close()
		return fmt.Errorf("control: shard %d: %w", sh, err)
	}
	rep := newReplica(r, t, store, snapshots)
	rep.settle = func(ctx context.Context) error { return shards.Settle(ctx, sh) }
	rep.restoring = func() bool { return shards.Restoring(sh) }
	c.mu.Lock()
	c.mu.groups[id] = rep
	c.mu.Unlock()
	c.wg.Go(func() { c.electEarly(id, r, t, how) })
	return nil
}

// voters are the identities of those that vote in p, in its order.
func voters(s *meta.State, p meta.Group) (ids []string) {
	for _, r := range p.Replicas {
		if r.Voter {
			ids = append(ids, s.Nodes[r.Node].Identity)
		}
	}
	return ids
}

// bootstrap stores a group's first configuration, unless something is stored: all
// first voters store the same.
func bootstrap(g raftstore.Group, begins []string) (fresh bool, err error) {
	conf := raftstore.RaftConfig(g.ID)
	g.Tune(conf)
	first := standing{Initial: begins, Voters: len(begins)}.configuration()
	switch err := raft.BootstrapCluster(conf, g.Log, g.Stable, g.Snapshots, g.Transport, first); err {
	case nil:
		return true, nil
	case raft.ErrCantBootstrap:
		return false, nil
	default:
		return false, err
	}
}

// stopReplica ends one that has been moved away, and removes what it stored.
func (c *Control) stopReplica(shards Shards, sh router.ShardID) error {
	id := uint16(sh)
	rep := c.replica(id)
	rep.end()
	if err := shards.StopReplica(sh); err != nil {
		return fmt.Errorf("control: shard %d: %w", sh, err)
	}
	c.mu.Lock()
	delete(c.mu.groups, id)
	c.mu.Unlock()
	_ = rep.transport.Close() // Raft has
	return c.data.forget(id)
}

// sweep removes what is left of replicas that were moved away while the node was
// down.
func (c *Control) sweep() error {
	s := c.State()
	for _, id := range c.data.log.Groups() {
		if id < MetaGroup && !c.placed(s, router.ShardID(id)) {
			if err := c.data.forget(id); err != nil {
				return err
			}
		}
	}
	return nil
}

// placed says that meta places a replica of sh on this node.
func (c *Control) placed(s *meta.State, sh router.ShardID) bool {
	self, ok := s.Find(c.data.Identity())
	return ok && slices.ContainsFunc(s.Groups[uint16(sh)].Replicas, func(r meta.Replica) bool { return r.Node == self })
}
