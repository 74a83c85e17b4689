package shardnet

import (
	"encoding/binary"

	"dunlin/cluster/field"
)

// owned takes a record for a connection of this node.
func (n *Net) owned(from string, _ uint16, body []byte) error {
	ds := n.inbound.Get().(*deliveries)
	defer n.inbound.Put(ds)
	defer ds.reset()
	rec, err := readRecord(body, n.clock(), ds)
	if err != nil {
		n.metrics.badRecords.WithLabelValues("push").Inc()
		return err
	}
	if n.node() == 0 {
		return nil // for an earlier start of this node
	}
	switch rec.verb {
	case verbDeliver:
		n.owner.Push(rec.conn, rec.epoch, ds.each)
	case verbEvict:
		number := rec.number
		n.owner.Evict(rec.conn, string(rec.clientID), rec.epoch, func() { n.tellHandedOver(from, number) })
	case verbEnded:
		n.owner.Ended(rec.conn, rec.epoch, rec.reason)
	}
	return nil
}

// tellHandedOver answers an eviction. That it may be lost costs the store's
// patience (E2).
func (n *Net) tellHandedOver(leader string, number uint64) {
	body := binary.AppendUvarint([]byte{recordVersion}, number)
	_ = n.raft.Start(noWait, leader, 0, askHandedOver, body, func([]byte, error) {})
}

// handedOver takes the answer to an eviction.
func (n *Net) handedOver(_ string, _ uint16, body []byte, reply func([]byte, error)) {
	r := field.Reader{B: body}
	version, number := r.Byte(), r.Uvarint()
	if version != recordVersion || !r.Done() {
		n.metrics.badRecords.WithLabelValues("handover").Inc()
		reply(nil, malformed("handover"))
		return
	}
	n.evictions.close(number)
	reply(nil, nil)
}
