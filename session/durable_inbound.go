package session

import "slices"

// maxInboundSpan bounds how far the numbers of a session's unreleased QoS 2
// publishes may lie apart, which bounds what every shard remembers of a
// publisher (R2). A client that releases what it publishes stays far below.
const maxInboundSpan = 1 << 16

// inbound is a QoS 2 publish whose PUBREL has not come.
type inbound struct {
	seq uint64
	id  uint16
}

// Receive commits the packet identifier of a QoS 2 publish (R1, R4). known says
// that it was committed before: the publish is a resend, under the same seq,
// whatever DUP says (R3). ok is false when the client holds back releases until
// its numbers lie too far apart.
func (d *Durable) Receive(id uint16) (seq uint64, known, ok bool) {
	held := d.awaiting()
	if i := findInbound(held, id); i >= 0 {
		return held[i].seq, true, true
	}
	if len(held) > 0 && d.seq-held[0].seq >= maxInboundSpan {
		return 0, false, false
	}
	seq = d.NextSeq()
	d.await(append(held, inbound{seq: seq, id: id}))
	return seq, false, true
}

// Release frees an inbound identifier and says whether it was there.
func (d *Durable) Release(id uint16) (known bool) {
	held := d.awaiting()
	i := findInbound(held, id)
	if i < 0 {
		return false
	}
	d.await(slices.Delete(held, i, i+1))
	return true
}

// Low is the low-water mark of the session as a publisher: no number below it
// will ever be proposed again (R2).
func (d *Durable) Low() uint64 {
	if held := d.awaiting(); len(held) > 0 {
		return held[0].seq
	}
	return d.seq + 1
}

// Inbound appends the identifiers that await PUBREL.
func (d *Durable) Inbound(dst []uint16) []uint16 {
	for _, in := range d.awaiting() {
		dst = append(dst, in.id)
	}
	return dst
}

// awaiting is what Receive committed and Release has not freed.
func (d *Durable) awaiting() []inbound {
	if d.inbound == nil {
		return nil
	}
	return *d.inbound
}

func (d *Durable) await(held []inbound) {
	switch {
	case len(held) == 0:
		d.inbound = nil
	case d.inbound == nil:
		d.inbound = &held
	default:
		*d.inbound = held
	}
}

// findInbound looks through all; there are no more than the server's Receive
// Maximum.
func findInbound(held []inbound, id uint16) int {
	for i := range held {
		if held[i].id == id {
			return i
		}
	}
	return -1
}
