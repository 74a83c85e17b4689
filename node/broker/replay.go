package broker

import (
	"dunlin/proto/mqtt"
	"dunlin/raftstore"
	"dunlin/router"
	"dunlin/session"
)

// replayPage is how many retained messages a connection is given in one turn, so
// that a wide filter over many topics stalls nobody (case 33).
const replayPage = 64

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
	if len(c.client.replays) == 0 {
		w.replayed = append(w.replayed, c.id)
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
}

// flushReplays gives every connection with a replay its page of the turn.
func (w *worker) flushReplays() {
	if len(w.replayed) == 0 {
		return
	}
	ids := w.replayed
	w.replayed = nil
	for _, id := range ids {
		if c := w.conn(id); c != nil && c.phase == up && w.replay(c) {
			w.replayed = append(w.replayed, id)
		}
	}
	if len(w.replayed) > 0 {
		w.loop.Post(again{}) // come back next turn, after others had theirs
	}
}

// again is mail to oneself: the next turn has more to do.
type again struct{}

// replay sends a page of the connection's first replay and says whether to come
// back next turn; a client that does not keep up is come back to by Writable.
func (w *worker) replay(c *conn) (more bool) {
	if len(c.client.replays) == 0 {
		return false
	}
	if w.loop.Unsent(c.id) >= w.MaxUnsent {
		return false
	}
	r := &c.client.replays[0]
	sent, bytes, full := 0, 0, false
	w.retained.Retained(r.shard, r.filter, r.cursor, w.now(), func(m *session.Message, _ uint64) bool {
		if sent == replayPage || bytes > replayBytes {
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
		c.client.replays = append(c.client.replays[:0], c.client.replays[1:]...)
		if len(c.client.replays) == 0 {
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
		w.shards.Submit(c.shard, raftstore.EnqueueFor{
			ClientID: c.client.ClientID, Epoch: c.epoch,
			Delivery: raftstore.Delivery{Message: *m, QoS: qos, Retain: true, IDs: ids},
		}, func(raftstore.Result) {})
		return
	}
	w.delivery = session.Delivery{Message: m, QoS: qos, Retain: true, IDs: ids}
	w.deliver(c, &w.delivery)
}

// cancelReplay ends the replays of a filter that is unsubscribed.
func (cl *client) cancelReplay(f router.Filter) {
	kept := cl.replays[:0]
	for _, r := range cl.replays {
		if r.filter != f {
			kept = append(kept, r)
		}
	}
	cl.replays = kept
}
