package raftstore

import (
	"strings"

	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"
)

// applySubscribe adds or replaces subscriptions of a session.
func (st *state) applySubscribe(body *reader, res *Result) {
	slot, rec := st.owned(body, res)
	subs := make([]Subscription, body.count(3))
	for i := range subs {
		subs[i] = body.subscription()
		if !indexed(subs[i].Filter) && rec != nil && st.mail.full() {
			res.Err = ErrQuota
		}
	}
	if body.err != nil || res.Err != nil {
		return
	}
	for _, s := range subs {
		res.Existed = append(res.Existed, rec.Subscribe(s))
		if indexed(s.Filter) {
			st.subscriptions.add(s.Filter, slot, s.Options)
		} else {
			st.tellGroup(rec, s.Filter, s.Options)
		}
	}
}

// applyUnsubscribe removes some.
func (st *state) applyUnsubscribe(body *reader, res *Result) {
	slot, rec := st.owned(body, res)
	n := body.count(2)
	for range n {
		f := body.filter()
		if body.err != nil || rec == nil {
			continue
		}
		existed := rec.Unsubscribe(f)
		res.Existed = append(res.Existed, existed)
		switch {
		case existed && indexed(f):
			st.subscriptions.remove(f, slot)
		case existed:
			st.left(f, rec.clientID)
		}
	}
}

// applyEnqueue appends a message to the queue of every stored session that wants
// it.
func (st *state) applyEnqueue(body *reader, res *Result) {
	from := body.bytes()
	var m session.Message
	packed := body.message(&m, st.now)
	if body.err != nil {
		return
	}
	if m.Origin != 0 && !st.publishers.accept(m.Origin, m.Seq, m.Low) {
		res.Known = true // R2
		return
	}
	e := enqueuing{m: &m, packed: packed, deadline: session.Never}
	if m.HasExpiry {
		if m.Expiry == 0 {
			st.fx.drop(dropExpired, 1)
			return
		}
		e.deadline = st.now + session.Seconds(m.Expiry)
	}
	for _, w := range st.subscriptions.match(m.Topic, st.publisher(from)) {
		qos := min(m.QoS, mqtt.QoS(w.qos))
		st.enqueue(w.slot, &e, qos, m.Retain && w.retain, w.ids, res)
	}
	for _, f := range st.subscriptions.shared {
		st.enqueueShared(st.groups.of[f], &e, res)
	}
	st.stored(&e)
}

// transient pushes a QoS 0 message to the connected sessions that want it.
func (st *state) transient(body reader) {
	from, to, retain, ids := body.transient()
	var m session.Message
	packed := body.message(&m, st.fx.clock)
	if body.err != nil {
		panic("raftstore: transient message: " + body.err.Error())
	}
	if m.Origin != 0 && !st.fx.once.first(namedTransient{m.Origin, m.Seq, string(to)}) {
		return
	}
	e := enqueuing{m: &m, packed: packed, deadline: session.Never}
	var none Result
	if len(to) > 0 {
		if slot, rec := st.sessions.find(to); rec != nil {
			st.enqueue(slot, &e, 0, retain, ids, &none)
		}
		return
	}
	for _, w := range st.subscriptions.match(m.Topic, st.publisher(from)) {
		st.enqueue(w.slot, &e, 0, m.Retain && w.retain, w.ids, &none)
	}
	for _, f := range st.subscriptions.shared {
		st.fx.passOn(st.groups.of[f], &m)
	}
}

// publisher is the handle of the publishing session, for no-local
// [MQTT-3.8.3-3]; 0 if it does not live in this shard.
func (st *state) publisher(clientID []byte) router.Subscriber {
	if slot, ok := st.sessions.ids.find(clientID); ok {
		return subscriber(slot)
	}
	return 0
}

// enqueuing is a message on its way into queues: stored with the first that
// takes it.
type enqueuing struct {
	m        *session.Message
	packed   []byte
	deadline session.Time
	ref      uint32
	held     bool // ref is valid, and holds one reference of its own
}

// enqueue gives a message to one session: with QoS 0 to its connection, if it
// has one, else into its queue.
func (st *state) enqueue(slot uint32, e *enqueuing, qos mqtt.QoS, retain bool, ids []uint32, res *Result) {
	rec := st.sessions.at(slot)
	st.recordChanges(slot)
	if qos == 0 {
		if rec.Attached() && st.fx.leads {
			st.fx.push(slot, rec, push{retain: retain, ids: ids, packed: e.packed, deadline: e.deadline, borrowed: true})
		}
		return
	}
	if !st.hold(e, res) {
		return
	}
	switch outcome, dropped := rec.Enqueue(e.ref, qos, retain, ids, st.now, &st.messages); outcome {
	case session.QueueFull:
		res.Dropped++
		st.fx.drop(dropQueueFull, 1+dropped)
	case session.Evicted:
		res.Dropped++
		st.fx.drop(dropQueueOldest, dropped)
	}
	st.advance(slot, rec)
}

// hold stores the message, if the shard has room for it.
func (st *state) hold(e *enqueuing, res *Result) bool {
	if !e.held && st.messages.bytes+messageSize(e.packed) > st.limits.QueuedBytes {
		res.Dropped++
		st.fx.drop(dropShardFull, 1)
		return false
	}
	if !e.held {
		e.ref, e.held = st.messages.put(e.packed, e.deadline), true
	}
	return true
}

// stored ends an enqueuing.
func (st *state) stored(e *enqueuing) {
	if e.held {
		st.messages.Release(e.ref)
	}
}

// advance moves what may be sent into the session's committed window and hands
// it to the owner (S1).
func (st *state) advance(slot uint32, rec *record) {
	for {
		o, expired, ok := rec.Next(st.now, &st.messages)
		st.fx.drop(dropExpired, expired)
		if !ok {
			break
		}
		st.mix(uint64(slot)<<32 | uint64(o.Ref))
		st.mix(o.Index)
		if st.fx.leads {
			st.pushWindow(slot, rec, &o)
		}
	}
	st.deadlines.set(slot, rec.Due())
}

// pushWindow has the owner of rec sent an entry of the committed window; without the
// message, if that has to be read first. With
// PUBREC committed there is nothing to send: the owner knows, or is told by its
// claim.
func (st *state) pushWindow(slot uint32, rec *record, o *session.Outbound) {
	if o.Received {
		return
	}
	m := &st.messages.slots[o.Ref]
	st.fx.push(slot, rec, push{
		index: o.Index, qos: o.QoS, retain: o.Retain, ids: o.IDs, packed: st.messages.body(o.Ref), deadline: m.deadline,
	})
}

// applyEnqueueFor gives a message to one session alone.
func (st *state) applyEnqueueFor(body *reader, res *Result) {
	slot, rec := st.owned(body, res)
	c := body.delivery()
	var m session.Message
	packed := body.message(&m, st.now)
	if body.err != nil || rec == nil {
		return
	}
	if c.Replay != (router.Filter{}) {
		rec.AdvanceReplay(c.Replay, c.Shard, strings.Clone(m.Topic.String()))
	}
	e := enqueuing{m: &m, packed: packed, deadline: session.Never}
	if m.HasExpiry {
		e.deadline = st.now + session.Seconds(m.Expiry)
	}
	st.enqueue(slot, &e, c.Delivery.QoS, c.Delivery.Retain, c.Delivery.IDs, res)
	st.stored(&e)
}

// applyReplaying notes how a replay of the session stands.
func (st *state) applyReplaying(body *reader, res *Result) {
	_, rec := st.owned(body, res)
	f, done, cuts := body.filter(), body.bool(), body.cuts()
	if rec == nil || body.err != nil {
		return
	}
	if done {
		rec.EndReplay(f)
		return
	}
	rec.CutReplay(f, cuts)
}

// applyAcks takes an owner's acknowledgements, and fills the windows again.
func (st *state) applyAcks(body *reader, res *Result) {
	var (
		slot uint32
		rec  *record
	)
	for len(body.b) > 0 {
		tag := body.byte()
		if tag > ackSame|ackBack {
			body.fail()
		}
		if tag&ackSame == 0 {
			if rec != nil {
				st.advance(slot, rec)
			}
			slot, rec = st.owned(body, res)
		}
		v := body.uvarint()
		if rec == nil || body.err != nil {
			continue
		}
		if tag&ackBack == 0 {
			rec.Ack(v>>1, v&1 != 0, &st.messages)
		} else if ref, ok := rec.GiveBack(v>>1, &st.messages); ok {
			st.giveBack(ref)
		}
	}
	if rec != nil {
		st.advance(slot, rec)
	}
}

// applyReceive commits the identifier of a QoS 2 publish (R1).
func (st *state) applyReceive(body *reader, res *Result) {
	_, rec := st.owned(body, res)
	id := body.packetID()
	if rec == nil || body.err != nil {
		return
	}
	var ok bool
	if res.Seq, res.Known, ok = rec.Receive(id); !ok {
		res.Err = ErrQuota
	}
	res.Low = rec.Low()
}

// applyRelease frees it.
func (st *state) applyRelease(body *reader, res *Result) {
	_, rec := st.owned(body, res)
	id := body.packetID()
	if rec == nil || body.err != nil {
		return
	}
	res.Known = rec.Release(id)
	res.Low = rec.Low()
}

// applyForget drops what is remembered of a departed publisher.
func (st *state) applyForget(body *reader, _ *Result) {
	origin := body.uvarint()
	st.publishers.forget(origin)
	st.publishers.forget(origin | retainedOrigin)
}

// retainedOrigin marks the origin by which the retained legs of a publisher's
// messages are remembered, apart from those for queues: a message may have both in
// one shard.
const retainedOrigin = 1 << 63

// applyRetain stores or deletes a topic's retained message.
func (st *state) applyRetain(body *reader, res *Result) {
	var m session.Message
	packed := body.message(&m, st.now)
	if body.err != nil {
		return
	}
	if m.Origin != 0 && !st.publishers.accept(m.Origin|retainedOrigin, m.Seq, m.Low) {
		res.Known = true // R2: it does not come again over what replaced it
		return
	}
	if len(m.Payload) == 0 { // [MQTT-3.3.1-6]
		st.retained.remove(m.Topic.String())
		return
	}
	deadline := session.Never
	if m.HasExpiry {
		if m.Expiry == 0 {
			st.retained.remove(m.Topic.String())
			return
		}
		deadline = st.now + session.Seconds(m.Expiry)
	}
	res.Err = st.retained.put(m.Topic, packed, st.index, deadline, &st.limits)
}
