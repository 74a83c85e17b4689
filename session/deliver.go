package session

import "dunlin/proto/mqtt"

// Delivery is one message for one subscriber.
type Delivery struct {
	Message *Message
	QoS     mqtt.QoS // the lower of published and granted
	Retain  bool     // the flag to send
	Dup     bool     // a resend after resumption (S3)
	IDs     []uint32 // subscription identifiers; 5.0 only
	Handle  uint64   // given back in Action when the delivery is done; for share groups. 0: none
	Index   uint64   // committed queue index, the first is 1; it decides the packet id of a persistent session (S1)
}

// Outcome is what became of a delivery.
type Outcome uint8

const (
	Sent      Outcome = iota
	Queued            // waits for Receive Maximum or for the socket
	QueueFull         // dropped: the bound of the session's queue
	Expired           // dropped: message expiry
	TooLarge          // dropped: the client's Maximum Packet Size
	Evicted           // queued, at the price of the oldest (DropOldest), which Drops names
	Denied            // dropped: it waited, and may not be sent any more, see Judge

	Outcomes = iota // how many there are
)

var outcomeNames = [Outcomes]string{"sent", "queued", "queue full", "expired", "too large", "evicted", "denied"}

func (o Outcome) String() string { return outcomeNames[o] }

// Drop is a delivery of QoS > 0 given up after Deliver had said Queued.
type Drop struct {
	Outcome Outcome // Expired, Evicted or Denied
	Index   uint64  // persistent sessions: counts as acknowledged, and is to be told to the store
	Handle  uint64
	Packed  []byte // of one that is Denied and has a Handle: the message as of now, the caller's
}

// Judge has may asked of each delivery that had to wait, when its turn to be sent has
// come: of one that it refuses Drops tells. It is called from within Receive, Deliver
// and Drain, borrows the delivery, and calls no method of l. It is to be given again
// whenever Deliver has said that a delivery waits.
func (l *Live) Judge(may func(*Delivery) bool) {
	if l.traffic != nil {
		l.traffic.may = may
	}
}

// Drops returns what was given up since it was last asked, to be counted and
// seen to; the slice is good until the next step. It is asked after each step.
func (l *Live) Drops() []Drop {
	if l.traffic == nil || len(l.traffic.drops) == 0 {
		return nil
	}
	ds := l.traffic.drops
	l.traffic.drops = ds[:0]
	return ds
}

// Deliver sends d, or queues it when Receive Maximum is used up or ready is
// false (the socket does not keep up). It copies what it keeps. QoS 0 is never
// queued: with ready false it is dropped as QueueFull. With ready true it sends
// what waited for the socket before d of QoS > 0.
//
// Deliveries of QoS > 0 leave in the order in which they came (P7). Those of a
// persistent session come with rising indexes; their number is bounded by the
// committed window, so that they are never QueueFull or Evicted (S5). Nor are those
// of others QueueFull that have an Index: a share group's queue bounds them.
func (l *Live) Deliver(d *Delivery, ready bool, now Time, out []byte) (Outcome, []byte) {
	if !d.Dup && d.Message.Expired(now) {
		return Expired, out // [MQTT-3.3.2-5]
	}
	if d.QoS == 0 && !ready {
		return QueueFull, out
	}
	if !l.fits(d, now) {
		return TooLarge, out // [MQTT-3.1.2-25]
	}
	if d.QoS == 0 {
		return Sent, l.appendPublish(d, 0, now, out)
	}
	t := l.busy()
	if t.outbox.waiting == 0 {
		l.flags &^= stalled
	} else if ready && l.is(stalled) {
		out = l.Drain(now, drainBytes, out) // what waited for the socket goes first
	}
	if !ready || t.outbox.waiting > 0 || !l.room(d) {
		o := l.enqueue(d, now)
		if !ready && t.outbox.waiting > 0 {
			l.flags |= stalled
		}
		return o, l.checked(out)
	}
	if d.Handle != 0 && d.Index == 0 && !l.is(persistent) && t.outbox.bytes()+l.cost(d) > l.maxQueueBytes {
		return QueueFull, out
	}
	index := l.index(d)
	out = l.appendPublish(d, PacketID(index), now, out)
	l.depart(index, d.QoS)
	if d.Handle != 0 {
		t.inflight.keep(index, t.outbox.push(d, now))
		t.outbox.sent()
	}
	return Sent, l.checked(out)
}

// Expect says which index is the first that the store of a persistent session
// has yet to push, behind those that are resumed.
func (l *Live) Expect(next uint64) { l.next = next }

// Follows says whether a pushed delivery with that index is to be delivered: the
// next one is. A store pushes again what may be lost, in order. So one below was
// delivered before, and one above follows on something that is lost; it comes
// again behind that.
func (l *Live) Follows(index uint64) bool {
	if index != l.next {
		return false
	}
	l.next++
	return true
}

// index is the index that d has, or gets if it is sent now.
func (l *Live) index(d *Delivery) uint64 {
	if l.is(persistent) {
		if d.Index == 0 {
			panic("session: delivery of QoS > 0 to a persistent session without its index")
		}
		return d.Index
	}
	return l.next
}

// room says whether Receive Maximum and the packet identifiers allow d now.
func (l *Live) room(d *Delivery) bool {
	t := l.traffic
	return t.inflight.n < int(l.sendMax) && t.inflight.room(l.index(d)) // [MQTT-3.3.4-9]
}

// depart enters a PUBLISH that was sent.
func (l *Live) depart(index uint64, qos mqtt.QoS) {
	s := sent1
	if qos == 2 {
		s = sent2
	}
	l.traffic.inflight.add(index, s)
	if !l.is(persistent) {
		l.next = index + 1
	}
}

// cost is a little more than what d takes in the outbox.
func (l *Live) cost(d *Delivery) int {
	m := d.Message
	size := recordHeader + 4*len(d.IDs) + packedOverhead + len(m.Topic.String()) + len(m.Properties) + len(m.Payload)
	if m.Retained != 0 {
		size += packedIndex
	}
	return size
}

// enqueue puts d behind those that wait.
func (l *Live) enqueue(d *Delivery, now Time) Outcome {
	t := l.traffic
	l.index(d) // that there is one
	o := Queued
	if !l.is(persistent) && d.Index == 0 {
		size := l.cost(d)
		if t.outbox.keptBytes+size > l.maxQueueBytes || l.maxQueueMessages <= 0 {
			return QueueFull
		}
		for t.outbox.waiting >= l.maxQueueMessages || t.outbox.bytes()+size > l.maxQueueBytes {
			if !l.is(dropOldest) {
				return QueueFull
			}
			l.drop(Evicted)
			o = Evicted
		}
	}
	t.outbox.push(d, now)
	return o
}

// drop gives up the oldest that waits.
func (l *Live) drop(o Outcome) *Drop {
	t := l.traffic
	r := t.outbox.at(t.outbox.unsent)
	t.drops = append(t.drops, Drop{Outcome: o, Index: r.index(), Handle: r.handle()})
	t.outbox.drop(t.outbox.unsent)
	return &t.drops[len(t.drops)-1]
}

// deny gives up the oldest that waits, which v is of.
func (l *Live) deny(v *view, now Time) {
	var packed []byte
	if v.Handle != 0 {
		packed = v.message.Append(nil, now) // of bytes that drop may overwrite
	}
	l.drop(Denied).Packed = packed
}

// Drain sends queued deliveries while the window has room and until out has
// grown by max bytes, which the last may exceed; the broker calls it when the
// socket is writable again. Receive calls it by itself after
// acknowledgements, unless Waiting.
func (l *Live) Drain(now Time, max int, out []byte) []byte {
	l.flags &^= stalled
	if l.traffic == nil || l.traffic.outbox.waiting == 0 {
		return out
	}
	return l.checked(l.drain(now, max, out))
}

// Waiting says that deliveries wait for Drain: for the socket, not for the
// client's acknowledgements. Whoever passed ready = false, or a max that was not
// enough, owes a Drain for as long as this holds.
func (l *Live) Waiting() bool { return l.is(stalled) && l.traffic.outbox.waiting > 0 }

// Backlog is the number and bytes of deliveries that wait, and those kept for a
// share group.
func (l *Live) Backlog() (waiting, bytes int) {
	if l.traffic == nil {
		return 0, 0
	}
	return l.traffic.outbox.waiting, l.traffic.outbox.bytes()
}

// Held is the bytes of Backlog.
func (l *Live) Held() int {
	if l.traffic == nil {
		return 0
	}
	return l.traffic.outbox.bytes()
}

// Inflight is the number of deliveries of QoS > 0 that were sent and are not
// acknowledged.
func (l *Live) Inflight() int {
	if l.traffic == nil {
		return 0
	}
	return l.traffic.inflight.n
}

// Room is how many deliveries of QoS > 0 the client may be sent now.
func (l *Live) Room() int { return max(int(l.sendMax)-l.Inflight(), 0) }

func (l *Live) drain(now Time, max int, out []byte) []byte {
	t := l.traffic
	l.flags |= moved
	v := t.scratch()
	denied := 0
	for start := len(out); t.outbox.waiting > 0; {
		v.read(t.outbox.at(t.outbox.unsent))
		if !l.room(&v.Delivery) {
			break
		}
		if !v.Dup && v.message.Expired(now) {
			l.drop(Expired)
			continue
		}
		if len(out)-start+denied*recordHeader >= max {
			l.flags |= stalled // what is denied takes time too
			break
		}
		if t.may != nil && !t.may(&v.Delivery) {
			l.deny(v, now)
			denied++
			continue
		}
		index := l.index(&v.Delivery)
		out = l.appendPublish(&v.Delivery, PacketID(index), now, out)
		l.depart(index, v.QoS)
		if v.Handle != 0 {
			t.inflight.keep(index, t.outbox.unsent)
			t.outbox.sent()
		} else {
			t.outbox.drop(t.outbox.unsent)
		}
	}
	return out
}

// fits says whether the client takes d's packet, without an alias, whatever its
// identifier [MQTT-3.1.2-24].
func (l *Live) fits(d *Delivery, now Time) bool {
	if l.maxPacket == 0 {
		return true
	}
	p := l.packet(d, 1, now)
	return p.Size(l.version) <= int(l.maxPacket)
}

// appendPublish appends d's PUBLISH, with a topic alias where the client takes
// one.
func (l *Live) appendPublish(d *Delivery, id uint16, now Time, out []byte) []byte {
	if l.sendAliasMax != 0 {
		topic := d.Message.Topic.String()
		if alias, known := l.sendAlias(topic); alias != 0 {
			p := l.packet(d, id, now)
			p.TopicAlias = alias
			if known {
				p.Topic = nil
				return p.Append(out, l.version)
			}
			// A topic's first packet with an alias is the longer for it.
			if l.maxPacket == 0 || p.Size(l.version) <= int(l.maxPacket) {
				l.bind(topic, alias)
				return p.Append(out, l.version)
			}
		}
	}
	if len(d.IDs) == 0 || l.version != mqtt.V5 {
		return d.Message.appendForm(l.version, d.QoS, d.Retain, d.Dup, id, now, out)
	}
	p := l.packet(d, id, now)
	return p.Append(out, l.version)
}

func (l *Live) packet(d *Delivery, id uint16, now Time) mqtt.Publish {
	var p mqtt.Publish
	d.Message.publish(&p, d.QoS, d.Retain, now)
	p.Dup, p.PacketID, p.SubscriptionIDs = d.Dup, id, d.IDs
	return p
}

// ResumeRelease sends PUBREL for a delivery of the committed window whose
// PUBREC is committed (S2).
func (l *Live) ResumeRelease(index uint64, out []byte) []byte {
	l.busy().inflight.add(index, released)
	return l.checked(l.ack(mqtt.PUBREL, PacketID(index), mqtt.Success, out))
}

// Outstanding calls yield with each delivery not acknowledged, sent or queued,
// oldest first; used when a share group's member departs. sent tells whether a
// PUBLISH went out: one of QoS 2 is then not handed on (P9). Message and what
// belongs to it are there for deliveries with a Handle and for those not sent.
// A delivery is borrowed until yield returns; yield calls no method of l.
func (l *Live) Outstanding(yield func(d *Delivery, sent bool) bool) {
	t := l.traffic
	if t == nil {
		return
	}
	v := t.scratch()
	f := &t.inflight
	for i := f.first; i < f.end; i++ {
		s := *f.at(i)
		if s == landed {
			continue
		}
		if pos, ok := f.keptAt(i); ok {
			v.read(t.outbox.at(pos))
		} else {
			v.Delivery = Delivery{QoS: 1}
			if s != sent1 {
				v.QoS = 2
			}
		}
		v.Index = i
		if !yield(&v.Delivery, true) {
			return
		}
	}
	for pos := t.outbox.unsent; pos < t.outbox.end(); {
		r := t.outbox.at(pos)
		v.read(r)
		if !yield(&v.Delivery, false) {
			return
		}
		pos += uint64(r.size())
	}
}
