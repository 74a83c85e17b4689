package broker

import (
	"errors"
	"slices"
	"strings"

	"dunlin/node/listen"
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

// pageReads are the pages of one shard that a worker reads and will read: a shard
// that does not answer holds up nobody who reads from another.
type pageReads struct {
	waiting []listen.ID // whose turn it is, in order
	reading int
}

// maxReading is how many pages of a shard a worker waits for at once.
const maxReading = 8

// replay is the way of one subscription through the retained messages: shard
// after shard, in topic order. It is paced by the client's socket and queue.
type replay struct {
	filter  router.Filter
	options router.Options
	fresh   bool // the subscription is new
	cuts    []session.Cut
	shard   router.ShardID
	last    router.ShardID // no shard after it
	cursor  string         // where shard's next page goes on
	asOf    uint64         // index of shard that the page is to be as new as
}

// beginReplays has the retained messages of new subscriptions sent.
func (w *worker) beginReplays(c *conn, s *suback) {
	if !s.wants {
		return
	}
	c.client.wanting--
	if len(c.client.replays) > 0 {
		again := make(map[router.Filter]bool, len(s.replays))
		for _, r := range s.replays {
			again[r.filter] = true
		}
		c.client.cancelReplays(again)
	}
	for _, r := range s.replays {
		w.sendStatus(c, r)
		if !w.place(c, r, s.cuts) {
			continue
		}
		c.client.replays = append(c.client.replays, r)
		if r.fresh {
			c.client.fresh = append(c.client.fresh, newcomer{filter: r.filter, cuts: s.cuts, until: w.now() + freshFor})
		}
		if c.persistent && !r.filter.IsExact() {
			w.noteReplay(c, r, false)
		}
	}
	w.goOnReplaying(c)
}

// place puts a replay at its first shard; false if there is none.
func (w *worker) place(c *conn, r *replay, cuts []session.Cut) bool {
	from, to := w.shardsOf(r.filter)
	r.cuts, r.shard, r.last = cuts, max(r.shard, from), to-1
	c.client.beginShard(r)
	return from < to
}

// beginShard has the pages of r's shard be as new as its cut: what was sent live
// since is remembered. Where that is not so, they are as new as can be.
func (cl *client) beginShard(r *replay) {
	r.asOf = cutAt(r.cuts, r.shard)
	if cl.forgot {
		r.asOf = 0
	}
}

// resumeReplays goes on with the replays of a persistent session that its earlier
// connections did not bring to an end. What those were sent live is not known.
func (w *worker) resumeReplays(c *conn, claimed *raftstore.Claimed) {
	if len(claimed.Replays) == 0 {
		return
	}
	c.client.begin()
	c.client.forgot = true
	var uncut []*replay
	for _, left := range claimed.Replays {
		r := &replay{filter: left.Filter, shard: left.Shard, cursor: left.Cursor}
		for i := range claimed.Subscriptions {
			if sub := &claimed.Subscriptions[i]; sub.Filter == left.Filter {
				r.options = sub.Options
			}
		}
		if len(left.Cuts) == 0 {
			uncut = append(uncut, r)
		} else if w.place(c, r, left.Cuts) {
			c.client.replays = append(c.client.replays, r)
		}
	}
	w.goOnReplaying(c)
	w.cutResumed(c.id, uncut)
}

// cutResumed resumes replays whose SUBACK was not sent, or whose cuts were lost with
// the connection that had it.
func (w *worker) cutResumed(id listen.ID, replays []*replay) {
	if len(replays) == 0 {
		return
	}
	cl := &w.conn(id).client
	cl.begin()
	cl.wanting++
	w.readCuts(replays, func(cuts []session.Cut, err error) {
		c := w.conn(id)
		if c == nil || c.phase != up || errors.Is(err, raftstore.ErrClosed) {
			return
		}
		c.client.wanting--
		if err != nil {
			w.cutResumed(id, replays) // a shard has no leader; nobody waits
			return
		}
		for _, r := range replays {
			if w.filters(c).Has(r.filter) && w.place(c, r, cuts) {
				c.client.replays = append(c.client.replays, r)
			}
		}
		w.goOnReplaying(c)
	})
}

// noteReplay tells the shard of a persistent session how one of its replays stands.
func (w *worker) noteReplay(c *conn, r *replay, done bool) {
	id := c.id
	cmd := raftstore.Replaying{ClientID: w.clientID(c), Epoch: c.epoch, Filter: r.filter, Done: done}
	if !done {
		cmd.Cuts = r.cuts
	}
	w.shards.Submit(c.shard, cmd, func(res raftstore.Result) {
		if res.Err == nil {
			return
		}
		w.loop.Post(func(w *worker) {
			if c := w.conn(id); c != nil && c.phase == up {
				w.failed(c, res.Err)
			}
		})
	})
}

// goOnReplaying has the next page of c's replays read at the end of the turn.
func (w *worker) goOnReplaying(c *conn) {
	cl := &c.client
	if cl.catchUp == nil {
		return
	}
	if len(cl.replays) == 0 {
		if cl.wanting+cl.replaying == 0 {
			cl.live, cl.anew, cl.forgot = nil, false, false
		}
		return
	}
	if !cl.inReplay && !cl.reading {
		cl.inReplay = true
		w.pagesDue++
		q := &w.pages[cl.replays[0].shard]
		q.waiting = append(q.waiting, c.id)
	}
}

// flushReplays has a page read for the connections whose turn it is.
func (w *worker) flushReplays() {
	if w.pagesDue == 0 {
		return
	}
	for sh := range w.shards.Shards() {
		q := &w.pages[sh]
		n := 0
		for n < len(q.waiting) && q.reading < maxReading {
			if c := w.conn(q.waiting[n]); c != nil {
				c.client.inReplay = false
				if c.phase == up {
					w.readPage(c)
				}
			}
			n++
		}
		w.pagesDue -= n
		q.waiting = append(q.waiting[:0], q.waiting[n:]...)
	}
}

// readPage asks for the next page of the connection's first replay. For a client
// that does not keep up it is asked when its socket or its queue has room: see
// Writable and pace.
func (w *worker) readPage(c *conn) {
	cl := &c.client
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
	if cl.anew {
		// All that was sent live so far is in the states now.
		cl.anew, cl.forgot = false, true
		clear(cl.live)
		for _, r := range cl.replays {
			r.asOf = 0
		}
	}
	q := raftstore.RetainedQuery{
		Filter: r.filter, Cursor: r.cursor, AsOf: r.asOf, MaxMessages: room, MaxBytes: replayBytes,
	}
	cl.reading = true
	from := &w.pages[r.shard]
	from.reading++
	id := c.id
	w.retained.ReadRetained(r.shard, q, func(p raftstore.RetainedPage, err error) {
		w.loop.Post(func(w *worker) {
			from.reading--
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
	cl := &c.client
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
		if !c.persistent && w.roomForReplay(c) == 0 {
			w.goOnReplaying(c)
			return
		}
		topic := m.Message.Topic.String()
		if !cl.isLive(r, topic, m) {
			m.Message.Retained, m.Message.Replayed = m.Index, true
			w.replayOne(c, r, &m.Message)
		}
		r.cursor = strings.Clone(topic)
	}
	r.cursor, r.asOf = p.Cursor, max(r.asOf, p.Index)
	switch {
	case p.More:
	case r.shard == r.last:
		if c.persistent {
			w.noteReplay(c, r, true)
		}
		if cl.replays = cl.replays[1:]; len(cl.replays) == 0 {
			cl.replays = nil
		}
	default:
		r.shard++
		r.cursor = ""
		cl.beginShard(r)
	}
	w.goOnReplaying(c)
}

// isLive says that a retained message is not the replay's: the topic's value that
// is due went to the client live, or will. Of QoS 0 that is not certain.
func (cl *client) isLive(r *replay, topic string, m *raftstore.RetainedMessage) bool {
	return m.Index > cutAt(r.cuts, r.shard) && m.Message.QoS > 0 || m.Index <= cl.live[topic]
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
			ClientID: w.clientID(c), Epoch: c.epoch,
			Delivery: raftstore.Delivery{Message: *m, QoS: qos, Retain: true, IDs: ids},
			Replay:   r.filter, Shard: r.shard,
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
// queue, it goes at the pace of the acknowledgements. A persistent session's takes
// a page when the one before has left it.
func (w *worker) roomForReplay(c *conn) int {
	if c.persistent {
		if c.client.replaying > 0 {
			return 0
		}
		return replayPage
	}
	if waiting, _ := c.live.Backlog(); waiting > 0 {
		return 0
	}
	return min(c.live.Room()+1, replayPage)
}

// replayLeft notes that a message which a replay brought to the shard waits there no
// more: it has entered the committed window, or was dropped.
func (w *worker) replayLeft(c *conn) {
	if c.client.catchUp != nil && c.client.replaying > 0 {
		c.client.replaying--
	}
	w.goOnReplaying(c)
}

// pace goes on with a replay that waited for the client's acknowledgements.
func (w *worker) pace(c *conn) {
	if c.client.catchUp == nil || len(c.client.replays)+c.client.replaying == 0 || c.client.reading {
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
				w.goOnReplaying(c)
			default:
				w.pace(c)
			}
		})
	})
}

// restartReplays ends the replays of subscriptions that are made again and begin
// theirs anew: what they would note is not to be taken for the new ones'.
func (cl *client) restartReplays(subs []raftstore.Subscription) {
	if cl.catchUp == nil || len(cl.replays) == 0 {
		return
	}
	again := make(map[router.Filter]bool)
	for i := range subs {
		if subs[i].WantsRetained(true) {
			again[subs[i].Filter] = true
		}
	}
	cl.cancelReplays(again)
}

// cancelReplays ends the replays of filters.
func (cl *client) cancelReplays(fs map[router.Filter]bool) {
	if cl.catchUp == nil {
		return
	}
	cl.replays = slices.DeleteFunc(cl.replays, func(r *replay) bool { return fs[r.filter] })
}
