package raftstore

import (
	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"
)

// Owner is the broker as the store calls it, for sessions claimed by this node.
// Calls come from shard goroutines, in order per session, and may not block.
type Owner interface {
	// Evict asks the connection that holds the claim to hand over: send its last
	// batch of acknowledgements, close with 0x8E, call done. The store goes on
	// without it after 50 ms (E2).
	Evict(conn router.Subscriber, clientID string, epoch session.Epoch, done func())
	// Push brings deliveries that entered the committed window, in queue order,
	// and QoS 0 ones. They are borrowed until return.
	Push(conn router.Subscriber, epoch session.Epoch, ds []Delivery)
	// Publish sends a will (or another message of the store's own) on its way,
	// as a publish of this node.
	Publish(m *session.Message, clientID, user string)
	// Ended tells that a connected session was ended by the store (overtaken
	// fence, administrative delete): the connection is to be closed.
	Ended(conn router.Subscriber, epoch session.Epoch, reason mqtt.Reason)
}

// Delivery is one message for one session as the shard pushes it.
type Delivery struct {
	Index   uint64 // queue index (S1); 0 for QoS 0
	Message session.Message
	QoS     mqtt.QoS
	Retain  bool
	IDs     []uint32
}

// Command is one of Claim, Detach, Subscribe, Unsubscribe, Enqueue, Transient,
// Acks, Receive, Release, Retain, Delete.
type Command interface{ command() }

// Claim makes a connection the owner of a client identifier (E1 to E3, E6).
type Claim struct {
	ClientID         string
	User             string
	Conn             router.Subscriber
	CleanStart       bool
	Expiry           uint32 // seconds; 0: ends with the connection
	Inflight         uint16 // committed window: Receive Maximum and slack
	Will             *Will
	MaxQueueMessages int
	MaxQueueBytes    int
	DropOldest       bool
}

// Will is the will that goes with a claim.
type Will struct {
	Message session.Message
	Delay   uint32 // seconds
}

// Detach ends a connection's ownership. Fire publishes the will (after its
// delay); Expiry replaces the claim's if HasExpiry.
type Detach struct {
	ClientID  string
	Epoch     session.Epoch
	Fire      bool
	HasExpiry bool
	Expiry    uint32
}

// Subscribe and Unsubscribe change a persistent session's subscriptions.
type Subscribe struct {
	ClientID string
	Epoch    session.Epoch
	Filters  []Subscription
}

// Subscription is a filter with its options.
type Subscription struct {
	Filter         router.Filter
	Options        router.Options
	RetainHandling uint8
}

// Unsubscribe: Result.Existed has an entry per filter.
type Unsubscribe struct {
	ClientID string
	Epoch    session.Epoch
	Filters  []router.Filter
}

// Enqueue commits a message of QoS >= 1 to every session of the shard that wants
// it; From is the publisher's client identifier, for no-local.
type Enqueue struct {
	From    string
	Message session.Message
}

// Transient brings a QoS 0 message to the connected sessions that want it. It
// is not committed.
type Transient struct {
	From    string
	Message session.Message
}

// EnqueueFor commits a message to one session alone: retained messages replayed
// to it.
type EnqueueFor struct {
	ClientID string
	Epoch    session.Epoch
	Delivery Delivery
}

// Acks is an owner's batch of acknowledgements.
type Acks struct{ Items []Ack }

// Ack is one: Received for a PUBREC (S2), else the delivery is done.
type Ack struct {
	ClientID string
	Epoch    session.Epoch
	Index    uint64
	Received bool
}

// Receive commits packet id -> seq of a QoS 2 publish (R1). Result.Seq,
// Result.Known. Release frees it.
type Receive struct {
	ClientID string
	Epoch    session.Epoch
	PacketID uint16
}

// Release frees an inbound QoS 2 packet identifier.
type Release struct {
	ClientID string
	Epoch    session.Epoch
	PacketID uint16
}

// Retain stores the topic's retained message; an empty payload deletes it. It
// goes to TopicShard.
type Retain struct{ Message session.Message }

// Result is what a command came to. Err is ErrFenced for a stale epoch,
// ErrNotYours for another user's session, ErrQuota for a limit, ErrUnknown
// when the outcome cannot be known (R6).
type Result struct {
	Err     error
	Claim   Claimed
	Existed []bool
	Seq     uint64
	Known   bool
	Index   uint64 // the log index
	Dropped int    // queues that were full
}

// Claimed answers Claim.
type Claimed struct {
	Epoch         session.Epoch
	Present       bool
	Origin        uint64   // the incarnation's publisher identity (Message.Origin)
	Inbound       []uint16 // QoS 2 identifiers that await PUBREL
	Window        []Resumed
	Subscriptions []Subscription
}

// Resumed is a delivery of the committed window that the new owner resends, in
// order (S3): PUBREL only if Received.
type Resumed struct {
	Delivery
	Received bool
}

func (Claim) command()       {}
func (Detach) command()      {}
func (Subscribe) command()   {}
func (Unsubscribe) command() {}
func (Enqueue) command()     {}
func (EnqueueFor) command()  {}
func (Transient) command()   {}
func (Acks) command()        {}
func (Receive) command()     {}
func (Release) command()     {}
func (Retain) command()      {}

// Store is this node's shards.
type Store struct{}

// Shards is their number; SessionShard and TopicShard choose one.
func (s *Store) Shards() int                                 { panic("seam") }
func (s *Store) SessionShard(clientID string) router.ShardID { panic("seam") }
func (s *Store) TopicShard(t router.Topic) router.ShardID    { panic("seam") }

// Submit proposes cmd to shard sh. done is called exactly once, on a goroutine
// of the store, results in submit order per caller and shard; it may not block.
// What cmd borrows is borrowed until Submit returns.
func (s *Store) Submit(sh router.ShardID, cmd Command, done func(Result)) { panic("seam") }

// Retained calls yield with retained messages of shard sh that match f, in topic
// order, beginning after topic cursor, until yield says no. It reads a
// consistent view and takes no lock that Apply waits for. Index is the log
// index at which the message was retained (P8).
func (s *Store) Retained(sh router.ShardID, f router.Filter, cursor string, now session.Time,
	yield func(m *session.Message, index uint64) bool) {
	panic("seam")
}
