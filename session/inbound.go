package session

import "dunlin/proto/mqtt"

// publish takes a PUBLISH of the client.
func (l *Live) publish(p *mqtt.Publish, out []byte) (Action, []byte) {
	if reason, ok := l.resolve(p); !ok {
		return fail(reason, out)
	}
	switch p.QoS {
	case 0:
		return Action{Verb: Route}, out
	case 1:
		t := l.busy()
		if t.used >= l.receiveMax {
			return fail(mqtt.ReceiveMaximumExceeded, out) // case 25
		}
		t.used++
		t.acks.push(p.PacketID, false)
		return Action{Verb: Route}, out
	}
	return l.publish2(p.PacketID, out)
}

// publish2 takes a PUBLISH of QoS 2. Whether it came before is told by the
// stored identifier, never by DUP (R3). One that came on an earlier connection
// is routed again, under the number that the store has for it: nobody knows how
// far it got then, and who has it refuses a second copy (R1, R2).
func (l *Live) publish2(id uint16, out []byte) (Action, []byte) {
	t := l.busy()
	switch s := t.ids.get(id); s {
	case unknown, resumed:
		if t.used >= l.receiveMax {
			return fail(mqtt.ReceiveMaximumExceeded, out) // case 25
		}
		t.used++
		t.ids.set(id, routed)
		t.recs.push(id, false)
		return Action{Verb: Route, Stored: s == resumed}, out
	case received:
		// [MQTT-4.3.3-10], case 26.
		if t.recs.n == 0 {
			return Action{}, l.ack(mqtt.PUBREC, id, mqtt.Success, out)
		}
		// In its turn; once is enough however often the client asks.
		t.ids.set(id, repeated)
		t.recs.push(id, true)
	case releasing:
		return fail(mqtt.ProtocolError, out) // [MQTT-4.3.3-6]
	}
	return Action{}, out
}

// Published says what the answer to a routed PUBLISH of QoS > 0 is, PUBACK or
// PUBREC with reason, and whether there is now one for Answer to send. Answers
// leave in the order in which the publishes came [MQTT-4.6.0-2], so one may wait
// for earlier ones of its QoS. A reason >= 0x80 for QoS 2 frees the packet
// identifier: persistent sessions commit that first (R1). An id that waits for no
// answer is ignored.
func (l *Live) Published(id uint16, reason mqtt.Reason) (due bool) {
	t := l.traffic
	if t == nil {
		return false
	}
	l.flags |= moved
	if !t.acks.settle(id, reason) {
		t.recs.settle(id, reason)
	}
	return t.acks.due+t.recs.due > 0
}

// Answer sends the answers whose turn has come. What they say must hold when it
// is called: the broker calls it when it knows that it may (E4).
func (l *Live) Answer(out []byte) []byte {
	t := l.traffic
	if t == nil {
		return out
	}
	for {
		id, reason, ok := t.acks.next()
		if !ok {
			break
		}
		t.free()
		out = l.ack(mqtt.PUBACK, id, reason, out)
	}
	for {
		id, reason, ok := t.recs.next()
		if !ok {
			return l.checked(out)
		}
		out = l.record(id, reason, out)
	}
}

// record sends the PUBREC whose turn has come.
func (l *Live) record(id uint16, reason mqtt.Reason, out []byte) []byte {
	t := l.traffic
	if reason >= 0x80 {
		// [MQTT-4.3.3-9]: the next PUBLISH with this identifier is a new one.
		t.ids.remove(id)
		t.free()
	} else {
		t.ids.set(id, received)
	}
	return l.ack(mqtt.PUBREC, id, reason, out)
}

// free gives a place of the Receive Maximum back. A release resumed from an
// earlier connection took none, and yet the client counts its end [MQTT-4.9.0-2]:
// hence the floor.
func (t *traffic) free() {
	if t.used > 0 {
		t.used--
	}
}

// release takes a PUBREL.
func (l *Live) release(p *mqtt.Ack, out []byte) (Action, []byte) {
	id := p.PacketID
	s := unknown
	if l.traffic != nil {
		s = l.traffic.ids.get(id)
	}
	switch s {
	case resumed, received, repeated:
		l.flags |= moved
		if s == repeated {
			// It would speak for the next publish with this identifier.
			l.traffic.recs.void(id)
		}
		l.traffic.ids.set(id, releasing)
		if !l.is(persistent) {
			out = l.complete(id, out)
		}
		return Action{Verb: Released}, out
	case routed:
		// There was no PUBREC to answer [MQTT-4.3.3-4].
		return fail(mqtt.ProtocolError, out)
	case releasing:
		return Action{}, out // PUBCOMP is on its way
	}
	return Action{}, l.ack(mqtt.PUBCOMP, id, mqtt.PacketIDNotFound, out) // R4
}

// SendComplete sends PUBCOMP for a persistent session's id once its release is
// committed.
func (l *Live) SendComplete(id uint16, now Time, out []byte) []byte {
	if l.traffic == nil || l.traffic.ids.get(id) != releasing {
		return out
	}
	return l.checked(l.complete(id, out))
}

func (l *Live) complete(id uint16, out []byte) []byte {
	l.traffic.ids.remove(id)
	l.traffic.free()
	return l.ack(mqtt.PUBCOMP, id, mqtt.Success, out)
}

// ResumeInbound restores the identifiers of QoS 2 publishes that a persistent
// session has received and that await PUBREL (R5). If the client sends such a
// PUBLISH again, the answer is Route: the store knows its number.
func (l *Live) ResumeInbound(ids []uint16) {
	if len(ids) == 0 {
		return
	}
	t := l.busy()
	for _, id := range ids {
		t.ids.set(id, resumed)
	}
}
