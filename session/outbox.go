package session

import (
	"encoding/binary"
	"fmt"

	"dunlin/proto/mqtt"
)

// outbox is the deliveries whose bytes the session holds: first those sent under
// a handle, which are kept until acknowledged so that they can be handed on
// (P9), then those that wait to be sent, in order (P7). They are packed one
// behind the other in one slice; a position counts bytes since the beginning of
// time, so that it stays good when the slice moves.
//
//  1. base+head <= unsent <= base+len(buf); a record begins at each of them but
//     the last.
//  2. The records from unsent on are waiting, none of them dead; waiting counts
//     them.
//  3. waitingBytes is their size, keptBytes that of the records before unsent
//     that are not dead.
//  4. The record at head is not dead; if there is none, buf is empty.
type outbox struct {
	buf          []byte
	base         uint64 // position of buf[0]
	head         int    // offset in buf of the oldest record
	unsent       uint64 // position of the oldest waiting record
	waiting      int
	waitingBytes int
	keptBytes    int
}

// A record is a header, the subscription identifiers, and the message in its
// packed form as of the record's time:
//
//	 0  uint32  size of the record
//	 4  uint32  flags below; the number of subscription identifiers from bit 8 on
//	 8  uint64  Delivery.Index
//	16  uint64  Delivery.Handle
//	24  int64   time
//	32  uint32  per subscription identifier
const recordHeader = 32

const (
	recordQoS    = 0x03
	recordRetain = 0x04
	recordDup    = 0x08
	recordDead   = 0x10

	recordIDs = 8 // shift
)

// keptOutbox is the capacity in bytes that an empty outbox keeps until Trim.
const keptOutbox = 64 << 10

// record is a view of the record at some position, until the next append.
type record []byte

func (r record) size() int      { return int(binary.LittleEndian.Uint32(r)) }
func (r record) flags() uint32  { return binary.LittleEndian.Uint32(r[4:]) }
func (r record) index() uint64  { return binary.LittleEndian.Uint64(r[8:]) }
func (r record) handle() uint64 { return binary.LittleEndian.Uint64(r[16:]) }
func (r record) time() Time     { return Time(binary.LittleEndian.Uint64(r[24:])) }
func (r record) dead() bool     { return r.flags()&recordDead != 0 }

func (o *outbox) bytes() int { return o.waitingBytes + o.keptBytes }

func (o *outbox) end() uint64 { return o.base + uint64(len(o.buf)) }

// at returns the record at pos.
func (o *outbox) at(pos uint64) record {
	r := record(o.buf[pos-o.base:])
	return r[:r.size()]
}

// push appends d as the last waiting record and returns its position.
func (o *outbox) push(d *Delivery, now Time) uint64 {
	if o.head > len(o.buf)/2 {
		n := copy(o.buf, o.buf[o.head:])
		o.buf = o.buf[:n]
		o.base += uint64(o.head)
		o.head = 0
	}
	pos, at := o.end(), len(o.buf)
	flags := uint32(d.QoS)&recordQoS | uint32(len(d.IDs))<<recordIDs
	if d.Retain {
		flags |= recordRetain
	}
	if d.Dup {
		flags |= recordDup
	}
	b := binary.LittleEndian.AppendUint32(o.buf, 0)
	b = binary.LittleEndian.AppendUint32(b, flags)
	b = binary.LittleEndian.AppendUint64(b, d.Index)
	b = binary.LittleEndian.AppendUint64(b, d.Handle)
	b = binary.LittleEndian.AppendUint64(b, uint64(now))
	for _, id := range d.IDs {
		b = binary.LittleEndian.AppendUint32(b, id)
	}
	b = d.Message.Append(b, now)
	size := len(b) - at
	binary.LittleEndian.PutUint32(b[at:], uint32(size))
	o.buf = b
	o.waiting++
	o.waitingBytes += size
	return pos
}

// sent moves the oldest waiting record over to those that are kept.
func (o *outbox) sent() {
	size := o.at(o.unsent).size()
	o.unsent += uint64(size)
	o.waiting--
	o.waitingBytes -= size
	o.keptBytes += size
}

// drop takes the record at pos out. Of the waiting ones it may be the oldest
// only.
func (o *outbox) drop(pos uint64) {
	if pos == o.unsent {
		o.sent()
	}
	r := o.at(pos)
	binary.LittleEndian.PutUint32(r[4:], r.flags()|recordDead)
	o.keptBytes -= r.size()
	for o.head < len(o.buf) {
		r := o.at(o.base + uint64(o.head))
		if !r.dead() {
			return
		}
		o.head += r.size()
	}
	o.base, o.head = o.end(), 0
	if o.buf = o.buf[:0]; cap(o.buf) > keptOutbox {
		o.buf = nil
	}
}

// view is a Delivery read out of a record, with what it points to.
type view struct {
	Delivery
	message Message
	ids     []uint32 // reused
}

// read fills v with r. v borrows r's bytes.
func (v *view) read(r record) {
	flags := r.flags()
	v.Delivery = Delivery{
		Message: &v.message,
		QoS:     mqtt.QoS(flags & recordQoS),
		Retain:  flags&recordRetain != 0,
		Dup:     flags&recordDup != 0,
		Handle:  r.handle(),
		Index:   r.index(),
	}
	b := r[recordHeader:]
	v.ids = v.ids[:0]
	for range flags >> recordIDs {
		v.ids = append(v.ids, binary.LittleEndian.Uint32(b))
		b = b[4:]
	}
	v.IDs = v.ids
	if _, err := v.message.Parse(b, r.time()); err != nil {
		panic(fmt.Sprintf("session: own record: %v", err)) // we packed it ourselves
	}
}
