package shardnet

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"dunlin/cluster/raftnet"
	"dunlin/raftstore"
	"dunlin/router"
	"dunlin/session"

	"github.com/prometheus/client_golang/prometheus"
)

// The kinds of asks and pushes of raftnet that are this package's.
const (
	askCommands   uint8 = 16 // a frame of commands for a shard's leader
	askHandedOver uint8 = 17 // an owner has handed over
	pushOwner     uint8 = 16 // a record for an owner
)

// Directory is what is known of nodes and shards: from the state of the meta
// group, and from this node's own replicas. Calls come from any goroutine, some
// of them a shard's, and may not block.
type Directory interface {
	// Identity names a node for raftnet, and Number for the store. Not ok: it is
	// not known, perhaps not yet.
	Identity(n raftstore.Node) (identity string, ok bool)
	Number(identity string) (n raftstore.Node, ok bool)
	// Leader is who leads sh as this node's own replica knows it; not ok without a
	// replica or a leader.
	Leader(sh router.ShardID) (identity string, ok bool)
	// Replicas are the nodes that hold sh by placement.
	Replicas(sh router.ShardID) []raftstore.Node
}

// Shards is this node's raftstore.Store.
type Shards interface {
	Serve(sh router.ShardID, frame []byte, reply func(answer []byte))
	PushAgain(to raftstore.Node)
	Moved(sh router.ShardID)
}

// Options are what a Net is made with; Registerer nil for none.
type Options struct {
	Raftnet    *raftnet.Net
	Directory  Directory
	Owner      raftstore.Owner // this node's broker
	Clock      func() session.Time
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

func (o *Options) validate() error {
	if o.Raftnet == nil || o.Directory == nil || o.Owner == nil || o.Clock == nil || o.Logger == nil {
		return errors.New("shardnet: options are incomplete")
	}
	return nil
}

// Net is a node's end. It implements raftstore.Leaders and raftstore.Owners.
type Net struct {
	raft    *raftnet.Net
	dir     Directory
	owner   raftstore.Owner
	clock   func() session.Time
	log     *slog.Logger
	metrics *metrics

	self   atomic.Uint32          // this node's number, 0 until it has one
	shards atomic.Pointer[Shards] // nil until attached

	hints     hints
	evictions evictions
	again     again
	inbound   sync.Pool // of *deliveries

	room, most int // roomBytes and maxBacklogBytes, but for tests
}

var (
	_ raftstore.Leaders = (*Net)(nil)
	_ raftstore.Owners  = (*Net)(nil)
)

// New makes this node's end, which is to be there before raftnet has streams. It
// serves nothing until Enter and Attach.
func New(o Options) (*Net, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	n := &Net{
		raft: o.Raftnet, dir: o.Directory, owner: o.Owner, clock: o.Clock, log: o.Logger,
		metrics: newMetrics(o.Registerer), room: roomBytes, most: maxBacklogBytes,
	}
	n.evictions.init(n.metrics.forgotten)
	n.again.init(n)
	n.inbound.New = func() any { return new(deliveries) }
	n.raft.Handle(askCommands, n.serve)
	n.raft.Handle(askHandedOver, n.handedOver)
	n.raft.HandlePush(pushOwner, n.owned)
	n.raft.Served(n.again.served)
	return n, nil
}

// Enter tells the number that meta gave this node. It is to be called before the
// store is opened: what other nodes push until then is for connections of an
// earlier start, and is dropped.
func (n *Net) Enter(self raftstore.Node) { n.self.Store(uint32(self)) }

// Attach begins to serve other nodes' commands from s.
func (n *Net) Attach(s Shards) { n.shards.Store(&s) }

// Close ends what the Net has started. The store is to be closed before, raftnet
// after.
func (n *Net) Close() { n.again.close() }

func (n *Net) node() raftstore.Node { return raftstore.Node(n.self.Load()) }

// attached is the store, nil if there is none yet.
func (n *Net) attached() Shards {
	if s := n.shards.Load(); s != nil {
		return *s
	}
	return nil
}
