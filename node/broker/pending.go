package broker

import (
	"dunlin/proto/mqtt"
	"dunlin/session"
)

// none is no pending record.
const none int32 = -1

// pending is a publish whose answer waits: for a commit that must come before it
// is routed (then bytes holds it), or for the legs by which it is on its way.
type pending struct {
	from    publisher
	legs    int32
	unknown bool   // a leg's outcome cannot be known: no answer, the connection closes (R6)
	origin  uint64 // of a persistent publisher's QoS 2 message (R1), once committed
	seq     uint64
	low     uint64
	bytes   []byte // the packed message while it waits to be routed
	next    int32  // free list
}

// pendings is a worker's slab of pending publishes. Each record is freed when
// its last leg reports, and every leg reports exactly once; their number is
// bounded by the Receive Maximum of the connections.
type pendings struct {
	slots []pending
	head  int32 // first free slot plus one
	inUse int
}

// take returns a free record for a publish.
func (ps *pendings) take(from publisher) int32 {
	ps.inUse++
	if ps.head == 0 {
		ps.slots = append(ps.slots, pending{from: from})
		return int32(len(ps.slots) - 1)
	}
	i := ps.head - 1
	p := &ps.slots[i]
	ps.head = p.next
	*p = pending{from: from, bytes: p.bytes[:0]}
	return i
}

func (ps *pendings) at(i int32) *pending { return &ps.slots[i] }

// keep stores m in the record until it can be routed.
func (ps *pendings) keep(i int32, m *session.Message, now session.Time) {
	p := &ps.slots[i]
	p.bytes = m.Append(p.bytes[:0], now)
}

// maxKept is the size of a kept message whose buffer is worth keeping with its
// free record.
const maxKept = 4 << 10

func (ps *pendings) free(i int32) {
	p := &ps.slots[i]
	if cap(p.bytes) > maxKept {
		p.bytes = nil
	}
	p.from = publisher{}
	p.next = ps.head
	ps.head = i + 1
	ps.inUse--
}

// legs counts the ways by which one publish is under way. A record is taken only
// when there is a leg to wait for. It does not hold the worker: the compiler would
// take it that from gets wherever the worker does, and have each publish allocate one.
type legs struct {
	from *publisher
	slot int32
}

// add counts one leg and returns the record to report it to.
func (l *legs) add(w *worker) int32 {
	if l.slot == none {
		l.slot = w.pendings.take(*l.from)
	}
	w.pendings.at(l.slot).legs++
	return l.slot
}

// close ends the counting: without a leg the answer is due now.
func (l *legs) close(w *worker, reason mqtt.Reason) {
	if l.slot != none {
		if w.pendings.at(l.slot).legs > 0 {
			return
		}
		w.pendings.free(l.slot)
	}
	w.conclude(l.from, reason, false)
}

// landed reports a leg of the publish in slot; the last one answers it.
func (w *worker) landed(slot int32, unknown bool) {
	p := w.pendings.at(slot)
	p.unknown = p.unknown || unknown
	if p.legs--; p.legs > 0 {
		return
	}
	from, lost := p.from, p.unknown
	w.pendings.free(slot)
	w.conclude(&from, mqtt.Success, lost)
}
