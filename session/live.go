package session

import "dunlin/proto/mqtt"

// Limits bound one session; the broker sets them from configuration, CONNECT
// lowers some.
type Limits struct {
	ReceiveMaximum    uint16 // QoS > 0 publishes a client may have in flight
	MaximumPacketSize uint32 // bytes, packets from the client
	TopicAliasMaximum uint16 // aliases a client may set
	SendAliasMaximum  uint16 // aliases the server sets at most, whatever the client offers
	MaxInflight       uint16 // sent and unacknowledged, at most; the client's Receive Maximum lowers it
	MaxQueueMessages  int
	MaxQueueBytes     int
	DropOldest        bool // overflow policy of the queue; default drop newest
}

// Verb is what the broker must do after a step; what is to be sent has been
// appended to the output already.
type Verb uint8

const (
	Nothing      Verb = iota
	Route             // route Packet.Publish (topic resolved, alias applied); QoS > 0 is answered by Live.Published
	Subscribe         // perform Packet.Subscribe, answer by Live.Subscribed
	Unsubscribe       // perform Packet.Unsubscribe, answer by Live.Unsubscribed
	Acked             // the delivery at Action.Index is done (PUBACK, PUBCOMP, or PUBREC >= 0x80)
	Received          // PUBREC for Action.Index: persistent sessions commit it, then call Live.SendRelease; others have it sent already
	Released          // PUBREL for a known id: persistent sessions commit it, then call Live.SendComplete; others have it sent already
	Authenticate      // AUTH to hand to the authenticator
	Bye               // DISCONNECT: close; Action.Reason tells whether the will fires
	Fail              // protocol error: what to send is in the output, close with Action.Reason
)

// Action is the outcome of a step.
type Action struct {
	Verb   Verb
	Reason mqtt.Reason
	Index  uint64 // outbound deliveries
	Handle uint64 // what Delivery.Handle was
}

// Live is the half of a session that ends with its connection: aliases, flow
// control, handshakes on the wire. It is a value of little more than a hundred
// bytes while idle and has one owner, the event loop of its connection.
type Live struct{}

// Connect begins the connection. It takes the client's limits from c and the
// server's from lim. persistent says that Received, Released and the ids of
// deliveries go through a store (R1, S1, S2).
func (l *Live) Connect(c *mqtt.Connect, lim Limits, persistent bool, now Time) { panic("seam") }

// Receive takes one decoded packet after CONNECT. It appends to out what can be
// answered at once and returns what the broker has to do. For Route it has
// rewritten p.Publish.Topic where an alias stood for it.
func (l *Live) Receive(p *mqtt.Packet, now Time, out []byte) (Action, []byte) { panic("seam") }

// Published answers a routed PUBLISH of QoS > 0: PUBACK or PUBREC with reason.
// Answers leave in the order in which the publishes came [MQTT-4.6.0-2], so one
// may wait for earlier ones.
func (l *Live) Published(id uint16, reason mqtt.Reason, now Time, out []byte) []byte { panic("seam") }

// Subscribed and Unsubscribed answer SUBSCRIBE and UNSUBSCRIBE.
func (l *Live) Subscribed(id uint16, reasons []mqtt.Reason, out []byte) []byte   { panic("seam") }
func (l *Live) Unsubscribed(id uint16, reasons []mqtt.Reason, out []byte) []byte { panic("seam") }

// SendRelease sends PUBREL for the delivery at index once its PUBREC is
// committed; SendComplete sends PUBCOMP once the release of id is.
func (l *Live) SendRelease(index uint64, out []byte) []byte         { panic("seam") }
func (l *Live) SendComplete(id uint16, now Time, out []byte) []byte { panic("seam") }

// Delivery is one message for one subscriber.
type Delivery struct {
	Message *Message
	QoS     mqtt.QoS // the lower of published and granted
	Retain  bool     // the flag to send
	Dup     bool     // a resend after resumption (S3)
	IDs     []uint32 // subscription identifiers
	Handle  uint64   // given back in Action when the delivery is done; for share groups
	Index   uint64   // persistent sessions: the committed queue index, which decides the packet id (S1)
}

// Outcome is what became of a delivery.
type Outcome uint8

const (
	Sent      Outcome = iota
	Queued            // waits for Receive Maximum or for the socket
	QueueFull         // dropped: the bound of the session's queue
	Expired           // dropped: message expiry
	TooLarge          // dropped: the client's Maximum Packet Size
	Evicted           // queued, at the price of the oldest (DropOldest)
)

// Deliver sends d, or queues it when Receive Maximum is used up or ready is
// false (the socket does not keep up). It copies what it keeps. QoS 0 is never
// queued: with ready false it is dropped as QueueFull.
func (l *Live) Deliver(d *Delivery, ready bool, now Time, out []byte) (Outcome, []byte) {
	panic("seam")
}

// Drain sends queued deliveries while the window has room and out grows by at
// most max bytes; the broker calls it when the socket is writable again.
// Receive calls it by itself after acknowledgements.
func (l *Live) Drain(now Time, max int, out []byte) []byte { panic("seam") }

// Outstanding calls yield with each delivery not acknowledged, sent or queued,
// oldest first; used when a share group's member departs. sent tells whether a
// PUBLISH went out. The message is there for deliveries with a Handle only.
func (l *Live) Outstanding(yield func(d *Delivery, sent bool) bool) { panic("seam") }

// Disconnect appends a DISCONNECT (5.0 only) with reason.
func (l *Live) Disconnect(reason mqtt.Reason, out []byte) []byte { panic("seam") }
