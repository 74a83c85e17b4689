package broker

import (
	"errors"

	"dunlin/node/auth"
	"dunlin/node/listen"
	"dunlin/proto/mqtt"
	"dunlin/raftstore"
	"dunlin/router"
	"dunlin/session"
)

// publisher is whom a message comes from and whom its answer goes to.
type publisher struct {
	subscriber router.Subscriber // for no-local; 0 for a will or a peer's message
	clientID   string            // for no-local in the shards
	conn       listen.ID         // answered if packetID is not 0
	cut        *latestCut        // of the slot of conn, also when that is gone; nil without one
	packetID   uint16
	errand     *errand // told instead, for a message of the store's own
}

func (p *publisher) cutOff()     { p.cut.cutOff(p.conn) }
func (p *publisher) isCut() bool { return p.cut.isCut(p.conn) }

// conclude tells the publisher what became of its message.
func (w *worker) conclude(p *publisher, reason mqtt.Reason, unknown bool) {
	if p.errand != nil {
		w.arrived(p.errand, unknown)
		return
	}
	if !unknown {
		w.answer(p.conn, p.packetID, reason)
		return
	}
	p.cutOff()
	if c := w.conn(p.conn); c != nil {
		w.counters.Unknown++
		w.drop(c) // unknown is not failed (R6)
	}
}

// publish takes a PUBLISH of c: may it, must something be committed before it
// may be seen, and then the routes. stored says that its packet identifier is
// committed already.
func (w *worker) publish(c *conn, p *mqtt.Publish, stored bool) {
	w.counters.Received[p.QoS]++
	topic, err := router.ParseTopic(p.Topic)
	if err != nil || w.narrow && w.tooLong(p.Topic) {
		w.countTopic(err)
		w.end(c, mqtt.TopicNameInvalid)
		return
	}
	from := publisher{
		subscriber: c.subscriber(), clientID: w.clientID(c), conn: c.id, cut: w.conns.cut(c), packetID: p.PacketID,
	}
	if isReserved(topic) || !w.mayPublish(w.identity(c), topic, p.QoS, p.Retain) {
		// Case 41: version 3 has no way to be told, so it is acknowledged.
		w.counters.PublishDenied++
		w.denied(c, AttemptPublish, p.Topic)
		w.reject(from, stored, mqtt.NotAuthorized)
		return
	}
	if p.Retain && len(p.Payload) > 0 && w.isShort() {
		w.noRoom(&from, none, stored)
		return
	}
	m := &w.message
	m.Reset()
	m.Topic, m.Payload, m.Properties = topic, p.Payload, p.Properties
	m.QoS, m.Retain = p.QoS, p.Retain
	m.HasExpiry, m.Expiry, m.Received = p.HasExpiry, p.MessageExpiry, w.now()
	if from.isCut() {
		w.conclude(&from, mqtt.Success, true)
		return
	}
	if m.Retain {
		c.client.retaining++
	}
	switch {
	case p.QoS == 2 && c.persistent:
		w.commitID(c, from, m)
		return
	case m.Retain:
		w.commitRetained(from, m)
		return
	}
	w.route(&from, m, none)
}

// commitID commits packet id -> sequence number before a QoS 2 message of a
// persistent publisher goes anywhere (R1).
func (w *worker) commitID(c *conn, from publisher, m *session.Message) {
	slot := w.pendings.take(from)
	w.pendings.keep(slot, m, w.now())
	origin, left := c.client.origin, w.toShard(c.shard, m)
	defer w.holdBack(from.conn)
	w.shards.Submit(c.shard, raftstore.Receive{ClientID: from.clientID, Epoch: c.epoch, PacketID: from.packetID},
		func(r raftstore.Result) {
			left()
			if r.Err != nil {
				from.cutOff()
			}
			w.loop.Post(func(w *worker) {
				p := w.pendings.at(slot)
				switch c := w.conn(from.conn); {
				case r.Err != nil:
					w.pendings.free(slot)
					if c != nil {
						w.refusedID(c, r.Err)
					}
				case c == nil, c.phase == closing, from.isCut():
					// The client sends it again; perhaps what it sent before is unknown,
					// and must not be overtaken (P7).
					w.pendings.free(slot)
				default:
					p.origin, p.seq, p.low = origin, r.Seq, r.Low
					m := &w.message
					w.load(p, m)
					if m.Retain {
						w.retain(from, m, slot)
						return
					}
					w.route(&from, m, slot)
				}
			})
		})
}

// refusedID ends a connection whose packet identifier was not committed. A client
// that holds its releases back is told so; else the answer is not ours to give.
func (w *worker) refusedID(c *conn, err error) {
	if errors.Is(err, raftstore.ErrQuota) {
		w.end(c, mqtt.QuotaExceeded)
		return
	}
	w.failed(c, err)
}

// commitRetained commits the retained leg first and routes after, so that no
// later subscriber finds a gap between retained value and live flow (P8).
func (w *worker) commitRetained(from publisher, m *session.Message) {
	slot := w.pendings.take(from)
	w.pendings.keep(slot, m, w.now())
	w.retain(from, m, slot)
}

// retain submits the retained leg of the message kept in slot, and routes it when
// that is done. Retained publishes of one topic stay in order because they go
// through one shard; client.retaining makes others wait (P7).
func (w *worker) retain(from publisher, m *session.Message, slot int32) {
	sh := w.shards.TopicShard(m.Topic)
	left := w.toShard(sh, m)
	w.shards.Submit(sh, raftstore.Retain{Message: *m}, func(r raftstore.Result) {
		left()
		if r.Err != nil && r.Err != raftstore.ErrQuota {
			from.cutOff()
		}
		w.loop.Post(func(w *worker) { w.retainedLeg(from, slot, r) })
	})
	w.holdBack(from.conn)
}

// retainedLeg takes the shard's answer about a retained leg.
func (w *worker) retainedLeg(from publisher, slot int32, r raftstore.Result) {
	if c := w.conn(from.conn); c != nil {
		if c.client.retaining--; c.client.retaining == 0 {
			defer w.release(c, holdRetain)
		}
	}
	p := w.pendings.at(slot)
	switch r.Err {
	case nil:
	case raftstore.ErrQuota:
		w.counters.Limited[LimitRetained]++
		if from.errand != nil {
			break // nobody could be told: a will goes to who is there
		}
		committed := p.origin != 0
		w.pendings.free(slot)
		w.reject(from, committed, mqtt.QuotaExceeded) // case 32
		return
	default:
		w.pendings.free(slot)
		w.conclude(&from, mqtt.Success, true)
		return
	}
	if from.isCut() {
		w.pendings.free(slot)
		return
	}
	m := &w.message
	w.load(p, m)
	if r.Err == nil && !r.Known {
		m.Retained = r.Index
	}
	w.route(&from, m, slot)
}

// reject answers a publish with a failure. An identifier that was committed for
// it is freed in the shard first, since the client will use it again (R1).
func (w *worker) reject(from publisher, committed bool, reason mqtt.Reason) {
	c := w.conn(from.conn)
	if c == nil || !committed {
		w.answer(from.conn, from.packetID, reason)
		return
	}
	w.shards.Submit(c.shard, raftstore.Release{ClientID: from.clientID, Epoch: c.epoch, PacketID: from.packetID},
		func(r raftstore.Result) {
			w.loop.Post(func(w *worker) {
				if r.Err == nil {
					w.answer(from.conn, from.packetID, reason)
				} else if c := w.conn(from.conn); c != nil {
					w.failed(c, r.Err)
				}
			})
		})
}

// load reads a kept message back into m.
func (w *worker) load(p *pending, m *session.Message) {
	if _, err := m.Parse(p.bytes, w.now()); err != nil {
		panic("broker: kept message does not parse: " + err.Error())
	}
	if p.origin != 0 {
		m.Origin, m.Seq, m.Low = p.origin, p.seq, p.low
	}
}

// stepsAsWork is how many steps through the table of routes are as much work as a
// delivery. Filters that overlap in many ways take as many for each of their topics: who
// publishes there rests the sooner (case 24).
const stepsAsWork = 8

// route sends m to everyone who wants it. slot is its pending record if it has
// one already. A message of QoS > 0 is answered when no leg is left.
func (w *worker) route(from *publisher, m *session.Message, slot int32) {
	ms := &w.matches
	w.table.Match(m.Topic, from.subscriber, ms)
	w.work += len(ms.Local) + ms.Steps/stepsAsWork
	if len(ms.Shards) > 0 && w.hasNoRoom(from, m, slot) {
		return
	}
	wanted := len(ms.Local) + len(ms.Nodes) + len(ms.Shards) + len(ms.Groups)
	w.beginMessage()
	if len(ms.Local) > 1 {
		m.Share(&w.forms)
	}
	legs := legs{from: from, slot: slot}
	if len(ms.Groups) > 0 && !w.accepted.first(m) {
		ms.Groups = ms.Groups[:0] // a member had it (R2); loops, shards and peers judge for themselves
	}
	var here judgement
	for i := range ms.Local {
		w.offer(m, ms.Local[i], ms.IDs(ms.Local[i]), &here)
	}
	for _, n := range ms.Nodes {
		w.forward(n, m, &legs)
	}
	for _, sh := range ms.Shards {
		w.enqueue(sh, m, &legs)
	}
	for _, g := range ms.Groups {
		w.share(g, m, nil, &legs)
	}
	reason := mqtt.Success
	if wanted == 0 {
		reason = mqtt.NoMatchingSubscribers
		w.counters.Unrouted++
	}
	legs.close(w, reason)
	w.holdBack(from.conn)
}

// released takes a PUBREL: a persistent publisher's identifier is freed in the
// shard before PUBCOMP says so (R4).
func (w *worker) released(c *conn, packetID uint16) {
	if !c.persistent {
		return // the live session has answered
	}
	id := c.id
	w.shards.Submit(c.shard, raftstore.Release{ClientID: w.clientID(c), Epoch: c.epoch, PacketID: packetID},
		func(r raftstore.Result) {
			w.loop.Post(func(w *worker) {
				c := w.conn(id)
				switch {
				case c == nil || c.phase != up:
				case r.Err != nil:
					w.failed(c, r.Err)
				default:
					w.loop.End(id, c.live.SendComplete(packetID, w.now(), w.loop.Begin(id)))
				}
			})
		})
}

// isReserved says that a topic is for the server's own messages: clients should
// not exchange any there (MQTT 5.0, 4.7.2).
func isReserved(t router.Topic) bool { return t.String()[0] == '$' }

// mayPublish asks the authorizer, if there is anything to ask.
func (w *worker) mayPublish(id *auth.Identity, t router.Topic, qos mqtt.QoS, retain bool) bool {
	return w.Access.Unrestricted() || w.Access.MayPublish(id, t, uint8(qos), retain)
}
