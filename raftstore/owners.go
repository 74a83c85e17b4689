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
// and PushAgain what may be lost, perhaps behind what came after it. So an owner
// takes only the delivery whose index is next under the epoch, beginning with
// Claimed.Next, and leaves out calls that name another epoch than the
// connection's.
type Owners interface {
	Evict(at Node, conn router.Subscriber, clientID string, epoch session.Epoch, done func())
	Push(at Node, conn router.Subscriber, epoch session.Epoch, ds []Delivery)
	Ended(at Node, conn router.Subscriber, epoch session.Epoch, reason mqtt.Reason)
	// Room says whether a node takes more of what is pushed again, or has enough to
	// take for now.
	Room(at Node) bool
}

// Messenger is the broker of this node as a shard that is led here sends into the
// world through it. Calls come from shard goroutines and may not block.
type Messenger interface {
	// Publish sends a will on its way, as a publish of this node. m is borrowed
	// until return. done is to be called, on any goroutine, when every shard and
	// node that wants the message has it, or when it may not be published; until
	// then it is published again by each new leader, under the same Origin and Seq
	// (E5). One that is under way here already is not to be sent twice. Who gives up
	// what is under way has Store.PublishAgain called when the time has come. false
	// says that there is no room: nothing was taken, of this will or those behind it,
	// until Store.PublishMore is called.
	Publish(m *session.Message, clientID, user string, done func()) bool
	// Forget tells that the publisher's session has ended and that no copy of a
	// message of Origin comes any more (R2).
	Forget(origin uint64)
}

// Routes is told which shards this node leads, and makes their filters known to
// all nodes, as the shards'. Calls come from shard goroutines and may not block.
type Routes interface {
	// LeadShard tells that this node leads sh: from now on the own routes of table
	// are the shard's. What the nodes have of an earlier leader is replaced by them,
	// not before. reign rises with each leadership of the shard, on whichever node.
	LeadShard(sh router.ShardID, reign uint64, table *router.Table)
	// ShardApplied tells that the table is as the command with that Result.Index left
	// it, before its result is given.
	ShardApplied(sh router.ShardID, index uint64)
	// EndShard tells that this node does not lead sh any more.
	EndShard(sh router.ShardID)
}

// world is what a shard calls.
type world struct {
	Owners
	Messenger
}

// alone are the owners of a store that is not replicated: all are here.
type alone struct{ owner Owner }

func (a alone) Evict(_ Node, conn router.Subscriber, clientID string, e session.Epoch, done func()) {
	a.owner.Evict(conn, clientID, e, done)
}

func (a alone) Push(_ Node, conn router.Subscriber, e session.Epoch, ds []Delivery) {
	a.owner.Push(conn, e, ds)
}

func (alone) Room(Node) bool { return true }

func (a alone) Ended(_ Node, conn router.Subscriber, e session.Epoch, reason mqtt.Reason) {
	a.owner.Ended(conn, e, reason)
}

// tableRoutes are the routes of a shard that is not replicated: what the shard's
// table has, the node's has at once.
type tableRoutes struct {
	node  *router.Table
	shard *router.Table
	held  uint64 // version of the shard's table that the node's has
}

func (t *tableRoutes) LeadShard(sh router.ShardID, _ uint64, table *router.Table) {
	t.shard = table
	t.copy(router.ShardNode(sh))
}

func (t *tableRoutes) ShardApplied(sh router.ShardID, _ uint64) {
	if t.held == t.shard.Version() {
		return
	}
	changes, version, ok := t.shard.Changes(t.held, keptChanges, nil)
	if !ok || version != t.shard.Version() {
		t.copy(router.ShardNode(sh))
		return
	}
	t.node.ApplyRemote(router.ShardNode(sh), changes)
	t.held = version
}

func (t *tableRoutes) EndShard(router.ShardID) {}

func (t *tableRoutes) copy(as router.NodeID) {
	t.node.BeginRemote(as)
	t.held = t.shard.Snapshot(func(cs []router.Change) bool {
		t.node.ApplyRemote(as, cs)
		return true
	})
	t.node.EndRemote(as)
}
