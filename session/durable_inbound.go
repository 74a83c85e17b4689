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
	if i := d.findInbound(id); i >= 0 {
		return d.inbound[i].seq, true, true
	}
	if len(d.inbound) > 0 && d.seq-d.inbound[0].seq >= maxInboundSpan {
		return 0, false, false
	}
	seq = d.NextSeq()
	d.inbound = append(d.inbound, inbound{seq: seq, id: id})
	return seq, false, true
}

// Release frees an inbound identifier and says whether it was there.
func (d *Durable) Release(id uint16) (known bool) {
	i := d.findInbound(id)
	if i < 0 {
		return false
	}
	d.inbound = slices.Delete(d.inbound, i, i+1)
	if len(d.inbound) == 0 {
		d.inbound = nil
	}
	return true
}

// Low is the low-water mark of the session as a publisher: no number below it
// will ever be proposed again (R2).
func (d *Durable) Low() uint64 {
	if len(d.inbound) > 0 {
		return d.inbound[0].seq
	}
	return d.seq + 1
}

// Inbound appends the identifiers that await PUBREL.
func (d *Durable) Inbound(dst []uint16) []uint16 {
	for _, in := range d.inbound {
		dst = append(dst, in.id)
	}
	return dst
}

func (d *Durable) findInbound(id uint16) int {
	for i := range d.inbound {
		if d.inbound[i].id == id {
			return i
		}
	}
	return -1
}
