package raftstore

import (
	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"
)

// Command is one of Claim, Detach, Subscribe, Unsubscribe, Enqueue, EnqueueFor,
// Replaying, Transient, Acks, Receive, Release, Retain, Delete, Member, Share.
type Command interface {
	// encode appends the command's body. now lowers message expiry (T3).
	encode(b []byte, now func() session.Time) (kind, []byte)
}

// Claim makes a connection the owner of a client identifier (E1 to E3, E6). A
// session that was there is resumed with all it holds, whatever Expiry says, and
// lives in the store as before; a new one does so if Expiry is above 0. A new
// one with Expiry 0 holds the identifier and the will, nothing else.
type Claim struct {
	ClientID         string
	User             string
	Conn             router.Subscriber
	CleanStart       bool
	Sole             bool   // ErrFenced if anybody holds the identifier: nobody is to lose it
	Expiry           uint32 // seconds; 0: ends with the connection
	Inflight         uint16 // committed window: Receive Maximum and slack
	InflightBytes    int    // bound of its messages; 0: Limits.InflightBytes
	Will             *Will
	MaxQueueMessages int // 0: Limits.QueueMessages
	MaxQueueBytes    int // 0: Limits.QueueBytes
	DropOldest       bool

	by claimant // filled in by a replicated store
}

// claimant says which start of which node holds a claim's connection, and in which
// generation of its lease it does. It numbers the claim among those of that start:
// no claim below low is without an answer.
type claimant struct {
	node               Node
	start, number, low uint64
	generation         uint64
}

// Will is the will that goes with a claim. Its message's expiry interval begins
// when it fires.
type Will struct {
	Message session.Message
	Delay   uint32 // seconds
}

// Detach ends a connection's ownership. Fire publishes the will (after its
// delay); Expiry replaces the claim's if HasExpiry. For Late see Acks.
type Detach struct {
	ClientID  string
	Epoch     session.Epoch
	Fire      bool
	HasExpiry bool
	Expiry    uint32
	Late      bool

	// Taken, if HasTaken, is the index of the last delivery that came to the
	// connection. What share groups gave it beyond was never sent, and goes back to them
	// if the session ends; else QoS 2 of the committed window ends with it (P9).
	HasTaken bool
	Taken    uint64
}

// Subscribe changes a persistent session's subscriptions: Result.Existed has an
// entry per filter.
type Subscribe struct {
	ClientID string
	Epoch    session.Epoch
	Filters  []Subscription
}

// Subscription is a filter with its options.
type Subscription = session.Subscription

// Unsubscribe: Result.Existed has an entry per filter.
type Unsubscribe struct {
	ClientID string
	Epoch    session.Epoch
	Filters  []router.Filter
}

// Enqueue commits a message of QoS >= 1 to every session of the shard that wants
// it; From is the publisher's client identifier, for no-local. Result.Known says
// that the message, by its Origin and Seq, had come before (R2).
type Enqueue struct {
	From    string
	Message session.Message
}

// Transient brings a QoS 0 message to the connected sessions that want it. It
// is not committed, and dropped if too much waits for the shard.
type Transient struct {
	From    string
	To      string // this session alone, with Retain and IDs; of a share group's leader
	Retain  bool
	IDs     []uint32
	Message session.Message
}

// EnqueueFor commits a message to one session alone: retained messages replayed
// to it. With QoS 0 it is pushed if the session is connected. The replay of the
// session that it is of, if Replay is not the zero Filter, has come to the message's topic, in shard Shard.
type EnqueueFor struct {
	ClientID string
	Epoch    session.Epoch
	Delivery Delivery
	Replay   router.Filter
	Shard    router.ShardID
}

// Replaying notes for the next owner what a replay of the session leaves to the
// live flow; or that it has come to its end. Subscribe begins it.
type Replaying struct {
	ClientID string
	Epoch    session.Epoch
	Filter   router.Filter
	Cuts     []session.Cut
	Done     bool
}

// Acks is an owner's batch of acknowledgements. Those under a stale epoch are
// left out, and Result.Err is ErrFenced if any was.
//
// Late says that nobody waits for them: they go with whatever else this node has
// for the shard, in their order, some ten milliseconds later if there is nothing.
type Acks struct {
	Items []Ack
	Late  bool
}

// Ack is one: Received for a PUBREC (S2), Back for a message of a share group that
// was not sent and is to go to another member (P9), else the delivery is done.
type Ack struct {
	ClientID string
	Epoch    session.Epoch
	Index    uint64
	Received bool
	Back     bool
}

// Receive commits packet id -> seq of a QoS 2 publish (R1): Result.Seq,
// Result.Low (see session.Message), and Result.Known for a resend. ErrQuota refuses a client whose
// unreleased publishes lie too far apart. Release frees the identifier;
// Result.Known says that it was there.
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
// goes to TopicShard. Result.Known says that the message, by its Origin and Seq,
// had come before, and may have been replaced since (R2).
type Retain struct{ Message session.Message }

// Delete ends a session by order of an administrator, whoever owns it; its will
// fires. Result.Known says that it was there.
type Delete struct{ ClientID string }

// Member tells a share group's shard (GroupShard) that a session has subscribed,
// for its broker to know that the group has it: Result.Index is that of the
// group's shard. The session's shard tells it as well.
type Member struct {
	Group    router.Filter // with its share prefix
	ClientID string
	Shard    router.ShardID // of the session
	AsOf     uint64         // Result.Index of the session's Subscribe
	Stored   bool           // the session may outlive its connection
	Options  router.Options
}

// Share commits a message to the queue of one share group, in its shard: one that
// a publisher was answered for and that a member did not finish. Result.Known says
// that the group is a queue; otherwise nothing was done.
type Share struct {
	Group   router.Filter
	Message session.Message
}

// Delivery is one message for one session as the shard pushes it.
type Delivery struct {
	Index   uint64 // queue index (S1); 0 for QoS 0
	Message session.Message
	QoS     mqtt.QoS
	Retain  bool
	IDs     []uint32
}

// Result is what a command came to. Err is ErrFenced for a stale epoch,
// ErrNotYours for another user's session, ErrQuota for a limit, ErrContended for
// a claim of an identifier that changes hands too often, ErrUnknown when the
// outcome cannot be known (R6).
type Result struct {
	Err     error
	Claim   Claimed
	Existed []bool
	Seq     uint64
	Low     uint64
	Known   bool
	Index   uint64 // rises with every command of the shard (P8)
	Dropped int    // queues that were full
}

// Claimed answers Claim. Its messages are never written again.
type Claimed struct {
	Epoch         session.Epoch
	Present       bool
	Origin        uint64   // the incarnation's publisher identity (Message.Origin)
	Inbound       []uint16 // QoS 2 identifiers that await PUBREL
	Window        []Resumed
	Next          uint64 // index of the first delivery that is pushed, as it is not in Window
	Subscriptions []Subscription
	Replays       []session.Replay // to go on with (P8)

	cold uint32 // one more than the session's slot: there is more to tell, when it was read
}

// Resumed is a delivery of the committed window that the new owner resends, in
// order (S3): PUBREL only if Received, when Message is empty.
type Resumed struct {
	Delivery
	Received bool
}
