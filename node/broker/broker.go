package broker

import (
	"crypto/x509"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"dunlin/cluster"
	"dunlin/node/auth"
	"dunlin/node/limit"
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

// Admission bounds who comes in, beside what authentication says: limit.Door, of which the
// loops have asked Arrive before. Its methods are called on event loops and must not block.
type Admission interface {
	// Greet judges what a CONNECT claims, before anybody looks whether it is so. What it
	// is given is borrowed.
	Greet(user, clientID []byte) limit.Refusal
	// Enter judges a client that is known. One that it admits counts until Leave.
	Enter(user, clientID string, from netip.Addr) limit.Refusal
	Leave(user string)
	// Depart ends what Arrive began, of which why was the answer.
	Depart(listener string, from netip.Addr, why limit.Refusal)
}

// Options are the broker's settings, constant once it runs.
type Options struct {
	Session session.Limits
	Policy  session.Policy

	ConnectTimeout time.Duration // from accept to a whole CONNECT
	Flow           limit.Flow    // how fast each client may send

	MaxSubscriptions     int // of one session; 0: no bound
	MaxNodeSubscriptions int // of all connections; 0: no bound
	MaxTopicBytes        int // of topics and filters; 0: what the router takes
	MaxTopicLevels       int // likewise
	MaxUnsent            int // bytes not taken by a client's socket before its deliveries wait in its queue
	MaxWaiting           int // bytes that wait in the queues of all sessions that end with their connections; 0: no bound
	MaxSharedBytes       int // share group messages held for members on other nodes, per worker

	// Status lists the values that the node publishes under $SYS/; nil: none. It is
	// called on event loops.
	Status func(yield func(topic, value string))

	// Denied is told of what clients are refused, on event loops: it may not block, and its
	// texts are lent. nil: nobody is told.
	Denied func(Denial)

	Admission Admission // nil: everybody may come in

	// Pressure is told of event loops that are behind, and asked for memory and disk: while
	// the node is short of them it stores nothing more. Nil: it never is.
	Pressure     *limit.Pressure
	MaxLoopDelay time.Duration // what a loop may be late by; 0: any time

	Auth    auth.Authenticator // never answers auth.ErrPass
	Methods []auth.Method      // that clients may name in CONNECT instead, 255 at most
	// OwnClientID has a client identifier be the user's name, unless the node gives it.
	OwnClientID bool
	// Former says of whom Auth has found, perhaps a while ago, that he is to be let in no
	// more: see Expel. It is called on event loops and must not block. Nil: of nobody.
	Former func(*auth.Principal) bool
	// Withdrawn says whether a client's certificate is revoked, by the chains that TLS
	// has verified: see Revoke. Nil: none ever is.
	Withdrawn func(chains [][]*x509.Certificate) bool

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
	clients atomic.Int64 // connections that are up

	elsewhere atomic.Pointer[Elsewhere] // where clients that connect are sent; nil: they are let in

	allSubscribed atomic.Int64 // subscriptions of all workers

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
