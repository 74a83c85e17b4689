package session

import "dunlin/proto/mqtt"

// Limits bound one session; the broker sets them from configuration, CONNECT
// lowers some. Negotiate tells the client those that it must keep.
type Limits struct {
	ReceiveMaximum    uint16 // QoS > 0 publishes a client may have in flight; 0 is 65,535. Before 5.0, which cannot be told, 65,535
	MaximumPacketSize uint32 // bytes, packets from the client; 0: no limit but the protocol's
	TopicAliasMaximum uint16 // aliases a client may set
	SendAliasMaximum  uint16 // aliases the server sets at most, whatever the client offers
	MaxInflight       uint16 // sent and unacknowledged, at most; the client's Receive Maximum lowers it; 0: by that alone
	MaxQueueMessages  int    // deliveries that wait to be sent
	MaxQueueBytes     int    // of those, and of share group deliveries sent and unacknowledged, each with some 40 bytes of overhead
	DropOldest        bool   // overflow policy of the queue; default drop newest
}

// Live is the half of a session that ends with its connection: aliases, flow
// control, handshakes on the wire. It is a value of little more than a hundred
// bytes while idle and has one owner, the event loop of its connection. What a
// client makes it hold beyond that is bounded by Limits.
//
// Persistent sessions resume in this order, before anything new is delivered
// (S3): Connect, ResumeInbound, then for each delivery of the committed window,
// oldest first, ResumeRelease or Deliver with Dup.
type Live struct {
	traffic *traffic // nil until there is some, and after Trim
	aliases *aliases // nil until there are some

	next uint64 // index of the next delivery of QoS > 0: given here, or by the store of a persistent session

	maxPacket        uint32 // of the client; 0: none
	maxQueueMessages int
	maxQueueBytes    int
	receiveMax       uint16 // publishes of QoS > 0 that the client may have in flight
	sendMax          uint16 // deliveries of QoS > 0 that it may be sent
	aliasMax         uint16 // aliases that the client may set
	sendAliasMax     uint16 // aliases that it may be sent
	version          mqtt.Version
	flags            liveFlags
}

type liveFlags uint8

const (
	persistent    liveFlags = 1 << iota
	dropOldest              // Limits.DropOldest
	expiryZero              // CONNECT had session expiry 0, which DISCONNECT must not raise
	authenticated           // CONNECT named an authentication method
	stalled                 // the socket or Drain's budget was the last limit: only Drain goes on
	moved                   // something happened since the last Trim
)

// traffic is what Live holds for publishes under way.
type traffic struct {
	used     uint16   // places of receiveMax taken
	acks     answers  // QoS 1 publishes that wait for their PUBACK
	recs     answers  // QoS 2 publishes that wait for their PUBREC
	ids      awaiting // QoS 2 publishes not released
	inflight inflight
	outbox   outbox
	drops    []Drop
	view     *view                // scratch of those that read the outbox
	may      func(*Delivery) bool // see Judge; nil: whatever waits may be sent
}

// Connect begins the connection. It takes the client's limits from c and the
// server's from lim. persistent says that Received, Released and the ids of
// deliveries go through a store (R1, S1, S2). It keeps nothing of c.
func (l *Live) Connect(c *mqtt.Connect, lim Limits, persistentSession bool, now Time) {
	*l = Live{
		version:          c.Version,
		next:             1,
		maxQueueMessages: lim.MaxQueueMessages,
		maxQueueBytes:    lim.MaxQueueBytes,
		receiveMax:       idSpan,
		sendMax:          idSpan,
	}
	if lim.MaxInflight != 0 {
		l.sendMax = lim.MaxInflight
	}
	if c.Version == mqtt.V5 {
		l.maxPacket = c.MaximumPacketSize
		l.aliasMax = lim.TopicAliasMaximum
		l.sendAliasMax = min(lim.SendAliasMaximum, c.TopicAliasMaximum)
		if lim.ReceiveMaximum != 0 {
			l.receiveMax = lim.ReceiveMaximum
		}
		if c.ReceiveMaximum != 0 {
			l.sendMax = min(l.sendMax, c.ReceiveMaximum)
		}
		if c.SessionExpiry == 0 {
			l.flags |= expiryZero
		}
		if c.HasAuthMethod {
			l.flags |= authenticated
		}
	}
	if persistentSession {
		l.flags |= persistent
	}
	if lim.DropOldest {
		l.flags |= dropOldest
	}
}

// Takes says whether the client takes a packet of that size [MQTT-3.1.2-24].
func (l *Live) Takes(size int) bool { return l.maxPacket == 0 || uint64(size) <= uint64(l.maxPacket) }

// scratch returns the view to read records into.
func (t *traffic) scratch() *view {
	if t.view == nil {
		t.view = &view{}
	}
	return t.view
}

func (l *Live) is(f liveFlags) bool { return l.flags&f != 0 }

// busy returns the traffic, which it makes if there is none.
func (l *Live) busy() *traffic {
	l.flags |= moved
	if l.traffic == nil {
		l.traffic = &traffic{}
	}
	return l.traffic
}

// Disconnect appends a DISCONNECT (5.0 only) with reason.
func (l *Live) Disconnect(reason mqtt.Reason, out []byte) []byte {
	if l.version != mqtt.V5 {
		return out // only clients send one before 5.0
	}
	d := mqtt.Disconnect{Reason: reason}
	return d.Append(out, l.version)
}

// SendAway appends a DISCONNECT (5.0 only) with the reason why another server is to be used, and
// which, if that is said and the client takes a packet of that size [MQTT-3.1.2-24].
func (l *Live) SendAway(reason mqtt.Reason, reference string, out []byte) []byte {
	if l.version != mqtt.V5 {
		return out
	}
	d := mqtt.Disconnect{Reason: reason, ServerReference: []byte(reference)}
	begun := len(out)
	if out = d.Append(out, l.version); l.maxPacket != 0 && len(out)-begun > int(l.maxPacket) {
		return l.Disconnect(reason, out[:begun])
	}
	return out
}

// Trim gives back the memory of a session through which nothing has gone since
// the last Trim and in which nothing is under way; the broker calls it on its
// keepalive sweep. Between two of them a session keeps what it has, so that
// steady traffic makes no garbage.
func (l *Live) Trim() {
	t := l.traffic
	if l.is(moved) || t == nil {
		l.flags &^= moved
		return
	}
	if t.inflight.n == 0 && t.outbox.bytes() == 0 && t.acks.n == 0 && t.recs.n == 0 && t.ids.n == 0 && len(t.drops) == 0 {
		l.traffic = nil
	}
}
