package shardnet

import (
	"encoding/binary"

	"dunlin/proto/mqtt"
	"dunlin/raftstore"
	"dunlin/router"
	"dunlin/session"
)

const (
	// maxRecordBytes is at how many bytes deliveries for one connection are cut
	// into records; a single one may be larger.
	maxRecordBytes = 1 << 20
	// roomBytes may wait for a node before QoS 0 is dropped that goes there, and
	// before what is pushed again waits.
	roomBytes = 8 << 20
	// maxBacklogBytes may wait for a node before all is dropped that goes there, and
	// pushed again when there is room: raftnet would cut the stream at twice as
	// much, and with it the node's own commands.
	maxBacklogBytes = 32 << 20
)

// Room says whether a node takes more of what is pushed again: see
// raftstore.Owners.
func (n *Net) Room(at raftstore.Node) bool {
	if at == n.node() {
		return true
	}
	node, ok := n.dir.Identity(at)
	return !ok || n.raft.PushBacklog(node) <= n.room
}

// Push brings deliveries to the owner of a session: see raftstore.Owners. Those
// of QoS 0 are dropped when the node is behind, for they wait for nobody.
func (n *Net) Push(at raftstore.Node, conn router.Subscriber, epoch session.Epoch, ds []raftstore.Delivery) {
	if at == n.node() {
		n.owner.Push(conn, epoch, ds)
		return
	}
	node, ok := n.reach(at)
	if !ok {
		n.metrics.dropped.WithLabelValues("unreachable").Add(float64(len(ds)))
		return
	}
	backlog := n.raft.PushBacklog(node)
	if backlog > n.most {
		n.again.behind(at)
		n.metrics.dropped.WithLabelValues("backlog").Add(float64(len(ds)))
		return
	}
	late, dropped := backlog > n.room, 0
	for len(ds) > 0 {
		// As many as one record takes, and which of them.
		size, to := headSize, 0
		for ; to < len(ds) && (to == 0 || size < maxRecordBytes); to++ {
			if late && ds[to].QoS == 0 {
				dropped++
				continue
			}
			size += sizeDelivery(&ds[to])
		}
		some := ds[:to]
		if ds = ds[to:]; size == headSize {
			continue // all of them are dropped
		}
		if !n.raft.Push(node, pushOwner, 0, size, func(dst []byte) []byte {
			dst = appendHead(dst, verbDeliver, conn, epoch)
			now := n.clock()
			for i := range some {
				if !late || some[i].QoS > 0 {
					dst = appendDelivery(dst, &some[i], now)
				}
			}
			return dst
		}) {
			n.metrics.dropped.WithLabelValues("unreachable").Add(float64(len(some)))
			continue
		}
		n.metrics.pushed.WithLabelValues("deliveries").Inc()
	}
	if dropped > 0 {
		n.metrics.dropped.WithLabelValues("backlog").Add(float64(dropped))
	}
}

// Evict asks the owner to hand over: see raftstore.Owners. Where its node cannot
// be reached nothing more can come from it, and done is called at once.
func (n *Net) Evict(at raftstore.Node, conn router.Subscriber, clientID string, epoch session.Epoch, done func()) {
	if at == n.node() {
		n.owner.Evict(conn, clientID, epoch, done)
		return
	}
	node, ok := n.reach(at)
	if !ok {
		done()
		return
	}
	number := n.evictions.open(done)
	size := headSize + binary.MaxVarintLen64 + len(clientID)
	if !n.raft.Push(node, pushOwner, 0, size, func(dst []byte) []byte {
		dst = appendHead(dst, verbEvict, conn, epoch)
		return append(binary.AppendUvarint(dst, number), clientID...)
	}) {
		n.evictions.close(number)
		return
	}
	n.metrics.pushed.WithLabelValues("evict").Inc()
}

// Ended tells the owner that it is none any more: see raftstore.Owners. If it is
// lost, the owner learns it from the fence at its next write.
func (n *Net) Ended(at raftstore.Node, conn router.Subscriber, epoch session.Epoch, reason mqtt.Reason) {
	if at == n.node() {
		n.owner.Ended(conn, epoch, reason)
		return
	}
	node, ok := n.reach(at)
	if ok && n.raft.Push(node, pushOwner, 0, headSize+1, func(dst []byte) []byte {
		return append(appendHead(dst, verbEnded, conn, epoch), byte(reason))
	}) {
		n.metrics.pushed.WithLabelValues("ended").Inc()
	}
}

// reach is the name of the node with that number. While there is none, what is
// not pushed is to be pushed once there is.
func (n *Net) reach(at raftstore.Node) (identity string, ok bool) {
	if identity, ok = n.dir.Identity(at); !ok {
		n.again.unnamed(at)
	}
	return identity, ok
}
