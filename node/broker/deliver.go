package broker

import (
	"sync/atomic"
	"unsafe"

	"dunlin/node/listen"
	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"
)

// batch carries deliveries to the connections of another loop: packed messages,
// one after another, and who gets them. It is made by one goroutine, posted
// once, and recycled by the loop that took it.
type batch struct {
	bytes   []byte
	items   []item
	ids     []uint32
	shared  []sharing // of items of share groups
	arrival *arrival  // the forwarded frame that the deliveries came in, if any
	owed    int       // what it counts in the loop's arrears
	late    bool      // the loop is behind
	lost    uint64    // deliveries left out because of it
	mailed  int       // what it counts in the loop's gauge

	serial uint64 // of the message packed last
	offset uint32 // and where it lies
}

// item is one delivery of a batch.
type item struct {
	to     router.Subscriber
	index  uint64 // committed queue index, for pushes to persistent sessions
	epoch  session.Epoch
	offset uint32    // of the message in bytes
	ids    [2]uint32 // span in batch.ids
	share  int32     // one more than the index in batch.shared; 0 for ordinary deliveries
	qos    mqtt.QoS
	retain bool
	pushed bool // by the shard: epoch counts
}

// Emptied batches are kept for reuse, that many and of up to that many bytes.
const (
	spareBatches = 32
	maxBatch     = 512 << 10

	maxSpareItems = maxBatch / int(unsafe.Sizeof(item{}))
)

// newBatch returns an empty batch. It may be called from any goroutine.
func (b *Broker) newBatch() *batch {
	select {
	case x := <-b.emptied:
		return x
	default:
		return new(batch)
	}
}

// recycle takes back a batch that nobody uses any more.
func (b *Broker) recycle(x *batch) {
	if cap(x.bytes) > maxBatch || cap(x.items) > maxSpareItems {
		return
	}
	clear(x.shared)
	*x = batch{bytes: x.bytes[:0], items: x.items[:0], ids: x.ids[:0], shared: x.shared[:0]}
	select {
	case b.emptied <- x:
	default:
	}
}

// add packs one more delivery. serial names the message: deliveries of one
// message in a row share its bytes.
//
// The item is the caller's to fill in, in place, until the next one is added.
func (b *batch) add(m *session.Message, serial uint64, now session.Time, ids []uint32) *item {
	if b.serial != serial || len(b.items) == 0 {
		b.serial, b.offset = serial, uint32(len(b.bytes))
		b.bytes = m.Append(b.bytes, now)
	}
	b.items = append(b.items, item{})
	it := &b.items[len(b.items)-1]
	it.offset = b.offset
	if len(ids) > 0 {
		it.ids[0] = uint32(len(b.ids))
		b.ids = append(b.ids, ids...)
		it.ids[1] = uint32(len(b.ids))
	}
	return it
}

// size is about what the batch takes in memory.
func (b *batch) size() int { return len(b.bytes) + 64*len(b.items) + 4*len(b.ids) }

// arrival counts what is left to do of a forwarded frame; the last part confirms it.
type arrival struct {
	left atomic.Int32
	done func()
}

func (a *arrival) land() {
	if a != nil && a.left.Add(-1) == 0 {
		a.done()
	}
}

// beginMessage starts a new message: what is packed of it from here on is packed
// once.
func (w *worker) beginMessage() { w.serial++ }

// offer brings m to one subscriber of this node, here or on another loop, which
// judges for itself.
func (w *worker) offer(m *session.Message, x router.Match, ids []uint32, here *judgement) {
	qos := min(m.QoS, mqtt.QoS(x.QoS)) // [MQTT-3.8.4-8]
	retain := m.Retain && x.RetainAsPublished
	loop := listen.ID(x.Subscriber).Loop()
	if loop != w.index {
		it := w.batchFor(loop).add(m, w.serial, w.now(), ids)
		it.to, it.qos, it.retain = x.Subscriber, qos, retain
		return
	}
	if c := w.conn(listen.ID(x.Subscriber)); c != nil && w.isFirst(m, here) {
		d := &w.delivery
		*d = session.Delivery{}
		d.Message, d.QoS, d.Retain, d.IDs = m, qos, retain, ids
		w.deliverLive(c, d)
	}
}

// deliverLive delivers what routes brought, unless it was retained and is the
// replays' to bring (P8).
func (w *worker) deliverLive(c *conn, d *session.Delivery) {
	m := d.Message
	if m.Retained == 0 {
		w.deliver(c, d)
		return
	}
	if w.isReplays(c, m) {
		return
	}
	switch w.deliver(c, d) {
	case session.Sent, session.Queued, session.Evicted:
		c.client.sentLive(m)
	}
}

// takePush delivers what the session's shard brought. What was retained came there
// either way, live or in a replay, and the later of two may be the older.
func (w *worker) takePush(c *conn, d *session.Delivery) {
	switch m := d.Message; {
	case !m.Replayed && m.Retained != 0 && w.isReplays(c, m),
		m.Replayed && d.Index != 0 && m.Retained <= c.client.lastLive(m.Topic):
		w.skip(c, d)
	case m.Retained != 0 && !m.Replayed:
		switch w.deliver(c, d) {
		case session.Sent, session.Queued, session.Evicted:
			c.client.sentLive(m)
		}
	default:
		w.deliver(c, d)
	}
	if d.Message.Replayed && d.Index != 0 {
		w.replayLeft(c)
	}
}

// batchFor returns the batch that the turn gathers for a loop.
func (w *worker) batchFor(loop int) *batch {
	for len(w.batches) < len(w.workers) {
		w.batches = append(w.batches, nil)
	}
	b := w.batches[loop]
	if b == nil {
		b = w.newBatch()
		b.late = w.workers[loop].mailed.isBehind()
		w.batches[loop] = b
	}
	w.overrun = w.overrun || b.late
	return b
}

func (w *worker) flushBatches() {
	for i, b := range w.batches {
		if b != nil {
			w.workers[i].post(b)
			w.batches[i] = nil
		}
	}
}

// deliver gives d to the connection's session and says what became of it.
func (w *worker) deliver(c *conn, d *session.Delivery) session.Outcome {
	if c.phase != up {
		return session.Expired // on its way out: its session ends or resends
	}
	if !w.mayReceive(c, d.Message.Topic, d.QoS) {
		w.counters.DeliveryDenied++
		w.skip(c, d)
		return session.Sent
	}
	ready := w.loop.Unsent(c.id) < w.MaxUnsent
	w.moving = c
	var outcome session.Outcome
	var out []byte
	switch {
	case d.QoS == 0: // which waits in no queue
		outcome, out = c.live.Deliver(d, ready, w.now(), w.loop.Begin(c.id))
		w.loop.End(c.id, out)
	case w.isCrowded(c, d, ready):
		outcome = session.QueueFull
	default:
		w.waiting -= c.live.Held()
		outcome, out = c.live.Deliver(d, ready, w.now(), w.loop.Begin(c.id))
		w.loop.End(c.id, out)
		w.waiting += c.live.Held()
	}
	if outcome == session.Sent {
		w.counters.Sent[d.QoS]++
	} else if outcome == session.Queued || outcome == session.Evicted {
		w.counters.Queued++
		c.live.Judge(w.mayMove) // once more when it is sent (case 43)
	} else {
		w.counters.Dropped[outcome]++
		w.skip(c, d)
	}
	w.drops(c)
	w.awaitSocket(c)
	return outcome
}

// mayReceive asks the authorizer, if there is anything to ask.
func (w *worker) mayReceive(c *conn, t router.Topic, qos mqtt.QoS) bool {
	return w.Access.Unrestricted() || w.Access.MayReceive(w.identity(c), t, uint8(qos))
}

// awaitSocket has Writable called for a session whose queue waits for that: whatever let
// it begin to wait, a delivery, an acknowledgement or Writable itself, asks here.
func (w *worker) awaitSocket(c *conn) {
	if c.live.Waiting() {
		w.loop.Await(c.id)
	}
}

// drops sees to deliveries that were given up after they had been queued.
func (w *worker) drops(c *conn) {
	for _, d := range c.live.Drops() {
		if d.Outcome == session.Denied {
			w.counters.DeliveryDenied++
		} else {
			w.counters.Dropped[d.Outcome]++
		}
		if d.Index != 0 && c.persistent {
			w.ack(c, d.Index, false)
		}
		if d.Handle != 0 {
			w.givenUp(c, &d)
		}
	}
}

// skip tells the shard that a committed delivery needs no more: the session may
// not or cannot have it.
func (w *worker) skip(c *conn, d *session.Delivery) {
	if d.Index != 0 {
		w.ack(c, d.Index, false)
	}
}

// drain sends what waited in a session's queue for the socket.
func (w *worker) drain(c *conn) {
	w.moving = c
	w.waiting -= c.live.Held()
	w.loop.End(c.id, c.live.Drain(w.now(), w.MaxUnsent, w.loop.Begin(c.id)))
	w.waiting += c.live.Held()
	w.drops(c)
	w.awaitSocket(c)
}

// expects says whether a pushed delivery is for this connection's claim, and the
// next one of it.
func (c *conn) expects(it *item) bool {
	if c.epoch != it.epoch {
		if h := c.client.connect; h != nil {
			h.early(it.epoch, it.index)
		}
		return false
	}
	switch {
	case it.index == 0:
		return true
	case c.persistent:
		return c.live.Follows(it.index)
	}
	return c.client.follows(it.index)
}

// receiveBatch takes deliveries from another goroutine.
func (w *worker) receiveBatch(b *batch) {
	m := &w.message
	at := ^uint32(0)
	var copies judgement
	for i := range b.items {
		it := &b.items[i]
		if it.offset != at {
			at, copies = it.offset, unjudged
			if _, err := m.Parse(b.bytes[at:], w.now()); err != nil {
				panic("broker: packed message does not parse: " + err.Error())
			}
			w.beginMessage()
			if i+1 < len(b.items) && b.items[i+1].offset == at {
				m.Share(&w.forms)
			}
		}
		c := w.conn(listen.ID(it.to))
		if it.share > 0 {
			w.takeShared(c, m, it, &b.shared[it.share-1], b.ids[it.ids[0]:it.ids[1]])
			continue
		}
		if c == nil || it.pushed && !c.expects(it) || !it.pushed && !w.isFirst(m, &copies) {
			continue
		}
		d := &w.delivery
		*d = session.Delivery{
			Message: m, QoS: it.qos, Retain: it.retain,
			IDs: b.ids[it.ids[0]:it.ids[1]], Index: it.index,
		}
		if !it.pushed {
			w.deliverLive(c, d)
			continue
		}
		if it.index != 0 && !c.persistent {
			d.Handle = given | it.index
		}
		w.takePush(c, d)
	}
	w.work += len(b.items)
	w.counters.Dropped[session.QueueFull] += b.lost
	w.tookBatch(b)
	b.arrival.land()
	if b.owed > 0 {
		w.arrears.sub(b.owed)
	}
	w.recycle(b)
}
