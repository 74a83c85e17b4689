package shardnet

import (
	"encoding/binary"
	"fmt"

	"dunlin/cluster/field"
	"dunlin/cluster/raftnet"
	"dunlin/proto/mqtt"
	"dunlin/raftstore"
	"dunlin/router"
	"dunlin/session"
)

// A record tells the owner of a session something:
//
//	version  1 byte
//	verb     1 byte
//	conn     8 bytes, little-endian
//	epoch    uvarint
//	rest, by verb:
//	  deliver   deliveries, one after another: flags 1 byte, index uvarint if
//	            not QoS 0, count of identifiers uvarint and each a uvarint if
//	            deliverIDs, message in its packed form, its expiry lowered (T3)
//	  evict     number of the eviction uvarint, client identifier
//	  ended     reason, 1 byte
type verb uint8

const recordVersion = 1

const (
	verbDeliver verb = 1 + iota
	verbEvict
	verbEnded
)

const (
	deliverQoS    = 0x03
	deliverRetain = 0x04
	deliverIDs    = 0x08
	deliverKnown  = deliverQoS | deliverRetain | deliverIDs
)

// What a record's head and a delivery take at most, beside the message's own
// bytes and 5 for each identifier.
const (
	headSize     = 2 + 8 + binary.MaxVarintLen64
	deliverySize = 64
)

func malformed(what string) error { return fmt.Errorf("%w: shardnet: %s", raftnet.ErrMalformed, what) }

func appendHead(dst []byte, v verb, conn router.Subscriber, epoch session.Epoch) []byte {
	dst = append(dst, recordVersion, byte(v))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(conn))
	return binary.AppendUvarint(dst, uint64(epoch))
}

func appendDelivery(dst []byte, d *raftstore.Delivery, now session.Time) []byte {
	flags := byte(d.QoS)
	if d.Retain {
		flags |= deliverRetain
	}
	if len(d.IDs) > 0 {
		flags |= deliverIDs
	}
	dst = append(dst, flags)
	if d.QoS > 0 {
		dst = binary.AppendUvarint(dst, d.Index)
	}
	if len(d.IDs) > 0 {
		dst = binary.AppendUvarint(dst, uint64(len(d.IDs)))
		for _, id := range d.IDs {
			dst = binary.AppendUvarint(dst, uint64(id))
		}
	}
	return d.Message.Append(dst, now)
}

// sizeDelivery is no less than what appendDelivery appends.
func sizeDelivery(d *raftstore.Delivery) int {
	m := &d.Message
	return deliverySize + 5*len(d.IDs) + len(m.Topic.String()) + len(m.Properties) + len(m.Payload)
}

// record is one as read; what it borrows is the bytes'.
type record struct {
	verb     verb
	conn     router.Subscriber
	epoch    session.Epoch
	number   uint64 // of an eviction
	clientID []byte
	reason   mqtt.Reason
}

// deliveries are those of a record, in memory that is used again.
type deliveries struct {
	each []raftstore.Delivery
	ids  []uint32
}

func (ds *deliveries) reset() {
	clear(ds.each)
	ds.each, ds.ids = ds.each[:0], ds.ids[:0]
}

// readRecord reads a whole record, and its deliveries into ds, which counts as
// received now. Whatever is wrong is raftnet.ErrMalformed (case 53).
func readRecord(b []byte, now session.Time, ds *deliveries) (rec record, err error) {
	if len(b) < 2+8 {
		return rec, malformed("record is cut")
	}
	if b[0] != recordVersion {
		return rec, malformed("record of an unknown version")
	}
	rec.verb, rec.conn = verb(b[1]), router.Subscriber(binary.LittleEndian.Uint64(b[2:]))
	r := reader{field.Reader{B: b[2+8:]}}
	rec.epoch = session.Epoch(r.Uvarint())
	switch rec.verb {
	case verbDeliver:
		for len(r.B) > 0 && !r.Bad {
			r.delivery(ds, now)
		}
	case verbEvict:
		rec.number = r.Uvarint()
		rec.clientID, r.B = r.B, nil
	case verbEnded:
		rec.reason = mqtt.Reason(r.Byte())
	default:
		return rec, malformed("record with an unknown verb")
	}
	if !r.Done() {
		return rec, malformed("record does not parse")
	}
	return rec, nil
}

// reader reads a record's fields.
type reader struct{ field.Reader }

// delivery reads one more of ds.
func (r *reader) delivery(ds *deliveries, now session.Time) {
	ds.each = append(ds.each, raftstore.Delivery{})
	d := &ds.each[len(ds.each)-1]
	flags := r.Byte()
	d.QoS, d.Retain = mqtt.QoS(flags&deliverQoS), flags&deliverRetain != 0
	if flags&^deliverKnown != 0 || d.QoS > 2 {
		r.Fail()
	}
	if d.QoS > 0 {
		if d.Index = r.Uvarint(); d.Index == 0 {
			r.Fail()
		}
	}
	if flags&deliverIDs != 0 {
		n, first := r.Uvarint(), len(ds.ids)
		if n == 0 || n > uint64(len(r.B)) {
			r.Fail()
			return
		}
		for range n {
			id := r.Uvarint()
			if id != uint64(uint32(id)) {
				r.Fail()
			}
			ds.ids = append(ds.ids, uint32(id))
		}
		d.IDs = ds.ids[first:len(ds.ids):len(ds.ids)]
	}
	if r.Bad {
		return
	}
	rest, err := d.Message.Parse(r.B, now)
	if err != nil {
		r.Fail()
		return
	}
	r.B = rest
}
