package session

import (
	"encoding/binary"
	"errors"
)

// durableVersion is the first byte of a Durable's encoding.
const durableVersion = 1

var errSnapshot = errors.New("session: bad durable encoding")

// Beside Durable's own flags, which keep their numbers for it.
const (
	snapWill = (allDurableFlags + 1) << iota
	snapOutbound
	snapReplays
	snapFlags = snapReplays<<1 - 1
)

// Append writes the whole of d, in a versioned form that is the same for equal
// sessions. References stay what they are.
func (d *Durable) Append(b []byte) []byte {
	flags := d.flags
	if d.will != nil {
		flags |= snapWill
	}
	if d.out != nil {
		flags |= snapOutbound
	}
	if d.replays != nil {
		flags |= snapReplays
	}
	b = append(b, durableVersion, flags)
	for _, v := range [...]uint64{
		uint64(d.epoch), d.origin, d.seq, uint64(d.detached), uint64(d.expiry),
		uint64(d.maxMessages), uint64(d.maxBytes), uint64(d.maxHeld), uint64(d.inflight),
	} {
		b = binary.AppendUvarint(b, v)
	}
	if d.will != nil {
		b = binary.AppendUvarint(b, uint64(d.will.Delay))
		b = appendBytes(b, d.will.Packed)
	}
	b = binary.AppendUvarint(b, uint64(len(d.awaiting())))
	for _, in := range d.awaiting() {
		b = binary.AppendUvarint(b, in.seq)
		b = binary.AppendUvarint(b, uint64(in.id))
	}
	b = binary.AppendUvarint(b, uint64(len(d.subs)))
	b = append(b, d.subs...)
	if d.out != nil {
		b = d.out.append(b)
	}
	if d.replays != nil {
		b = binary.AppendUvarint(b, uint64(len(*d.replays)))
		for i := range *d.replays {
			b = AppendReplay(b, &(*d.replays)[i])
		}
	}
	return b
}

func (q *outbound) append(b []byte) []byte {
	b = binary.AppendUvarint(b, q.base)
	b = binary.AppendUvarint(b, uint64(q.sweep))
	for _, r := range [...]*ring{&q.window, &q.waiting} {
		b = binary.AppendUvarint(b, uint64(r.len))
		for i := range r.len {
			e := r.at(i)
			b = append(b, e.flags)
			if e.flags&(flagDone|flagReceived) != 0 {
				continue
			}
			b = binary.AppendUvarint(b, uint64(e.ref))
			if e.flags&flagListed == 0 {
				b = binary.AppendUvarint(b, uint64(e.id))
				continue
			}
			ids := q.lists[e.id]
			b = binary.AppendUvarint(b, uint64(len(ids)))
			for _, id := range ids {
				b = binary.AppendUvarint(b, uint64(id))
			}
		}
	}
	return b
}

// ParseDurable reads what Append wrote at the head of b and returns the rest. It
// copies, and retains what the queue refers to. Bad bytes are an error; a Durable
// that came of unknown bytes is to be given to Check before use.
func ParseDurable(b []byte, bodies Bodies) (d Durable, rest []byte, err error) {
	r := snapReader{b: b}
	if r.byte() != durableVersion {
		return d, nil, errSnapshot
	}
	flags := r.byte()
	if flags&^snapFlags != 0 {
		return d, nil, errSnapshot
	}
	d.epoch = Epoch(r.uvarint())
	d.origin = r.uvarint()
	d.seq = r.uvarint()
	d.detached = Time(r.uvarint())
	d.terms = terms{
		expiry: uint32(r.uvarint()), maxMessages: uint32(r.uvarint()), maxBytes: uint32(r.uvarint()), maxHeld: uint32(r.uvarint()),
		inflight: uint16(r.uvarint()), flags: flags & allDurableFlags,
	}
	if flags&snapWill != 0 {
		d.will = &Will{Delay: uint32(r.uvarint()), Packed: r.bytes()}
		var m Message
		if rest, err := m.Parse(d.will.Packed, Never); err != nil || len(rest) > 0 {
			r.fail()
		}
	}
	if n := r.count(2); n > 0 {
		held := make([]inbound, n)
		for i := range held {
			held[i] = inbound{seq: r.uvarint(), id: uint16(r.uvarint())}
		}
		d.await(held)
	}
	subs := r.bytes()
	if !validSubscriptions(subs) {
		return Durable{}, nil, errSnapshot
	}
	d.subs = string(subs)
	if flags&snapOutbound != 0 {
		d.out = &outbound{}
		d.out.parse(&r, bodies)
	}
	if flags&snapReplays != 0 {
		rs := make([]Replay, r.count(4))
		for i := range rs {
			rs[i] = r.replay()
		}
		if d.replays = &rs; len(rs) == 0 {
			r.fail()
		}
	}
	if r.bad {
		return Durable{}, nil, errSnapshot
	}
	return d, r.b, nil
}

func (q *outbound) parse(r *snapReader, bodies Bodies) {
	q.base = r.uvarint()
	q.sweep = Time(r.uvarint())
	for _, to := range [...]*ring{&q.window, &q.waiting} {
		for range r.count(1) {
			e := entry{flags: r.byte() & flagsAll, ref: none}
			if e.flags&(flagDone|flagReceived) == 0 {
				e.ref = uint32(r.uvarint())
				n := uint32(r.uvarint())
				if e.flags&flagListed == 0 {
					e.id = n
				} else if n > uint32(len(r.b)) {
					r.fail()
				} else {
					ids := make([]uint32, n)
					for i := range ids {
						ids[i] = uint32(r.uvarint())
					}
					e.id = q.list(ids)
				}
			} else if e.flags&flagListed != 0 {
				r.fail()
			}
			if r.bad {
				return
			}
			to.push(e)
			if to == &q.window && e.flags&flagDone == 0 {
				q.unacked++
			}
			if e.ref != none {
				bodies.Retain(e.ref)
				if size := uint64(bodies.Size(e.ref)); to == &q.waiting {
					q.queued += size
				} else {
					q.held += size
				}
			}
		}
	}
}

// snapReader reads varints and byte strings; after the first bad one all that it
// reads is empty.
type snapReader struct {
	b   []byte
	bad bool
}

func (r *snapReader) fail() {
	r.b, r.bad = nil, true
}

func (r *snapReader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *snapReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads a number of items of at least size bytes each.
func (r *snapReader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/size) {
		r.fail()
		return 0
	}
	return int(n)
}

// bytes reads a copy; nil if it is empty.
func (r *snapReader) bytes() []byte {
	n := r.count(1)
	if n == 0 {
		return nil
	}
	v := append([]byte(nil), r.b[:n]...)
	r.b = r.b[n:]
	return v
}

func appendBytes(b, v []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}
