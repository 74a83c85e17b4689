package control

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"dunlin/raftstore"
	"dunlin/raftstore/level"
	"dunlin/raftstore/meta"
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
	conf.BatchApplyCh = false                   // so that Raft answers all that it has taken
	conf.CommitTimeout = 500 * time.Millisecond // but see spread
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
	machine := &guarded{Machine: c.machine, broken: c.opts.Broken}
	r, err := raft.NewRaft(conf, machine, store, store, snapshots, transport)
	if err != nil {
		_ = transport.Close()
		return fmt.Errorf("control: meta: %w", errors.Join(err, machine.unread))
	}
	rep := newReplica(r, transport, store, snapshots)
	c.mu.Lock()
	c.mu.groups[MetaGroup] = rep
	c.mu.Unlock()
	c.wg.Go(func() { c.lead(r) })
	how := restarted
	if fresh {
		how = founded(s.Initial[:s.Voters], s.Coordinator == string(self))
	}
	c.wg.Go(func() { c.electEarly(MetaGroup, r, transport, how) })
	return nil
}

// spread has the replicas of meta know at once what is committed: clients wait until
// a revocation is known. Raft tells them with the next entry, for which this sees,
// or when a CommitTimeout has passed. A short one costs the leader and every node
// some messages each time, all day long.
func spread(r *raft.Raft) { r.Barrier(applyTimeout) }

// guarded is meta's machine, of whose panics the node hears before Raft's goroutine
// ends the process with them.
type guarded struct {
	*meta.Machine
	broken func(error)
	unread error // why Restore refused a snapshot; of who calls NewRaft, then of Raft
}

// Apply implements raft.FSM.
func (g *guarded) Apply(l *raft.Log) any {
	defer func() {
		v := recover()
		if err, ok := v.(*level.Error); ok {
			g.broken(fmt.Errorf("meta at entry %d: %w", l.Index, err))
			panic(v)
		}
		if v != nil {
			g.broken(fmt.Errorf("meta at entry %d: %v\n%s", l.Index, v, debug.Stack()))
			panic(v)
		}
	}()
	return g.Machine.Apply(l)
}

// Restore implements raft.FSM. NewRaft does not say why a snapshot is refused.
func (g *guarded) Restore(from io.ReadCloser) error {
	g.unread = g.Machine.Restore(from)
	return g.unread
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
