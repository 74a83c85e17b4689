package broker

import (
	"errors"
	"slices"
	"strings"

	"dunlin/proto/mqtt"
	"dunlin/raftstore"
	"dunlin/router"
	"dunlin/session"
)

// replayPage is how many retained messages a connection is given at once, so that
// a wide filter over many topics stalls nobody (case 33).
const replayPage = 64

// replayBytes ends a page early when the payloads are large.
const replayBytes = 256 << 10

// maxReading is how many pages a worker waits for at once.
const maxReading = 32

// replay is the way of one subscription through the retained messages: shard
// after shard, in topic order. It is paced by the client's socket and queue.
type replay struct {
	filter  router.Filter
	options router.Options
	fresh   bool // the subscription is new
	cuts    cuts
	shard   router.ShardID
	last    router.ShardID // no shard after it
	cursor  string         // where shard's next page goes on
	asOf    uint64         // index of shard that the page is to be as new as
}

// beginReplays has the retained messages of new subscriptions sent.
func (w *worker) beginReplays(c *conn, s *suback) {
	if len(s.replays) == 0 {
		return
	}
	c.client.wanting--
	if len(c.client.replays) > 0 {
		again := make(map[router.Filter]bool, len(s.replays))
		for i := range s.replays {
			again[s.replays[i].filter] = true
		}
		c.client.cancelReplays(again)
	}
	for i := range s.replays {
		r := &s.replays[i]
		w.sendStatus(c, r)
		from, to := w.shardsOf(r.filter)
		if from == to {
			continue
		}
		r.cuts, r.shard, r.last = s.cuts, from, to-1
		r.asOf = r.cuts.at(from)
		c.client.replays = append(c.client.replays, r)
		if r.fresh {
			c.client.fresh = append(c.client.fresh, newcomer{filter: r.filter, cuts: s.cuts, until: w.now() + freshFor})
		}
	}
	w.goOnReplaying(c)
}

// goOnReplaying has the next page of c's replays read at the end of the turn.
func (w *worker) goOnReplaying(c *conn) {
	cl := c.client
	if len(cl.replays) == 0 {
		if cl.wanting == 0 {
			cl.live, cl.anew = nil, false
		}
		return
	}
	if !cl.inReplay && !cl.reading {
		cl.inReplay = true
		w.replayed = append(w.replayed, c.id)
	}
}

// flushReplays has a page read for the connections whose turn it is.
func (w *worker) flushReplays() {
	n := 0
	for n < len(w.replayed) && w.reading < maxReading {
		if c := w.conn(w.replayed[n]); c != nil {
			c.client.inReplay = false
			if c.phase == up {
				w.readPage(c)
			}
		}
		n++
	}
	w.replayed = append(w.replayed[:0], w.replayed[n:]...)
}

// readPage asks for the next page of the connection's first replay. For a client
// that does not keep up it is asked when its socket or its queue has room: see
// Writable and pace.
func (w *worker) readPage(c *conn) {
	cl := c.client
	if len(cl.replays) == 0 {
		return
	}
	room := w.roomForReplay(c)
	if room == 0 {
		w.pace(c)
		return
	}
	if w.loop.Unsent(c.id) >= w.MaxUnsent {
		w.loop.Await(c.id)
		return
	}
	r := cl.replays[0]
	q := raftstore.RetainedQuery{
		Filter: r.filter, Cursor: r.cursor, AsOf: r.asOf, MaxMessages: room, MaxBytes: replayBytes,
	}
	if cl.anew {
		// Of what was sent live too much is forgotten: all of it is in the state now.
		cl.anew, q.AsOf = false, 0
		clear(cl.live)
	}
	cl.reading = true
	w.reading++
	id := c.id
	w.retained.ReadRetained(r.shard, q, func(p raftstore.RetainedPage, err error) {
		w.loop.Post(func(w *worker) {
			w.reading--
			if c := w.conn(id); c != nil {
				c.client.reading = false
				if c.phase == up {
					w.pageRead(c, r, &p, err)
				}
			}
		})
	})
}

// pageRead sends a page. What the client has no room for is read again later.
func (w *worker) pageRead(c *conn, r *replay, p *raftstore.RetainedPage, err error) {
	cl := c.client
	if err != nil {
		if !errors.Is(err, raftstore.ErrClosed) {
			w.goOnReplaying(c) // the shard has no leader: nobody else waits for it
		}
		return
	}
	if len(cl.replays) == 0 || cl.replays[0] != r || cl.anew {
		w.goOnReplaying(c)
		return
	}
	for i := range p.Messages {
		m := &p.Messages[i]
		if w.roomForReplay(c) == 0 {
			w.goOnReplaying(c)
			return
		}
		topic := m.Message.Topic.String()
		if !cl.isLive(r, topic, m) {
			w.replayOne(c, r, &m.Message)
		}
		r.cursor = strings.Clone(topic)
	}
	r.cursor, r.asOf = p.Cursor, max(r.asOf, p.Index)
	switch {
	case p.More:
	case r.shard == r.last:
		if cl.replays = cl.replays[1:]; len(cl.replays) == 0 {
			cl.replays = nil
		}
	default:
		r.shard++
		r.cursor, r.asOf = "", r.cuts.at(r.shard)
	}
	w.goOnReplaying(c)
}

// isLive says that a retained message is not the replay's: the topic's value that
// is due went to the client live, or will. Of QoS 0 that is not certain.
func (cl *client) isLive(r *replay, topic string, m *raftstore.RetainedMessage) bool {
	return m.Index > r.cuts.at(r.shard) && m.Message.QoS > 0 || m.Index <= cl.live[topic]
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
		left := w.toShard(c.shard, m)
		w.shards.Submit(c.shard, raftstore.EnqueueFor{
			ClientID: c.client.ClientID, Epoch: c.epoch,
			Delivery: raftstore.Delivery{Message: *m, QoS: qos, Retain: true, IDs: ids},
		}, func(r raftstore.Result) {
			left()
			if r.Dropped == 0 && r.Err == nil {
				return
			}
			w.loop.Post(func(w *worker) {
				c := w.conn(id)
				switch {
				case c == nil || c.phase != up:
				case r.Err != nil:
					w.failed(c, r.Err)
				default:
					w.replayLeft(c)
				}
			})
		})
		return
	}
	w.delivery = session.Delivery{Message: m, QoS: qos, Retain: true, IDs: ids}
	w.deliver(c, &w.delivery)
}

// roomForReplay is how many messages the client's queue takes: a replay fills no
// queue, it goes at the pace of the acknowledgements.
func (w *worker) roomForReplay(c *conn) int {
	if c.persistent {
		return max(replayPage-c.client.replaying, 0)
	}
	if waiting, _ := c.live.Backlog(); waiting > 0 {
		return 0
	}
	return min(c.live.Room()+1, replayPage)
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
	if len(c.client.replays) == 0 || c.client.reading {
		return
	}
	if w.roomForReplay(c) > 0 {
		w.goOnReplaying(c)
		return
	}
	if c.persistent && w.isIdle(c) && !c.client.probing {
		w.probe(c, false)
	}
}

// isIdle says that nothing is under way to the client.
func (w *worker) isIdle(c *conn) bool {
	waiting, _ := c.live.Backlog()
	return waiting == 0 && c.live.Inflight() == 0
}

// probe finds out whether anything waits for the client in its shard: messages of a
// replay that expired there are never heard of. What was on its way to the client
// when the shard answered is here when it has answered once more.
func (w *worker) probe(c *conn, again bool) {
	id := c.id
	c.client.probing = true
	w.flushAcks()
	w.shards.Submit(c.shard, raftstore.Acks{}, func(r raftstore.Result) {
		w.loop.Post(func(w *worker) {
			c := w.conn(id)
			if c == nil || c.phase != up {
				return
			}
			c.client.probing = false
			switch idle := w.isIdle(c); {
			case errors.Is(r.Err, raftstore.ErrClosed):
			case errors.Is(r.Err, raftstore.ErrFenced):
				w.failed(c, r.Err)
			case r.Err != nil:
				w.probe(c, false)
			case idle && !again:
				w.probe(c, true)
			case idle:
				c.client.replaying = 0
				fallthrough
			default:
				w.pace(c)
			}
		})
	})
}

// cancelReplays ends the replays of filters.
func (cl *client) cancelReplays(fs map[router.Filter]bool) {
	cl.replays = slices.DeleteFunc(cl.replays, func(r *replay) bool { return fs[r.filter] })
}
