package raftstore

import (
	"errors"
	"time"

	"dunlin/router"
	"dunlin/session"

	"github.com/hashicorp/raft"
)

// Replication is what a replicated Store is made with besides its Options.
type Replication struct {
	Node  Node   // this node's number, not 0
	Start uint64 // rises from start to start of the node, not 0

	// Generation is that of the lease under which this node takes clients. A claim is
	// of the generation of when it was submitted; in none that is later has the node
	// a connection of before, and in none does it take back what it gave up.
	Generation func() uint64

	// Guest asks a connection that Store.Admit let in to claim its identifier, with
	// Claim.Sole. It may not block. Nil: none is let in.
	Guest func(conn router.Subscriber)

	Leaders Leaders
	Owners  Owners
	World   Messenger
	Routes  Routes

	// OutageCap bounds by how much shard time goes forward after all replicas of a
	// shard were down (T2).
	OutageCap time.Duration
	Wall      func() time.Time // the wall clock: read for that alone
}

// Group is what a replica of a shard is made with.
type Group struct {
	ID        raft.ServerID
	Log       raft.LogStore
	Stable    raft.StableStore
	Snapshots raft.SnapshotStore
	Transport raft.Transport
	Tune      func(c *raft.Config) // changes to RaftConfig; nil for none

	SnapshotBytes uint64 // of log entries, after which a snapshot is taken; 0: 64 MB
}

// RaftConfig is what a shard's replica runs with.
func RaftConfig(id raft.ServerID) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = id
	c.HeartbeatTimeout, c.ElectionTimeout = 1500*time.Millisecond, 1500*time.Millisecond
	c.LeaderLeaseTimeout, c.CommitTimeout = time.Second, 250*time.Millisecond
	c.BatchApplyCh = true         // so that Apply never blocks below MaxAppendEntries
	c.SnapshotThreshold = 1 << 62 // by bytes, not by count: see replica.grown
	c.SnapshotInterval = 24 * time.Hour
	c.TrailingLogs = 1024
	c.NoLegacyTelemetry = true
	return c
}

func (r *Replication) validate() error {
	switch {
	case r.Node == 0 || r.Start == 0:
		return errors.New("raftstore: no node number or start")
	case r.Generation == nil || r.Leaders == nil || r.Owners == nil || r.World == nil || r.Routes == nil || r.Wall == nil:
		return errors.New("raftstore: replication is incomplete")
	}
	return nil
}

// OpenReplicated starts this node's way to the shards' leaders, without a replica
// of its own: see StartReplica. Options.Routes is not used.
func OpenReplicated(o Options, rep Replication) (*Store, error) {
	return openReplicated(o, rep, func(*replica) {})
}

// openReplicated has prepare see each replica before it starts.
func openReplicated(o Options, rep Replication, prepare func(*replica)) (*Store, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if err := rep.validate(); err != nil {
		return nil, err
	}
	s := &Store{
		shards: make([]*shard, o.Shards), lanes: make([]*lane, o.Shards), posts: make([]post, o.Shards),
		rep: &rep, prepare: prepare, snapshot: make(chan struct{}, 1),
	}
	if err := s.openScratches(&o); err != nil {
		return nil, err
	}
	o.Routes = nil
	m := newMetrics(o.Registerer, s)
	for i := range s.shards {
		sh := newShard(router.ShardID(i), &o, world{rep.Owners, rep.World}, s, m)
		sh.routes, sh.driver = rep.Routes, vacant{}
		s.shards[i], s.lanes[i] = sh, newLane(s, sh)
		s.running.Go(sh.run)
	}
	return s, nil
}

// Moved tells that the leader of sh may be another, so that what waits is asked
// again at once.
func (s *Store) Moved(sh router.ShardID) { s.lanes[sh].retry() }

// PushAgain pushes the committed windows of a node's sessions again, in the
// shards that this node leads, as fast as there is room: deliveries that went to it
// may be lost, since the connection to it broke. So may be which of its
// connections lost their sessions, which are told again.
func (s *Store) PushAgain(to Node) {
	for _, sh := range s.shards {
		sh.call(func() {
			if sh.st.fx.leads {
				sh.pushAgain(to)
			}
		})
	}
}

// PublishAgain publishes again, in the shards that this node leads, the wills that
// are not known to be published: their messenger gave up those that were under way,
// since the node was isolated.
func (s *Store) PublishAgain() {
	for _, sh := range s.shards {
		sh.call(func() {
			if sh.st.fx.leads {
				sh.publishFrom(0)
			}
		})
	}
}

// PublishMore goes on publishing wills, in the shards that this node leads: the
// messenger, which had none, has room.
func (s *Store) PublishMore() {
	for _, sh := range s.shards {
		sh.call(func() {
			if sh.st.fx.leads && sh.unsent != 0 {
				sh.publishFrom(sh.unsent)
			}
		})
	}
}

// Lost declares that a node has no connections any more that are of a generation or
// one before: what these own is detached in the shards that this node leads, their
// wills are due (P6), and their claims come too late. Connections of a later
// generation it does not touch, however late it is called itself. It counts from
// Routes.LeadShard on, also if it comes before that returns.
func (s *Store) Lost(node Node, generation uint64) {
	for _, sh := range s.shards {
		sh.call(func() {
			if sh.st.fx.leads && !sh.st.proposers.isLost(node, generation) {
				sh.submit(lost{node, generation}, nil)
			}
		})
	}
}

// outage is by how much shard time goes forward in a group that was down.
func (r *Replication) outage(since uint64) session.Time {
	passed := r.Wall().Unix() - int64(since) - 1 // both are cut to whole seconds
	if since == 0 || passed <= 0 {
		return 0
	}
	return min(session.Time(passed)*session.Time(time.Second), session.Time(r.OutageCap))
}
