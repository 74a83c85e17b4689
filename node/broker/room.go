package broker

import (
	"bytes"
	"errors"

	"dunlin/node/limit"
	"dunlin/proto/mqtt"
	"dunlin/router"
	"dunlin/session"
)

// What clients may have the node keep, beside what shards judge by their own limits.

// isShort says that the node is short of memory or disk: then what a client sends is not
// taken if it would have to be stored. What is read, acknowledged and deleted goes on, and
// so do messages that nobody stores (case 56).
func (w *worker) isShort() bool {
	return w.Pressure != nil && (w.Pressure.Of(limit.Memory) != limit.None || w.Pressure.Of(limit.Disk) != limit.None)
}

// noRoom refuses a publish of which slot keeps what there is, before anything of it was
// done but to commit its identifier. A client of version 3 cannot be told; what is not
// acknowledged, it sends again on its next connection [MQTT-3.3.5-2 of 3.1.1].
func (w *worker) noRoom(from *publisher, slot int32, committed bool) {
	w.counters.Limited[LimitStorage]++
	if slot != none {
		w.pendings.free(slot)
	}
	if c := w.conn(from.conn); c != nil && c.version != mqtt.V5 && from.packetID != 0 {
		w.drop(c)
		return
	}
	w.reject(*from, committed, mqtt.QuotaExceeded)
}

// hasNoRoom refuses a publish that would be queued, if the node is short. One that is
// retained was judged before.
func (w *worker) hasNoRoom(from *publisher, m *session.Message, slot int32) bool {
	if m.QoS == 0 || m.Retain || from.packetID == 0 || !w.isShort() {
		return false
	}
	w.noRoom(from, slot, slot != none)
	return true
}

// tooLong says that a topic or filter is larger than this node allows, whose limits may be
// lower than the router's.
func (w *worker) tooLong(topic []byte) bool {
	return w.MaxTopicBytes > 0 && len(topic) > w.MaxTopicBytes ||
		w.MaxTopicLevels > 0 && bytes.Count(topic, []byte{'/'}) >= w.MaxTopicLevels
}

// countTopic counts a topic or filter that was refused with err, or by tooLong.
func (w *worker) countTopic(err error) {
	if err == nil || errors.Is(err, router.ErrTopicTooDeep) || errors.Is(err, router.ErrFilterTooDeep) {
		w.counters.Limited[LimitTopic]++
	}
}

// full says which limit is in the way of one filter more of c, if one is.
func (w *worker) full(c *conn) (l Limit, full bool) {
	switch {
	case w.MaxSubscriptions > 0 && c.client.subscriptions() >= w.MaxSubscriptions:
		return LimitSubscriptions, true
	case w.MaxNodeSubscriptions > 0 && w.allSubscribed.Load() >= int64(w.MaxNodeSubscriptions):
		return LimitNodeSubscriptions, true
	case w.isShort():
		return LimitStorage, true
	}
	return 0, false
}

// isCrowded says that a delivery of QoS > 0 would wait in a queue of this worker's, and that
// these hold too much together, though none of them alone does. What a shard bounds, waits:
// the window of a persistent session, and what a share group's queue gave.
func (w *worker) isCrowded(c *conn, d *session.Delivery, ready bool) bool {
	if w.MaxWaiting == 0 || w.waiting < w.MaxWaiting/len(w.workers) || d.Index != 0 {
		return false
	}
	n, _ := c.live.Backlog()
	if ready && n == 0 && c.live.Room() > 0 {
		return false
	}
	w.counters.Limited[LimitBuffers]++
	return true
}
