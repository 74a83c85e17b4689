package broker

import (
	"context"

	"dunlin/node/listen"
	"dunlin/proto/mqtt"
)

// Lease is this node's leave to acknowledge (E4). Held is asked on event loops,
// once per turn that has something to acknowledge, and must not block; it says
// whether the lease holds now.
type Lease interface {
	Held() bool
}

// An answer to a publish, and a SUBACK, says something of all nodes: that the
// routes by which the message was matched were those of everybody's
// acknowledged subscriptions, and that everybody who acknowledges publishes has
// the subscription's. Nobody waits for a node whose lease is over, so that it
// holds only if this node's lease did at a moment after the PUBLISH was read, or
// after the last node had confirmed the routes. Hence the one question at the end of
// the turn, before anything of it is flushed. What may not leave waits, in order;
// it is let go when the lease is back, since nobody was told meanwhile to do
// without this node, and goes with its connection if the node has to begin anew
// (Isolate). What else a client is told was committed, or concerns nobody but this
// node: CONNACK, UNSUBACK, PUBREL, PUBCOMP and deliveries need no lease.

// serving is what becomes of clients.
type serving = int32

const (
	notServing serving = iota // connections are refused
	isServing
	isIsolated // connections are taken, and told in CONNACK to go elsewhere
)

// Lease has the node acknowledge only while l is held. Without one it always may. It
// is called before anything runs.
func (b *Broker) Lease(l Lease) { b.lease = l }

// LeaseBack has what was held back for want of the lease leave at once, and not
// only within a quarter of a second.
func (b *Broker) LeaseBack() {
	for _, w := range b.workers {
		w.loop.Post(leaseBack{})
	}
}

// leaseBack is mail: nothing but a reason for a turn.
type leaseBack struct{}

// Accept lets clients in, or stops doing so. It ends isolation.
func (b *Broker) Accept(yes bool) {
	if yes {
		b.serving.Store(isServing)
		return
	}
	b.serving.Store(notServing)
}

// Isolate closes every connection, of version 5.0 with 0x89, since DISCONNECT
// knows no 0x88, and has new ones refused with 0x88, until Accept. Nothing that
// was under way is acknowledged any more, and wills under way are given up: the
// store is to publish those again, after Accept. A node calls it when its lease was
// revoked or is missing for too long, and does not hold another before it
// returns.
func (b *Broker) Isolate(ctx context.Context) error {
	b.isolations.Add(1)
	b.serving.Store(isIsolated)
	return b.each(ctx, func(w *worker) any { w.closeAll(mqtt.ServerBusy); return nil }, func(any) {})
}

// mayAnswer says whether the node may acknowledge now.
func (w *worker) mayAnswer() bool {
	return w.serving.Load() != isIsolated && (w.lease == nil || w.lease.Held())
}

// answer says what becomes of a publish of QoS > 0 to its publisher, if it is
// still there, at the end of the turn or when the node may.
func (w *worker) answer(id listen.ID, packetID uint16, reason mqtt.Reason) {
	if packetID == 0 {
		return
	}
	c := w.conn(id)
	if c == nil || c.phase != up {
		return
	}
	if c.live.Published(packetID, reason) && !c.answering {
		c.answering = true
		w.answering = append(w.answering, id)
	}
}

// giveAnswers lets leave what the turns have found to acknowledge.
func (w *worker) giveAnswers() {
	if len(w.answering)+len(w.granted) == 0 || !w.mayAnswer() {
		return
	}
	for _, id := range w.answering {
		if c := w.conn(id); c != nil && c.answering && c.phase == up {
			c.answering = false
			w.loop.End(id, c.live.Answer(w.loop.Begin(id)))
		}
	}
	w.answering = w.answering[:0]
	for i := range w.granted {
		w.giveSuback(&w.granted[i])
	}
	w.granted = nil
}

// lastAnswers gives a connection that is about to be closed what it can still be
// told.
func (w *worker) lastAnswers(c *conn) {
	if c.phase == up && c.answering && w.mayAnswer() {
		c.answering = false
		w.loop.End(c.id, c.live.Answer(w.loop.Begin(c.id)))
	}
}
