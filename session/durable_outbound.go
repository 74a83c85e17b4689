package session

import "dunlin/proto/mqtt"

// maxSpan bounds the indices of a committed window, first to last: fewer than
// there are packet identifiers, so that no two unacknowledged messages share
// one (S1).
const maxSpan = 65_534

// purgeEvery is the least time between two sweeps for expired messages of one
// queue, whose deadlines are whole seconds anyway.
const purgeEvery Time = 1e9

// none is the reference of an entry that holds no message any more.
const none = ^uint32(0)

// outbound is a session's queue: the committed window, and what waits behind it.
type outbound struct {
	window  ring
	waiting ring
	unacked uint32 // entries of the window that are not done
	lastKey uint32
	base    uint64 // index of the window's first entry
	queued  uint64 // bytes that wait
	held    uint64 // bytes of the window's messages
	sweep   Time   // nothing that waits expires before; Never if nothing does
	lists   map[uint32][]uint32
}

// Outbound is one entry of the committed window.
type Outbound struct {
	Index    uint64
	Ref      uint32 // meaningless once Received
	QoS      mqtt.QoS
	Retain   bool
	Received bool
	IDs      []uint32
}

// Enqueue appends a message of QoS 1 or 2 for the session, or refuses it
// (QueueFull), or drops older ones for it (Evicted), dropped of them. What is in
// flight is never dropped, nor refused what goes straight into the window (S5).
// ids is copied. The caller then calls Next.
func (d *Durable) Enqueue(ref uint32, qos mqtt.QoS, retain bool, ids []uint32, now Time, b Bodies) (o Outcome, dropped int) {
	if d.out == nil {
		d.out = &outbound{base: 1}
	}
	q := d.out
	size := uint64(b.Size(ref))
	if q.waiting.len > 0 || !d.hasRoom(size) {
		if t := q.nextExpiry(); t != Never && t <= now && !q.fits(&d.terms, size) {
			q.purge(now, b)
		}
		for !q.fits(&d.terms, size) {
			if !d.is(dropsOldest) || !q.evict(b) {
				return QueueFull, dropped
			}
			dropped++
		}
	}
	e := entry{ref: ref}
	if qos == 2 {
		e.flags |= flagQoS2
	}
	if retain {
		e.flags |= flagRetain
	}
	switch len(ids) {
	case 0:
	case 1:
		e.id = ids[0]
	default:
		e.id, e.flags = q.list(ids), e.flags|flagListed
	}
	q.add(e, b)
	if dropped > 0 {
		return Evicted, dropped
	}
	return Queued, 0
}

// add appends e to what waits.
func (q *outbound) add(e entry, b Bodies) {
	b.Retain(e.ref)
	q.waiting.push(e)
	q.queued += uint64(b.Size(e.ref))
	if t := b.Deadline(e.ref); t != Never {
		q.sweep = earlier(q.sweep, t)
	}
}

// evict drops the oldest that waits, but for what share groups gave: another
// member may have room for that. It says whether there was one.
func (q *outbound) evict(b Bodies) bool {
	for i := range q.waiting.len {
		if q.waiting.at(i).flags&flagShared != 0 {
			continue
		}
		for ; i > 0; i-- {
			e, before := q.waiting.at(i), q.waiting.at(i-1)
			*e, *before = *before, *e
		}
		q.letGo(q.popWaiting(b), b)
		return true
	}
	return false
}

// Next moves the next waiting message into the committed window, if the session
// is attached and the window has room, and says what is to be sent. Messages
// that expired on the way are dropped and counted.
func (d *Durable) Next(now Time, b Bodies) (o Outbound, expired int, ok bool) {
	q := d.out
	if q == nil {
		return o, 0, false
	}
	for q.waiting.len > 0 {
		size := uint64(b.Size(q.waiting.at(0).ref))
		if !d.hasRoom(size) {
			break
		}
		e := q.popWaiting(b)
		if t := b.Deadline(e.ref); t != Never && t <= now {
			q.letGo(e, b)
			expired++
			continue
		}
		q.window.push(e)
		q.unacked++
		q.held += size
		return q.outbound(q.window.len - 1), expired, true
	}
	return o, expired, false
}

// NextIndex is the index that the next message gets that enters the committed
// window.
func (d *Durable) NextIndex() uint64 {
	if d.out == nil {
		return 1
	}
	return d.out.base + uint64(d.out.window.len)
}

// hasRoom says whether the window may grow by a message of that size (S1).
func (d *Durable) hasRoom(size uint64) bool {
	q := d.out
	return d.Attached() && q.unacked < uint32(d.inflight) && q.window.len < maxSpan &&
		(q.held == 0 || q.held+size <= uint64(d.maxHeld))
}

// Window calls yield with each entry of the committed window that is not done,
// in order: what a new owner resends (S3).
func (d *Durable) Window(yield func(Outbound) bool) {
	if d.out == nil {
		return
	}
	for i := range d.out.window.len {
		if d.out.window.at(i).flags&flagDone == 0 && !yield(d.out.outbound(i)) {
			return
		}
	}
}

// Ack takes an acknowledgement of the delivery at index: received for a PUBREC,
// else it is done. An index that is unknown, or done, frees nothing (S4).
func (d *Durable) Ack(index uint64, received bool, b Bodies) (known bool) {
	q := d.out
	e := q.inWindow(index)
	if e == nil || e.flags&flagDone != 0 || received && e.flags&flagQoS2 == 0 {
		return false
	}
	if e.ref != none {
		q.held -= uint64(b.Size(e.ref))
	}
	q.letGo(*e, b)
	if received {
		e.ref, e.id, e.flags = none, 0, e.flags&^flagListed|flagReceived
		return true
	}
	q.settle(e)
	q.advance()
	return true
}

// inWindow is the entry of the window at index, nil if there is none.
func (q *outbound) inWindow(index uint64) *entry {
	if q == nil || index < q.base || index-q.base >= uint64(q.window.len) {
		return nil
	}
	return q.window.at(uint32(index - q.base))
}

// settle has e of the window, which holds nothing any more, be done.
func (q *outbound) settle(e *entry) {
	e.ref, e.id, e.flags = none, 0, e.flags&^flagListed|flagDone
	q.unacked--
}

// advance lets go of what is done at the window's head.
func (q *outbound) advance() {
	for q.window.len > 0 && q.window.at(0).flags&flagDone != 0 {
		q.window.pop()
		q.base++
	}
}

// Backlog is what the queue holds: entries in the window that are not done,
// entries behind it, and the bytes of those.
func (d *Durable) Backlog() (inflight, waiting int, bytes uint64) {
	if d.out == nil {
		return 0, 0, 0
	}
	return int(d.out.unacked), int(d.out.waiting.len), d.out.queued
}

func (q *outbound) fits(t *terms, size uint64) bool {
	return q.waiting.len < t.maxMessages && q.queued+size <= uint64(t.maxBytes)
}

// popWaiting takes the oldest that waits; its message is still held.
func (q *outbound) popWaiting(b Bodies) entry {
	e := q.waiting.pop()
	q.queued -= uint64(b.Size(e.ref))
	return e
}

// letGo gives up what e holds.
func (q *outbound) letGo(e entry, b Bodies) {
	if e.ref != none {
		b.Release(e.ref)
	}
	if e.flags&flagListed != 0 {
		delete(q.lists, e.id)
	}
}

// rest gives back the memory of an empty queue, whose owner left.
func (q *outbound) rest() {
	if q == nil {
		return
	}
	for _, r := range [...]*ring{&q.window, &q.waiting} {
		if r.len == 0 {
			*r = ring{}
		}
	}
}

func (q *outbound) letAllGo(b Bodies) {
	if q == nil {
		return
	}
	for i := range q.window.len {
		q.letGo(*q.window.at(i), b)
	}
	for i := range q.waiting.len {
		q.letGo(*q.waiting.at(i), b)
	}
}

// nextExpiry is when a purge may find something.
func (q *outbound) nextExpiry() Time {
	if q == nil || q.waiting.len == 0 {
		return Never
	}
	return q.sweep
}

// purge drops what has expired waiting.
func (q *outbound) purge(now Time, b Bodies) (dropped int) {
	q.sweep = Never
	kept := uint32(0)
	for i := range q.waiting.len {
		e := *q.waiting.at(i)
		t := b.Deadline(e.ref)
		if t != Never && t <= now {
			q.queued -= uint64(b.Size(e.ref))
			q.letGo(e, b)
			dropped++
			continue
		}
		if t != Never {
			q.sweep = earlier(q.sweep, t)
		}
		*q.waiting.at(kept) = e
		kept++
	}
	q.waiting.cut(kept)
	if q.sweep != Never {
		q.sweep = max(q.sweep, now+purgeEvery)
	}
	return dropped
}

// list files the identifiers of a delivery that matched several subscriptions.
func (q *outbound) list(ids []uint32) (key uint32) {
	if q.lists == nil {
		q.lists = make(map[uint32][]uint32)
	}
	for {
		q.lastKey++
		if _, taken := q.lists[q.lastKey]; !taken {
			q.lists[q.lastKey] = append([]uint32(nil), ids...)
			return q.lastKey
		}
	}
}

// outbound describes entry i of the window.
func (q *outbound) outbound(i uint32) Outbound {
	e := q.window.at(i)
	o := Outbound{
		Index: q.base + uint64(i), Ref: e.ref, QoS: 1,
		Retain: e.flags&flagRetain != 0, Received: e.flags&flagReceived != 0,
		IDs: q.ids(*e),
	}
	if e.flags&flagQoS2 != 0 {
		o.QoS = 2
	}
	return o
}

func (q *outbound) ids(e entry) []uint32 {
	switch {
	case e.flags&flagListed != 0:
		return q.lists[e.id]
	case e.id != 0:
		return []uint32{e.id}
	}
	return nil
}
