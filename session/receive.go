package session

import "dunlin/proto/mqtt"

// drainBytes is what Receive sends at most from the queue after one
// acknowledgement.
const drainBytes = 64 << 10

// Receive takes one decoded packet after CONNECT. It appends to out what can be
// answered at once and returns what the broker has to do. For Route it has
// rewritten p.Publish.Topic where an alias stood for it; that borrows from l
// until the next packet. Nothing of p is kept.
func (l *Live) Receive(p *mqtt.Packet, now Time, out []byte) (Action, []byte) {
	if p.FromClient() != nil {
		return fail(mqtt.ProtocolError, out) // case 7
	}
	var a Action
	switch p.Kind {
	case mqtt.PUBLISH:
		a, out = l.publish(&p.Publish, out)
	case mqtt.PUBACK:
		a, out = l.acknowledged(&p.Ack, sent1, now, out)
	case mqtt.PUBREC:
		a, out = l.received(&p.Ack, now, out)
	case mqtt.PUBREL:
		a, out = l.release(&p.Ack, out)
	case mqtt.PUBCOMP:
		a, out = l.acknowledged(&p.Ack, released, now, out)
	case mqtt.SUBSCRIBE:
		if !l.takesReasons(len(p.Subscribe.Filters)) {
			return fail(mqtt.PacketTooLarge, out)
		}
		a.Verb = Subscribe
	case mqtt.UNSUBSCRIBE:
		if !l.takesReasons(len(p.Unsubscribe.Filters)) {
			return fail(mqtt.PacketTooLarge, out)
		}
		a.Verb = Unsubscribe
	case mqtt.PINGREQ:
		out = mqtt.AppendPingresp(out) // [MQTT-3.12.4-1]
	case mqtt.DISCONNECT:
		if p.Disconnect.HasSessionExpiry && p.Disconnect.SessionExpiry != 0 && l.is(expiryZero) {
			return fail(mqtt.ProtocolError, out) // case 59
		}
		a = Action{Verb: Bye, Reason: p.Disconnect.Reason}
	case mqtt.AUTH:
		if !l.is(authenticated) {
			return fail(mqtt.ProtocolError, out) // [MQTT-4.12.0-7]
		}
		a.Verb = Authenticate
	default:
		// A second CONNECT [MQTT-3.1.0-2], case 9.
		return fail(mqtt.ProtocolError, out)
	}
	return a, l.checked(out)
}

// takesReasons says whether the client takes a SUBACK or UNSUBACK with n of them
// [MQTT-3.1.2-24]. To a request whose answer it does not take there is none; better
// that nothing is done of it than that nobody knows what was.
func (l *Live) takesReasons(n int) bool {
	return l.maxPacket == 0 || mqtt.SubackSize(n) <= int(l.maxPacket)
}

// fail ends the connection.
func fail(reason mqtt.Reason, out []byte) (Action, []byte) {
	return Action{Verb: Fail, Reason: reason}, out
}

// acknowledged takes a PUBACK or PUBCOMP, which ends a delivery in state s. For
// anything else it frees nothing (S4).
func (l *Live) acknowledged(p *mqtt.Ack, s flight, now Time, out []byte) (Action, []byte) {
	t := l.traffic
	if t == nil {
		return Action{}, out
	}
	index, ok := t.inflight.find(p.PacketID)
	if !ok || *t.inflight.at(index) != s {
		return Action{}, out
	}
	return l.land(index, p.Reason, now, out)
}

// received takes a PUBREC.
func (l *Live) received(p *mqtt.Ack, now Time, out []byte) (Action, []byte) {
	if t := l.traffic; t != nil {
		if index, ok := t.inflight.find(p.PacketID); ok {
			l.flags |= moved
			switch s := t.inflight.at(index); *s {
			case sent2:
				if p.Reason >= 0x80 {
					return l.land(index, p.Reason, now, out) // case 28
				}
				*s = recorded
				handle := t.handle(index)
				if !l.is(persistent) {
					out = l.SendRelease(index, out)
				}
				return Action{Verb: Received, Index: index, Handle: handle}, out
			case recorded:
				return Action{}, out // PUBREL is on its way
			case released:
				return Action{}, l.ack(mqtt.PUBREL, p.PacketID, mqtt.Success, out)
			}
		}
	}
	if p.Reason >= 0x80 {
		return Action{}, out // the client is done with it, and so are we
	}
	return Action{}, l.ack(mqtt.PUBREL, p.PacketID, mqtt.PacketIDNotFound, out)
}

// land ends the delivery at index and lets the queue move up.
func (l *Live) land(index uint64, reason mqtt.Reason, now Time, out []byte) (Action, []byte) {
	t := l.busy()
	a := Action{Verb: Acked, Reason: reason, Index: index}
	if pos, ok := t.inflight.keptAt(index); ok {
		a.Handle = t.outbox.at(pos).handle()
		t.outbox.drop(pos)
	}
	t.inflight.land(index)
	if t.outbox.waiting > 0 && !l.is(stalled) {
		out = l.drain(now, drainBytes, out)
	}
	return a, out
}

// handle is the handle of the delivery in flight at index.
func (t *traffic) handle(index uint64) uint64 {
	if pos, ok := t.inflight.keptAt(index); ok {
		return t.outbox.at(pos).handle()
	}
	return 0
}

// SendRelease sends PUBREL for the delivery at index, for a persistent session
// once its PUBREC is committed (S2).
func (l *Live) SendRelease(index uint64, out []byte) []byte {
	if l.traffic == nil || !l.traffic.inflight.has(index, recorded) {
		return out
	}
	*l.traffic.inflight.at(index) = released
	return l.ack(mqtt.PUBREL, PacketID(index), mqtt.Success, out)
}

// Subscribed and Unsubscribed answer SUBSCRIBE and UNSUBSCRIBE.
func (l *Live) Subscribed(id uint16, reasons []mqtt.Reason, out []byte) []byte {
	s := mqtt.Suback{Kind: mqtt.SUBACK, PacketID: id, Reasons: reasons}
	return s.Append(out, l.version)
}

// Unsubscribed answers UNSUBSCRIBE.
func (l *Live) Unsubscribed(id uint16, reasons []mqtt.Reason, out []byte) []byte {
	s := mqtt.Suback{Kind: mqtt.UNSUBACK, PacketID: id, Reasons: reasons}
	return s.Append(out, l.version)
}

// ack appends a PUBACK, PUBREC, PUBREL or PUBCOMP.
func (l *Live) ack(kind mqtt.Kind, id uint16, reason mqtt.Reason, out []byte) []byte {
	a := mqtt.Ack{Kind: kind, PacketID: id, Reason: reason}
	return a.Append(out, l.version)
}
