package broker

import (
	"errors"

	"dunlin/node/listen"
	"dunlin/raftstore"
	"dunlin/router"
)

// ackBatch is what a turn gathers of its persistent sessions' acknowledgements
// for one shard. Nobody waits for it (S4), but a takeover does, for what was sent
// before it (E2).
type ackBatch struct {
	items  []raftstore.Ack
	conns  []listen.ID // whose they are; who stands there twice has others between
	urgent bool        // a window, or another member of a group, is not to wait for them
}

// ack gathers an acknowledgement for the shard.
func (w *worker) ack(c *conn, index uint64, received bool) {
	w.tell(c, raftstore.Ack{Index: index, Received: received})
}

// giveBack gathers that a message which a share group gave was not sent.
func (w *worker) giveBack(c *conn, index uint64) { w.tell(c, raftstore.Ack{Index: index, Back: true}) }

func (w *worker) tell(c *conn, a raftstore.Ack) {
	for len(w.acks) < w.shards.Shards() {
		w.acks = append(w.acks, ackBatch{})
	}
	b := &w.acks[c.shard]
	if len(b.items) == 0 {
		w.acked = append(w.acked, c.shard)
	}
	a.ClientID, a.Epoch = w.clientID(c), c.epoch
	b.items = append(b.items, a)
	if n := len(b.conns); n == 0 || b.conns[n-1] != c.id {
		b.conns = append(b.conns, c.id)
	}
	if c.client.late++; c.client.late > c.client.mayBeLate() || a.Back {
		c.client.late, b.urgent = 0, true
	}
}

// mayBeLate is how many acknowledgements in a row may come to the shard when it suits,
// so that what the session is sent does not stop for it.
func (cl *client) mayBeLate() uint16 { return cl.window / 8 }

func (w *worker) flushAcks() {
	for _, sh := range w.acked {
		b := &w.acks[sh]
		conns := b.conns
		w.submitLast(sh, raftstore.Acks{Items: b.items, Late: !b.urgent}, func(r raftstore.Result) {
			if errors.Is(r.Err, raftstore.ErrFenced) {
				w.loop.Post(func(w *worker) { w.findFenced(conns) })
			}
		})
		b.items, b.conns, b.urgent = b.items[:0], nil, false
	}
	w.acked = w.acked[:0]
}

// submitLast submits acknowledgements, or a Detach, and counts them until they are
// committed: what a connection may have said last.
func (w *worker) submitLast(sh router.ShardID, cmd raftstore.Command, done func(raftstore.Result)) {
	w.lastWords[sh].Add(1)
	w.shards.Submit(sh, cmd, func(r raftstore.Result) {
		w.lastWords[sh].Add(-1)
		done(r)
	})
}

// settleLast calls done when all that was submitted so for a shard is committed, at
// once if there is nothing. Claims do not wait for it by themselves: they go beside
// what else a node has for a shard.
func (w *worker) settleLast(sh router.ShardID, done func()) {
	w.flushAcks()
	if w.lastWords[sh].Load() == 0 {
		done()
		return
	}
	w.shards.Submit(sh, raftstore.Acks{}, func(raftstore.Result) { done() })
}

// findFenced closes those of conns that have lost their session, of which a batch
// came back fenced: it does not say whose acknowledgements were left out, so each
// asks for itself, with one that frees nothing (S4).
func (w *worker) findFenced(conns []listen.ID) {
	for _, id := range conns {
		c := w.conn(id)
		if c == nil || !c.claimed || c.fencing {
			continue
		}
		c.fencing = true
		w.shards.Submit(c.shard, raftstore.Acks{Items: []raftstore.Ack{{
			ClientID: w.clientID(c), Epoch: c.epoch,
		}}}, func(r raftstore.Result) {
			w.loop.Post(func(w *worker) {
				c := w.conn(id)
				if c == nil {
					return
				}
				if c.fencing = false; errors.Is(r.Err, raftstore.ErrFenced) && c.claimed {
					w.failed(c, r.Err)
				}
			})
		})
	}
}
