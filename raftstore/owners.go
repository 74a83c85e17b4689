package raftstore

import (
	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"
)

// Node is a node's number in the cluster, which its meta group gave it and gives
// to no other. Zero is this node, in a store that is not replicated.
type Node uint32

// Owners are the brokers of all nodes as the leader of a shard calls them: an
// Owner for each. Calls come from shard goroutines, in order per session, and
// may not block; what goes to one node stays in order, answers of Leaders.Ask
// included. A new leader tells again what the one before may have told already,
// so that an owner leaves out deliveries whose index it has seen under the
// epoch, and calls that name another epoch than the connection's.
type Owners interface {
	Evict(at Node, conn router.Subscriber, clientID string, epoch session.Epoch, done func())
	Push(at Node, conn router.Subscriber, epoch session.Epoch, ds []Delivery)
	Ended(at Node, conn router.Subscriber, epoch session.Epoch, reason mqtt.Reason)
}

// Messenger sends into the world what a shard's leader has to: an Outlet that
// says when it is done. Calls come from shard goroutines and may not block.
type Messenger interface {
	// Publish is Outlet.Publish. done is to be called when every shard and node
	// has the message; until then it is published again by each new leader, under
	// the same Origin and Seq (E5).
	Publish(m *session.Message, clientID, user string, done func())
	Forget(origin uint64)
}

// Routes is where the leader of a shard brings its filters. Versions are those
// of this node's route table, which SUBACK waits for.
type Routes interface {
	// LeadShard brings the whole set, when this node begins to lead sh: whatever
	// the nodes have of an earlier leader is replaced by it, not before.
	LeadShard(sh router.ShardID, filters func(yield func(router.Filter) bool))
	SubscribeShard(f router.Filter, sh router.ShardID) (version uint64)
	UnsubscribeShard(f router.Filter, sh router.ShardID) (version uint64)
	Version() uint64
}

// world is what a shard calls.
type world struct {
	Owners
	Messenger
}

// alone is the world of a store that is not replicated: every owner is here.
type alone struct {
	owner  Owner
	outlet Outlet
}

func (a alone) Evict(_ Node, conn router.Subscriber, clientID string, e session.Epoch, done func()) {
	a.owner.Evict(conn, clientID, e, done)
}

func (a alone) Push(_ Node, conn router.Subscriber, e session.Epoch, ds []Delivery) {
	a.owner.Push(conn, e, ds)
}

func (a alone) Ended(_ Node, conn router.Subscriber, e session.Epoch, reason mqtt.Reason) {
	a.owner.Ended(conn, e, reason)
}

// Publish counts as done at once: what a store in memory forgets, it forgets
// with everything else.
func (a alone) Publish(m *session.Message, clientID, user string, done func()) {
	a.outlet.Publish(m, clientID, user)
	done()
}

func (a alone) Forget(origin uint64) { a.outlet.Forget(origin) }

// tableRoutes are the routes of a store that is not replicated: it leads its
// shards from the start, when they have no filters.
type tableRoutes struct{ *router.Table }

func (t tableRoutes) LeadShard(sh router.ShardID, filters func(yield func(router.Filter) bool)) {
	for f := range filters {
		t.SubscribeShard(f, sh)
	}
}
