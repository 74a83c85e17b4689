package broker

import (
	"strings"
	"sync/atomic"

	"dunlin/node/auth"
	"dunlin/node/limit"
	"dunlin/node/listen"
	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"
)

// phase is how far a connection has come.
type phase uint8

const (
	gone       phase = iota // the slot is free
	fresh                   // accepted; CONNECT has not come
	connecting              // CONNECT is being authenticated and claimed; what else comes is of an exchange
	up                      // CONNACK sent
	closing                 // told to close; packets are ignored
)

// hold is a reason for not reading from a connection; it is read again when
// none is left.
type hold uint8

const (
	holdConnect hold = 1 << iota // CONNECT has no answer yet
	holdRetain                   // a publish must not overtake a retained one that is being committed (P7)
	holdPeer                     // a peer's queue is full
	holdBehind                   // another loop or a shard is behind
	holdAnswers                  // too many of its requests wait for their answers
	holdTurn                     // it has had its part of the turn
	holdRate                     // it sends faster than it may
)

// conn is one connection as its worker sees it. Invariants:
//  1. phase is gone exactly when id is 0.
//  2. claimed implies that the shard was told of the connection and will be told
//     of its end, once, by detach.
//  3. persistent implies claimed.
//  4. guest and claimed exclude each other. A guest's epoch is 0.
type conn struct {
	id      listen.ID
	phase   phase
	version mqtt.Version
	holds   hold

	claimed    bool // a claim at shard is ours under epoch
	guest      bool // the client identifier is ours at shard without a claim, see Guests
	persistent bool // the session outlives the connection: its queue is the shard's
	graceful   bool // the client said goodbye: no will
	fencing    bool // the shard is asked whether the claim still is ours
	answering  bool // in the worker's list of those with answers to give
	shard      router.ShardID
	epoch      session.Epoch

	live   session.Live
	client client
}

// client is what is known of a connection's client beside its live session. An idle
// one of nobody's leads to no other memory, so that a million of them are next to nothing to the
// garbage collector: its pointers are nil, and what it is known by is in the slab.
type client struct {
	*catchUp                  // nil without new subscriptions
	connect  *handshake       // while phase is connecting
	bid      *bid             // the claim that is under way
	long     *strings.Builder // the text, if that is long; else nil
	who      *auth.Principal  // nil: nobody

	text     span           // see names.go
	remote   uint16         // size of the address in text
	name     uint16         // of the client identifier
	listener uint16         // index in the worker's listeners
	method   uint8          // that CONNECT named: its place in Options.Methods, from 1; 0: none
	filters  int32          // number of them in text
	agreed   session.Agreed // keep-alive and session expiry in force
	since    session.Time   // its phase began
	origin   uint64         // names a persistent publisher's incarnation (R1)

	given     uint64 // index of the latest delivery that a share group's queue gave; not of a persistent session
	retaining int32  // publishes that wait for the commit of their retained leg
	asking    int32  // SUBSCRIBEs and UNSUBSCRIBEs that wait for their answers
	granting  int32  // subscriptions that the shard is asked for
	late      uint16 // acknowledgements since one that the shard was told at once
	window    uint16 // of a claim: deliveries in the committed window
	will      bool   // the claim has one
	loopback  bool
	entered   bool          // Admission counts it as its user's
	turned    limit.Refusal // why Admission has turned it away at the door, to be told
	lapse     uint32        // see lapse.go; 0: never
}

// catchUp is how a connection's new subscriptions come by the retained messages, and
// what is remembered of them for a while. Its fields may be read and written where
// begin has made it, and neither goes on without it.
type catchUp struct {
	replays   []*replay         // retained messages on their way to new subscriptions, one per filter
	fresh     []newcomer        // subscriptions that leave publishes from before their cuts to the replay, by age
	live      map[string]uint64 // by topic: Retained of what was sent live since, as long as there are any
	wanting   int               // SUBACKs under way that replays follow
	replaying int               // messages sent to the shard and not yet in the committed window
	reading   bool              // a page of the first replay is being read
	anew      bool              // too much was to remember: pages are read anew
	forgot    bool              // live does not have all
	probing   bool              // the shard is asked whether any messages wait
	inReplay  bool              // in the worker's list of those with a page due
}

// begin has cl know what its new subscriptions need.
func (cl *client) begin() {
	if cl.catchUp == nil {
		cl.catchUp = &catchUp{}
	}
}

// isOver says that nothing is under way, nor to be remembered.
func (x *catchUp) isOver() bool {
	return len(x.replays)+len(x.fresh)+len(x.live)+x.wanting+x.replaying == 0 &&
		!x.reading && !x.anew && !x.forgot && !x.probing && !x.inReplay
}

// owns says whether the client identifier is the connection's, under that epoch.
func (c *conn) owns(e session.Epoch) bool { return (c.claimed || c.guest) && c.epoch == e }

func (c *conn) subscriber() router.Subscriber { return router.Subscriber(c.id) }

// latestCut is the latest of a slot's connections of which the outcome of a publish is
// unknown. IDs of one slot ascend, and those before it are gone.
type latestCut struct{ id atomic.Uint64 }

// cutOff notes that the outcome of one of the connection's publishes is unknown. Any
// goroutine calls it, as soon as that is so: before anything behind may find room where
// that one had none. A publisher without a connection has no slot.
func (x *latestCut) cutOff(id listen.ID) {
	if x == nil {
		return
	}
	for {
		was := x.id.Load()
		if was >= uint64(id) || x.id.CompareAndSwap(was, uint64(id)) {
			return
		}
	}
}

// isCut says that no publish of the connection may go further: its client sends what is
// unknown once more, on another connection, and must find nothing ahead of it that came
// behind (P7).
func (x *latestCut) isCut(id listen.ID) bool { return x != nil && x.id.Load() >= uint64(id) }
