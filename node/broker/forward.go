package broker

import (
	"dunlin/cluster"
	"dunlin/node/listen"
	"dunlin/proto/mqtt"
	"dunlin/raftstore"
	"dunlin/router"
	"dunlin/session"
)

// maxFrame is the size at which a frame leaves within the turn.
const maxFrame = 256 << 10

// outbound is the frame that a worker's turn gathers for one peer.
type outbound struct {
	body     []byte
	reliable bool    // it holds something that must arrive
	slots    []int32 // publishes that wait for its confirmation

	stalled []listen.ID // publishers held until the peer has caught up
}

// sentFrame is a reliable frame until its peer has confirmed it.
type sentFrame struct {
	node  router.NodeID
	slots []int32
}

// pack returns m in packed form, made once per message.
func (w *worker) pack(m *session.Message) []byte {
	if w.packedAs != w.serial {
		w.packed = m.Append(w.packed[:0], w.now())
		w.packedAs = w.serial
	}
	return w.packed
}

// frameFor returns the frame being gathered for a peer.
func (w *worker) frameFor(n router.NodeID) *outbound {
	for int(n) >= len(w.outbound) {
		w.outbound = append(w.outbound, nil)
	}
	o := w.outbound[n]
	if o == nil {
		o = new(outbound)
		w.outbound[n] = o
	}
	if o.body == nil {
		o.body = w.peers.Buffer()
		w.dirty = append(w.dirty, n)
	}
	return o
}

// forward sends m to a node that has ordinary subscribers of its own.
func (w *worker) forward(n router.NodeID, m *session.Message, legs *legs) {
	o := w.frameFor(n)
	o.body = cluster.AppendMessage(o.body, w.pack(m))
	w.sentTo(n, o, m, legs)
}

// sentTo notes that m's answer waits for the frame, and for a peer that is behind
// stops the publisher.
func (w *worker) sentTo(n router.NodeID, o *outbound, m *session.Message, legs *legs) {
	w.counters.Forwarded++
	if m.QoS > 0 {
		o.reliable = true
		o.slots = append(o.slots, legs.add())
		if w.peers.Full(n) {
			w.stall(o, legs.from.conn)
		}
	}
	if len(o.body) >= maxFrame {
		w.flushFrame(n)
	}
}

func (w *worker) flushFrames() {
	for i := 0; i < len(w.dirty); i++ {
		w.flushFrame(w.dirty[i])
	}
	w.dirty = w.dirty[:0]
}

// flushFrame gives the gathered frame to the cluster. A peer without reliable
// content may miss it (QoS 0), counted.
func (w *worker) flushFrame(n router.NodeID) {
	o := w.outbound[n]
	if len(o.body) == 0 {
		return
	}
	f := cluster.Frame{Body: o.body, Reliable: o.reliable}
	if f.Reliable {
		w.token++
		f.Token = cluster.Token(uint64(w.index)<<56 | w.token)
		w.frames[f.Token] = sentFrame{node: n, slots: o.slots}
		o.slots = w.spare()
	}
	o.body, o.reliable = nil, false
	if w.peers.Forward(n, f) {
		return
	}
	w.counters.ForwardDropped++
	if f.Reliable {
		// The node is no member any more: as if it had left just after. Loans wait for
		// Left: until then the routes may still lead there.
		w.confirmed(f.Token, false)
	}
}

// spare returns an emptied list of slots for reuse.
func (w *worker) spare() []int32 {
	if n := len(w.spares); n > 0 {
		s := w.spares[n-1]
		w.spares = w.spares[:n-1]
		return s
	}
	return nil
}

// confirmation is mail: a peer has accepted a frame, or is dead and with it
// whatever wanted the frame; or nobody knows.
type confirmation struct {
	token   cluster.Token
	unknown bool
}

func (w *worker) confirmed(t cluster.Token, unknown bool) {
	f, ok := w.frames[t]
	if !ok {
		return
	}
	delete(w.frames, t)
	for _, slot := range f.slots {
		w.landed(slot, unknown)
	}
	if len(w.spares) < 64 {
		w.spares = append(w.spares, f.slots[:0])
	}
	w.resumeStalled(f.node)
}

// stall stops reading from a publisher until the peer has caught up.
func (w *worker) stall(o *outbound, id listen.ID) {
	if c := w.conn(id); c != nil && c.holds&holdPeer == 0 {
		w.counters.Stalls++
		w.hold(c, holdPeer)
		o.stalled = append(o.stalled, id)
	}
}

// resumeStalled reads again from those that were stalled for a peer, if it has
// caught up. Who then meets another that is behind is stalled for that one.
func (w *worker) resumeStalled(n router.NodeID) {
	o := w.outbound[n]
	if o == nil || len(o.stalled) == 0 || w.peers.Full(n) {
		return
	}
	for _, id := range o.stalled {
		if c := w.conn(id); c != nil {
			w.release(c, holdPeer)
		}
	}
	o.stalled = o.stalled[:0]
}

// Confirmed is called by the cluster. A frame that is gone is confirmed as well:
// so are the live subscribers that it was for, with their node. Of an unknown one
// they may live and not have it, so that its publishers get no answer (R6).
func (b *Broker) Confirmed(_ router.NodeID, t cluster.Token, f cluster.Fate) {
	b.workers[uint64(t)>>56].loop.Post(confirmation{token: t, unknown: f == cluster.Unknown})
}

// Forgotten is called by the cluster when a peer lives but will not report on
// what was lent to it: members elsewhere, or others there, get that (P9).
func (b *Broker) Forgotten(by router.NodeID) {
	for _, w := range b.workers {
		w.loop.Post(func(w *worker) { w.lostLoans(by) })
	}
}

// Joined is called by the cluster: a peer's frames come from now on.
func (b *Broker) Joined(n cluster.Node) { b.ingresses.Store(n.ID, newIngress(b, n.ID)) }

// Forget is called by the store when a publisher's session has ended: here and
// at the peers nobody needs to remember its messages (R2).
func (b *Broker) Forget(origin uint64) {
	b.accepted.forget(origin)
	b.workers[0].loop.Post(func(w *worker) {
		b.ingresses.Range(func(n, _ any) bool {
			o := w.frameFor(n.(router.NodeID))
			o.body = cluster.AppendForget(o.body, origin)
			o.reliable = true
			return true
		})
	})
}

// Left is called by the cluster when a peer is gone for good.
func (b *Broker) Left(n cluster.Node) {
	b.ingresses.Delete(n.ID)
	for _, w := range b.workers {
		w.loop.Post(func(w *worker) {
			w.lostLoans(n.ID)
			w.shares.disown(n.ID)
		})
	}
}

// Forwarded is called by the cluster with a frame from a peer.
func (b *Broker) Forwarded(from router.NodeID, body []byte, done func()) {
	in, ok := b.ingresses.Load(from)
	if !ok {
		in = newIngress(b, from)
		b.ingresses.Store(from, in)
	}
	in.(*ingress).take(body, done)
}

// ingress routes what one peer forwards, on the peer's stream goroutine: to the
// loops with subscribers and to the shards, never to other nodes.
type ingress struct {
	b       *Broker
	from    router.NodeID
	message session.Message
	matches router.Matches
	batches []*batch
	repaid  []*repayment
	serial  uint64
}

func newIngress(b *Broker, from router.NodeID) *ingress {
	return &ingress{b: b, from: from, batches: make([]*batch, len(b.workers)), repaid: make([]*repayment, len(b.workers))}
}

// repayment is mail: loans that a peer reports settled or returned.
type repayment struct {
	from    router.NodeID
	handles []uint64
	again   []bool
}

// take routes one frame and posts what came of it. The frame is done when every
// loop and shard concerned has taken its part.
func (in *ingress) take(body []byte, done func()) {
	var a *arrival
	if done != nil {
		a = &arrival{done: done}
		a.left.Store(1) // ours, until everything is posted
	}
	for rest := body; len(rest) > 0; {
		var rec cluster.Record
		var err error
		if rec, rest, err = cluster.ReadRecord(rest); err != nil {
			in.b.Log.Error("forwarded frame is damaged", "peer", in.from, "err", err)
			break
		}
		in.record(rec, a)
	}
	for i, b := range in.batches {
		if b != nil {
			in.batches[i] = nil
			in.b.workers[i].loop.Post(b)
		}
	}
	for i, p := range in.repaid {
		if p != nil {
			in.repaid[i] = nil
			in.b.workers[i].loop.Post(p)
		}
	}
	a.land()
}

func (in *ingress) record(rec cluster.Record, a *arrival) {
	now := in.b.Clock()
	switch rec.Kind {
	case cluster.RecordSettled, cluster.RecordReturned:
		loop := int(rec.Handle >> 56)
		if loop >= len(in.repaid) {
			return
		}
		p := in.repaid[loop]
		if p == nil {
			p = &repayment{from: in.from}
			in.repaid[loop] = p
		}
		p.handles = append(p.handles, rec.Handle)
		p.again = append(p.again, rec.Kind == cluster.RecordReturned)
		return
	case cluster.RecordForget:
		in.b.accepted.forget(rec.Handle)
		return
	}
	m := &in.message
	if _, err := m.Parse(rec.Message, now); err != nil {
		in.b.Log.Error("forwarded message is damaged", "peer", in.from, "err", err)
		return
	}
	in.serial++
	if rec.Kind == cluster.RecordGroup {
		in.group(rec, m, now, a)
		return
	}
	ms := &in.matches
	in.b.table.Match(m.Topic, 0, ms)
	if !in.b.accepted.first(m) {
		ms.Local = ms.Local[:0] // R2
	}
	for i := range ms.Local {
		x := ms.Local[i]
		it := item{to: x.Subscriber, qos: min(m.QoS, mqtt.QoS(x.QoS)), retain: m.Retain && x.RetainAsPublished}
		in.batchFor(x.Subscriber, a).add(m, in.serial, now, it, ms.IDs(x))
	}
	for _, sh := range ms.Shards {
		if a != nil {
			a.left.Add(1)
		}
		in.b.submit(sh, m, "", func(raftstore.Result) { a.land() })
	}
}

// group draws a member here for a message lent by the peer.
func (in *ingress) group(rec cluster.Record, m *session.Message, now session.Time, a *arrival) {
	f, err := router.ParseFilter(rec.Filter)
	if err != nil {
		in.b.Log.Error("forwarded share group is damaged", "peer", in.from, "err", err)
		return
	}
	sh := sharing{filter: f, node: in.from, handle: rec.Handle}
	if g := in.b.table.Group(f); g != nil {
		if x, subscription, ok := g.PickLocal(g.Turn(), 0); ok {
			b := in.batchFor(x.Subscriber, a)
			b.shared = append(b.shared, sh)
			var ids []uint32
			if subscription != 0 {
				ids = []uint32{subscription}
			}
			b.add(m, in.serial, now, item{
				to: x.Subscriber, share: int32(len(b.shared)),
				qos: min(m.QoS, mqtt.QoS(x.QoS)), retain: m.Retain && x.RetainAsPublished,
			}, ids)
			return
		}
	}
	in.b.workers[0].loop.Post(func(w *worker) { w.giveBack(sh) })
}

// giveBack returns a lent message that found no member here.
func (w *worker) giveBack(sh sharing) {
	if sh.handle == 0 {
		w.counters.SharedDropped++
		return
	}
	o := w.frameFor(sh.node)
	o.body = cluster.AppendReturned(o.body, sh.handle)
	o.reliable = true
}

func (in *ingress) batchFor(s router.Subscriber, a *arrival) *batch {
	loop := listen.ID(s).Loop()
	b := in.batches[loop]
	if b == nil {
		b = batchPool.Get().(*batch)
		b.arrival = a
		if a != nil {
			a.left.Add(1)
		}
		in.batches[loop] = b
	}
	return b
}
