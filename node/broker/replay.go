package broker

import (
	"slices"

	"dunlin/node/listen"
	"dunlin/proto/mqtt"
	"dunlin/raftstore"
	"dunlin/router"
	"dunlin/session"
)

// replayPage is how many retained messages a connection is given in one turn, so
// that a wide filter over many topics stalls nobody (case 33).
const replayPage = 64

// turnReplays is how many connections get a page in one turn.
const turnReplays = 64

// replayBytes ends a page early when the payloads are large.
const replayBytes = 256 << 10

// replay is the way of one subscription through the retained messages: shard
// after shard, in topic order. It is paced by the client's socket and queue.
type replay struct {
	filter  router.Filter
	options router.Options
	shard   router.ShardID
	cursor  string // the last topic sent from shard
}

// beginReplays has the retained messages of new subscriptions sent.
func (w *worker) beginReplays(c *conn, rs []replay) {
	if len(rs) == 0 {
		return
	}
	if len(c.client.replays) > 0 {
		anew := make(map[router.Filter]bool, len(rs))
		for i := range rs {
			anew[rs[i].filter] = true
		}
		c.client.cancelReplays(anew)
	}
	for _, r := range rs {
		w.sendStatus(c, &r)
		if r.filter.IsExact() {
			if t, err := router.ParseTopic([]byte(r.filter.Pattern())); err == nil {
				r.shard = w.shards.TopicShard(t)
			}
		}
		c.client.replays = append(c.client.replays, r)
	}
	w.goOnReplaying(c)
}

// goOnReplaying has the next page of c's replays sent at the end of the turn.
func (w *worker) goOnReplaying(c *conn) {
	if len(c.client.replays) > 0 && !c.client.inReplay {
		c.client.inReplay = true
		w.replayed = append(w.replayed, c.id)
	}
}

// flushReplays gives every connection with a replay its page of the turn.
func (w *worker) flushReplays() {
	due := min(len(w.replayed), turnReplays)
	ids := w.replayed[:due]
	w.replayed = append([]listen.ID(nil), w.replayed[due:]...)
	for _, id := range ids {
		if c := w.conn(id); c != nil {
			c.client.inReplay = false
			if c.phase == up && w.replay(c) {
				w.goOnReplaying(c)
			}
		}
	}
}

// replay sends a page of the connection's first replay and says whether to come
// back next turn. To a client that does not keep up it comes back when its socket
// or its queue has room: see Writable and pace.
func (w *worker) replay(c *conn) (more bool) {
	if len(c.client.replays) == 0 {
		return false
	}
	if !w.roomForReplay(c) {
		w.pace(c)
		return false
	}
	if w.loop.Unsent(c.id) >= w.MaxUnsent {
		w.loop.Await(c.id)
		return false
	}
	r := &c.client.replays[0]
	sent, bytes, full := 0, 0, false
	w.retained.Retained(r.shard, r.filter, r.cursor, w.now(), func(m *session.Message, _ uint64) bool {
		if sent == replayPage || bytes > replayBytes || !w.roomForReplay(c) {
			full = true
			return false
		}
		sent++
		bytes += len(m.Payload)
		r.cursor = m.Topic.Clone().String()
		w.replayOne(c, r, m)
		return true
	})
	switch {
	case full:
		// The shard has more.
	case r.filter.IsExact() || int(r.shard)+1 == w.shards.Shards():
		if c.client.replays = c.client.replays[1:]; len(c.client.replays) == 0 {
			c.client.replays = nil
		}
	default:
		r.shard++
		r.cursor = ""
	}
	return len(c.client.replays) > 0
}

// replayOne sends one retained message: to a persistent session through its
// shard, so that it survives like any other (P8).
func (w *worker) replayOne(c *conn, r *replay, m *session.Message) {
	qos := min(m.QoS, mqtt.QoS(r.options.QoS))
	w.ids1[0] = r.options.ID
	ids := w.ids1[:]
	if r.options.ID == 0 {
		ids = nil
	}
	w.counters.Replayed++
	if c.persistent && qos > 0 {
		id := c.id
		c.client.replaying++
		w.shards.Submit(c.shard, raftstore.EnqueueFor{
			ClientID: c.client.ClientID, Epoch: c.epoch,
			Delivery: raftstore.Delivery{Message: *m, QoS: qos, Retain: true, IDs: ids},
		}, func(r raftstore.Result) {
			if r.Dropped == 0 {
				return
			}
			w.loop.Post(func(w *worker) {
				if c := w.conn(id); c != nil && c.phase == up {
					w.replayLeft(c)
				}
			})
		})
		return
	}
	w.delivery = session.Delivery{Message: m, QoS: qos, Retain: true, IDs: ids}
	w.deliver(c, &w.delivery)
}

// roomForReplay says whether the client's queue takes more: a replay fills no
// queue, it goes at the pace of the acknowledgements.
func (w *worker) roomForReplay(c *conn) bool {
	if c.persistent {
		return c.client.replaying < replayPage
	}
	waiting, _ := c.live.Backlog()
	return waiting == 0
}

// replayLeft notes that a message which a replay brought to the shard waits there no
// more: it has entered the committed window, or was dropped.
func (w *worker) replayLeft(c *conn) {
	if c.client.replaying > 0 {
		c.client.replaying--
	}
	w.goOnReplaying(c)
}

// pace goes on with a replay that waited for the client's acknowledgements.
func (w *worker) pace(c *conn) {
	if len(c.client.replays) == 0 {
		return
	}
	if w.roomForReplay(c) {
		w.goOnReplaying(c)
		return
	}
	if c.persistent && w.isIdle(c) && !c.client.probing {
		w.probe(c)
	}
}

// isIdle says that nothing is under way to the client.
func (w *worker) isIdle(c *conn) bool {
	waiting, _ := c.live.Backlog()
	return waiting == 0 && c.live.Inflight() == 0
}

// probe finds out whether anything waits for the client in its shard, which would
// send it after the last acknowledgements: messages of a replay that expired there
// are never heard of.
func (w *worker) probe(c *conn) {
	id := c.id
	c.client.probing = true
	w.flushAcks()
	w.shards.Submit(c.shard, raftstore.Acks{}, func(raftstore.Result) {
		w.loop.Post(func(w *worker) {
			c := w.conn(id)
			if c == nil || c.phase != up {
				return
			}
			if c.client.probing = false; w.isIdle(c) {
				c.client.replaying = 0
			}
			w.pace(c)
		})
	})
}

// cancelReplays ends the replays of filters.
func (cl *client) cancelReplays(fs map[router.Filter]bool) {
	cl.replays = slices.DeleteFunc(cl.replays, func(r replay) bool { return fs[r.filter] })
}
