package broker

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"dunlin/cluster"
	"dunlin/node/auth"
	"dunlin/node/listen"
	"dunlin/raftstore"
	"dunlin/router"
	"dunlin/session"
)

// Shards is the replicated store as the broker uses it: raftstore.Store.
type Shards interface {
	SessionShard(clientID string) router.ShardID
	TopicShard(t router.Topic) router.ShardID
	Shards() int
	Submit(sh router.ShardID, cmd raftstore.Command, done func(raftstore.Result))
	PublishMore()
}

// Guests holds client identifiers for connections whose claims need no commit:
// raftstore.Store, which says when that is so.
type Guests interface {
	Admit(sh router.ShardID, clientID, user string, conn router.Subscriber) bool
	Leave(sh router.ShardID, clientID string, conn router.Subscriber)
}

// RetainedMessages reads what the shards retain: raftstore.Store. done is called
// once, on any goroutine, and may not block.
type RetainedMessages interface {
	ReadRetained(sh router.ShardID, q raftstore.RetainedQuery, done func(raftstore.RetainedPage, error))
}

// Peers is the cluster as the broker uses it: cluster.Cluster.
type Peers interface {
	Buffer() []byte
	Forward(to router.NodeID, f cluster.Frame) bool
	Full(to router.NodeID) bool
	Routed(version uint64, done func())
}

// ShardRoutes tells when the filters of a shard are everywhere.
type ShardRoutes interface {
	// Synced calls done, once and on any goroutine, with true when every node that
	// counts holds the filters of sh as they were after the command with that
	// Result.Index, or later (P4, E4). With false that could not be learned, though
	// it was tried for a while: whoever waits for it is to be let go (R6).
	Synced(sh router.ShardID, index uint64, done func(ok bool))
}

// Authorizer says what a client may do. Its methods are called on event loops
// and must not block. An identity is lent for the call. Unrestricted spares the calls when nothing is denied. What it is asked it
// may answer in another way the next time: rights are withdrawn, and given.
type Authorizer interface {
	MayPublish(id *auth.Identity, t router.Topic, qos uint8, retain bool) bool
	MaySubscribe(id *auth.Identity, f router.Filter, qos uint8) bool
	MayReceive(id *auth.Identity, t router.Topic, qos uint8) bool
	Unrestricted() bool
}

// Options are the broker's settings, constant once it runs.
type Options struct {
	Session session.Limits
	Policy  session.Policy

	ConnectTimeout time.Duration // from accept to a whole CONNECT
	MaxConnections int           // on this node; 0: no bound

	MaxSubscriptions int // of one session
	MaxUnsent        int // bytes not taken by a client's socket before its deliveries wait in its queue
	MaxSharedBytes   int // share group messages held for members on other nodes, per worker

	// Status lists the values that the node publishes under $SYS/; nil: none. It is
	// called on event loops.
	Status func(yield func(topic, value string))

	Auth   auth.Authenticator // never answers auth.ErrPass
	Access Authorizer
	Clock  func() session.Time // monotonic, from any goroutine
	Log    *slog.Logger
}

// Broker joins the parts. It is made by New, completed by Attach, and driven by
// the event loops through the handlers that Worker makes.
type Broker struct {
	Options
	table    *router.Table
	shards   Shards
	guests   Guests
	retained RetainedMessages
	routes   ShardRoutes
	peers    Peers
	accepted accepted
	emptied  chan *batch // for reuse

	atShards [maxShards]gauge // messages that wait for each shard
	claimsAt [maxShards]openClaims

	workers []*worker // by loop index; fixed before the loops run
	lease   Lease     // nil: always held
	conns   atomic.Int64

	serving    atomic.Int32  // of type serving
	isolations atomic.Uint32 // how often the node was isolated

	ingresses sync.Map // router.NodeID -> *ingress
}

// New returns a broker that routes by table.
func New(o Options, table *router.Table) *Broker {
	return &Broker{Options: o, table: table, emptied: make(chan *batch, spareBatches)}
}

// Attach gives the broker the floors that call up into it, before anything runs.
func (b *Broker) Attach(shards Shards, guests Guests, retained RetainedMessages, routes ShardRoutes, peers Peers) {
	b.shards, b.guests, b.retained, b.routes, b.peers = shards, guests, retained, routes, peers
}

// Worker makes the handler of one event loop; loops ask in the order of their index.
func (b *Broker) Worker(l listen.Loop) listen.Handler {
	w := newWorker(b, l)
	b.workers = append(b.workers, w)
	return w
}

// workerOf finds the worker whose loop has a subscriber's connection.
func (b *Broker) workerOf(s router.Subscriber) *worker {
	if loop := listen.ID(s).Loop(); loop < len(b.workers) {
		return b.workers[loop]
	}
	return nil
}
