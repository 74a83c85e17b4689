package broker

import (
	"errors"

	"dunlin/node/listen"
	"dunlin/proto/mqtt"
	"dunlin/raftstore"
	"dunlin/router"
	"dunlin/session"
)

// enqueue sends m to a shard whose persistent sessions want it: committed there
// if QoS > 0, in passing otherwise.
func (w *worker) enqueue(sh router.ShardID, m *session.Message, legs *legs) {
	if m.QoS == 0 {
		w.shards.Submit(sh, raftstore.Transient{From: legs.from.clientID, Message: *m}, nil)
		return
	}
	slot, left, conn, cut := legs.add(w), w.toShard(sh, m), legs.from.conn, legs.from.cut
	w.shards.Submit(sh, raftstore.Enqueue{From: legs.from.clientID, Message: *m}, func(r raftstore.Result) {
		left()
		if r.Err != nil {
			cut.cutOff(conn)
		}
		w.loop.Post(landing{slot: slot, unknown: r.Err != nil})
	})
}

// landing is mail: a shard has reported a leg.
type landing struct {
	slot    int32
	unknown bool
}

// acknowledged takes what a subscriber acknowledged: for share groups the message
// is settled, for persistent sessions the shard is told with the turn's batch.
func (w *worker) acknowledged(c *conn, act session.Action, received bool) {
	w.pace(c)
	if act.Handle != 0 {
		if !received {
			w.settled(c, act.Handle)
		}
		return
	}
	if !c.persistent {
		return
	}
	if !received {
		w.ack(c, act.Index, false)
		return
	}
	// PUBREL follows the commit of PUBREC (S2).
	id, index := c.id, act.Index
	w.flushAcks()
	w.submitLast(c.shard, raftstore.Acks{Items: []raftstore.Ack{{
		ClientID: w.clientID(c), Epoch: c.epoch, Index: index, Received: true,
	}}}, func(r raftstore.Result) {
		w.loop.Post(func(w *worker) {
			c := w.conn(id)
			switch {
			case c == nil || c.phase != up:
			case r.Err != nil:
				w.failed(c, r.Err)
			default:
				w.loop.End(id, c.live.SendRelease(index, w.loop.Begin(id)))
			}
		})
	})
}

// Evict is called by the store: see raftstore.Owner.
func (b *Broker) Evict(conn router.Subscriber, clientID string, epoch session.Epoch, done func()) {
	w := b.workerOf(conn)
	if w == nil {
		done()
		return
	}
	w.loop.Post(eviction{id: listen.ID(conn), clientID: clientID, epoch: epoch, done: done})
}

// Push is called by the store with deliveries for an attached session.
func (b *Broker) Push(conn router.Subscriber, epoch session.Epoch, ds []raftstore.Delivery) {
	w := b.workerOf(conn)
	if w == nil {
		return
	}
	out, now := b.newBatch(), b.Clock()
	late := w.mailed.isBehind()
	for i := range ds {
		d := &ds[i]
		if late && d.Index == 0 {
			out.lost++ // QoS 0 waits for nobody
			continue
		}
		it := out.add(&d.Message, uint64(i)+1, now, d.IDs)
		it.to, it.index, it.epoch, it.pushed = conn, d.Index, epoch, true
		it.qos, it.retain = d.QoS, d.Retain
	}
	w.post(out)
}

// failed ends a connection that a write to its session did not come back to as it
// should: fenced, it has lost the session to another (E1), which the store may have
// had no occasion to tell; else nobody knows what became of the write (R6).
func (w *worker) failed(c *conn, err error) {
	if errors.Is(err, raftstore.ErrFenced) {
		w.counters.Fenced++
		w.bereave(c, mqtt.SessionTakenOver)
		return
	}
	w.counters.Unknown++
	w.drop(c)
}

// bereave ends a connection that has lost its session: there is nothing to detach,
// and it is told nothing more of what became of its publishes, since its client may
// have been connected anew meanwhile (P5).
func (w *worker) bereave(c *conn, reason mqtt.Reason) {
	c.claimed, c.answering = false, false
	w.end(c, reason)
}

// Ended is called by the store when it ended a connected session.
func (b *Broker) Ended(conn router.Subscriber, epoch session.Epoch, reason mqtt.Reason) {
	w := b.workerOf(conn)
	if w == nil {
		return
	}
	w.loop.Post(func(w *worker) {
		switch c := w.conn(listen.ID(conn)); {
		case c == nil:
		case c.owns(epoch):
			w.bereave(c, reason)
		default:
			c.client.bid.lose(epoch)
		}
	})
}
