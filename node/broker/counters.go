package broker

import (
	"sync"

	"dunlin/session"
)

// Limit is something that clients are held to, by what it is counted.
type Limit uint8

// The limits that a worker counts by: times that a client was held back, and things that
// were refused.
const (
	LimitMessageRate       Limit = iota // held back
	LimitByteRate                       // held back
	LimitRatePatience                   // closed, after it was held back for long
	LimitSubscriptions                  // filters refused: of one session
	LimitNodeSubscriptions              // filters refused: of all of the node
	LimitTopic                          // topics and filters refused: too long, or of too many levels
	LimitRetained                       // retained messages refused
	LimitStorage                        // refused while the node is short of memory or disk
	LimitBuffers                        // deliveries refused, as all connections' buffers hold too much
	limits
)

// Limits is the number of values of Limit.
const Limits = int(limits)

var limitNames = [Limits]string{
	"message_rate", "byte_rate", "rate_action", "subscriptions", "node_subscriptions", "topic", "retained", "storage", "buffers",
}

// String is the limit's name in metrics.
func (l Limit) String() string { return limitNames[l] }

// Counters count what a worker did since its start. They are the loop's own and
// are shown to others four times a second.
type Counters struct {
	Opened, Closed, Refused           uint64 // connections
	Connected, ConnectRefused         uint64 // CONNECTs
	AuthDenied, Idle, Takeovers       uint64
	Referred, SentAway                uint64 // CONNECTs, and connections, of clients that are to go elsewhere
	Shed, Banished                    uint64 // connections closed for their silence, there being too many; for a ban
	Lapsed                            uint64 // connections whose time was over
	Expelled                          uint64 // connections closed for a user who was withdrawn
	Revoked                           uint64 // connections closed for a certificate that was withdrawn
	Reauthenticated, ReauthDenied     uint64 // clients that were connected
	ProtocolErrors                    uint64
	Unknown, Fenced                   uint64                   // connections closed for the outcome of a write
	Packets                           [16]uint64               // taken, by packet type
	Received                          [3]uint64                // PUBLISHes from clients, by QoS
	Sent                              [3]uint64                // PUBLISHes to clients, by QoS
	Dropped                           [session.Outcomes]uint64 // deliveries given up, by session.Outcome; those Denied are in DeliveryDenied
	Queued                            uint64                   // deliveries that had to wait
	Unrouted                          uint64                   // publishes that nobody wanted
	WillsDeferred                     uint64                   // wills that found no room on their way
	PublishDenied, DeliveryDenied     uint64
	Subscribed, SubscribeRefused      uint64
	Replayed                          uint64 // retained messages sent to new subscriptions
	Forwarded, ForwardDropped, Stalls uint64
	SharedDropped, SharedHandedOn     uint64
	Limited                           [Limits]uint64
	SharedEnded                       uint64 // QoS 2, sent and not acknowledged when the member's session ended
}

// shownCounters is a worker's copy of its counters for readers.
type shownCounters struct {
	mu       sync.Mutex
	counters Counters
	inflight int // publishes that wait for their answer
	lent     int // bytes of share group messages held for other nodes
	subs     int // subscriptions of connected clients
	waiting  int // bytes in the queues of connections
	withheld int // connections and SUBACKs with answers that wait for the lease
	wills    int // on their way

	exchanges int // authentications by several packets that are under way
}

func (w *worker) showCounters() {
	w.shown.mu.Lock()
	defer w.shown.mu.Unlock()
	w.shown.counters = w.counters
	w.shown.inflight = w.pendings.inUse
	w.shown.lent = w.loans.bytes
	w.shown.subs = w.subscriptions
	w.shown.waiting = w.waiting
	w.shown.withheld = len(w.answering) + len(w.granted)
	w.shown.exchanges = len(w.exchanges)
	w.shown.wills, w.shown.counters.WillsDeferred = w.errandRoom.held()
}

// Stats is the sum of all workers' counters, and what they hold now.
type Stats struct {
	Counters
	Connections   int64
	Pending       int // publishes that wait for their answer
	LentBytes     int // share group messages held for members on other nodes
	Subscriptions int // of connected clients
	Waiting       int // bytes in the queues of connections
	Withheld      int // connections and SUBACKs with answers that wait for the lease
	Wills         int // on their way
	Exchanges     int // authentications by several packets that are under way
}

// Stats adds up the workers' counters, a quarter of a second old at most.
func (b *Broker) Stats() Stats {
	s := Stats{Connections: b.conns.Load()}
	for _, w := range b.workers {
		w.shown.mu.Lock()
		s.add(&w.shown.counters)
		s.Pending += w.shown.inflight
		s.LentBytes += w.shown.lent
		s.Subscriptions += w.shown.subs
		s.Waiting += w.shown.waiting
		s.Withheld += w.shown.withheld
		s.Wills += w.shown.wills
		s.Exchanges += w.shown.exchanges
		w.shown.mu.Unlock()
	}
	return s
}

func (s *Counters) add(c *Counters) {
	for _, p := range [...]struct {
		to   *uint64
		from uint64
	}{
		{&s.Opened, c.Opened}, {&s.Closed, c.Closed}, {&s.Refused, c.Refused},
		{&s.Connected, c.Connected}, {&s.ConnectRefused, c.ConnectRefused},
		{&s.Queued, c.Queued}, {&s.AuthDenied, c.AuthDenied}, {&s.Reauthenticated, c.Reauthenticated}, {&s.ReauthDenied, c.ReauthDenied},
		{&s.Idle, c.Idle}, {&s.Takeovers, c.Takeovers}, {&s.Lapsed, c.Lapsed}, {&s.Expelled, c.Expelled},
		{&s.Referred, c.Referred}, {&s.SentAway, c.SentAway}, {&s.Shed, c.Shed}, {&s.Banished, c.Banished}, {&s.Revoked, c.Revoked}, {&s.ProtocolErrors, c.ProtocolErrors}, {&s.Unknown, c.Unknown}, {&s.Fenced, c.Fenced}, {&s.Unrouted, c.Unrouted}, {&s.WillsDeferred, c.WillsDeferred},
		{&s.PublishDenied, c.PublishDenied}, {&s.DeliveryDenied, c.DeliveryDenied},
		{&s.Subscribed, c.Subscribed}, {&s.SubscribeRefused, c.SubscribeRefused},
		{&s.Replayed, c.Replayed},
		{&s.Forwarded, c.Forwarded}, {&s.ForwardDropped, c.ForwardDropped}, {&s.Stalls, c.Stalls},
		{&s.SharedDropped, c.SharedDropped}, {&s.SharedHandedOn, c.SharedHandedOn}, {&s.SharedEnded, c.SharedEnded},
	} {
		*p.to += p.from
	}
	for i := range s.Packets {
		s.Packets[i] += c.Packets[i]
	}
	for i := range s.Received {
		s.Received[i] += c.Received[i]
		s.Sent[i] += c.Sent[i]
	}
	for i := range s.Limited {
		s.Limited[i] += c.Limited[i]
	}
	for i := range s.Dropped {
		s.Dropped[i] += c.Dropped[i]
	}
}
