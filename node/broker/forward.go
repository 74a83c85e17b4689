package broker

import (
	"dunlin/cluster"
	"dunlin/node/listen"
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

// sentTo notes that m's answer waits for the frame, and whether the peer is behind.
func (w *worker) sentTo(n router.NodeID, o *outbound, m *session.Message, legs *legs) {
	w.counters.Forwarded++
	if m.QoS > 0 {
		o.reliable = true
		o.slots = append(o.slots, legs.add(w))
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
		// The node is no member any more: as if it had left just after. By mail, for a
		// publish may be on its way out right now. Loans wait for Left: until then the
		// routes may still lead there.
		w.loop.Post(confirmation{token: f.Token})
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
	b.forget(origin)
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
