package broker

import (
	"slices"

	"dunlin/cluster"
	"dunlin/node/listen"
	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"
)

// A message of QoS > 0 for a share group that is no queue (see queues.go) is
// somebody's responsibility until a member has acknowledged it (P9):
//   - a member's live session keeps the message itself; when the member departs,
//     its worker hands on what was not acknowledged (returned);
//   - for a member on another node, the worker that took the message lends it: it
//     keeps a copy until that node reports it settled, and draws another member if
//     the node returns it or dies.
// A QoS 2 message that was sent is never handed on: it ends with the member's
// session, counted [MQTT-4.8.2-5].

// sharing is what a worker knows of a message that one of its connections has
// from a share group; session.Delivery.Handle is one more than its index, or has
// the bit given.
type sharing struct {
	filter router.Filter
	node   router.NodeID // the node that lent it; 0 if it came in here
	handle uint64        // that node's name for it
	tried  *tried        // nil as long as nobody was
	next   int32
}

// tried is who had no room for a message of a share group. It goes with the
// message, so that this comes to an end when nobody has.
type tried struct {
	nodes []router.NodeID
	loops []int // of this node
}

func (t *tried) node(n router.NodeID) bool { return t != nil && slices.Contains(t.nodes, n) }
func (t *tried) loop(i int) bool           { return t != nil && slices.Contains(t.loops, i) }

// shares is a slab of sharings.
type shares struct {
	slots []sharing
	head  int32 // first free slot plus one
}

func (s *shares) take(sh sharing) (handle uint64) {
	if s.head == 0 {
		s.slots = append(s.slots, sh)
		return uint64(len(s.slots))
	}
	i := s.head - 1
	s.head = s.slots[i].next
	s.slots[i] = sh
	return uint64(i) + 1
}

func (s *shares) free(handle uint64) sharing {
	i := int32(handle - 1)
	sh := s.slots[i]
	s.slots[i] = sharing{next: s.head}
	s.head = i + 1
	return sh
}

// disown forgets that a node which is gone had lent anything: its number may
// become another's, to whom the handles would mean other messages.
func (s *shares) disown(n router.NodeID) {
	for i := range s.slots {
		if s.slots[i].node == n {
			s.slots[i].handle = 0
		}
	}
}

// share brings m to one member of g, but to none of those tried. The first member
// in turn that takes it has it. The members of a queue are its shard's to choose.
func (w *worker) share(g *router.Group, m *session.Message, t *tried, legs *legs) {
	if sh, ok := g.Queue(); ok {
		w.queueUp(sh, g.Filter(), m, legs)
		return
	}
	turn := g.Turn()
	for nth := 0; ; nth++ {
		x, subscription, node, ok := g.Pick(turn, nth)
		if !ok {
			w.counters.SharedDropped++
			return
		}
		if node != 0 {
			if t.node(node) {
				continue
			}
			w.lend(node, g.Filter(), m, t, legs)
			return
		}
		if w.shareHere(g.Filter(), m, x, subscription, sharing{filter: g.Filter(), tried: t}) {
			return
		}
	}
}

// shareHere brings m to a member on this node and says whether the member took it,
// or will on its own loop unless there is no room.
func (w *worker) shareHere(f router.Filter, m *session.Message, x router.Match, subscription uint32, sh sharing) bool {
	qos := min(m.QoS, mqtt.QoS(x.QoS))
	retain := m.Retain && x.RetainAsPublished
	w.ids1[0] = subscription
	ids := w.ids1[:]
	if subscription == 0 {
		ids = nil
	}
	if loop := listen.ID(x.Subscriber).Loop(); loop != w.index {
		if sh.tried.loop(loop) {
			return false
		}
		b := w.batchFor(loop)
		b.shared = append(b.shared, sh)
		it := b.add(m, w.serial, w.now(), ids)
		it.to, it.qos, it.retain, it.share = x.Subscriber, qos, retain, int32(len(b.shared))
		return true
	}
	it := item{to: x.Subscriber, qos: qos, retain: retain}
	return w.deliverShared(w.conn(listen.ID(x.Subscriber)), m, &it, &sh, ids) == memberTook
}

// takeShared delivers what another goroutine drew a member here for. A member
// that is gone meanwhile is as one that departed; one without room is passed over
// for another here.
func (w *worker) takeShared(c *conn, m *session.Message, it *item, sh *sharing, ids []uint32) {
	switch w.deliverShared(c, m, it, sh, ids) {
	case memberGone:
		w.handOn(*sh, m)
	case memberFull:
		w.passOn(*sh, m)
	}
}

// passOn finds a member with room for a message that those on this loop have no
// room for: on another loop or, if it came in here, on another node. If there is
// none here for one that was lent, the lender looks elsewhere.
func (w *worker) passOn(sh sharing, m *session.Message) {
	if sh.tried == nil {
		sh.tried = new(tried)
	}
	sh.tried.loops = append(sh.tried.loops, w.index)
	if sh.node == 0 {
		w.handOn(sh, m)
		return
	}
	if g := w.table.Group(sh.filter); g != nil {
		turn := g.Turn()
		for nth := 0; ; nth++ {
			x, subscription, ok := g.PickLocal(turn, nth)
			if !ok {
				break
			}
			if w.shareHere(sh.filter, m, x, subscription, sh) {
				return
			}
		}
	}
	if sh.handle == 0 {
		w.counters.SharedDropped++
		return
	}
	o := w.frameFor(sh.node)
	o.body = cluster.AppendFull(o.body, sh.handle)
	o.reliable = true
}

// taken is how a member of a share group answers a delivery.
type taken uint8

const (
	memberTook taken = iota
	memberFull       // its queue is full, the message too large for it, or not for its client
	memberGone
)

// deliverShared gives a member the message and says whether it took it.
func (w *worker) deliverShared(c *conn, m *session.Message, it *item, sh *sharing, ids []uint32) taken {
	if c == nil || c.phase != up {
		return memberGone
	}
	if !w.mayReceive(c, m.Topic, it.qos) {
		w.counters.DeliveryDenied++
		return memberFull
	}
	d := &w.delivery
	*d = session.Delivery{Message: m, QoS: it.qos, Retain: it.retain, IDs: ids}
	var handle uint64
	if it.qos > 0 {
		had := *sh
		had.tried = nil // when it is handed on there may be room again
		handle = w.shares.take(had)
		d.Handle = handle
	}
	switch outcome := w.deliver(c, d); outcome {
	case session.Sent, session.Queued, session.Evicted:
		if handle == 0 {
			w.settle(sh)
		}
		return memberTook
	case session.Expired:
		if handle != 0 {
			w.shares.free(handle)
		}
		w.settle(sh)
		return memberTook
	default:
		w.counters.Dropped[outcome]-- // it is not given up yet
		if handle != 0 {
			w.shares.free(handle)
		}
		return memberFull
	}
}

// settled takes that a shared delivery is done.
func (w *worker) settled(c *conn, handle uint64) {
	if handle&given != 0 {
		w.ack(c, handle&^given, false)
		return
	}
	sh := w.shares.free(handle)
	w.settle(&sh)
}

// givenUp takes a shared delivery that the session had no room to keep, or that
// expired there, or that its client may not have any more.
func (w *worker) givenUp(c *conn, d *session.Drop) {
	switch {
	case d.Handle&given != 0 && d.Outcome == session.Evicted:
		w.giveBack(c, d.Handle&^given) // another member may have room
	case d.Handle&given == 0 && d.Outcome == session.Denied:
		sh, kept := w.shares.free(d.Handle), d.Packed
		w.loop.Post(func(w *worker) { // not now: another message is under way
			m := &w.message
			if _, err := m.Parse(kept, w.now()); err != nil {
				panic("broker: kept message does not parse: " + err.Error())
			}
			w.handOn(sh, m) // others may have it
		})
	default:
		w.settled(c, d.Handle)
	}
}

// settle tells the node that lent a message that it is done with.
func (w *worker) settle(sh *sharing) {
	if sh.node != 0 && sh.handle != 0 {
		o := w.frameFor(sh.node)
		o.body = cluster.AppendSettled(o.body, sh.handle)
		o.reliable = true
	}
}

// returned takes a shared delivery that a departing member did not acknowledge.
func (w *worker) returned(c *conn, d *session.Delivery, sent bool) {
	if d.Handle == 0 {
		return
	}
	ended := sent && d.QoS == 2
	if ended {
		w.counters.SharedEnded++
	}
	if d.Handle&given != 0 {
		if !sent {
			w.giveBack(c, d.Handle&^given)
		}
		return // the rest goes back with the claim
	}
	sh := w.shares.free(d.Handle)
	if ended {
		w.settle(&sh)
		return
	}
	w.handOn(sh, d.Message)
}

// handOn finds another member for a message that was not acknowledged: here if
// it came in here, else by giving it back to the node that lent it.
func (w *worker) handOn(sh sharing, m *session.Message) {
	if sh.node != 0 {
		if sh.handle != 0 {
			o := w.frameFor(sh.node)
			o.body = cluster.AppendReturned(o.body, sh.handle)
			o.reliable = true
		}
		return
	}
	g := w.table.Group(sh.filter)
	if g == nil {
		w.counters.SharedDropped++
		return
	}
	w.counters.SharedHandedOn++
	w.beginMessage()
	legs := legs{from: &publisher{}, slot: none}
	w.share(g, m, sh.tried, &legs)
	legs.close(w, mqtt.Success)
}

// repay returns a lent message that found no member here.
func (w *worker) repay(sh sharing) {
	if sh.handle == 0 {
		w.counters.SharedDropped++
		return
	}
	o := w.frameFor(sh.node)
	o.body = cluster.AppendReturned(o.body, sh.handle)
	o.reliable = true
}

// loan is a share group's message that a member on another node has.
type loan struct {
	node   router.NodeID // 0: the slot is free
	filter router.Filter
	qos    mqtt.QoS
	tried  *tried
	bytes  []byte // packed message
	slot   int32  // pending publish whose answer waits until the loan is settled, or none
	gen    uint32
	next   int32
}

// loans is a slab of loans, addressed by handles that are never reused soon.
type loans struct {
	slots []loan
	head  int32 // first free slot plus one
	bytes int   // of all messages
}

// lend sends m to a node that has a member of the group. Up to MaxSharedBytes the
// publisher is answered when the node has the message; beyond, when the member
// has acknowledged it, which slows the publisher down to the group's pace.
func (w *worker) lend(n router.NodeID, f router.Filter, m *session.Message, t *tried, legs *legs) {
	var handle uint64
	if m.QoS > 0 {
		handle = w.loans.take(w.index, n, f, m, w.now())
		w.loans.slot(handle).tried = t
		if w.loans.bytes > w.MaxSharedBytes {
			w.loans.slot(handle).slot = legs.add(w)
		}
	}
	o := w.frameFor(n)
	o.body = cluster.AppendGroup(o.body, f.String(), handle, w.pack(m))
	w.sentTo(n, o, m, legs)
}

func (ls *loans) take(worker int, n router.NodeID, f router.Filter, m *session.Message, now session.Time) uint64 {
	var i int32
	if ls.head == 0 {
		i = int32(len(ls.slots))
		ls.slots = append(ls.slots, loan{})
	} else {
		i = ls.head - 1
		ls.head = ls.slots[i].next
	}
	l := &ls.slots[i]
	gen := l.gen%maxLoanGen + 1
	*l = loan{node: n, filter: f, qos: m.QoS, slot: none, gen: gen, bytes: m.Append(l.bytes[:0], now)}
	ls.bytes += len(l.bytes)
	return uint64(worker)<<56 | uint64(gen)<<32 | uint64(i)
}

// maxLoanGen is the highest generation of a handle; the lowest is 1, so that no
// handle is 0.
const maxLoanGen = 1<<24 - 1

// slot finds a loan, nil if it is settled already.
func (ls *loans) slot(handle uint64) *loan {
	i := int(uint32(handle))
	if i >= len(ls.slots) {
		return nil
	}
	l := &ls.slots[i]
	if l.node == 0 || l.gen != uint32(handle>>32)&maxLoanGen {
		return nil
	}
	return l
}

// free ends a loan. Its bytes stay valid until the next loan is taken.
func (ls *loans) free(l *loan, i int32) {
	ls.bytes -= len(l.bytes)
	if cap(l.bytes) > maxKept {
		l.bytes = nil
	}
	l.node = 0
	l.next = ls.head
	ls.head = i + 1
}

// repaid ends a loan that the borrower reports settled; or returned, or no room
// for: then another member is drawn, in the latter case on another node.
func (w *worker) repaid(n router.NodeID, handle uint64, how cluster.RecordKind) {
	l := w.loans.slot(handle)
	if l == nil || l.node != n {
		return
	}
	var t *tried
	if how == cluster.RecordFull {
		if t = l.tried; t == nil {
			t = new(tried)
		}
		t.nodes = append(t.nodes, n)
	}
	w.endLoan(int32(uint32(handle)), how != cluster.RecordSettled, t)
}

// endLoan ends a loan and, if it is to be given again, draws a member that is not
// among those tried.
func (w *worker) endLoan(i int32, again bool, t *tried) {
	l := &w.loans.slots[i]
	f, slot := l.filter, l.slot
	var kept []byte
	if again {
		kept = append([]byte(nil), l.bytes...)
	}
	w.loans.free(l, i)
	if slot != none {
		w.landed(slot, false)
	}
	if !again {
		return
	}
	m := &w.message
	if _, err := m.Parse(kept, w.now()); err != nil {
		panic("broker: lent message does not parse: " + err.Error())
	}
	w.handOn(sharing{filter: f, tried: t}, m)
}

// lostLoans hands on what members had on a node that is dead or has forgotten
// this one. Whether a QoS 2 message had been sent there cannot be known, so it
// counts as sent.
func (w *worker) lostLoans(n router.NodeID) {
	for i := range w.loans.slots {
		if l := &w.loans.slots[i]; l.node == n {
			if l.qos == 2 {
				w.counters.SharedEnded++
			}
			w.endLoan(int32(i), l.qos < 2, nil)
		}
	}
}
